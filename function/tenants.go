package function

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"example.com/erlmcp/function/internal/admission"
	"example.com/erlmcp/function/internal/control"
	"example.com/erlmcp/function/internal/fresh"
	"example.com/erlmcp/function/internal/governor"
	"example.com/erlmcp/function/internal/identity"
	"example.com/erlmcp/function/internal/receipt"
	"example.com/erlmcp/function/internal/tenant"
)

// entitled keeps fresh what an instance knows of tenants and of the store's API keys.
type entitled struct {
	store     tenant.Store
	directory *fresh.Value[tenant.Directory]
	keys      *fresh.Value[keySet]
	events    *control.Entitlements // nil where nothing is recorded
	newID     func() string
	logger    *slog.Logger

	mu     sync.Mutex
	noting map[string]bool // tenants that wait in the queue, or whose state is being noted
	queue  chan string
	stop   context.CancelFunc // ends the noting
	done   sync.WaitGroup
	closed bool
}

// openEntitled returns nil where there is no store.
func openEntitled(p *parts, g *governor.Governor, logger *slog.Logger) *entitled {
	if p.tenants == nil {
		return nil
	}
	heard := func(name string) func(context.Context) (int64, bool) {
		if g == nil {
			return nil // ungoverned, the store is asked once a second
		}
		return func(ctx context.Context) (int64, bool) { return g.Heard(ctx, name) }
	}
	e := &entitled{store: p.tenants, logger: logger, noting: map[string]bool{}, queue: make(chan string, mostNoting), stop: func() {}}
	e.directory = fresh.New(fresh.Options[tenant.Directory]{
		What: "what tenants are entitled to", Heard: heard(tenant.VersionName), Logger: logger,
		Read: func(ctx context.Context, before *tenant.Directory) (*tenant.Directory, int64, error) {
			if before == nil {
				before = tenant.NewDirectory()
			}
			changes, err := e.store.Changes(ctx, before.Version)
			if err != nil {
				return nil, 0, err
			}
			d := before.With(changes)
			return d, d.Version, nil
		},
	})
	e.keys = fresh.New(fresh.Options[keySet]{
		What: "the store's API keys", Heard: heard(identity.VersionName), Logger: logger,
		Read: func(ctx context.Context, before *keySet) (*keySet, int64, error) {
			if before == nil {
				before = &keySet{Keys: &identity.Keys{}}
			}
			changed, version, err := p.keys.KeyChanges(ctx, before.version)
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

// options are what admission is told.
func (e *entitled) options(listed bool) *admission.Entitlements {
	if e == nil {
		return nil
	}
	return &admission.Entitlements{
		Directory: func(ctx context.Context) (*tenant.Directory, bool) { return e.directory.Get(ctx, time.Now()) },
		Known:     e.directory.Known,
		Listed:    listed,
		Note:      e.note,
	}
}

// storedKeys returns the API keys of the store: nil where they are not known.
func (e *entitled) storedKeys(ctx context.Context) *identity.Keys {
	if k, known := e.keys.Get(ctx, time.Now()); known {
		return k.Keys
	}
	return nil
}

// record has transitions recorded.
func (e *entitled) record(events *control.Entitlements, j *receipt.Journal) {
	e.events, e.newID = events, j.NewID
	ctx, stop := context.WithCancel(context.Background())
	e.stop = stop
	e.done.Go(func() { e.noteQueued(ctx) })
}

const (
	// notePatience is for recording one transition.
	notePatience = 5 * time.Second
	// notedPatience is how long the end waits for one that is under way: its intent is recorded, and taiea's round makes up for the
	// rest.
	notedPatience = 200 * time.Millisecond
	// mostNoting is how many tenants wait to be noted. Those that find no place are noted by another instance, or by taiea's round.
	mostNoting = 64
)

// note has recorded that the clock has changed what a tenant may. It does not wait.
func (e *entitled) note(id string) {
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

func (e *entitled) noteQueued(ctx context.Context) {
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

func (e *entitled) noteOne(ctx context.Context, id string) error {
	ctx, done := context.WithTimeout(ctx, notePatience)
	defer done()
	_, err := e.events.Note(ctx, e.directory.Last(), id, e.newID())
	return err
}

// warm has read what is not known yet, and waits for it no longer than that: without calls nobody else asks.
func (e *entitled) warm(patience time.Duration) {
	if e == nil {
		return
	}
	ctx, done := context.WithTimeout(context.Background(), patience)
	defer done()
	e.directory.Get(ctx, time.Now())
	e.keys.Get(ctx, time.Now())
}

// degraded says what can't be read.
func (e *entitled) degraded() (out []string) {
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
	say("tenants", e.directory.Fault(), e.directory.Known(), e.directory.Last() != nil)
	say("API keys", e.keys.Fault(), e.keys.Known(), e.keys.Last() != nil)
	return out
}

func (e *entitled) close() {
	if e == nil {
		return
	}
	e.mu.Lock()
	e.closed = true
	e.mu.Unlock()
	e.stop()
	noted := make(chan struct{})
	go func() { e.done.Wait(); close(noted) }()
	fresh.Await(context.Background(), noted, notedPatience)
	e.directory.Close()
	e.keys.Close()
}
