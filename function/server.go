package function

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"example.com/erlmcp/function/internal/admission"
	"example.com/erlmcp/function/internal/catalog"
	"example.com/erlmcp/function/internal/config"
	"example.com/erlmcp/function/internal/control"
	"example.com/erlmcp/function/internal/edge"
	"example.com/erlmcp/function/internal/governor"
	"example.com/erlmcp/function/internal/identity"
	"example.com/erlmcp/function/internal/mcp"
	"example.com/erlmcp/function/internal/redisdb"
	"example.com/erlmcp/function/internal/telemetry"
)

// A Server is the assembled function. It is an [http.Handler] for every path that it has; [Server.Run] serves it.
type Server struct {
	config   *config.Config
	logger   *slog.Logger
	seen     *telemetry.Telemetry
	observer *observer
	instance string // NODE_NAME and a random part: unlike any other process
	loopback bool
	name     string // as clients see it
	version  string
	signIn   string          // in words
	scopes   map[string]bool // that entries demand
	callers  *callers
	handler  http.Handler
	gate     *admission.Gate
	governor *governor.Governor // nil where the operator switched it off
	redis    *redisdb.Counters  // nil where the process counts for itself
	evicts   atomic.Value       // string: the policy by which Redis throws keys away, "" for none
	warmed   atomic.Int64       // when, in Unix nanoseconds, a probe last had Redis asked
	recorder *recorder          // nil where nothing is recorded
	entitled *entitled          // nil where there is no store
	goes     atomic.Int64       // by when, in Unix nanoseconds, the process has to be gone; 0 while it stays
	begun    time.Time
	serves   struct {
		once sync.Once
		text []byte
		name string
	}
	connections *connections
	endpoint    *edge.Handler // nil in the control plane
	stop        func()        // ends the calls that outlive their connections
	parts       *parts
	unfit       chan error // gets why the server can't work with what it is connected to
	draining    atomic.Bool
	running     atomic.Int64   // requests being served
	said        sync.WaitGroup // what the instance says of itself
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
	o.info.Name, o.info.Version = cmp.Or(o.info.Name, Target), cmp.Or(o.info.Version, Version)
	o.info.Title = cmp.Or(o.info.Title, o.info.Name)
	cfg, faults := config.Load(o.getenv, thisMachine())
	ring, err := ringOf(&o, cfg)
	faults = errors.Join(faults, err)
	instance := fmt.Sprintf("%s-%08x", cfg.NodeName, rand.Uint32())
	seen, err := openTelemetry(ctx, &o, cfg, instance)
	if err != nil {
		return nil, &StartError{errors.Join(faults, err)}
	}
	o.logger = seen.Logger()
	if cfg.Target == ControlTarget {
		return newControl(ctx, &o, cfg, ring, instance, seen, faults)
	}
	own := &agentTools{}
	stored := cfg.Project != "" || cfg.Alone || o.memory != nil
	entries, err := catalog.Build(append(slices.Clip(o.entries), own.entries(cfg, stored)...)...)
	faults = errors.Join(faults, err)
	if err == nil {
		for _, finding := range entries.Lint() {
			if finding.Rule.AtStart {
				o.logger.Warn("some models' interfaces refuse a tool, and the list that it is in", "finding", finding.String())
			}
		}
	}
	watching := newObserver(&o, cfg, seen, entries)
	var gate *admission.Gate
	var guard *governor.Guard
	limits, shared, governing := govern(ctx, &o, cfg, instance, seen)
	faults = errors.Join(faults, governing)
	if o.tenants != nil {
		shared.tenants = o.tenants(shared.tenants)
	}
	entitlements := openEntitled(shared, limits, o.logger)
	who, err2 := newCallers(&o, cfg, shared.redis, entitlements, entries)
	faults = errors.Join(faults, err2)
	secrets, err2 := control.ParseWebhookSecrets(string(cfg.Operating.WebhookSecrets))
	if err2 != nil {
		faults = errors.Join(faults, fmt.Errorf("WEBHOOK_SECRETS: %w", err2))
	}
	publishers, err2 := control.ParsePublishers(cfg.Operating.PushAccounts)
	if err2 != nil {
		faults = errors.Join(faults, fmt.Errorf("PUBSUB_SERVICE_ACCOUNT: %w", err2))
	}
	origins := edge.Origins{Loopback: o.loopback}
	if err := origins.Name(cfg.AllowedOrigins...); err != nil {
		faults = errors.Join(faults, fmt.Errorf("ALLOWED_ORIGINS: %w", err))
	}
	if faults == nil {
		faults = needStore(cfg, entries, shared)
	}
	var written *recorder
	if faults == nil {
		if o.receipts != nil {
			shared.receipts = o.receipts(shared.receipts)
		}
		written, err2 = openRecorder(ctx, &o, cfg, recording{shared, ring, instance})
		faults = errors.Join(faults, err2)
	}
	if err == nil {
		a := gateOptions(cfg, entries, shared)
		a.Governor, a.Logger, a.Tracer, a.Believe = limits, o.logger, seen.Tracer(), watching.believe
		a.Entitlements = entitlements.options(cfg.Listed)
		a.Callers, a.Policy, a.Scopes = who.authenticator, who.policy, cfg.Callers.Scopes
		if slices.Contains(cfg.Callers.Chain, identity.OAuth) {
			a.Metadata = metadataURL(&cfg.Callers)
		}
		if cfg.Governed {
			guard = governor.NewGuard(governor.GuardOptions{Most: cfg.MaxCalls + governor.MostAsking, Workers: cfg.Workers})
			a.Guard = guard
		}
		if written != nil {
			a.Journal = written.ledger()
		}
		gate, err = admission.New(a)
		faults = errors.Join(faults, err)
	}
	if faults != nil {
		entitlements.close()
		written.close(time.Now())
		shared.close()
		closeTelemetry(seen, time.Now().Add(mostWords))
		return nil, &StartError{faults}
	}
	// What tells the server to go must not end running calls: Close does, after the drain.
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	s := &Server{
		config:      cfg,
		logger:      o.logger,
		seen:        seen,
		observer:    watching,
		instance:    instance,
		loopback:    o.loopback,
		name:        o.info.Title,
		version:     o.info.Version,
		signIn:      signIn(&cfg.Callers),
		scopes:      entries.Scopes(),
		callers:     who,
		gate:        gate,
		governor:    limits,
		redis:       shared.redis,
		recorder:    written,
		entitled:    entitlements,
		begun:       time.Now(),
		connections: newConnections(cfg.MaxConnections),
		stop:        stop,
		parts:       shared,
		unfit:       shared.unfit,
	}
	if entitlements != nil && written != nil {
		events := control.NewEntitlements(control.EntitlementOptions{
			Tenants: shared.tenants, Journal: written.ledger(), Callable: callable(shared, who.callable), Secrets: secrets, Publishers: publishers, Announce: shared.announce, Logger: o.logger,
		})
		entitlements.record(events, written.journal)
		own.events = events
	}
	own.server = s
	endpoint := edge.NewHandler(edge.Options{
		Engine: mcp.NewServer(mcp.Options{
			Catalog: entries, Gate: s.gate, Keys: ring, Info: o.info, Logger: o.logger, PageSize: o.pageSize, RefusalErrors: cfg.RefusalErrors, Stop: ctx, Client: who.tools,
			Begin: s.observer.operation, Answers: newAnswers(shared.redis, cfg.Keys == ""),
		}),
		Origins:     origins,
		MaxBody:     cfg.MaxBody,
		BodyTimeout: cfg.BodyTimeout,
		SignIn:      s.signIn,
		Memory:      thisMachine().Memory / 4,
	})
	s.endpoint = endpoint
	seen.Register(metrics(limits, guard, entitlements)...)
	seen.Register(callerMetrics(who.authenticator, gate)...)
	seen.Register(s.capacity()...)
	seen.Register(written.metrics()...)
	s.handler = s.routes(endpoint)
	entitlements.warm(startReading)
	s.said.Go(func() { s.report(ctx) })
	return s, nil
}

