package controlapi

import (
	"context"
	"maps"
	"slices"

	"example.com/erlmcp/function/internal/directives"
	"example.com/erlmcp/function/internal/entitlement"
	"example.com/erlmcp/function/internal/receipt"
)

type planView struct {
	*entitlement.Plan
	noted
}

func (p *Plane) listPlans(c *call) (*answer, error) {
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
	var all []*entitlement.Plan
	for _, name := range slices.Sorted(maps.Keys(plans)) {
		if name > after {
			all = append(all, plans[name])
		}
	}
	all, next := cut(all, limit, func(p *entitlement.Plan) string { return p.Name })
	return &answer{body: struct {
		Plans []*entitlement.Plan `json:"plans"`
		Next  string              `json:"next,omitempty"`
	}{all, next}}, nil
}

func (p *Plane) getPlan(c *call) (*answer, error) {
	ctx, stop := c.reading()
	defer stop()
	plans, err := entitlement.Plans(ctx, p.opts.Tenants)
	if err != nil {
		return nil, err
	}
	plan := plans[c.r.PathValue("name")]
	if plan == nil {
		return nil, notFound("%v", entitlement.ErrNoPlan)
	}
	return &answer{etag: etag(plan.Revision), body: planView{Plan: plan}}, nil
}

// planOrder is the body of an order that makes or changes a plan.
type planOrder struct {
	Title       string               `json:"title"`
	Packs       []string             `json:"packs"`
	Limits      directives.Limits    `json:"limits"`
	Intervening directives.Limits    `json:"intervening"`
	Support     entitlement.Support  `json:"support"`
	Notice      entitlement.Duration `json:"notice"`
	Grace       entitlement.Duration `json:"grace"`
}

// plan returns what is ordered.
func (o *planOrder) plan(name string) entitlement.Plan {
	p := entitlement.Plan{
		Name: name, Title: o.Title, Packs: o.Packs, Limits: o.Limits, Intervening: o.Intervening, Support: o.Support, Notice: o.Notice, Grace: o.Grace,
	}
	if p.Packs == nil {
		p.Packs = []string{}
	}
	return p
}

func (p *Plane) putPlan(c *call) (*answer, error) {
	name := c.r.PathValue("name")
	said, faults := decode[planOrder](c.body)
	ordered := said.plan(name)
	if err := invalid(append(faults, entitlement.Faults(ordered.Check())...)); err != nil {
		return nil, err
	}
	ctx := c.r.Context()
	plans, err := entitlement.Plans(ctx, p.opts.Tenants)
	if err != nil {
		return nil, unavailable(err, "the plans can't be read")
	}
	before := plans[name]
	shipped := before != nil && before.Revision == 0
	allow := func(edited *entitlement.Plan) error {
		exists := edited != nil && (edited.Revision != 0 || shipped)
		tag := ""
		if exists {
			tag = etag(edited.Revision)
		}
		return c.unchanged(exists, tag, mustMatch)
	}
	if err := allow(before); err != nil {
		return nil, err
	}
	var after *entitlement.Plan
	warnings, err := p.change(c, receipt.Changed, "", func(ctx context.Context) (done map[string]any, err error) {
		after, err = p.opts.Tenants.ChangePlan(ctx, name, func(edited *entitlement.Plan) error {
			if err := allow(edited); err != nil {
				return err
			}
			revision := edited.Revision
			*edited = ordered
			edited.Revision = revision
			return nil
		})
		if err != nil {
			return nil, err
		}
		return map[string]any{"revision": after.Revision}, nil
	})
	if err != nil {
		return nil, err
	}
	warnings = append(warnings, p.events.Announce(ctx, entitlement.VersionName, after.Revision)...)
	a := &answer{etag: etag(after.Revision), body: planView{after, noted{c.id, warnings}}}
	if before == nil {
		a.status, a.location = 201, c.r.URL.EscapedPath()
	}
	return a, nil
}
