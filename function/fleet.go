package function

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"example.com/erlmcp/function/internal/control"
	"example.com/erlmcp/function/internal/redisdb"
)

// An Instance is a process of the fleet, as it says of itself.
type Instance = control.Instance

const (
	// sayEvery is how often an instance says how it is.
	sayEvery = 2 * time.Second
	// sayPatience is for saying it once.
	sayPatience = 250 * time.Millisecond
	// forgetInstance is how old what it said may become. An idle instance of a serverless platform gets no time to say anything.
	forgetInstance = 20 * time.Minute
)

// report says how the instance is until the context ends, and then that it has gone.
func (s *Server) report(ctx context.Context) {
	if s.redis == nil {
		return
	}
	tick := time.NewTicker(sayEvery)
	defer tick.Stop()
	for {
		s.say()
		select {
		case <-ctx.Done():
			gone, done := context.WithTimeout(context.Background(), sayPatience)
			defer done()
			s.redis.TakeDown(gone, redisdb.Instances, s.instance)
			return
		case <-tick.C:
		}
	}
}

func (s *Server) say() {
	text, err := json.Marshal(s.self())
	if err != nil {
		return // can't be: it holds nothing that has no JSON
	}
	ctx, done := context.WithTimeout(context.Background(), sayPatience)
	defer done()
	s.redis.PutUp(ctx, redisdb.Instances, s.instance, text) // Redis away is the governor's to say
}

func (s *Server) self() Instance {
	i := Instance{Name: s.instance, Version: Version, Began: s.begun.UTC(), Seen: time.Now().UTC(), Ready: s.canServe(), Degraded: s.degraded()}
	if s.gate != nil {
		for _, h := range s.gate.Held() {
			i.Holdings = append(i.Holdings, control.Holding(h))
		}
	}
	return i
}

// Instances lists the processes of the fleet by their names, and forgets those that have not been heard of for long.
func (o *Operator) Instances(ctx context.Context) ([]Instance, error) {
	if o.parts.redis == nil {
		return nil, errors.New("instances say how they are in Redis: set REDIS_URL")
	}
	return instancesOf(ctx, o.parts.redis)
}

func instancesOf(ctx context.Context, counters *redisdb.Counters) ([]Instance, error) {
	notes, err := counters.Notes(ctx, redisdb.Instances)
	if err != nil {
		return nil, fmt.Errorf("what instances say of themselves: %w", err)
	}
	var out []Instance
	var old []string
	for name, text := range notes {
		var i Instance
		if err := json.Unmarshal(text, &i); err != nil || i.Name != name {
			old = append(old, name) // nobody knows its age, and one that runs says it anew
			i = Instance{Name: name, Degraded: []string{"what it says of itself can't be read"}}
		} else if time.Since(i.Seen) > forgetInstance {
			old = append(old, name)
			continue
		}
		out = append(out, i)
	}
	if len(old) > 0 {
		counters.TakeDown(ctx, redisdb.Instances, old...) // where it fails, the next who reads does it
	}
	slices.SortFunc(out, func(x, y Instance) int { return cmp.Compare(x.Name, y.Name) })
	return out, nil
}