// Close ends what still runs, and writes and sends what is still to be told. It takes what is left of DRAIN_TIMEOUT at most, and
// lastMoment where that is less, whatever does not answer.
func (s *Server) Close() {
	gone := time.Now().Add(lastMoment)
	if goes := time.Unix(0, s.goes.Load()).Add(-exit); goes.After(gone) {
		gone = goes
	}
	s.stop()
	var ending sync.WaitGroup
	ending.Go(s.said.Wait)
	ending.Go(func() {
		s.entitled.close()
		s.recorder.close(gone.Add(-lastAnnouncement - lastWords))
	})
	if s.governor != nil {
		ending.Go(func() { s.governor.CloseBy(gone.Add(-lastWords)) })
	}
	ending.Wait()
	s.callers.out.Close()
	s.callers.tools.CloseIdleConnections()
	s.parts.close()
	closeTelemetry(s.seen, gone)
}

// needStore faults what the settings and the catalog want and what only a store can give.
func needStore(cfg *config.Config, entries *catalog.Catalog, p *parts) error {
	var faults []error
	fault := func(name, format string, args ...any) {
		faults = append(faults, fmt.Errorf(name+": "+format, args...))
	}
	const set = "set GOOGLE_CLOUD_PROJECT"
	if p.tenants == nil && cfg.Listed {
		fault("TENANTS", "is listed, and there is no store with a list: %s", set)
	}
	if p.tenants == nil && slices.Contains(cfg.AgentTools, applyEvent) {
		fault("TAIEA_TOOLS", "names %s, and there is no store to keep entitlements in: %s", applyEvent, set)
	}
	recorded := p.receipts != nil && cfg.Receipts != "false"
	for _, what := range entries.Strict() {
		if !recorded {
			fault("RECEIPTS", "the %s is strict, and nothing is recorded: leave RECEIPTS out, and %s", what, set)
		}
	}
	return errors.Join(faults...)
}

