package function

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"example.com/erlmcp/function/internal/config"
	"example.com/erlmcp/function/internal/control"
	"example.com/erlmcp/function/internal/firestoredb"
	"example.com/erlmcp/function/internal/governor"
	"example.com/erlmcp/function/internal/identity"
	"example.com/erlmcp/function/internal/memdb"
	"example.com/erlmcp/function/internal/receipt"
	"example.com/erlmcp/function/internal/redisdb"
	"example.com/erlmcp/function/internal/seal"
	"example.com/erlmcp/function/internal/tenant"
)

// parts are what the governor counts and keeps things in.
type parts struct {
	counters governor.Counters
	epochs   governor.Epochs
	orders   governor.OrderStore // nil where the counters alone have them
	quotas   governor.QuotaStore // nil where there is no store
	receipts receipt.Store       // nil where there is no store, as the next three
	tenants  tenant.Store
	keys     identity.KeyStore
	replays  control.Replays
	versions governor.VersionStore
	redis    *redisdb.Counters // nil where the process counts for itself
	embedded bool              // redis is in this process
	close    func()
	unfit    chan error // gets why the process can't work with them
}

// mostInMemory is how many bytes of receipts a process keeps that has no store: the oldest are forgotten.
const mostInMemory = 64 << 20

// embeddedPatience is how long an exchange with a Redis in this process may take on a busy machine.
const embeddedPatience = 2 * time.Second

// Memory is what a process keeps in place of a store. Servers that share it are like instances with one store.
type Memory struct {
	store    *memdb.Store
	receipts *memdb.Receipts
	replays  *memdb.Replays
	ring     *seal.Ring // where ERLMCP_KEYS is not set
}

// NewMemory returns an empty one.
func NewMemory() *Memory {
	return &Memory{memdb.New(), memdb.NewReceipts(mostInMemory), memdb.NewReplays(), seal.RandomRing()}
}

// OpenMemory returns one that is kept in a file, but for receipts, and read from it where it is there; "" is none. Close it at the
// end. Its error says what to do about a file that is damaged, newer, or another process's.
func OpenMemory(file string, logger *slog.Logger) (*Memory, error) {
	m := NewMemory()
	if file == "" {
		return m, nil
	}
	store, err := memdb.Open(file, logger)
	if err != nil {
		return nil, err
	}
	m.store = store
	return m, nil
}

// Close writes what has changed.
func (m *Memory) Close() error { return m.store.Close() }

// ringOf returns the keys that instances share, or new ones where the settings name none.
func ringOf(o *options, cfg *config.Config) (*seal.Ring, error) {
	switch {
	case cfg.Keys != "":
		ring, err := seal.ParseRing(string(cfg.Keys))
		if err != nil {
			return nil, fmt.Errorf("ERLMCP_KEYS: %w; make one with: openssl rand -base64 32", err)
		}
		return ring, nil
	case o.memory != nil:
		return o.memory.ring, nil
	}
	return seal.RandomRing(), nil
}

// openParts connects to what the settings name. In memory is what a process may keep for itself: where it counts alone, and
// where its Redis is embedded.
func openParts(ctx context.Context, cfg *config.Config, o *options) (*parts, error) {
	memory := o.memory
	var closers []func() error
	p := &parts{unfit: make(chan error, 1)}
	p.close = sync.OnceFunc(func() {
		for _, c := range closers {
			c()
		}
	})
	if cfg.Alone {
		counters := governor.NewStandalone(time.Now)
		p.counters, p.epochs = counters, counters
	} else {
		options := redisdb.Options{URL: string(cfg.Redis), CA: cfg.RedisCA, Dial: o.dial}
		if o.dial != nil {
			options.Connections = 64 // who waits for one does so by a timer that the library shares among the bubbles of tests
		}
		if p.embedded = memory != nil; p.embedded {
			options.Patience = embeddedPatience
		}
		counters, err := redisdb.Open(options)
		if err != nil {
			return p, fmt.Errorf("REDIS_URL: %w", err)
		}
		closers = append(closers, counters.Close)
		p.redis = counters
		p.counters, p.epochs = p.redis, redisdb.Storeless{Now: time.Now}
	}
	switch {
	case cfg.Project != "":
		store, err := firestoredb.Connect(ctx, firestoredb.Options{Project: cfg.Project, Database: cfg.Database, Emulator: cfg.Emulator})
		if err != nil {
			p.close()
			return p, fmt.Errorf("GOOGLE_CLOUD_PROJECT: Firestore database %s of %s can't be opened: %w", cfg.Database, cfg.Project, err)
		}
		closers = append(closers, store.Close)
		if !cfg.Alone { // alone, the counters are always new
			p.epochs = store
		}
		p.orders, p.quotas = store, store
		p.receipts = store.Receipts(time.Duration(cfg.ReceiptDays) * 24 * time.Hour)
		p.tenants, p.keys, p.versions, p.replays = store, store, store, store.Replays()
	case cfg.Alone || memory != nil:
		if memory == nil {
			var err error
			if memory, err = OpenMemory(cfg.StoreFile, o.logger); err != nil {
				p.close()
				return p, fmt.Errorf("STORE_FILE: %w", err)
			}
			closers = append(closers, memory.Close)
		}
		store := memory.store
		if !cfg.Alone {
			p.epochs = store
		}
		p.orders, p.quotas = store, store
		p.receipts = memory.receipts
		p.tenants, p.keys, p.versions, p.replays = store, store, store, memory.replays
	}
	if o.stores != nil {
		o.stores(p)
	}
	return p, nil
}
