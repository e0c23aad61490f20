package controlapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"example.com/erlmcp/function/internal/directives"
	"example.com/erlmcp/function/internal/entitlement"
	"example.com/erlmcp/function/internal/receipt"
)

// A tenantView is a tenant and what it may do now.
type tenantView struct {
	*entitlement.Tenant
	Standing standingView `json:"standing"`
	noted
}

// noted is what is said of a change.
type noted struct {
	Receipt  string   `json:"receipt,omitempty"`
	Warnings []string `json:"warnings,omitempty"`
}

type standingView struct {
	State  entitlement.State `json:"state"`
	Why    string            `json:"why,omitempty"`
	Until  time.Time         `json:"until,omitzero"`
	Plan   string            `json:"plan,omitempty"`
	Packs  []string          `json:"packs"`
	Limits directives.Limits `json:"limits"`
}

func viewTenant(t *entitlement.Tenant, plans map[string]*entitlement.Plan, now time.Time) *tenantView {
	s := t.Standing(plans, now)
	v := &tenantView{Tenant: t, Standing: standingView{s.State, s.Why, s.Until, s.Plan, s.Packs, s.Limits}}
	if v.Standing.Packs == nil {
		v.Standing.Packs = []string{}
	}
	return v
}

func (p *Plane) listTenants(c *call) (*answer, error) {
	ctx, stop := c.reading()
	defer stop()
	after, limit, faults := c.page()
	if err := invalid(faults); err != nil {
		return nil, err
	}
	plans, err := entitlement.Plans(ctx, p.opts.Tenants)
	if err != nil {
		return nil, err
	}
	all, err := p.opts.Tenants.Tenants(ctx, after, limit+1)
	if err != nil {
		return nil, err
	}
	views := make([]*tenantView, len(all))
	for i, t := range all {
		views[i] = viewTenant(t, plans, c.now)
	}
	views, next := cut(views, limit, func(v *tenantView) string { return v.ID })
	return &answer{body: struct {
		Tenants []*tenantView `json:"tenants"`
		Next    string        `json:"next,omitempty"`
	}{views, next}}, nil
}