const (
	// lastAnnouncement is how long the end waits for Redis to hear of the last receipts.
	lastAnnouncement = 150 * time.Millisecond
	// startReading is how long a start waits for what tenants are entitled to: a store in memory has it at once.
	startReading = 20 * time.Millisecond
	// lastWords is how long the end waits for the log and the collector at least, and mostWords at most.
	lastWords = 250 * time.Millisecond
	mostWords = 1300 * time.Millisecond
)

// closeTelemetry sends what waits, until the process has to be gone.
func closeTelemetry(t *telemetry.Telemetry, gone time.Time) {
	ctx, done := context.WithTimeout(context.Background(), min(max(time.Until(gone), lastWords), mostWords))
	defer done()
	t.Close(ctx)
}

// gateOptions are the limits of the settings.
func gateOptions(cfg *config.Config, entries *catalog.Catalog, p *parts) admission.Options {
	var anonymous admission.Limit
	if slices.Contains(cfg.Callers.Chain, identity.Anonymous) {
		anonymous = admission.Limit{PerSecond: float64(cfg.Callers.AnonymousRate), Concurrency: int64(cfg.Callers.AnonymousCalls)}
	}
	return admission.Options{
		Catalog:    entries,
		Quotas:     p.quotas != nil,
		Everything: admission.Limit{PerSecond: float64(cfg.RatePerSecond), Concurrency: int64(cfg.MaxCalls)},
		EachTenant: admission.Limit{PerSecond: float64(cfg.TenantRate), Concurrency: int64(cfg.TenantCalls), PerDay: int64(cfg.TenantPerDay)},
		EachClient: admission.Limit{PerSecond: float64(cfg.ClientRate), Concurrency: int64(cfg.ClientCalls)},
		Anonymous:  anonymous,
	}
}

// limitsOf lists the limits that servers with these settings hold under orders.
func limitsOf(cfg *config.Config, entries *catalog.Catalog, p *parts, orders *governor.Orders) ([]governor.Limit, error) {
	return admission.Limits(gateOptions(cfg, entries, p), orders)
}

var outages = map[string]governor.Outage{"closed": governor.Shut, "local": governor.Local, "open": governor.Open}

// govern makes the governor on the parts that the settings name.
func govern(ctx context.Context, o *options, cfg *config.Config, instance string, seen *telemetry.Telemetry) (*governor.Governor, *parts, error) {
	p, err := openParts(ctx, cfg, o)
	if err != nil || !cfg.Governed {
		return nil, p, err
	}
	g := governor.New(governor.Options{
		Instance: instance, Counters: watchCounters(p.counters, cfg.Alone, seen), Epochs: p.epochs, Orders: p.orders, Versions: p.versions, Quotas: watchQuotas(p.quotas, seen), Alone: cfg.Alone, Embedded: p.embedded,
		RateOutage: outages[cfg.RateOutage], SlotOutage: outages[cfg.SlotOutage], Logger: o.logger,
	})
	closeParts := p.close
	p.close = sync.OnceFunc(func() { g.Close(); closeParts() })
	if cfg.Alone {
		g.Warm()
	} else {
		go func() { // a start must not wait for Redis
			if err := g.Warm(); errors.Is(err, governor.ErrNewer) {
				p.unfit <- err
			}
		}()
	}
	return g, p, nil
}

// ServeHTTP serves one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.running.Add(1)
	defer s.running.Add(-1)
	if s.draining.Load() {
		w.Header().Set("Connection", "close")
	}
	s.handler.ServeHTTP(w, r)
}

// Tools are the names of the tools that are served, without those of the governor.
func (s *Server) Tools() []string {
	if s.observer.catalog == nil { // the control plane's
		return nil
	}
	var names []string
	s.observer.catalog.EachTool(func(name string, _ catalog.Terms) error {
		if !strings.HasPrefix(name, agentPrefix) {
			names = append(names, name)
		}
		return nil
	})
	return names
}

// A Setting documents one environment variable.
type Setting = config.Setting

// Settings lists the environment variables that [New] reads.
func Settings() []Setting { return config.Settings }

// HealthURL is where a server with these settings answers for its health on this machine.
func HealthURL(getenv func(string) string) (string, error) {
	c, err := config.Load(getenv, config.Machine{})
	if err != nil {
		return "", &StartError{err}
	}
	return fmt.Sprintf("http://127.0.0.1:%d%s", c.Port, c.Health), nil
}
