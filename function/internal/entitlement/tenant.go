// Package entitlement says who is entitled to what. Sources (operators, a marketplace, whoever publishes events) each grant and
// revoke, suspend and resume, in whatever order their events arrive; the strictest of them holds. What a tenant may at a time
// is a pure function of what they said, the plans and the clock: the packs of tools, the limits, and one of five states.
package entitlement

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"example.com/erlmcp/function/internal/directives"
)

// A Tenant is what sources have said of one.
type Tenant struct {
	ID       string            `json:"id"`
	Revision int64             `json:"revision"` // grows with each change, microseconds since 1970 or greater; 0 is not stored yet
	Created  time.Time         `json:"created"`
	Sources  map[string]Source `json:"sources,omitempty"`
	Noted    State             `json:"noted"`            // the state that the last recorded transition led to
	NotedAt  time.Time         `json:"notedAt,omitzero"` // by the clock that found it, of what sources have said since
}

// A Source is what one of them said last.
type Source struct {
	Granted   Mark              `json:"granted"`
	Suspended Mark              `json:"suspended,omitzero"`
	Plan      string            `json:"plan,omitempty"`
	Packs     []string          `json:"packs,omitempty"`    // beyond those of the plan
	Limits    directives.Limits `json:"limits,omitzero"`    // in place of those of the plan
	Expires   time.Time         `json:"expires,omitzero"`   // zero: never
	Reason    string            `json:"reason,omitempty"`   // of the revocation
	Suspense  string            `json:"suspense,omitempty"` // reason of the suspension
}

// Clone returns a copy that shares nothing with the tenant. What is empty in it is nil, as in one that was stored and read.
func (t *Tenant) Clone() *Tenant {
	c := *t
	c.Sources = nil
	if len(t.Sources) > 0 {
		c.Sources = maps.Clone(t.Sources)
	}
	for name, s := range c.Sources {
		s.Packs, s.Limits = append([]string(nil), s.Packs...), cloned(s.Limits)
		c.Sources[name] = s
	}
	return &c
}

// A Mark is a yes or no that was said at a time. The zero Mark was never said.
type Mark struct {
	On bool      `json:"on"`
	At time.Time `json:"at,omitzero"`
}

// Operator is the source that operators are.
const Operator = "operator"

// over returns the limits below with what is set in l in place. A new rate has its default burst unless one is given with it.
func over(l, below directives.Limits) directives.Limits {
	if l.PerSecond != nil {
		below.Burst = nil
	}
	return l.Over(below)
}

func cloned(l directives.Limits) directives.Limits {
	return directives.Limits{PerSecond: clone(l.PerSecond), Burst: clone(l.Burst), Concurrency: clone(l.Concurrency), PerDay: clone(l.PerDay), DryRun: clone(l.DryRun)}
}

func clone[T any](p *T) *T {
	if p == nil {
		return nil
	}
	v := *p
	return &v
}

// A State is how the governor treats a tenant.
type State string

// The states, from the first to the strictest.
const (
	Boot        State = "boot"        // known, and granted nothing yet: calls are refused
	Stable      State = "stable"      // entitled
	Warning     State = "warning"     // entitled, and that ends soon
	Intervening State = "intervening" // expired and in its grace: served under the plan's lesser limits
	Refusing    State = "refusing"    // suspended, revoked or expired: calls are refused
)

// Serves tells whether a tenant in this state is served.
func (s State) Serves() bool { return s == Stable || s == Warning || s == Intervening }

// A Standing is what a tenant may at a time.
type Standing struct {
	State  State
	Why    string    // in words, for the caller and for receipts; "" where all is well
	Until  time.Time // when the clock alone changes it next; zero: never
	Plan   string
	Packs  []string          // enabled, in order; AllPacks is every pack
	Limits directives.Limits // in place of those that every tenant has
}

// AllPacks stands for every pack of tools.
const AllPacks = "*"

// Enables tells whether tools of a pack may be called. Those of no pack always may.
func (s *Standing) Enables(pack string) bool {
	return pack == "" || slices.Contains(s.Packs, pack) || slices.Contains(s.Packs, AllPacks)
}

// A Directory is all tenants and plans as an instance knows them. It is not changed: With returns another.
type Directory struct {
	Version int64 // the greatest revision in it
	Tenants map[string]*Tenant
	Plans   map[string]*Plan // the shipped ones too
}

