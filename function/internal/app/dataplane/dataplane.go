// Package dataplane is erlmcp, the function that serves MCP: it puts admission, engine and endpoint together, and what operators and
// probes look at.
package dataplane

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"example.com/erlmcp/function/internal/admission"
	"example.com/erlmcp/function/internal/agenttools"
	"example.com/erlmcp/function/internal/app"
	"example.com/erlmcp/function/internal/catalog"
	"example.com/erlmcp/function/internal/config"
	"example.com/erlmcp/function/internal/entitlement"
	"example.com/erlmcp/function/internal/fleet"
	"example.com/erlmcp/function/internal/governor"
	"example.com/erlmcp/function/internal/identity"
	"example.com/erlmcp/function/internal/loadshed"
	"example.com/erlmcp/function/internal/mcp"
	"example.com/erlmcp/function/internal/serve"
	"example.com/erlmcp/function/internal/streamhttp"
)

// A Plane serves MCP. It is an [http.Handler] for every path that it has; [Plane.Run] serves it.
type Plane struct {
	*app.App
	Governor *governor.Governor    // nil where the operator switched it off
	shedder  *loadshed.LoadShedder // nil as the governor
	entitled *app.Entitled         // nil where there is no store
	endpoint *streamhttp.Handler
	current  atomic.Pointer[edition] // in force
	own      []catalog.Entry         // that no declaration changes: of the program, and of the governor
	engine   mcp.Options             // of each edition's, but for catalog and gate
	declared declared
	file     *catalogFile // nil where no catalog file is named
	tools    *agenttools.Tools
	origins  streamhttp.Origins
	signIn   string       // in words
	warmed   atomic.Int64 // when, in Unix nanoseconds, a probe last had Redis asked
}

// New assembles the data plane. Its error lists every fault. The context bounds the assembly alone; call [Plane.Close] at the end.
func New(ctx context.Context, o app.Options) (*Plane, error) {
	a, err := app.Begin(ctx, o)
	if err != nil {
		return nil, err
	}
	p := &Plane{App: a, tools: &agenttools.Tools{}}
	built := p.build()
	p.govern(ctx)
	p.entitled = app.OpenEntitled(a.Stores, p.Governor, a.Logger)
	a.OpenCallers(p.entitled, p.Catalog)
	secrets, publishers := a.Senders()
	p.origins.Loopback = a.Options.Loopback
	if err := p.origins.Name(a.Config.AllowedOrigins...); err != nil {
		a.Fault(fmt.Errorf("ALLOWED_ORIGINS: %w", err))
	}
	if !a.Faulty() {
		a.Fault(needStore(a.Config, p.Catalog(), a.Stores))
	}
	a.OpenRecorder(ctx)
	var gate *admission.Gate
	if built {
		gate = p.admit()
	}
	if a.Faulty() {
		p.entitled.Close()
		return nil, a.Failed()
	}
	ctx = a.Complete(ctx)
	p.attach(secrets, publishers)
	p.serve(ctx, gate)
	p.entitled.Warm(startReading)
	a.Announce(ctx, fleet.Announcer{Self: p.Self, Serves: func() (note []byte, name string) {
		served := &p.current.Load().served
		return served.note, served.name
	}})
	return p, nil
}

// startReading is how long a start waits for what tenants are entitled to: a store in memory has it at once.
const startReading = 20 * time.Millisecond

// build makes the catalog, and tells whether it can be called from.
func (p *Plane) build() bool {
	stored := p.Config.Project != "" || p.Config.Standalone || p.Options.Memory != nil
	p.own = slices.Concat(p.Options.Entries, p.tools.Entries(p.Config, stored))
	var err error
	p.file, err = p.openCatalogFile()
	p.Fault(err)
	first := p.file.declaration()
	entries, err := p.collect(&first)
	p.Fault(err)
	p.current.Store(&edition{catalog: entries}) // which is completed by serve
	p.Observe()
	return err == nil
}