func (p *Plane) getTenant(c *call) (*answer, error) {
	ctx, stop := c.reading()
	defer stop()
	plans, err := entitlement.Plans(ctx, p.opts.Tenants)
	if err != nil {
		return nil, err
	}
	t, err := p.opts.Tenants.Tenant(ctx, c.r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	return &answer{etag: etag(t.Revision), body: viewTenant(t, plans, c.now)}, nil
}

// A grant is what an operator gives a tenant, in place of what operators gave it before.
type grant struct {
	Plan    string            `json:"plan"`
	Packs   []string          `json:"packs"`
	Limits  directives.Limits `json:"limits"`
	Expires time.Time         `json:"expires"`
}

func (p *Plane) putTenant(c *call) (*answer, error) {
	g, faults := decode[grant](c.body)
	e := entitlement.Event{Type: entitlement.Grant, Plan: g.Plan, Packs: g.Packs, Limits: g.Limits, Expires: g.Expires}
	return p.say(c, &e, faults, mustMatch)
}

func (p *Plane) deleteTenant(c *call) (*answer, error) {
	return p.say(c, &entitlement.Event{Type: entitlement.Revoke, Reason: c.values.Get("reason")}, nil, mustMatch)
}

func (p *Plane) suspendTenant(c *call) (*answer, error) {
	why, faults := decode[struct {
		Reason string `json:"reason"`
	}](c.body)
	if len(faults) == 0 && strings.TrimSpace(why.Reason) == "" {
		faults = append(faults, "reason: is missing: callers read it")
	}
	return p.say(c, &entitlement.Event{Type: entitlement.Suspend, Reason: why.Reason}, faults, mayMatch)
}

func (p *Plane) resumeTenant(c *call) (*answer, error) {
	if len(c.body) == 0 {
		return p.say(c, &entitlement.Event{Type: entitlement.Resume}, nil, mayMatch)
	}
	why, faults := decode[struct {
		Reason string `json:"reason"`
	}](c.body)
	return p.say(c, &entitlement.Event{Type: entitlement.Resume, Reason: why.Reason}, faults, mayMatch)
}

// say has the operators, as a source, say something of a tenant.
func (p *Plane) say(c *call, e *entitlement.Event, faults []string, d demand) (*answer, error) {
	e.ID, e.Source, e.Tenant, e.Time = "operator", entitlement.Operator, c.r.PathValue("id"), c.now.UTC().Truncate(time.Microsecond)
	ctx := c.r.Context()
	plans, err := entitlement.Plans(ctx, p.opts.Tenants)
	if err != nil {
		return nil, unavailable(err, "the plans can't be read")
	}
	faults = append(faults, c.checkEvent(e, plans, len(faults) > 0)...)
	if err := invalid(faults); err != nil {
		return nil, err
	}
	before, err := p.opts.Tenants.Tenant(ctx, e.Tenant)
	if err != nil && !errors.Is(err, entitlement.ErrUnknown) {
		return nil, unavailable(err, "the tenant can't be read")
	}
	if err := c.maySay(e.Type, before, d); err != nil {
		return nil, err
	}
	var after *entitlement.Tenant
	created := false
	warnings, err := p.change(c, receipt.Entitled, e.Tenant, func(ctx context.Context) (map[string]any, error) {
		var from, to entitlement.State
		var why string
		after, err = p.opts.Tenants.ChangeTenant(ctx, e.Tenant, nil, func(t *entitlement.Tenant) error {
			if err := c.maySay(e.Type, t, d); err != nil {
				return err
			}
			created = t.Revision == 0
			now := *e
			now.Time = next(t.Sources[entitlement.Operator], e)
			t.Apply(&now)
			from, to, why = t.Note(plans, c.now)
			return nil
		})
		if err != nil {
			return nil, err
		}
		return entitlement.Transition(after, from, to, why, map[string]any{}), nil
	})
	if err != nil {
		return nil, err
	}
	warnings = append(warnings, p.events.Uncallable(ctx, e)...)
	warnings = append(warnings, p.events.Announce(ctx, entitlement.VersionName, after.Revision)...)
	v := viewTenant(after, plans, c.now)
	v.noted = noted{c.id, warnings}
	a := &answer{etag: etag(after.Revision), body: v}
	if created {
		a.status, a.location = http.StatusCreated, c.r.URL.EscapedPath()
	}
	return a, nil
}

// maySay tells whether an operator may say something of a tenant as it is: nothing but a grant makes one.
func (c *call) maySay(kind entitlement.Type, t *entitlement.Tenant, d demand) error {
	exists := t != nil && t.Revision != 0
	if !exists && kind != entitlement.Grant {
		return entitlement.ErrUnknown
	}
	tag := ""
	if exists {
		tag = etag(t.Revision)
	}
	return c.unchanged(exists, tag, d)
}

// next is the time of what an operator says: directives of operators hold as they come, however clocks differ.
func next(s entitlement.Source, e *entitlement.Event) time.Time {
	last := s.Granted.At
	if e.Type == entitlement.Suspend || e.Type == entitlement.Resume {
		last = s.Suspended.At
	}
	if !e.Time.After(last) {
		return last.Add(time.Microsecond)
	}
	return e.Time
}

// checkEvent lists what is wrong with what an operator says; without the plan where the body could not be read anyway.
func (c *call) checkEvent(e *entitlement.Event, plans map[string]*entitlement.Plan, unread bool) (faults []string) {
	for _, f := range entitlement.Faults(e.Check(c.now)) {
		if !(unread && strings.HasPrefix(f, "plan: is missing")) {
			faults = append(faults, f)
		}
	}
	if e.Type == entitlement.Grant && e.Plan != "" && plans[e.Plan] == nil {
		faults = append(faults, fmt.Sprintf("plan: %v: %.80q", entitlement.ErrNoPlan, e.Plan))
	}
	return faults
}
