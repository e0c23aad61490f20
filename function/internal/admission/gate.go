// Package admission stands before every message: it finds out who calls, what the caller may see and do, and decides by the
// governor's limits whether the call may proceed. A modern request is decided from its headers, before its body is read; a
// legacy one, and each element of a batch, once it is decoded. What is no call, such as a list, a ping or a malformed body, is counted
// apart, so that a client whose calls are refused can connect and list.
package admission

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"example.com/erlmcp/function/internal/catalog"
	"example.com/erlmcp/function/internal/directives"
	"example.com/erlmcp/function/internal/entitlement"
	"example.com/erlmcp/function/internal/governor"
	"example.com/erlmcp/function/internal/identity"
	"example.com/erlmcp/function/internal/loadshed"
	"example.com/erlmcp/function/internal/policy"
	"example.com/erlmcp/function/internal/receipt"
)

// Options configure a [Gate].
type Options struct {
	Governor *governor.Governor    // nil admits all that the load shedder does
	Shedder  *loadshed.LoadShedder // nil admits all
	Catalog  *catalog.Catalog
	Callers  *identity.Authenticator
	Scopes   []string           // that every call needs
	Metadata string             // URL of the protected resource metadata (RFC 9728), "" where no tokens are taken
	Policy   func() *policy.Set // in force; nil for none
	Quotas   bool               // there is a store to keep daily quotas in
	// Entitlements are what tenants have beyond that; nil: all have the same.
	Entitlements *Entitlements
	// What is allowed on all calls together, and to each tenant and client: rates, concurrent calls and calls a day.
	Everything, EachTenant, EachClient, Anonymous governor.Limit

	Journal receipt.Recorder // nil records nothing
	Now     func() time.Time
	Logger  *slog.Logger
	Tracer  trace.Tracer
	// Believe is told of a request whose caller is known: what it says of its trace counts.
	Believe func(context.Context) context.Context
}

// A Gate implements [mcp.Gate], for one catalog.
type Gate struct {
	*lasting
	opts    Options
	mu      sync.Mutex
	callers atomic.Pointer[callers]
	broken  atomic.Pointer[string]
	ruled   bool // an entry has rules of its own
	packed  bool // an entry is of a pack, and not all tenants have all
}

// lasting is what does not depend on the catalog: a gate that takes another's place goes on with it.
type lasting struct {
	decided decisions

	telling sync.Mutex
	told    map[string]time.Time // when the log last heard of a limit in shadow mode

	fingerprints  sync.Map // of principals, by their names
	fingerprinted atomic.Int64
}

// callers remember what the governor is asked for each caller and rule.
type callers struct {
	rules     *rules
	known     sync.Map // caller: *governor.Call
	size      atomic.Int64
	directory *entitlement.Directory // nil where there is none
	standings sync.Map               // tenant: *tenant.Standing
	until     atomic.Int64           // in Unix nanoseconds, when the clock changes the first of them
}

type caller struct {
	name string // of the principal
	rule string // a tool, or kindOther or kindCall
}

const (
	kindOther = "\x00other"
	kindCall  = "\x00call"
)

const (
	// maxCallers bounds what is remembered of callers.
	maxCallers = 10000
	// maxTold bounds the scopes that the log has lately heard of: catalogs come with names of their own.
	maxTold = 1000
)

// New returns a gate. Its error lists the faults of the limits.
func New(o Options) (*Gate, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Tracer == nil {
		o.Tracer = noop.NewTracerProvider().Tracer("")
	}
	if o.Believe == nil {
		o.Believe = func(ctx context.Context) context.Context { return ctx }
	}
	return newGate(o, &lasting{told: map[string]time.Time{}})
}

// Over returns a gate for the catalog that is to take the place of this one's: by the same options, and with what is known of callers, and
// what operators have ordered, as this gate knows it. The error is that of [New].
func (g *Gate) Over(c *catalog.Catalog) (*Gate, error) {
	o := g.opts
	o.Catalog = c
	next, err := newGate(o, g.lasting)
	if err != nil {
		return nil, err
	}
	known := g.callers.Load()
	next.generation(known.rules.directives, known.directory)
	return next, nil
}

