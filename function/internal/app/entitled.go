package app

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"example.com/erlmcp/function/internal/entitlement"
	"example.com/erlmcp/function/internal/governor"
	"example.com/erlmcp/function/internal/identity"
	"example.com/erlmcp/function/internal/refresh"
)

// Entitled keeps fresh what an instance knows of tenants and of the store's API keys.
type Entitled struct {
	store     entitlement.Store
	Directory *refresh.Value[entitlement.Directory]
	stored    *refresh.Value[keySet]
	events    *entitlement.Processor // nil where nothing is recorded
	newID     func() string
	logger    *slog.Logger

	mu     sync.Mutex
	noting map[string]bool // tenants that wait in the queue, or whose state is being noted
	queue  chan string
	stop   context.CancelFunc // ends the noting
	done   sync.WaitGroup
	closed bool
}

// OpenEntitled returns nil where there is no store.
func OpenEntitled(p *Stores, g *governor.Governor, logger *slog.Logger) *Entitled {
	if p.Tenants == nil {
		return nil
	}
	heard := func(name string) func(context.Context) (int64, bool) {
		if g == nil {
			return nil // ungoverned, the store is asked once a second
		}
		return func(ctx context.Context) (int64, bool) { return g.Version(ctx, name) }
	}
	e := &Entitled{store: p.Tenants, logger: logger, noting: map[string]bool{}, queue: make(chan string, maxNoting), stop: func() {}}
	e.Directory = refresh.New(refresh.Options[entitlement.Directory]{
		What: "what tenants are entitled to", Announced: heard(entitlement.VersionName), Logger: logger,
		Read: func(ctx context.Context, before *entitlement.Directory) (*entitlement.Directory, int64, error) {
			if before == nil {
				before = entitlement.NewDirectory()
			}
			changes, err := e.store.Changes(ctx, before.Version)
			if err != nil {
				return nil, 0, err
			}
			d := before.With(changes)
			return d, d.Version, nil
		},
	})
	e.stored = refresh.New(refresh.Options[keySet]{
		What: "the store's API keys", Announced: heard(identity.VersionName), Logger: logger,
		Read: func(ctx context.Context, before *keySet) (*keySet, int64, error) {
			if before == nil {
				before = &keySet{Keys: &identity.Keys{}}
			}
			changed, version, err := p.Keys.KeyChanges(ctx, before.version)
			if err != nil {
				return nil, 0, err
			}
			keys, fault := before.With(changed)
			if fault != nil {
				logger.Error("not all API keys of the store can be used", "error", fault)
			}
			return &keySet{keys, version}, version, nil
		},
	})
	return e
}

// A keySet is the API keys of the store, of a version.
type keySet struct {
	*identity.Keys
	version int64
}

// Keys returns the API keys of the store: nil where they are not known.
func (e *Entitled) Keys(ctx context.Context) *identity.Keys {
	if k, known := e.stored.Get(ctx, time.Now()); known {
		return k.Keys
	}
	return nil
}

// lastKeys returns the API keys of the store as they were read last, nil where they never were. Where they have changed since, they are read
// beside that, and nobody waits.
func (e *Entitled) lastKeys() *identity.Keys {
	ctx, leave := context.WithCancel(context.Background())
	leave()
	if k, _ := e.stored.Get(ctx, time.Now()); k != nil {
		return k.Keys
	}
	return nil
}

// Record has transitions recorded.
func (e *Entitled) Record(events *entitlement.Processor, newID func() string) {
	e.events, e.newID = events, newID
	ctx, stop := context.WithCancel(context.Background())
	e.stop = stop
	e.done.Go(func() { e.noteQueued(ctx) })
}

const (
	// noteTimeout is for recording one transition.
	noteTimeout = 5 * time.Second
	// notedTimeout is how long the end waits for one that is under way: its intent is recorded, and taiea's round makes up for the
	// rest.
	notedTimeout = 200 * time.Millisecond
	// maxNoting is how many tenants wait to be noted. Those that find no place are noted by another instance, or by taiea's round.
	maxNoting = 64
)

// Note has recorded that the clock has changed what a tenant may. It does not wait.
func (e *Entitled) Note(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed || e.events == nil || e.noting[id] {
		return
	}
	select {
	case e.queue <- id:
		e.noting[id] = true
	default:
	}
}

func (e *Entitled) noteQueued(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case id := <-e.queue:
			if err := e.noteOne(ctx, id); err != nil && ctx.Err() == nil {
				e.logger.Error("the state of a tenant can't be noted", "tenant", id, "error", err)
			}
			e.mu.Lock()
			delete(e.noting, id)
			e.mu.Unlock()
		}
	}
}

func (e *Entitled) noteOne(ctx context.Context, id string) error {
	ctx, done := context.WithTimeout(ctx, noteTimeout)
	defer done()
	_, err := e.events.Note(ctx, e.Directory.Last(), id, e.newID())
	return err
}

// Warm has read what is not known yet, and waits for it no longer than that: without calls nobody else asks.
func (e *Entitled) Warm(timeout time.Duration) {
	if e == nil {
		return
	}
	ctx, done := context.WithTimeout(context.Background(), timeout)
	defer done()
	e.Directory.Get(ctx, time.Now())
	e.stored.Get(ctx, time.Now())
}

// Degraded says what can't be read.
func (e *Entitled) Degraded() (out []string) {
	if e == nil {
		return nil
	}
	say := func(what string, fault error, known, read bool) {
		switch {
		case fault == nil && known:
		case known:
			out = append(out, what+": the store can't be read; what was read is in force as long as nothing has changed")
		case read:
			out = append(out, what+": what has changed can't be read from the store; calls that depend on it are refused")
		case fault != nil:
			out = append(out, what+": the store can't be read yet")
		}
	}
	say("tenants", e.Directory.Fault(), e.Directory.Known(), e.Directory.Last() != nil)
	say("API keys", e.stored.Fault(), e.stored.Known(), e.stored.Last() != nil)
	return out
}

// Close ends the noting, and what is being read.
func (e *Entitled) Close() {
	if e == nil {
		return
	}
	e.mu.Lock()
	e.closed = true
	e.mu.Unlock()
	e.stop()
	noted := make(chan struct{})
	go func() { e.done.Wait(); close(noted) }()
	refresh.Await(context.Background(), noted, notedTimeout)
	e.Directory.Close()
	e.stored.Close()
}

// Unheard is how many calls could not know what tenants are entitled to, and the API keys of the store.
func (e *Entitled) Unheard() (tenants, keys int64) { return e.Directory.Unheard(), e.stored.Unheard() }
