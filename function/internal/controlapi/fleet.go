package controlapi

import (
	"cmp"
	"context"
	"slices"
	"time"

	"example.com/erlmcp/function/internal/fleet"
)

// A Fleet knows its instances.
type Fleet interface {
	Instances(context.Context) ([]fleet.Instance, error)
}

func (p *Plane) listFleet(c *call) (*answer, error) {
	if p.opts.Fleet == nil {
		return nil, off("instances say in Redis how they are, and which there are is not known here", "REDIS_URL")
	}
	ctx, stop := c.reading()
	defer stop()
	all, err := p.opts.Fleet.Instances(ctx)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(a, b fleet.Instance) int { return cmp.Compare(a.Name, b.Name) })
	for i := range all {
		if all[i].Degraded == nil {
			all[i].Degraded = []string{}
		}
		if all[i].Holdings == nil {
			all[i].Holdings = []fleet.Holding{}
		}
	}
	if all == nil {
		all = []fleet.Instance{}
	}
	return &answer{body: struct {
		Instances []fleet.Instance `json:"instances"`
		At        time.Time        `json:"at"`
	}{all, c.now.UTC()}}, nil
}
