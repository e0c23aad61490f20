package governor

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Orders are what operators decided while the fleet runs. They are kept in the store and in the counters, and those of both are in
// force: see [Merge]. Each change raises the version.
type Orders struct {
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

// An Override takes the place of the limit on a scope: what is nil stays as it is, zero is no limit of that kind.
type Override struct {
	Scope       string    `json:"scope"`
	PerSecond   *float64  `json:"perSecond,omitempty"`
	Burst       *float64  `json:"burst,omitempty"`
	Concurrency *int64    `json:"concurrency,omitempty"`
	PerDay      *int64    `json:"perDay,omitempty"`
	Shadow      *bool     `json:"shadow,omitempty"`
	At          time.Time `json:"at,omitzero"` // when it was ordered: of two that were ordered apart, the later is in force
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
func (o *Orders) Kill(k Kill) error {
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
	for gone := o.removed(); gone.kill(&k); {
		k.At = k.At.Add(time.Microsecond) // what was lifted does not come back, and this is another
	}
	if !slices.ContainsFunc(o.Kills, func(old Kill) bool { return old.digest() == k.digest() }) {
		o.Kills = append(o.Kills, k)
	}
	o.remove(k.Scope, k.digest())
	return nil
}

// Lift takes the kill switches on a scope away.
func (o *Orders) Lift(scope string) error {
	if !slices.ContainsFunc(o.Kills, func(k Kill) bool { return k.Scope == scope }) {
		return fmt.Errorf("there is no kill switch on %q", scope)
	}
	o.remove(scope, "")
	return nil
}

// remove takes the kill switches on a scope away but for one.
func (o *Orders) remove(scope, kept string) {
	o.Kills = keep(o.Kills, func(k *Kill) bool {
		stays := k.Scope != scope || k.digest() == kept
		if !stays {
			o.Gone = append(o.Gone, Gone{Of: k.digest()})
		}
		return stays
	})
	o.sort()
}

// KillOn returns the kill switch that is in force on a scope, or nil: of several the one that lasts longest.
func (o *Orders) KillOn(scope string, now time.Time) *Kill {
	for i := range o.Kills {
		if k := &o.Kills[i]; k.Scope == scope && !k.ended(now) {
			return k
		}
	}
	return nil
}

func (k *Kill) ended(now time.Time) bool { return !k.Until.IsZero() && !now.Before(k.Until) }

// Override changes the limit on a scope; what was overridden there before and is nil now stays. The later override takes the place of
// the one before wherever that is still kept: it need not be remembered that it did.
func (o *Orders) Override(v Override) error {
	if v.Scope != EachTenant && v.Scope != EachClient {
		if err := CheckScope(v.Scope); err != nil {
			return fmt.Errorf("%w, %s or %s", err, EachTenant, EachClient)
		}
	}
	l := Override{Scope: v.Scope, At: v.At}
	before := o.OverrideOn(v.Scope)
	if before != nil {
		if l = *before; v.At.After(before.At) {
			l.At = v.At
		} else {
			l.At = before.At.Add(time.Microsecond) // it is the later one, whatever the clocks say
		}
	}
	l.PerSecond = cmp.Or(v.PerSecond, l.PerSecond)
	l.Burst = cmp.Or(v.Burst, l.Burst)
	l.Concurrency = cmp.Or(v.Concurrency, l.Concurrency)
	l.PerDay = cmp.Or(v.PerDay, l.PerDay)
	l.Shadow = cmp.Or(v.Shadow, l.Shadow)
	gone := o.removed()
	if until := gone.until[l.Scope]; !until.IsZero() && !l.At.After(until) {
		l.At = until.Add(time.Microsecond)
	}
	for gone.override(&l) {
		l.At = l.At.Add(time.Microsecond)
	}
	o.Limits = keep(o.Limits, func(old *Override) bool { return old.Scope != l.Scope })
	o.Limits = append(o.Limits, l)
	o.sort()
	return l.Over(Limit{Scope: v.Scope}).Check()
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
func (o *Orders) Unfit(before []Override, faults error) error {
	if joined, ok := faults.(interface{ Unwrap() []error }); ok {
		for _, err := range joined.Unwrap() {
			if err := o.Unfit(before, err); err != nil {
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
	i, j := slices.IndexFunc(before, same), slices.IndexFunc(o.Limits, same)
	if i >= 0 && j >= 0 && before[i] == o.Limits[j] {
		return nil
	}
	return fault
}

// Reset takes the override on a scope away.
func (o *Orders) Reset(scope string) error {
	v := o.OverrideOn(scope)
	if v == nil {
		return fmt.Errorf("there is no override on %q", scope)
	}
	o.Gone = append(o.Gone, o.liftOf(v, time.Time{}))
	o.Limits = keep(o.Limits, func(v *Override) bool { return v.Scope != scope })
	o.sort()
	return nil
}

// liftOf is the lift of an override that is among these orders, and of all before it. Where it has lost its time it was ordered by the
// version that they have, which is in milliseconds.
func (o *Orders) liftOf(v *Override, at time.Time) Gone {
	until := v.At
	if until.IsZero() {
		until = time.UnixMilli(o.Version + 1).UTC()
	}
	return Gone{Of: v.digest(), At: at, Scope: v.Scope, Until: until}
}

// OverrideOn returns the override that is in force on a scope, or nil: of several the latest.
func (o *Orders) OverrideOn(scope string) *Override {
	for i := len(o.Limits) - 1; i >= 0; i-- {
		if o.Limits[i].Scope == scope {
			return &o.Limits[i]
		}
	}
	return nil
}

// Over returns the limit with the override in place. A new rate has its default burst unless one is given.
func (v *Override) Over(l Limit) *Limit {
	if v.PerSecond != nil {
		l.PerSecond, l.Burst = *v.PerSecond, 0
	}
	if v.Burst != nil {
		l.Burst = *v.Burst
	}
	if v.Concurrency != nil {
		l.Concurrency = *v.Concurrency
	}
	if v.PerDay != nil {
		l.PerDay = *v.PerDay
	}
	if v.Shadow != nil {
		l.Shadow = *v.Shadow
	}
	return &l
}

// killed returns the kill switch on one of the scopes.
func (o *Orders) killed(now time.Time, scopes []string) *Kill {
	for i := range o.Kills {
		if k := &o.Kills[i]; (k.Scope == Everything || slices.Contains(scopes, k.Scope)) && !k.ended(now) {
			return k
		}
	}
	return nil
}
