package app

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"example.com/erlmcp/function/internal/account"
	"example.com/erlmcp/function/internal/backup"
	"example.com/erlmcp/function/internal/config"
	"example.com/erlmcp/function/internal/directives"
	"example.com/erlmcp/function/internal/effect"
	"example.com/erlmcp/function/internal/entitlement"
	"example.com/erlmcp/function/internal/fleet"
	"example.com/erlmcp/function/internal/governor"
	"example.com/erlmcp/function/internal/identity"
	"example.com/erlmcp/function/internal/receipt"
	"example.com/erlmcp/function/internal/seal"
	"example.com/erlmcp/function/internal/store/firestore"
	"example.com/erlmcp/function/internal/store/memory"
	"example.com/erlmcp/function/internal/store/redis"
)

// Stores are what the governor counts and keeps things in.
type Stores struct {
	Counters   governor.Counters
	Epochs     governor.Epochs
	Directives directives.Store    // nil where the counters alone have them
	Quotas     governor.QuotaStore // nil where there is no store
	Receipts   receipt.Store       // nil where there is no store, as the next five
	Tenants    entitlement.Store
	Keys       identity.KeyStore
	Effects    effect.Store
	Versions   directives.VersionStore
	Records    backup.Store    // all of the above that is backed up
	Redis      *redis.Counters // nil where the process counts for itself
	Embedded   bool            // Redis is in this process
	Fatal      chan error      // gets why the process can't work with them
	close      func()
}

// Close ends the connections.
func (s *Stores) Close() { s.close() }

// Before has something else end before the connections do.
func (s *Stores) Before(end func()) {
	last := s.close
	s.close = sync.OnceFunc(func() { end(); last() })
}

// Announce tells instances to read the store.
func (s *Stores) Announce(ctx context.Context, what string, version int64) error {
	return s.Counters.Announce(ctx, directives.Versions{what: version})
}

// maxInMemory is how many bytes of receipts a process keeps that has no store, in a file too: the oldest are forgotten.
const maxInMemory = 64 << 20

// embeddedTimeout is how long an exchange with a Redis in this process may take on a busy machine.
const embeddedTimeout = 2 * time.Second

// Memory is what a process keeps in place of a store. Servers that share it are like instances with one store.
type Memory struct {
	Store    *memory.Store
	Receipts *memory.Receipts
	Effects  *memory.Effects
	ring     *seal.Ring // where the settings name no keys
}

// NewMemory returns an empty one.
func NewMemory() *Memory {
	return &Memory{memory.New(), memory.NewReceipts(maxInMemory), memory.NewEffects(), seal.RandomRing()}
}

// OpenMemory returns one that is kept in a file, and read from it where it is there; "" is none. Close it at the end. Its error says
// what to do about a file that is damaged, newer, or another process's.
func OpenMemory(file string) (*Memory, error) {
	m := NewMemory()
	if file == "" {
		return m, nil
	}
	return m, memory.Open(file, m.Store, m.Receipts, m.Effects)
}

// Close lets go of the file.
func (m *Memory) Close() error { return m.Store.Close() }

// ringOf returns the keys that instances share, as they are now, or new ones where the settings name none.
func ringOf(o *Options, cfg *config.Config) (seal.Current, error) {
	ring := seal.RandomRing()
	if o.Memory != nil {
		ring = o.Memory.ring
	}
	return namedRing(o, "SEALING_KEYS", cfg.Keys, cfg.KeysFile, func() *seal.Ring { return ring })
}

// namedRing returns the keys that a setting names by value or by file, as they are now; without any the others.
func namedRing(o *Options, setting string, value config.Secret, file string, others seal.Current) (seal.Current, error) {
	const remedy = "make one with: openssl rand -base64 32"
	switch {
	case file != "":
		current, err := readFile(o.files, file, func(text []byte) (*seal.Ring, error) { return seal.ParseRing(string(text)) })
		if err != nil {
			return nil, fmt.Errorf("%s_FILE: %w; %s", setting, err, remedy)
		}
		return current, nil
	case value != "":
		ring, err := seal.ParseRing(string(value))
		if err != nil {
			return nil, fmt.Errorf("%s: %w; %s", setting, err, remedy)
		}
		return func() *seal.Ring { return ring }, nil
	}
	return others, nil
}

// OpenStores connects to what the settings name. In memory is what a process may keep for itself: where it counts alone, and
// where its Redis is embedded.
func OpenStores(ctx context.Context, cfg *config.Config, o *Options) (*Stores, error) {
	s := &Stores{Fatal: make(chan error, 1), close: func() {}}
	if err := s.openCounters(ctx, cfg, o); err != nil {
		return s, err
	}
	var err error
	switch {
	case cfg.Project != "":
		err = s.openFirestore(ctx, cfg)
	case o.Memory != nil:
		s.keepIn(o.Memory, cfg.Standalone)
	case cfg.Standalone:
		var kept *Memory
		if kept, err = OpenMemory(cfg.StoreFile); err == nil {
			s.Before(func() { kept.Close() })
			s.keepIn(kept, true)
		} else {
			err = fmt.Errorf("STORE_FILE: %w", err)
		}
	}
	if err != nil {
		s.close()
		return s, err
	}
	if o.Stand.Stores != nil {
		o.Stand.Stores(s)
	}
	return s, nil
}