var outages = map[string]governor.Outage{"closed": governor.FailClosed, "local": governor.FailLocal, "open": governor.FailOpen}

// govern makes the governor on the stores that the settings name.
func (p *Plane) govern(ctx context.Context) {
	opened := p.OpenStores(ctx)
	if cfg, s := p.Config, p.Stores; cfg.Governed && opened {
		p.Governor = governor.New(governor.Options{
			Instance: p.Instance, Counters: app.WatchCounters(s.Counters, cfg.Standalone, p.Telemetry), Epochs: s.Epochs, Directives: s.Directives, Versions: s.Versions,
			Quotas: app.WatchQuotas(s.Quotas, p.Telemetry), Standalone: cfg.Standalone, Embedded: s.Embedded,
			RateOutage: outages[cfg.RateOnFailure], SlotOutage: outages[cfg.SlotsOnFailure], Logger: p.Logger,
		})
		s.Before(p.Governor.Close)
	}
	switch g := p.Governor; {
	case g == nil:
	case p.Config.Standalone:
		g.Warm()
	default:
		go func() { // a start must not wait for Redis
			if err := g.Warm(); errors.Is(err, governor.ErrNewer) {
				p.Stores.Fatal <- err
			}
		}()
	}
}

// needStore faults what the settings and the catalog want and what only a store can give.
func needStore(cfg *config.Config, entries *catalog.Catalog, p *app.Stores) error {
	var faults []error
	fault := func(name, format string, args ...any) {
		faults = append(faults, fmt.Errorf(name+": "+format, args...))
	}
	const set = "set GOOGLE_CLOUD_PROJECT"
	if p.Tenants == nil && cfg.DenyUnknown {
		fault("UNKNOWN_TENANTS", "is deny, and there is no store that tells the known ones: %s", set)
	}
	if p.Tenants == nil && slices.Contains(cfg.AgentTools, config.ApplyEvent) {
		fault("TAIEA_TOOLS", "names %s, and there is no store to keep entitlements in: %s", config.ApplyEvent, set)
	}
	recorded := p.Receipts != nil && cfg.Receipts != "false"
	for _, what := range entries.Strict() {
		if !recorded {
			fault("RECEIPTS", "the %s is strict, and nothing is recorded: leave RECEIPTS out, and %s", what, set)
		}
	}
	return errors.Join(faults...)
}

// admit makes what stands before every message.
func (p *Plane) admit() *admission.Gate {
	cfg := p.Config
	o := admission.Configured(cfg, p.Catalog(), p.Stores.Quotas != nil)
	o.Governor, o.Logger, o.Tracer, o.Believe = p.Governor, p.Logger, p.Telemetry.Tracer(), p.Observer.Believe
	if e := p.entitled; e != nil {
		o.Entitlements = &admission.Entitlements{
			Directory: func(ctx context.Context) (*entitlement.Directory, bool) { return e.Directory.Get(ctx, time.Now()) },
			Known:     e.Directory.Known, Listed: cfg.DenyUnknown, Note: e.Note,
		}
	}
	o.Callers, o.Policy, o.Scopes = p.Callers.Authenticator, p.Callers.Policy, cfg.Callers.Scopes
	if slices.Contains(cfg.Callers.Chain, identity.OAuth) {
		o.Metadata = app.MetadataURL(&cfg.Callers)
	}
	if cfg.Governed {
		p.shedder = loadshed.New(loadshed.Options{MaxConcurrent: cfg.MaxCalls + governor.MaxAsking, Workers: cfg.Workers})
		o.Shedder = p.shedder
	}
	if p.Recorder != nil {
		o.Journal = p.Recorder.Logged()
	}
	gate, err := admission.New(o)
	p.Fault(err)
	return gate
}

