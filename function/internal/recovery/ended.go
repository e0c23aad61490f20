package recovery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// An Ending is the part of a drill in which all instances are ended, by who has the right to, and must come back by themselves.
type Ending struct {
	// Running lists the instances that run.
	Running func(context.Context) ([]Instance, error)
	// Probe asks whether the service is healthy, and serves.
	Probe func(context.Context) error
	// Tell is told once that so many instances are to be ended now.
	Tell   func(running int)
	Least  int           // instances that must come back
	Within time.Duration // for each wait
}

// An Instance is one that runs.
type Instance struct {
	Name string    // that no other has had
	Seen time.Time // when it was last heard of
}

// lookEvery is how often it is asked which instances run.
const lookEvery = time.Second

// steps end all that runs, and see it come back.
func (e *Ending) steps(r *Report, now func() time.Time) []step {
	var before []Instance
	var down time.Time // when the last of them was heard of
	return []step{
		{"see every instance end", func(ctx context.Context) (_ string, err error) {
			if before, err = e.Running(ctx); err != nil {
				return "", err
			}
			if len(before) == 0 {
				return "", errors.New("no instance says that it runs: there is nothing to end")
			}
			for _, i := range before {
				if i.Seen.After(down) {
					down = i.Seen
				}
			}
			e.Tell(len(before))
			err = e.until(ctx, func(ctx context.Context) error {
				running, err := e.Running(ctx)
				if err != nil {
					return err
				}
				var stay []string
				for _, i := range common(running, before) {
					stay = append(stay, i.Name)
					if i.Seen.After(down) {
						down = i.Seen
					}
				}
				if len(stay) > 0 {
					return fmt.Errorf("of %d instances these were not ended: %q", len(before), stay)
				}
				return nil
			})
			return fmt.Sprintf("all %d instances ended", len(before)), err
		}},
		{"see instances come back", func(ctx context.Context) (string, error) {
			came := 0
			err := e.until(ctx, func(ctx context.Context) error {
				running, err := e.Running(ctx)
				if err != nil {
					return err
				}
				if came = len(running) - len(common(running, before)); came < e.Least {
					return fmt.Errorf("%d instances came back, and at least %d are wanted", came, e.Least)
				}
				return nil
			})
			return fmt.Sprintf("%d instances came back", came), err
		}},
		{"probe what came back", func(ctx context.Context) (string, error) {
			err := e.until(ctx, e.Probe)
			r.BackSeconds = seconds(now().Sub(down))
			return "it is healthy, ready, and serves", err
		}},
	}
}

// until looks until nothing is wrong any more, and returns what still is once that has taken too long.
func (e *Ending) until(ctx context.Context, wrong func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, e.Within)
	defer cancel()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		err := wrong(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("after %v: %w", e.Within, err)
		case <-tick.C:
		}
	}
}

// common are those of one list that are in another, too.
func common(of, in []Instance) (both []Instance) {
	for _, i := range of {
		if slices.ContainsFunc(in, func(other Instance) bool { return other.Name == i.Name }) {
			both = append(both, i)
		}
	}
	return both
}
