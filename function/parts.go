package function

import (
	"context"
	"errors"
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
	close    func()
	unfit    chan error // gets why the process can't work with them
}

// mostInMemory is how many bytes of receipts a process keeps that has no store: the oldest are forgotten.
const mostInMemory = 64 << 20

// Memory is what a process keeps in place of a store. Servers that share it are like instances with one store.
type Memory struct {
	store    *memdb.Store
	receipts *memdb.Receipts
	replays  *memdb.Replays
}

// NewMemory returns an empty one.
func NewMemory() *Memory {
	return &Memory{memdb.New(), memdb.NewReceipts(mostInMemory), memdb.NewReplays()}
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

// openParts connects to what the settings name. In memory is what a process may keep for itself: where it counts alone, and
// where its Redis is embedded.
func openParts(ctx context.Context, cfg *config.Config, memory *Memory, logger *slog.Logger) (*parts, error) {
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
		client, err := redisdb.Connect(string(cfg.Redis), cfg.RedisCA)
		if err != nil {
			return p, errors.New("REDIS_URL: is not a URL such as rediss://:password@host:6379") // the cause may hold the password
		}
		closers = append(closers, client.Close)
		p.redis = redisdb.NewCounters(client)
		p.counters, p.epochs = p.redis, redisdb.Storeless{Now: time.Now}
	}
	switch {
	case cfg.Project != "":
		store, err := firestoredb.Connect(ctx, cfg.Project, cfg.Database)
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
			if memory, err = OpenMemory(cfg.StoreFile, logger); err != nil {
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
	return p, nil
}