// NewDirectory returns one of the shipped plans alone.
func NewDirectory() *Directory {
	d := &Directory{Tenants: map[string]*Tenant{}, Plans: map[string]*Plan{}}
	for _, p := range Shipped() {
		d.Plans[p.Name] = p
	}
	return d
}

// Changes are what has changed in a store since a revision.
type Changes struct {
	Version int64 // the greatest revision in the store
	Tenants []*Tenant
	Plans   []*Plan
}

// With returns the directory with the changes in it: the same one where it has them.
func (d *Directory) With(c *Changes) *Directory {
	out := &Directory{Version: max(d.Version, c.Version), Tenants: maps.Clone(d.Tenants), Plans: maps.Clone(d.Plans)}
	changed := out.Version > d.Version
	for _, t := range c.Tenants {
		if old := out.Tenants[t.ID]; old == nil || old.Revision < t.Revision {
			out.Tenants[t.ID], changed = t, true
		}
	}
	for _, p := range c.Plans {
		if old := out.Plans[p.Name]; old == nil || old.Revision < p.Revision {
			out.Plans[p.Name], changed = p, true
		}
	}
	if !changed {
		return d
	}
	return out
}

// Standing returns what a tenant may, or nil where there is none of this id.
func (d *Directory) Standing(id string, now time.Time) *Standing {
	t := d.Tenants[id]
	if t == nil {
		return nil
	}
	return t.Standing(d.Plans, now)
}

// Standing returns what the tenant may. Every source that has said anything must agree: one that suspends or revokes is
// enough to refuse, and the earliest expiry holds. The plan is the operator's, or else that of the latest grant.
func (t *Tenant) Standing(plans map[string]*Plan, now time.Time) *Standing {
	s := &Standing{State: Boot, Why: "nothing has been granted to it yet"}
	var granted *Source
	var expires time.Time
	var refusal string
	operators := false // the grant is theirs
	for _, name := range slices.Sorted(maps.Keys(t.Sources)) {
		src := t.Sources[name]
		switch {
		case src.Granted.At.IsZero():
		case !src.Granted.On && refusal == "":
			refusal = because("revoked by "+name, src.Reason)
		case src.Granted.On:
			if granted == nil || name == Operator || !operators && src.Granted.At.After(granted.Granted.At) {
				granted, operators = &src, name == Operator
			}
			if !src.Expires.IsZero() && (expires.IsZero() || src.Expires.Before(expires)) {
				expires = src.Expires
			}
		}
		if src.Suspended.On {
			refusal = because("suspended by "+name, src.Suspense)
		}
	}
	plan := &Plan{}
	if granted != nil {
		s.State, s.Why, s.Plan = Stable, "", granted.Plan
		if p := plans[granted.Plan]; p != nil {
			plan = p
		} else {
			refusal = cmp.Or(refusal, fmt.Sprintf("there is no plan %q", granted.Plan))
		}
		s.Packs = slices.Compact(slices.Sorted(slices.Values(slices.Concat(plan.Packs, granted.Packs))))
		s.Limits = over(granted.Limits, plan.Limits)
	}
	if granted != nil && !expires.IsZero() {
		grace, notice := expires.Add(time.Duration(plan.Grace)), expires.Add(-time.Duration(plan.Notice))
		switch {
		case !now.Before(grace):
			refusal = cmp.Or(refusal, "expired on "+expires.UTC().Format(time.RFC3339))
		case !now.Before(expires):
			s.State, s.Why, s.Until = Intervening, "expired on "+expires.UTC().Format(time.RFC3339)+", in grace until "+grace.UTC().Format(time.RFC3339), grace
			s.Limits = over(plan.Intervening, s.Limits)
		case !now.Before(notice):
			s.State, s.Why, s.Until = Warning, "expires on "+expires.UTC().Format(time.RFC3339), expires
		default:
			s.Until = notice
		}
	}
	if refusal != "" {
		s.State, s.Why, s.Until = Refusing, refusal, time.Time{}
	}
	return s
}

func because(what, reason string) string {
	if reason == "" {
		return what
	}
	return what + ": " + reason
}

// Errors of stores and events.
var (
	ErrUnknown = errors.New("there is no such tenant")
	ErrSeen    = errors.New("the event was applied before")
	ErrOther   = errors.New("an event of this id was applied before, and it said something else")
	ErrNoPlan  = errors.New("there is no such plan")
)