// openCounters opens what the governor counts in.
func (s *Stores) openCounters(ctx context.Context, cfg *config.Config, o *Options) error {
	if cfg.Standalone {
		counters := governor.NewStandalone(time.Now)
		s.Counters, s.Epochs = counters, counters
		return nil
	}
	options := redis.Options{URL: string(cfg.Redis), CA: cfg.RedisCA, Dial: o.Stand.Dial}
	name := "REDIS_URL"
	if cfg.RedisFile != "" {
		name = "REDIS_URL_FILE"
		var err error
		options.Login, err = readFile(o.files, cfg.RedisFile, func(text []byte) (login redis.Login, err error) {
			url := strings.TrimSpace(string(text))
			options.URL = cmp.Or(options.URL, url) // of the start
			return redis.ParseLogin(url, options.URL)
		})
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if cfg.RedisCA != "" && !strings.HasPrefix(options.URL, "rediss://") {
			return fmt.Errorf("%s: does not begin with rediss://, and REDIS_CA is set, so that nothing would be checked", name)
		}
	}
	if cfg.RedisAccount {
		if !strings.HasPrefix(options.URL, "rediss://") { // of a file
			return fmt.Errorf("%s: does not begin with rediss://, and REDIS_LOGIN is google: access tokens are sent over TLS alone", name)
		}
		if options.Token = o.Stand.RedisToken; options.Token == nil {
			options.Token = account.Tokens("https://www.googleapis.com/auth/cloud-platform")
		}
		if err := haveToken(ctx, options.Token); err != nil {
			return fmt.Errorf("REDIS_LOGIN: %w", err)
		}
	}
	if o.Stand.Dial != nil {
		options.Connections = 64 // who waits for one does so by a timer that the library shares among the bubbles of tests
	}
	if s.Embedded = o.Memory != nil; s.Embedded {
		options.Timeout = embeddedTimeout
	}
	counters, err := redis.Open(options)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	s.Before(func() { counters.Close() })
	s.Redis = counters
	s.Counters, s.Epochs = counters, redis.Storeless{Now: time.Now}
	return nil
}

// haveToken gets the first access token, for which a message to Redis has no time. Its library has later ones ready before one ends.
func haveToken(ctx context.Context, token func(context.Context) (string, error)) error {
	ctx, done := context.WithTimeout(ctx, keyTimeout)
	defer done()
	_, err := token(ctx)
	return err
}

func (s *Stores) openFirestore(ctx context.Context, cfg *config.Config) error {
	store, err := firestore.Connect(ctx, firestore.Options{Project: cfg.Project, Databases: cfg.Databases, Emulator: cfg.Emulator})
	if err != nil {
		return fmt.Errorf("GOOGLE_CLOUD_PROJECT: Firestore of %s can't be opened: %w", cfg.Project, err)
	}
	s.Before(func() { store.Close() })
	if !cfg.Standalone { // alone, the counters are always new
		s.Epochs = store
	}
	s.Directives, s.Quotas = store, store
	s.Receipts = store.Receipts(days(cfg.ReceiptStoreDays))
	s.Tenants, s.Keys, s.Versions, s.Effects = store, store, store, store.Effects()
	s.Records = firestore.NewRecords(store, days(cfg.ReceiptRetentionDays))
	return nil
}

func (s *Stores) keepIn(kept *Memory, standalone bool) {
	store := kept.Store
	if !standalone {
		s.Epochs = store
	}
	s.Directives, s.Quotas = store, store
	s.Receipts = kept.Receipts
	s.Tenants, s.Keys, s.Versions, s.Effects = store, store, store, kept.Effects
	s.Records = memory.NewRecords(store, kept.Receipts)
}

// Callable says what the tenants of callers can be, by what the instances of the fleet say. Without a fleet it is what an instance knows of
// itself.
func (s *Stores) Callable(own []string) entitlement.Callable {
	return func(ctx context.Context) []string {
		if s.Redis == nil {
			return own
		}
		return fleet.Tenants(ctx, s.Redis)
	}
}

const (
	// evictionEvery is how often Redis is asked whether it throws keys away.
	evictionEvery   = time.Minute
	evictionTimeout = 250 * time.Millisecond
)

// watchEviction asks Redis whether it throws keys away, until the context ends. Where it does not say, as before it is reached, it is
// asked again.
func (a *App) watchEviction(ctx context.Context) {
	tick := time.NewTicker(evictionEvery)
	defer tick.Stop()
	for {
		asking, done := context.WithTimeout(ctx, evictionTimeout)
		policy, err := a.Stores.Redis.Evicts(asking)
		done()
		if err == nil {
			if before, _ := a.evicts.Swap(policy).(string); policy != "" && policy != before {
				a.Logger.Warn("Redis throws keys away where its memory is full: set maxmemory-policy to noeviction", "policy", policy, "otherwise", redis.AtStake(policy))
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func evictionWords(policy string) string {
	return "Redis: it throws keys away where its memory is full (maxmemory-policy " + policy + "): " + redis.AtStake(policy) + "; set noeviction"
}
