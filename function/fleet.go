package function

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"example.com/erlmcp/function/internal/control"
	"example.com/erlmcp/function/internal/governor"
	"example.com/erlmcp/function/internal/redisdb"
)

// An Instance is a process of the fleet, as it says of itself.
type Instance = control.Instance

const (
	// sayEvery is how often an instance says how it is.
	sayEvery = 2 * time.Second
	// lookEvery is how often it asks Redis how that is set up.
	lookEvery = time.Minute
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
	var looked, catalog time.Time
	for {
		if time.Since(looked) >= lookEvery {
			looked = time.Now()
			s.look(ctx)
		}
		s.say()
		if time.Since(catalog) >= catalogEvery { // after the instance: who finds no instance that serves it takes it down
			catalog = time.Now()
			s.sayCatalog()
		}
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

// look asks Redis whether it throws keys away. Where it does not say, as before it is reached, it is asked again.
func (s *Server) look(ctx context.Context) {
	ctx, done := context.WithTimeout(ctx, sayPatience)
	defer done()
	policy, err := s.redis.Evicts(ctx)
	if err != nil {
		return
	}
	if before, _ := s.evicts.Swap(policy).(string); policy != "" && policy != before {
		s.logger.Warn("Redis throws keys away where its memory is full: set maxmemory-policy to noeviction", "policy", policy, "otherwise", redisdb.AtStake(policy))
	}
}

// A served is what instances serve, and the limits on that without what operators have ordered: a command of the operator's, and the
// control plane, may be of another build.
type served struct {
	Scopes []string          // of tools and upstreams
	Former map[string]string `json:",omitempty"` // scopes that tools had, and those that they have
	Limits []Limit
}

// catalogEvery is how often an instance says what it serves again: Redis may have been emptied, or the instance forgotten while it slept.
const catalogEvery = 30 * time.Second

func (s *Server) sayCatalog() {
	if s.gate == nil {
		return
	}
	text, name := s.served()
	ctx, done := context.WithTimeout(context.Background(), sayPatience)
	defer done()
	s.redis.PutUp(ctx, redisdb.Catalogs, name, text)
}

// served is what this instance serves, and the name of that.
func (s *Server) served() (text []byte, name string) {
	s.serves.once.Do(func() {
		var w served
		w.Limits, _ = limitsOf(s.config, s.observer.catalog, s.parts, &governor.Orders{}) // what is wrong with them stopped the start
		w.Scopes, w.Former = scopesOf(s.observer.catalog), formerScopes(s.observer.catalog)
		s.serves.text, _ = json.Marshal(w)
		sum := sha256.Sum256(s.serves.text)
		s.serves.name = hex.EncodeToString(sum[:8])
	})
	return s.serves.text, s.serves.name
}

// running returns the instances of the fleet, and what they serve, nil where none has said so. An error beside it is about what some of
// them serve. What is not said of any more is taken down. Catalogs are read first: an instance puts itself up before its catalog, and so
// none that is there lacks its instance.
func running(ctx context.Context, counters *redisdb.Counters) (instances []Instance, all *served, err error) {
	notes, err := counters.Notes(ctx, redisdb.Catalogs)
	if err != nil {
		return nil, nil, fmt.Errorf("what instances serve: %w", err)
	}
	if instances, err = instancesOf(ctx, counters); err != nil {
		return nil, nil, err
	}
	var faults []error
	live := map[string]bool{}
	for _, i := range instances {
		text, ok := notes[i.Catalog]
		if !ok || live[i.Catalog] {
			continue
		}
		live[i.Catalog] = true
		var one served
		if err := json.Unmarshal(text, &one); err != nil { // another version may have written it
			faults = append(faults, fmt.Errorf("what the instance %s serves: %w", i.Name, err))
			continue
		}
		if all == nil {
			all = &served{Former: map[string]string{}}
		}
		maps.Copy(all.Former, one.Former)
		all.Scopes = append(all.Scopes, one.Scopes...)
		for _, l := range one.Limits { // of two revisions those of the first
			if !slices.ContainsFunc(all.Limits, func(other Limit) bool { return other.Scope == l.Scope }) {
				all.Limits = append(all.Limits, l)
			}
		}
	}
	for name := range notes {
		if !live[name] && len(instances) > 0 {
			counters.TakeDown(ctx, redisdb.Catalogs, name)
		}
	}
	return instances, all, errors.Join(faults...)
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
	i := Instance{Name: s.instance, Version: s.version, Began: s.begun.UTC(), Seen: time.Now().UTC(), Ready: s.canServe(), Degraded: s.degraded(), Tenants: []string{}}
	if s.gate != nil {
		i.Tenants = s.callers.callable
		_, i.Catalog = s.served()
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

// callable says what the tenants of callers can be, by what the instances of the fleet say. Without a fleet it is what an instance knows of
// itself.
func callable(p *parts, own []string) control.Callable {
	return func(ctx context.Context) []string {
		if p.redis == nil {
			return own
		}
		all, err := instancesOf(ctx, p.redis)
		if err != nil {
			return nil
		}
		var out []string
		for _, i := range all {
			if i.Tenants == nil { // of an earlier version
				return nil
			}
			for _, t := range i.Tenants {
				if !slices.Contains(out, t) {
					out = append(out, t)
				}
			}
		}
		slices.Sort(out)
		return out
	}
}
