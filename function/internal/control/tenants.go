package control

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"example.com/erlmcp/function/internal/receipt"
	"example.com/erlmcp/function/internal/tenant"
)

// A tenantView is a tenant and what it may do now.
type tenantView struct {
	*tenant.Tenant
	Standing standingView `json:"standing"`
	noted
}

// noted is what is said of a change.
type noted struct {
	Receipt  string   `json:"receipt,omitempty"`
	Warnings []string `json:"warnings,omitempty"`
}

type standingView struct {
	State  tenant.State  `json:"state"`
	Why    string        `json:"why,omitempty"`
	Until  time.Time     `json:"until,omitzero"`
	Plan   string        `json:"plan,omitempty"`
	Packs  []string      `json:"packs"`
	Limits tenant.Limits `json:"limits"`
}

func viewTenant(t *tenant.Tenant, plans map[string]*tenant.Plan, now time.Time) *tenantView {
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
	plans, err := plans(ctx, p.opts.Tenants)
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
	plans, err := plans(ctx, p.opts.Tenants)
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
	Plan    string        `json:"plan"`
	Packs   []string      `json:"packs"`
	Limits  tenant.Limits `json:"limits"`
	Expires time.Time     `json:"expires"`
}

func (p *Plane) putTenant(c *call) (*answer, error) {
	g, faults := decode[grant](c.body)
	e := tenant.Event{Type: tenant.Grant, Plan: g.Plan, Packs: g.Packs, Limits: g.Limits, Expires: g.Expires}
	return p.say(c, &e, faults, mustMatch)
}

func (p *Plane) deleteTenant(c *call) (*answer, error) {
	return p.say(c, &tenant.Event{Type: tenant.Revoke, Reason: c.values.Get("reason")}, nil, mustMatch)
}

func (p *Plane) suspendTenant(c *call) (*answer, error) {
	why, faults := decode[struct {
		Reason string `json:"reason"`
	}](c.body)
	if len(faults) == 0 && strings.TrimSpace(why.Reason) == "" {
		faults = append(faults, "reason: is missing: callers read it")
	}
	return p.say(c, &tenant.Event{Type: tenant.Suspend, Reason: why.Reason}, faults, mayMatch)
}

func (p *Plane) resumeTenant(c *call) (*answer, error) {
	if len(c.body) == 0 {
		return p.say(c, &tenant.Event{Type: tenant.Resume}, nil, mayMatch)
	}
	why, faults := decode[struct {
		Reason string `json:"reason"`
	}](c.body)
	return p.say(c, &tenant.Event{Type: tenant.Resume, Reason: why.Reason}, faults, mayMatch)
}

// say has the operators, as a source, say something of a tenant.
func (p *Plane) say(c *call, e *tenant.Event, faults []string, d demand) (*answer, error) {
	e.ID, e.Source, e.Tenant, e.Time = "operator", tenant.Operator, c.r.PathValue("id"), c.now.UTC().Truncate(time.Microsecond)
	ctx := c.r.Context()
	plans, err := plans(ctx, p.opts.Tenants)
	if err != nil {
		return nil, unavailable(err, "the plans can't be read")
	}
	faults = append(faults, c.checkEvent(e, plans, len(faults) > 0)...)
	if err := invalid(faults); err != nil {
		return nil, err
	}
	allow := func(t *tenant.Tenant) error {
		exists := t != nil && t.Revision != 0
		if !exists && e.Type != tenant.Grant {
			return tenant.ErrUnknown
		}
		tag := ""
		if exists {
			tag = etag(t.Revision)
		}
		return c.unchanged(exists, tag, d)
	}
	before, err := p.opts.Tenants.Tenant(ctx, e.Tenant)
	if err != nil && !errors.Is(err, tenant.ErrUnknown) {
		return nil, unavailable(err, "the tenant can't be read")
	}
	if err := allow(before); err != nil {
		return nil, err
	}
	var after *tenant.Tenant
	created := false
	warnings, err := p.change(c, receipt.Entitled, e.Tenant, func(ctx context.Context) (map[string]any, error) {
		var from, to tenant.State
		var why string
		after, err = p.opts.Tenants.ChangeTenant(ctx, e.Tenant, nil, func(t *tenant.Tenant) error {
			if err := allow(t); err != nil {
				return err
			}
			created = t.Revision == 0
			now := *e
			now.Time = next(t.Sources[tenant.Operator], e)
			t.Apply(&now)
			from, to, why = t.Note(plans, c.now)
			return nil
		})
		if err != nil {
			return nil, err
		}
		return transition(after, from, to, why, map[string]any{}), nil
	})
	if err != nil {
		return nil, err
	}
	warnings = append(warnings, p.events.uncallable(ctx, e)...)
	warnings = append(warnings, announce(ctx, &p.events.opts, tenant.VersionName, after.Revision)...)
	v := viewTenant(after, plans, c.now)
	v.noted = noted{c.id, warnings}
	a := &answer{etag: etag(after.Revision), body: v}
	if created {
		a.status, a.location = http.StatusCreated, c.r.URL.EscapedPath()
	}
	return a, nil
}

// next is the time of what an operator says: orders of operators hold as they come, however clocks differ.
func next(s tenant.Source, e *tenant.Event) time.Time {
	last := s.Granted.At
	if e.Type == tenant.Suspend || e.Type == tenant.Resume {
		last = s.Suspended.At
	}
	if !e.Time.After(last) {
		return last.Add(time.Microsecond)
	}
	return e.Time
}

// checkEvent lists what is wrong with what an operator says; without the plan where the body could not be read anyway.
func (c *call) checkEvent(e *tenant.Event, plans map[string]*tenant.Plan, unread bool) (faults []string) {
	for _, f := range faultsOf(e.Check(c.now)) {
		if !(unread && strings.HasPrefix(f, "plan: is missing")) {
			faults = append(faults, f)
		}
	}
	if e.Type == tenant.Grant && e.Plan != "" && plans[e.Plan] == nil {
		faults = append(faults, fmt.Sprintf("plan: %v: %.80q", tenant.ErrNoPlan, e.Plan))
	}
	return faults
}
