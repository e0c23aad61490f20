package function

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"example.com/erlmcp/function/internal/admission"
	"example.com/erlmcp/function/internal/catalog"
	"example.com/erlmcp/function/internal/config"
	"example.com/erlmcp/function/internal/edge"
	"example.com/erlmcp/function/internal/firestoredb"
	"example.com/erlmcp/function/internal/governor"
	"example.com/erlmcp/function/internal/mcp"
	"example.com/erlmcp/function/internal/redisdb"
	"example.com/erlmcp/function/internal/seal"
	"example.com/erlmcp/function/internal/telemetry"
)

// A Server is the assembled function. It is an [http.Handler] for every path that it has; [Server.Run] serves it.
type Server struct {
	config   *config.Config
	logger   *slog.Logger
	instance string // NODE_NAME and a random part: unlike any other process
	loopback bool
	handler  http.Handler
	gate     *admission.Gate
	governor *governor.Governor // nil where the operator switched it off
	stop     func()             // ends the calls that outlive their connections, and gives back what the governor holds
	draining atomic.Bool
	running  atomic.Int64 // requests being served
}

// New assembles a server from the settings and options. Its error is a [*StartError] that lists every fault. The context
// bounds the assembly alone; call [Server.Close] at the end.
func New(ctx context.Context, opts ...Option) (*Server, error) {
	o := options{
		getenv: os.Getenv,
		info: Info{
			Name: "erlmcp", Title: "erlmcp", Version: Version,
			Instructions: "Tools of this server are governed: a refused call says why and when to try again.",
		},
	}
	for _, opt := range opts {
		opt(&o)
	}
	cfg, faults := config.Load(o.getenv, openFiles())
	ring := seal.RandomRing()
	if cfg.Keys != "" {
		r, err := seal.ParseRing(string(cfg.Keys))
		if err != nil {
			faults = errors.Join(faults, fmt.Errorf("ERLMCP_KEYS: %w; make one with: openssl rand -base64 32", err))
		}
		ring = r
	}
	if o.logger == nil {
		o.logger = telemetry.NewLogger(os.Stderr, cfg.LogLevel)
	}
	instance := fmt.Sprintf("%s-%08x", cfg.NodeName, rand.Uint32())
	entries, err := catalog.Build(o.entries...)
	faults = errors.Join(faults, err)
	var gate *admission.Gate
	limits, closeCounters, governing := govern(ctx, cfg, instance, o.logger)
	faults = errors.Join(faults, governing)
	if err == nil {
		gate, err = admission.New(admission.Options{
			Governor: limits, Catalog: entries, PerSecond: float64(cfg.RatePerSecond), Concurrency: int64(cfg.MaxCalls),
		})
		faults = errors.Join(faults, err)
	}
	if faults != nil {
		return nil, &StartError{faults}
	}
	// What tells the server to go must not end running calls: Close does, after the drain.
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	s := &Server{
		config:   cfg,
		logger:   o.logger,
		instance: instance,
		loopback: o.loopback,
		gate:     gate,
		governor: limits,
		stop:     func() { stop(); closeCounters() },
	}
	endpoint := edge.NewHandler(edge.Options{
		Engine: mcp.NewServer(mcp.Options{
			Catalog: entries, Gate: s.gate, Keys: ring, Info: o.info, Logger: o.logger, PageSize: o.pageSize, Stop: ctx,
		}),
		Origins:     edge.Origins{Named: cfg.AllowedOrigins, Loopback: o.loopback},
		BodyTimeout: cfg.ConnectionTimeout,
		Logger:      o.logger,
	})
	s.handler = s.routes(endpoint)
	return s, nil
}

// Close ends what still runs.
func (s *Server) Close() { s.stop() }

// govern makes the governor and what ends it: with counters that the fleet shares, or with this process's own.
func govern(ctx context.Context, cfg *config.Config, instance string, logger *slog.Logger) (*governor.Governor, func(), error) {
	if !cfg.Governed {
		return nil, func() {}, nil
	}
	if cfg.Alone {
		counters := governor.NewStandalone(time.Now)
		g := governor.New(governor.Options{Instance: instance, Counters: counters, Epochs: counters, Alone: true, Logger: logger})
		return g, g.Close, nil
	}
	client, err := redisdb.Connect(string(cfg.Redis))
	if err != nil {
		return nil, func() {}, errors.New("REDIS_URL: is not a URL such as rediss://:password@host:6379") // the cause may hold the password
	}
	epochs, closeStore := governor.Epochs(redisdb.Storeless{Now: time.Now}), func() error { return nil }
	if cfg.Project != "" {
		store, err := firestoredb.Connect(ctx, cfg.Project)
		if err != nil {
			client.Close()
			return nil, func() {}, fmt.Errorf("GOOGLE_CLOUD_PROJECT: Firestore of %s can't be opened: %w", cfg.Project, err)
		}
		epochs, closeStore = store, store.Close
	}
	g := governor.New(governor.Options{Instance: instance, Counters: redisdb.NewCounters(client), Epochs: epochs, Logger: logger})
	go g.Warm()
	return g, sync.OnceFunc(func() { g.Close(); client.Close(); closeStore() }), nil
}

// ServeHTTP serves one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.running.Add(1)
	defer s.running.Add(-1)
	s.handler.ServeHTTP(w, r)
}

// openFiles is how many files the process may have open; Go has raised it to the hard limit. 0 is unknown.
func openFiles() uint64 {
	var l syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) != nil {
		return 0
	}
	return l.Cur
}

// A Setting documents one environment variable.
type Setting = config.Setting

// Settings lists the environment variables that [New] reads.
func Settings() []Setting { return config.Settings }

// HealthURL is where a server with these settings answers for its health on this machine.
func HealthURL(getenv func(string) string) (string, error) {
	c, err := config.Load(getenv, 0)
	if err != nil {
		return "", &StartError{err}
	}
	return fmt.Sprintf("http://127.0.0.1:%d%s", c.Port, c.Health), nil
}