func newGate(o Options, l *lasting) (*Gate, error) {
	g := &Gate{lasting: l, opts: o, ruled: o.Catalog.Ruled(), packed: o.Entitlements != nil && o.Catalog.Packed()}
	r, err := makeRules(&o, &directives.Directives{})
	if o.Governor != nil {
		r.directives = nil // those of the governor are asked for at the first call
	}
	g.callers.Store(newCallers(r, nil))
	return g, err
}

// call returns what the governor is to be asked for a message.
func (c *callers) call(g *Gate, p *identity.Principal, method, name string) *governor.Call {
	key := caller{name: p.String(), rule: kindOther}
	base, isCall := &c.rules.other.call, false
	switch method {
	case "tools/call":
		if t, ok := c.rules.tools[name]; ok { // an unknown one is no call, and has no key
			key.rule, base, isCall = name, &t.call, true
		}
	case "prompts/get", "resources/read", "completion/complete":
		key.rule, base, isCall = kindCall, &c.rules.call.call, true
	}
	if known, ok := c.known.Load(key); ok {
		return known.(*governor.Call)
	}
	call := c.rules.of(p, c.standing(g, p), base, isCall)
	if c.size.Add(1) > maxCallers {
		c.known.Clear()
		c.size.Store(1)
	}
	c.known.Store(key, call)
	return call
}

// tell says in the log what was decided about a scope, once a second. The scopes are those of limits and rules, never what a
// caller writes.
func (g *Gate) tell(ctx context.Context, what, scope, requestID string, more ...any) {
	g.telling.Lock()
	defer g.telling.Unlock()
	if now := g.opts.Now(); now.Sub(g.told[scope]) >= time.Second {
		if len(g.told) >= maxTold {
			clear(g.told)
		}
		g.told[scope] = now
		g.opts.Logger.WarnContext(ctx, what, append([]any{"scope", scope, "request_id", requestID}, more...)...)
	}
}

// Informed asks for what is not fresh, and tells whether the gate can let calls in: not where it is not known what operators have
// ordered, and what tenants are entitled to.
func (g *Gate) Informed(ctx context.Context) bool {
	known := g.opts.Governor == nil || g.opts.Governor.Informed(ctx)
	if known && g.opts.Entitlements != nil {
		_, known = g.opts.Entitlements.Directory(ctx)
	}
	return known
}

// Ready tells the same as far as calls have found out.
func (g *Gate) Ready() bool {
	return (g.opts.Governor == nil || g.opts.Governor.Known()) && (g.opts.Entitlements == nil || g.opts.Entitlements.Known())
}

// Held lists what this instance has leased of the limits.
func (g *Gate) Held() []governor.HeldLimit {
	if g.opts.Governor == nil {
		return nil
	}
	return g.opts.Governor.Held()
}

// Degraded says what does not work as it should.
func (g *Gate) Degraded() []string {
	if g.opts.Governor == nil {
		return nil
	}
	out := g.opts.Governor.Degraded()
	if g.opts.Governor.Known() { // so that what is wrong with the directives is told before the first call
		g.generation(g.opts.Governor.InForce(), g.callers.Load().directory)
	}
	if scopes := g.opts.Governor.Competed(); len(scopes) > 0 && !g.callers.Load().rules.ofTenants() {
		out = append(out, fmt.Sprintf("governor: several tenants asked for more than the limit on %s within the last minute, and took turns: "+
			"give each a limit of its own, by TENANT_RATE_LIMIT_PER_SECOND or by erlmcp limits each-tenant -per-second N", strings.Join(scopes, ", ")))
	}
	if text := g.broken.Load(); text != nil {
		out = append(out, *text)
	}
	return out
}
