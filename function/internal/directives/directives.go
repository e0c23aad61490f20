// Package directives is what operators order while the fleet runs: kill switches, and limits in place of those that are configured. They
// are kept in two places, a [Store] and a [Board], each of which may be out of reach while the other is changed. A [Writer] changes both,
// and what they have is merged.
package directives

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Directives are what operators decided while the fleet runs. They are kept in the store and in the counters, and those of both are in
// force: see [Merge]. Each change raises the version.
type Directives struct {
	Version int64      `json:"version"`
	Kills   []Kill     `json:"kills,omitempty"`
	Limits  []Override `json:"limits,omitempty"`
	Gone    []Gone     `json:"gone,omitempty"`   // what was lifted, the latest first
	Merged  bool       `json:"merged,omitempty"` // who wrote them merges: see [Rewritten]
}

// A Kill refuses every call on a scope.
type Kill struct {
	Scope  string    `json:"scope"` // everything, or as in "tool:search", "tenant:acme", "upstream:crm"
	Reason string    `json:"reason"`
	At     time.Time `json:"at"`
	Until  time.Time `json:"until,omitzero"` // zero: until it is lifted
}

// An Override takes the place of the limit on a scope.
type Override struct {
	Scope string `json:"scope"`
	Limits
	At time.Time `json:"at,omitzero"` // when it was ordered: of two that were ordered apart, the later is in force
}

// Limits take the place of what a limit allows: nil stays as it is, zero is no limit of that kind.
type Limits struct {
	PerSecond   *float64 `json:"perSecond,omitempty"`
	Burst       *float64 `json:"burst,omitempty"`
	Concurrency *int64   `json:"concurrency,omitempty"`
	PerDay      *int64   `json:"perDay,omitempty"`
	DryRun      *bool    `json:"shadow,omitempty"`
}

// Over returns the limits below with what is set in these in place.
func (l Limits) Over(below Limits) Limits {
	return Limits{
		PerSecond: cmp.Or(l.PerSecond, below.PerSecond), Burst: cmp.Or(l.Burst, below.Burst),
		Concurrency: cmp.Or(l.Concurrency, below.Concurrency), PerDay: cmp.Or(l.PerDay, below.PerDay), DryRun: cmp.Or(l.DryRun, below.DryRun),
	}
}

// Everything is the scope of all calls together.
const Everything = "everything"

// EachTenant and EachClient are scopes of limits that every tenant and every client has for itself.
const (
	EachTenant = "each-tenant"
	EachClient = "each-client"
)

// CheckScope returns what is wrong with the scope of a kill switch.
func CheckScope(scope string) error {
	if scope == Everything {
		return nil
	}
	kind, name, _ := strings.Cut(scope, ":")
	named := kind == "tool" || kind == "tenant" || kind == "upstream"
	if n := utf8.RuneCountInString(name); !named || n < 1 || n > 128 || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' }) {
		return fmt.Errorf("%q is not a scope: it is everything, tool:NAME, tenant:NAME or upstream:NAME", scope)
	}
	return nil
}

// Kill adds a kill switch, in place of those that are on the scope already.
func (d *Directives) Kill(k Kill) error {
	if err := CheckScope(k.Scope); err != nil {
		return err
	}
	if strings.TrimSpace(k.Reason) == "" {
		return errors.New("a kill switch needs a reason: callers read it")
	}
	if !k.Until.IsZero() && !k.Until.After(k.At) {
		return errors.New("a kill switch must end after it begins")
	}
	k.Reason = strings.ToValidUTF8(k.Reason, "\ufffd") // as JSON has it
	for gone := d.removed(); gone.kill(&k); {
		k.At = k.At.Add(time.Microsecond) // what was lifted does not come back, and this is another
	}
	if !slices.ContainsFunc(d.Kills, func(old Kill) bool { return old.digest() == k.digest() }) {
		d.Kills = append(d.Kills, k)
	}
	d.remove(k.Scope, k.digest())
	return nil
}

// Lift takes the kill switches on a scope away, but for that of a restored store.
func (d *Directives) Lift(scope string) error {
	on := func(k Kill) bool { return k.Scope == scope }
	if !slices.ContainsFunc(d.Kills, on) {
		return fmt.Errorf("there is no kill switch on %q", scope)
	}
	if backup, _ := d.Restored(); scope == Everything && backup != "" && !slices.ContainsFunc(d.Kills, func(k Kill) bool {
		of, _ := k.Restored()
		return on(k) && of == ""
	}) {
		return fmt.Errorf("the kill switch on everything is that of a store that was restored from backup %s: erlmcp restore -confirm lifts it", backup)
	}
	d.remove(scope, "")
	return nil
}

// remove takes the kill switches on a scope away but for one.
func (d *Directives) remove(scope, kept string) {
	d.Kills = keep(d.Kills, func(k *Kill) bool {
		restored, _ := k.Restored()
		stays := k.Scope != scope || k.digest() == kept || restored != ""
		if !stays {
			d.Gone = append(d.Gone, Gone{Of: k.digest()})
		}
		return stays
	})
	d.sort()
}

// KillOn returns the kill switch that is in force on a scope, or nil: of several the one that lasts longest.
func (d *Directives) KillOn(scope string, now time.Time) *Kill {
	for i := range d.Kills {
		if k := &d.Kills[i]; k.Scope == scope && !k.ended(now) {
			return k
		}
	}
	return nil
}