// attach gives the governor's own tools what they are about.
func (p *Plane) attach(secrets []entitlement.WebhookSecret, publishers []entitlement.Publisher) {
	p.tools.Server, p.tools.Start, p.tools.Instance, p.tools.Version = p, p.Start, p.Instance, p.Options.Info.Version
	p.tools.Logger = p.Logger
	if p.entitled != nil {
		p.tools.Directory = p.entitled.Directory
	}
	if p.Recorder != nil {
		p.tools.Records = p.Records()
	}
	if p.entitled == nil || p.Recorder == nil {
		return
	}
	p.tools.Events = entitlement.NewProcessor(entitlement.ProcessorOptions{
		Tenants: p.Stores.Tenants, Recorder: p.Recorder.Logged(), Callable: p.Stores.Callable(p.Callers.Tenants), Secrets: secrets, Publishers: publishers,
		Announce: p.Stores.Announce, Logger: p.Logger,
	})
	p.entitled.Record(p.tools.Events, p.Recorder.Journal.NewID)
}

// serve makes the first edition, its endpoint, and the routes.
func (p *Plane) serve(ctx context.Context, gate *admission.Gate) {
	cfg := p.Config
	p.signIn = app.SignIn(&cfg.Callers)
	p.engine = mcp.Options{
		Keys: p.Ring, Info: p.Options.Info, Logger: p.Logger, PageSize: p.Options.PageSize, RefusalErrors: cfg.RefusalErrors, Stop: ctx,
		Client: p.Callers.Tools, Begin: p.Observer.Operation, Answers: newAnswers(p.Stores.Redis, cfg.Keys == "" && cfg.KeysFile == ""),
	}
	p.current.Store(p.edition(p.Catalog(), gate))
	p.endpoint = streamhttp.NewHandler(streamhttp.Options{
		Engine: func() *mcp.Server {
			p.file.look()
			return p.current.Load().engine
		},
		Origins:     p.origins,
		MaxBody:     cfg.MaxBody,
		BodyTimeout: cfg.BodyTimeout,
		SignIn:      p.signIn,
		Memory:      serve.ThisMachine().Memory / 4,
	})
	if p.file != nil {
		p.file.follow = true
	}
	p.Telemetry.Register(p.metrics()...)
	p.RegisterCapacity(p.used, p.allowed)
	p.Handle(p.routes())
}

// Close ends what still runs, and writes and sends what is still to be told. It takes what is left of DRAIN_TIMEOUT at most, and a second
// where that is less, whatever does not answer.
func (p *Plane) Close() {
	var others []func(time.Time)
	if p.Governor != nil {
		others = append(others, p.Governor.CloseBy)
	}
	p.End(p.entitled.Close, others...)
	p.file.close()
}

// Catalog is the one in force, nil where the start failed by its faults.
func (p *Plane) Catalog() *catalog.Catalog { return p.current.Load().catalog }

// Gate is what stands before every message now.
func (p *Plane) Gate() *admission.Gate { return p.current.Load().gate }

// Headers are those that mirror arguments of a tool.
func (p *Plane) Headers(tool string) []mcp.HeaderParam { return p.Catalog().Headers(tool) }

// Tools are the names of the tools that are served, without those of the governor.
func (p *Plane) Tools() []string {
	var names []string
	p.Catalog().EachTool(func(name string, _ catalog.Terms) error {
		if !strings.HasPrefix(name, agenttools.Prefix) {
			names = append(names, name)
		}
		return nil
	})
	return names
}

// Self is what the instance says of itself.
func (p *Plane) Self() fleet.Instance {
	i := fleet.Instance{
		Name: p.Instance, Version: p.Options.Info.Version, Began: p.Start.UTC(), Seen: time.Now().UTC(), Ready: !p.Draining() && p.Governs(), Degraded: p.Degraded(),
		Tenants: p.Callers.Tenants, Catalog: p.current.Load().served.name, SealingKeys: p.Ring().IDs(),
	}
	for _, h := range p.Gate().Held() {
		i.Holdings = append(i.Holdings, fleet.Holding(h))
	}
	return i
}
