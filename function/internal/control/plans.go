package control

import (
	"context"
	"maps"
	"slices"

	"example.com/erlmcp/function/internal/receipt"
	"example.com/erlmcp/function/internal/tenant"
)

type planView struct {
	*tenant.Plan
	noted
}

func (p *Plane) listPlans(c *call) (*answer, error) {
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
	var all []*tenant.Plan
	for _, name := range slices.Sorted(maps.Keys(plans)) {
		if name > after {
			all = append(all, plans[name])
		}
	}
	all, next := cut(all, limit, func(p *tenant.Plan) string { return p.Name })
	return &answer{body: struct {
		Plans []*tenant.Plan `json:"plans"`
		Next  string         `json:"next,omitempty"`
	}{all, next}}, nil
}

func (p *Plane) getPlan(c *call) (*answer, error) {
	ctx, stop := c.reading()
	defer stop()
	plans, err := plans(ctx, p.opts.Tenants)
	if err != nil {
		return nil, err
	}
	plan := plans[c.r.PathValue("name")]
	if plan == nil {
		return nil, notFound("%v", tenant.ErrNoPlan)
	}
	return &answer{etag: etag(plan.Revision), body: planView{Plan: plan}}, nil
}

func (p *Plane) putPlan(c *call) (*answer, error) {
	name := c.r.PathValue("name")
	said, faults := decode[struct {
		Title       string          `json:"title"`
		Packs       []string        `json:"packs"`
		Limits      tenant.Limits   `json:"limits"`
		Intervening tenant.Limits   `json:"intervening"`
		Support     tenant.Support  `json:"support"`
		Notice      tenant.Duration `json:"notice"`
		Grace       tenant.Duration `json:"grace"`
	}](c.body)
	ordered := tenant.Plan{
		Name: name, Title: said.Title, Packs: said.Packs, Limits: said.Limits, Intervening: said.Intervening, Support: said.Support, Notice: said.Notice, Grace: said.Grace,
	}
	if ordered.Packs == nil {
		ordered.Packs = []string{}
	}
	if err := invalid(append(faults, faultsOf(ordered.Check())...)); err != nil {
		return nil, err
	}
	ctx := c.r.Context()
	plans, err := plans(ctx, p.opts.Tenants)
	if err != nil {
		return nil, unavailable(err, "the plans can't be read")
	}
	before := plans[name]
	shipped := before != nil && before.Revision == 0
	allow := func(edited *tenant.Plan) error {
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
	var after *tenant.Plan
	warnings, err := p.change(c, receipt.Changed, "", func(ctx context.Context) (done map[string]any, err error) {
		after, err = p.opts.Tenants.ChangePlan(ctx, name, func(edited *tenant.Plan) error {
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
	warnings = append(warnings, announce(ctx, &p.events.opts, tenant.VersionName, after.Revision)...)
	a := &answer{etag: etag(after.Revision), body: planView{after, noted{c.id, warnings}}}
	if before == nil {
		a.status, a.location = 201, c.r.URL.EscapedPath()
	}
	return a, nil
}
