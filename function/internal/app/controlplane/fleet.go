package controlplane

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"example.com/erlmcp/function/internal/admission"
	"example.com/erlmcp/function/internal/app"
	"example.com/erlmcp/function/internal/catalog"
	"example.com/erlmcp/function/internal/config"
	"example.com/erlmcp/function/internal/controlapi"
	"example.com/erlmcp/function/internal/directives"
	"example.com/erlmcp/function/internal/fleet"
	"example.com/erlmcp/function/internal/governor"
)

// A Fleet shows and changes what holds while it runs.
type Fleet struct {
	stores  *app.Stores
	entries *catalog.Catalog // of this build, where the fleet does not say what it serves
	limits  func(*directives.Directives) ([]governor.Limit, error)
	writer  *directives.Writer
}

// NewFleet returns the fleet that has the stores. The entries are those of this build.
func NewFleet(cfg *config.Config, entries *catalog.Catalog, s *app.Stores) *Fleet {
	w := &directives.Writer{Store: s.Directives, Now: time.Now}
	if s.Redis != nil {
		w.Board = s.Redis
	}
	limits := func(d *directives.Directives) ([]governor.Limit, error) {
		return admission.ConfiguredLimits(cfg, entries, s.Quotas != nil, d)
	}
	return &Fleet{stores: s, entries: entries, limits: limits, writer: w}
}

// Directives returns the directives in force. A [directives.Apart] comes with directives that are good.
func (f *Fleet) Directives(ctx context.Context) (directives.Directives, error) {
	return f.writer.Directives(ctx)
}

// changesPerMinute is how many changes of limits a minute the fleet bears: every instance follows each. Kill switches are not
// counted.
const changesPerMinute = 60

// Change changes the directives and announces them. With a [directives.Apart] they are changed nevertheless.
func (f *Fleet) Change(ctx context.Context, change func(*directives.Directives) error) (directives.Directives, error) {
	return f.writer.Change(ctx, func(d *directives.Directives) error {
		kills, limits := slices.Clone(d.Kills), slices.Clone(d.Limits)
		err := change(d)
		if err == nil && !slices.Equal(limits, d.Limits) { // what some tool's calls never fit is refused here
			_, faults := f.limits(d)
			err = d.Unfit(limits, faults)
		}
		if err != nil || f.stores.Redis == nil || !slices.Equal(kills, d.Kills) {
			return err
		}
		// Where Redis can't say, the change goes through.
		if wait, err := f.stores.Redis.Slow("changes", changesPerMinute, 20).Allow(ctx); err == nil && wait > 0 {
			return &controlapi.Busy{Wait: wait.Round(time.Second / 10)}
		}
		return nil
	})
}

// Running returns the instances of the fleet, and what they serve, nil where that is not known. An error beside it is about what some of
// them serve.
func (f *Fleet) Running(ctx context.Context) ([]fleet.Instance, *fleet.Served, error) {
	if f.stores.Redis == nil {
		return nil, nil, nil
	}
	ctx, done := context.WithTimeout(ctx, readTimeout)
	defer done()
	return fleet.Read(ctx, f.stores.Redis)
}

// readTimeout is for reading what instances say.
const readTimeout = time.Second

// Known returns what a scope is called now, "" where there is no such, in what the fleet serves, or in this build where that is not known.
// Tenants may come with any token.
func (f *Fleet) Known(scope string) string {
	if !strings.HasPrefix(scope, "tool:") && !strings.HasPrefix(scope, "upstream:") {
		return scope
	}
	_, all, err := f.Running(context.Background())
	if all == nil || err != nil && !slices.Contains(all.Scopes, scope) {
		all = &fleet.Served{Scopes: f.entries.LimitScopes(), Former: f.entries.FormerScopes()}
	}
	if slices.Contains(all.Scopes, scope) {
		return scope
	}
	return all.Former[scope]
}

// Limits lists the limits in force on what the fleet serves, and how many instances there are: -1 is unknown. An error that comes with
// limits says what is missing in them.
func (f *Fleet) Limits(ctx context.Context) ([]controlapi.LimitInUse, int, error) {
	d, err := f.writer.Directives(ctx)
	if _, apart := errors.AsType[*directives.Apart](err); err != nil && !apart {
		return nil, -1, err
	}
	instances, all, err := f.Running(ctx)
	var faults error
	switch {
	case err != nil && all != nil:
		faults = fmt.Errorf("limits may be missing: %w", err)
	case err != nil:
		faults = fmt.Errorf("what instances serve can't be read from Redis, and the limits are those of this build: %w", err)
	}
	var limits []governor.Limit
	if all != nil {
		limits = admission.Overridden(all.Limits, all.Scopes, all.Former, &d)
	} else {
		var wrong error
		limits, wrong = f.limits(&d)
		faults = errors.Join(faults, wrong)
	}
	present := -1
	var slots map[string]int64
	if f.stores.Redis != nil {
		keys := make([]*governor.Limit, len(limits))
		for i := range limits {
			keys[i] = &limits[i]
		}
		if slots, present, err = f.stores.Redis.Usage(ctx, keys); err != nil {
			faults = errors.Join(faults, fmt.Errorf("what is in use can't be read from Redis: %w", err))
			present = -1
		}
	}
	used := map[string]int64{}
	for _, i := range instances {
		for _, h := range i.Holdings {
			used[h.Scope] += h.Used
		}
	}
	day := time.Now().UTC().Format(time.DateOnly)
	out := make([]controlapi.LimitInUse, len(limits))
	for i, l := range limits {
		out[i] = controlapi.LimitInUse{Limit: l, Slots: -1, Used: -1, Today: -1}
		if present >= 0 && l.Concurrency > 0 && l.Key != "" {
			out[i].Slots = slots[l.Key]
			out[i].Used = min(used[l.Scope], slots[l.Key]) // instances say it every two seconds
		}
		if l.PerDay > 0 && l.Key != "" && f.stores.Quotas != nil {
			if out[i].Today, err = f.stores.Quotas.Used(ctx, l.Key, day); err != nil {
				faults = errors.Join(faults, fmt.Errorf("what is used of the daily limit on %s: %w", l.Scope, err))
				out[i].Today = -1
			}
		}
	}
	return out, present, faults
}

// Instances lists the processes of the fleet by their names, and forgets those that have not been heard of for long.
func (f *Fleet) Instances(ctx context.Context) ([]fleet.Instance, error) {
	if f.stores.Redis == nil {
		return nil, errors.New("instances say how they are in Redis: set REDIS_URL")
	}
	return fleet.ReadInstances(ctx, f.stores.Redis)
}
