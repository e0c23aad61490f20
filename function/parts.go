package function

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"example.com/erlmcp/function/internal/config"
	"example.com/erlmcp/function/internal/firestoredb"
	"example.com/erlmcp/function/internal/governor"
	"example.com/erlmcp/function/internal/memdb"
	"example.com/erlmcp/function/internal/receipt"
	"example.com/erlmcp/function/internal/redisdb"
)

// parts are what the governor counts and keeps things in.
type parts struct {
	counters governor.Counters
	epochs   governor.Epochs
	orders   governor.OrderStore // nil where the counters alone have them
	quotas   governor.QuotaStore // nil where there is no store
	receipts receipt.Store       // nil where there is no store
	redis    *redisdb.Counters   // nil where the process counts for itself
	close    func()
	unfit    chan error // gets why the process can't work with them
}

// mostInMemory is how many bytes of receipts a process keeps that has no store: the oldest are forgotten.
const mostInMemory = 64 << 20

// Memory is what a process keeps in place of a store. Servers that share it are like instances with one store.
type Memory struct {
	store    *memdb.Store
	receipts *memdb.Receipts
}

// NewMemory returns an empty one.
func NewMemory() *Memory { return &Memory{memdb.New(), memdb.NewReceipts(mostInMemory)} }

// openParts connects to what the settings name. In memory is what a process may keep for itself: where it counts alone, and
// where its Redis is embedded.
func openParts(ctx context.Context, cfg *config.Config, memory *Memory) (*parts, error) {
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
	case cfg.Alone || memory != nil:
		if memory == nil {
			memory = NewMemory()
		}
		store := memory.store
		if !cfg.Alone {
			p.epochs = store
		}
		p.orders, p.quotas = store, store
		p.receipts = memory.receipts
	}
	return p, nil
}