func (k *Kill) ended(now time.Time) bool { return !k.Until.IsZero() && !now.Before(k.Until) }

// Override changes the limit on a scope; what was overridden there before and is nil now stays. The later override takes the place of
// the one before wherever that is still kept: it need not be remembered that it did.
func (d *Directives) Override(v Override) error {
	if v.Scope != EachTenant && v.Scope != EachClient {
		if err := CheckScope(v.Scope); err != nil {
			return fmt.Errorf("%w, %s or %s", err, EachTenant, EachClient)
		}
	}
	l := Override{Scope: v.Scope, At: v.At}
	before := d.OverrideOn(v.Scope)
	if before != nil {
		if l = *before; v.At.After(before.At) {
			l.At = v.At
		} else {
			l.At = before.At.Add(time.Microsecond) // it is the later one, whatever the clocks say
		}
	}
	l.Limits = v.Over(l.Limits)
	gone := d.removed()
	if until := gone.until[l.Scope]; !until.IsZero() && !l.At.After(until) {
		l.At = until.Add(time.Microsecond)
	}
	for gone.override(&l) {
		l.At = l.At.Add(time.Microsecond)
	}
	d.Limits = keep(d.Limits, func(old *Override) bool { return old.Scope != l.Scope })
	d.Limits = append(d.Limits, l)
	d.sort()
	return l.Check()
}

// An OverrideFault is why an override does not fit what it overrides. Such a one is refused; one that is in force already, since what it
// overrides has changed, stays.
type OverrideFault struct {
	Scope string
	Err   error
}

func (f *OverrideFault) Error() string { return fmt.Sprintf("the override on %s: %v", f.Scope, f.Err) }

func (f *OverrideFault) Unwrap() error { return f.Err }

// Unfit returns the fault of an override that is not among those before, of faults that are joined.
func (d *Directives) Unfit(before []Override, faults error) error {
	if joined, ok := faults.(interface{ Unwrap() []error }); ok {
		for _, err := range joined.Unwrap() {
			if err := d.Unfit(before, err); err != nil {
				return err
			}
		}
		return nil
	}
	var fault *OverrideFault
	if !errors.As(faults, &fault) {
		return nil
	}
	same := func(v Override) bool { return v.Scope == fault.Scope }
	i, j := slices.IndexFunc(before, same), slices.IndexFunc(d.Limits, same)
	if i >= 0 && j >= 0 && before[i] == d.Limits[j] {
		return nil
	}
	return fault
}

// Reset takes the override on a scope away.
func (d *Directives) Reset(scope string) error {
	v := d.OverrideOn(scope)
	if v == nil {
		return fmt.Errorf("there is no override on %q", scope)
	}
	d.Gone = append(d.Gone, d.liftOf(v, time.Time{}))
	d.Limits = keep(d.Limits, func(v *Override) bool { return v.Scope != scope })
	d.sort()
	return nil
}

// liftOf is the lift of an override that is among these directives, and of all before it. Where it has lost its time it was ordered by the
// version that they have, which is in milliseconds.
func (d *Directives) liftOf(v *Override, at time.Time) Gone {
	until := v.At
	if until.IsZero() {
		until = time.UnixMilli(d.Version + 1).UTC()
	}
	return Gone{Of: v.digest(), At: at, Scope: v.Scope, Until: until}
}

// OverrideOn returns the override that is in force on a scope, or nil: of several the latest.
func (d *Directives) OverrideOn(scope string) *Override {
	for i := len(d.Limits) - 1; i >= 0; i-- {
		if d.Limits[i].Scope == scope {
			return &d.Limits[i]
		}
	}
	return nil
}

// Check returns what is wrong with the limits.
func (l Limits) Check() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if r := l.PerSecond; r != nil {
		if *r < 0 || math.IsNaN(*r) || *r > 1e6 {
			fault("a rate of %v a second is not from 0 to a million", *r)
		}
		if *r > 0 && *r < 1.0/86400 {
			fault("a rate of %v a second is less than one a day: use a daily quota", *r)
		}
	}
	if b := l.Burst; b != nil {
		if *b < 0 || *b > 0 && *b < 1 {
			fault("a burst of %v is less than one call", *b)
		}
		if r := l.PerSecond; r != nil && *r > 0 && *b / *r > MaxBurstSeconds {
			fault("a burst of %v takes more than ten years to come back at %v a second", *b, *r)
		}
	}
	if c := l.Concurrency; c != nil && *c < 0 {
		fault("%d calls at a time is less than none", *c)
	}
	if n := l.PerDay; n != nil && *n < 0 {
		fault("%d calls a day is less than none", *n)
	}
	return errors.Join(faults...)
}

// MaxBurstSeconds is how long a burst may take to come back: the counters' whole microseconds bear no more.
const MaxBurstSeconds = 10 * 365 * 86400

// Killed returns the kill switch on one of the scopes.
func (d *Directives) Killed(now time.Time, scopes []string) *Kill {
	for i := range d.Kills {
		if k := &d.Kills[i]; (k.Scope == Everything || slices.Contains(scopes, k.Scope)) && !k.ended(now) {
			return k
		}
	}
	return nil
}
