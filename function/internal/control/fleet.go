package control

import (
	"cmp"
	"context"
	"slices"
	"time"
)

// A Fleet knows its instances.
type Fleet interface {
	Instances(context.Context) ([]Instance, error)
}

// An Instance is one of the fleet, as it has said of itself last.
type Instance struct {
	Name     string    `json:"name"`
	Version  string    `json:"version,omitempty"`
	Began    time.Time `json:"began,omitzero"`
	Seen     time.Time `json:"seen,omitzero"` // when it was last heard of
	Ready    bool      `json:"ready"`
	Catalog  string    `json:"catalog,omitempty"` // of what it serves
	Degraded []string  `json:"degraded"`          // what it can't do as it should
	Holdings []Holding `json:"holdings"`          // of limits, leased to it
	// Tenants are what the tenants of its callers can be, as in [Callable]: none of a control plane, nil of an instance that does not say.
	Tenants []string `json:"tenants"`
}

// A Holding is what an instance has leased of a limit.
type Holding struct {
	Scope  string `json:"scope"`
	Slots  int64  `json:"slots"`            // calls at a time
	Used   int64  `json:"used"`             // of them, by calls that run
	Tokens int64  `json:"tokens,omitempty"` // of a rate
}

func (p *Plane) listFleet(c *call) (*answer, error) {
	if p.opts.Fleet == nil {
		return nil, off("there is no fleet: this instance is alone", "REDIS_URL")
	}
	ctx, stop := c.reading()
	defer stop()
	all, err := p.opts.Fleet.Instances(ctx)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(a, b Instance) int { return cmp.Compare(a.Name, b.Name) })
	for i := range all {
		if all[i].Degraded == nil {
			all[i].Degraded = []string{}
		}
		if all[i].Holdings == nil {
			all[i].Holdings = []Holding{}
		}
	}
	if all == nil {
		all = []Instance{}
	}
	return &answer{body: struct {
		Instances []Instance `json:"instances"`
		At        time.Time  `json:"at"`
	}{all, c.now.UTC()}}, nil
}
