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

// Orders are what operators decided while the fleet runs. Their truth is in the store, the counters carry a working copy.
// Each change raises the version, and the greater version is the later one.
type Orders struct {
	Version int64      `json:"version"`
	Kills   []Kill     `json:"kills,omitempty"`
	Limits  []Override `json:"limits,omitempty"`
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
	Scope       string   `json:"scope"`
	PerSecond   *float64 `json:"perSecond,omitempty"`
	Burst       *float64 `json:"burst,omitempty"`
	Concurrency *int64   `json:"concurrency,omitempty"`
	PerDay      *int64   `json:"perDay,omitempty"`
	Shadow      *bool    `json:"shadow,omitempty"`
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

// Kill adds a kill switch, in place of one that is on the scope already. What has expired goes.
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
	o.Kills = slices.DeleteFunc(o.Kills, func(old Kill) bool { return old.Scope == k.Scope || old.ended(k.At) })
	o.Kills = append(o.Kills, k)
	slices.SortFunc(o.Kills, func(x, y Kill) int { return cmp.Compare(x.Scope, y.Scope) })
	return nil
}

// Lift takes a kill switch away.
func (o *Orders) Lift(scope string) error {
	n := len(o.Kills)
	if o.Kills = slices.DeleteFunc(o.Kills, func(k Kill) bool { return k.Scope == scope }); len(o.Kills) == n {
		return fmt.Errorf("there is no kill switch on %q", scope)
	}
	return nil
}

func (k *Kill) ended(now time.Time) bool { return !k.Until.IsZero() && !now.Before(k.Until) }

// Override changes the limit on a scope; what was overridden there before and is nil now stays.
func (o *Orders) Override(v Override) error {
	if v.Scope != EachTenant && v.Scope != EachClient {
		if err := CheckScope(v.Scope); err != nil {
			return fmt.Errorf("%w, %s or %s", err, EachTenant, EachClient)
		}
	}
	i := slices.IndexFunc(o.Limits, func(old Override) bool { return old.Scope == v.Scope })
	if i < 0 {
		o.Limits = append(o.Limits, Override{Scope: v.Scope})
		i = len(o.Limits) - 1
	}
	l := &o.Limits[i]
	l.PerSecond = cmp.Or(v.PerSecond, l.PerSecond)
	l.Burst = cmp.Or(v.Burst, l.Burst)
	l.Concurrency = cmp.Or(v.Concurrency, l.Concurrency)
	l.PerDay = cmp.Or(v.PerDay, l.PerDay)
	l.Shadow = cmp.Or(v.Shadow, l.Shadow)
	err := l.Over(Limit{Scope: v.Scope}).Check()
	slices.SortFunc(o.Limits, func(x, y Override) int { return cmp.Compare(x.Scope, y.Scope) })
	return err
}

// Reset takes the override on a scope away.
func (o *Orders) Reset(scope string) error {
	n := len(o.Limits)
	if o.Limits = slices.DeleteFunc(o.Limits, func(v Override) bool { return v.Scope == scope }); len(o.Limits) == n {
		return fmt.Errorf("there is no override on %q", scope)
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
