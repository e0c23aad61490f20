package function

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
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
	keys      *fresh.Value[storedKeys]
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
	heard := func(name string) func(context.Context) int64 {
		if g == nil {
			return nil // ungoverned, the store is asked once a second
		}
		return func(ctx context.Context) int64 { return g.Heard(ctx, name) }
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
	e.keys = fresh.New(fresh.Options[storedKeys]{
		What: "the store's API keys", Heard: heard(identity.VersionName), Logger: logger,
		Read: func(ctx context.Context, before *storedKeys) (*storedKeys, int64, error) {
			if before == nil {
				before = &storedKeys{keys: &identity.Keys{}}
			}
			changed, version, err := p.keys.KeyChanges(ctx, before.version)
			if err != nil || len(changed) == 0 && version == before.version && version > 0 {
				return before, before.version, err
			}
			keys, fault := before.keys.With(changed)
			if fault != nil {
				logger.Error("not all API keys of the store can be used", "error", fault)
			}
			return &storedKeys{keys, version}, version, nil
		},
	})
	return e
}

// storedKeys are the API keys of the store, of a version.
type storedKeys struct {
	keys    *identity.Keys
	version int64
}

// options are what admission is told.
func (e *entitled) options(listed bool) *admission.Entitlements {
	if e == nil {
		return nil
	}
	return &admission.Entitlements{
		Directory: func(ctx context.Context) *tenant.Directory { return e.directory.Get(ctx, time.Now()) },
		Listed:    listed,
		Note:      e.note,
	}
}

// keysBeside returns the API keys of a file, where there is one, and of the store: nil where neither could be read yet.
func (e *entitled) keysBeside(file func() *identity.Keys) func(context.Context) *identity.Keys {
	if e == nil && file != nil {
		return func(context.Context) *identity.Keys { return file() }
	} else if e == nil {
		return func(context.Context) *identity.Keys { return nil }
	}
	var last atomic.Pointer[keySets]
	return func(ctx context.Context) *identity.Keys {
		var in *identity.Keys
		if file != nil {
			in = file()
		}
		stored := e.keys.Get(ctx, time.Now())
		if stored == nil {
			return in
		}
		if k := last.Load(); k != nil && k.file == in && k.stored == stored {
			return k.both
		}
		k := &keySets{in, stored, identity.Merge(in, stored.keys)}
		last.Store(k)
		return k.both
	}
}

// keySets are the keys of a file and of the store, and both together.
type keySets struct {
	file   *identity.Keys
	stored *storedKeys
	both   *identity.Keys
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
	_, err := e.events.Note(ctx, e.directory.Known(), id, e.newID())
	return err
}

// degraded says what can't be read.
func (e *entitled) degraded() (out []string) {
	if e == nil {
		return nil
	}
	for what, fault := range map[string]error{"tenants": e.directory.Fault(), "API keys": e.keys.Fault()} {
		if fault != nil {
			out = append(out, what+": the store can't be read; what was known stays in force")
		}
	}
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
	e.done.Wait()
	e.directory.Close()
	e.keys.Close()
}
