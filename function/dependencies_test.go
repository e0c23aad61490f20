package function

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"example.com/erlmcp/function/internal/app"
	"example.com/erlmcp/function/internal/directives"
	"example.com/erlmcp/function/internal/entitlement"
	"example.com/erlmcp/function/internal/governor"
	"example.com/erlmcp/function/internal/identity"
	"example.com/erlmcp/function/internal/receipt"
)

// A way is how a dependency is away.
type way string

const (
	there   way = "there"
	refuses way = "refuses" // connections end, and new ones are refused
	hangs   way = "hangs"   // nothing is answered
)

// An absence takes a dependency away, and brings it back.
type absence struct {
	address string // of what is connected to; "" for what is called in the process

	mu    sync.Mutex
	how   way
	back  chan struct{} // closed when what hung answers again
	conns []net.Conn
}

func (a *absence) turn(to way) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.back != nil {
		close(a.back)
		a.back = nil
	}
	switch a.how = to; to {
	case hangs:
		a.back = make(chan struct{})
	case refuses:
		for _, c := range a.conns {
			c.Close()
		}
		a.conns = nil
	}
}

func (a *absence) now() (way, <-chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.how, a.back
}

// dial connects as the tests' network does, and not to what is away.
func (a *absence) dial(ctx context.Context, network_, address string) (net.Conn, error) {
	if address != a.address {
		return network.Dial(ctx, network_, address)
	}
	if how, _ := a.now(); how == refuses {
		return network.Dial(ctx, network_, "127.0.0.1:1")
	}
	c, err := network.Dial(ctx, network_, address)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.how == refuses { // by now
		c.Close()
		return nil, io.ErrUnexpectedEOF
	}
	a.conns = append(a.conns, c)
	return &silent{Conn: c, absence: a}, nil
}

// An silent connection takes what is written, and loses it from when its other end hangs on.
type silent struct {
	net.Conn
	absence *absence
	mu      sync.Mutex
	lost    bool
}

// Write implements [net.Conn].
func (u *silent) Write(b []byte) (int, error) {
	how, _ := u.absence.now()
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.lost = u.lost || how == hangs; u.lost {
		return len(b), nil
	}
	return u.Conn.Write(b)
}

// meet is how a store that is away answers.
func (a *absence) meet(ctx context.Context) error {
	switch how, back := a.now(); how {
	case refuses:
		return fmt.Errorf("the store: %w", io.ErrUnexpectedEOF)
	case hangs:
		select {
		case <-back:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// directivesStore is another name, beside that of a store of receipts.
type directivesStore = directives.Store

// awayStore is a store that may be away.
type awayStore struct {
	governor.Epochs
	directivesStore
	governor.QuotaStore
	directives.VersionStore
	receipt.Store
	tenant entitlement.Store
	identity.KeyStore
	absence *absence
}

func (s awayStore) Next(ctx context.Context) (int64, bool, error) {
	if err := s.absence.meet(ctx); err != nil {
		return 0, false, err
	}
	return s.Epochs.Next(ctx)
}

func (s awayStore) Directives(ctx context.Context) (directives.Directives, error) {
	if err := s.absence.meet(ctx); err != nil {
		return directives.Directives{}, err
	}
	return s.directivesStore.Directives(ctx)
}

func (s awayStore) Take(ctx context.Context, key, day string, most, want int64) (taken, left int64, err error) {
	if err := s.absence.meet(ctx); err != nil {
		return 0, 0, err
	}
	return s.QuotaStore.Take(ctx, key, day, most, want)
}

func (s awayStore) Return(ctx context.Context, key, day string, n int64) error {
	if err := s.absence.meet(ctx); err != nil {
		return err
	}
	return s.QuotaStore.Return(ctx, key, day, n)
}

func (s awayStore) Versions(ctx context.Context) (directives.Versions, error) {
	if err := s.absence.meet(ctx); err != nil {
		return nil, err
	}
	return s.VersionStore.Versions(ctx)
}

func (s awayStore) PutSegment(ctx context.Context, x *receipt.Segment) error {
	if err := s.absence.meet(ctx); err != nil {
		return err
	}
	return s.Store.PutSegment(ctx, x)
}

func (s awayStore) LastRoot(ctx context.Context) (*receipt.Root, error) {
	if err := s.absence.meet(ctx); err != nil {
		return nil, err
	}
	return s.Store.LastRoot(ctx)
}

func (s awayStore) KeyChanges(ctx context.Context, since int64) ([]*identity.StoredKey, int64, error) {
	if err := s.absence.meet(ctx); err != nil {
		return nil, 0, err
	}
	return s.KeyStore.KeyChanges(ctx, since)
}

type awayTenants struct {
	entitlement.Store
	absence *absence
}

func (s awayTenants) Changes(ctx context.Context, since int64) (*entitlement.Changes, error) {
	if err := s.absence.meet(ctx); err != nil {
		return nil, err
	}
	return s.Store.Changes(ctx, since)
}

// stand puts the absence before the stores.
func (a *absence) stand(p *app.Stores) {
	s := awayStore{p.Epochs, p.Directives, p.Quotas, p.Versions, p.Receipts, nil, p.Keys, a}
	p.Directives, p.Quotas, p.Versions, p.Receipts, p.Keys = s, s, s, s, s
	if p.Redis != nil {
		p.Epochs = s
	}
	p.Tenants = awayTenants{p.Tenants, a}
}

// A dependency is what a server needs and can be away.
type dependency struct {
	name string
	// prepare makes it, and returns the settings and options of a server that needs it.
	prepare func(t *testing.T, a *absence) (settings []string, opts []Option)
	token   func(t *testing.T) string // that calls bring
	settle  time.Duration             // until an absence shows while it runs
	lags    time.Duration             // by which /ready says later that it is back
	said    string                    // of /ready, once it shows
}

func dependencies() []dependency {
	ofURL := func(a *absence, text string) {
		u, err := url.Parse(text)
		if err != nil {
			panic(err)
		}
		a.address = u.Host
	}
	store := func(opts ...string) func(*testing.T, *absence) ([]string, []Option) {
		return func(t *testing.T, a *absence) ([]string, []Option) {
			settings := opts
			if opts == nil {
				settings = []string{"REDIS_URL", network.Redis(t).URL}
			}
			return settings, []Option{WithMemory(NewInMemoryStore()), func(o *Options) { o.stand.Stores = a.stand }}
		}
	}
	issuer := ""
	return []dependency{
		{name: "Redis", said: "governor: ", prepare: func(t *testing.T, a *absence) ([]string, []Option) {
			redis := network.Redis(t)
			ofURL(a, redis.URL)
			return []string{"REDIS_URL", redis.URL}, []Option{WithMemory(NewInMemoryStore())}
		}},
		{name: "the store of one instance", said: "the store", prepare: store("GOVERNOR_SCOPE", "instance")},
		{name: "the store of a fleet", said: "the store", prepare: store()},
		{name: "the collector", lags: 20 * time.Second, said: "telemetry: ", prepare: func(t *testing.T, a *absence) ([]string, []Option) {
			collector := network.Serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) }))
			ofURL(a, collector)
			return []string{"OTEL_EXPORTER_OTLP_ENDPOINT", collector, "OTEL_TRACES_SAMPLER", "always_on", "OTEL_METRIC_EXPORT_INTERVAL", "5000"}, nil
		}},
		{name: "the issuer", settle: 11 * time.Minute, said: "authentication: ", prepare: func(t *testing.T, a *absence) ([]string, []Option) {
			issuer = newIssuer(t)
			ofURL(a, issuer)
			return []string{"AUTHENTICATION", "oauth", "OAUTH_ISSUERS", issuer, "PUBLIC_URL", "https://mcp.example.com", "EGRESS_ALLOW", "127.0.0.0/8"}, nil
		}, token: func(t *testing.T) string {
			return sign(t, jose.RS256, rsaKey(), "rsa", map[string]any{"iss": issuer, "sub": "alice", "aud": "https://mcp.example.com", "exp": time.Now().Add(time.Hour).Unix()})
		}},
	}
}

const (
	// Each answer of a server whose dependency is away comes within these.
	maxReady = 3 * time.Second
	maxCall  = 6 * time.Second
	// saidWithin is by when /ready says so, and wellWithin by when all is well again.
	saidWithin = 25 * time.Second
	wellWithin = 6 * time.Second
	// endsWithin is the default of DRAIN_TIMEOUT.
	endsWithin = 8 * time.Second
)

// A tried server is one whose dependency is taken away.
type tried struct {
	t     *testing.T
	d     dependency
	base  string
	token string
	term  context.CancelFunc
	s     *Server
	ended chan error
	held  chan struct{} // gets one when a call runs that does not end
}

func try(t *testing.T, d dependency, a *absence, from way) *tried {
	settings, more := d.prepare(t, a)
	a.turn(from)
	x := &tried{t: t, d: d, ended: make(chan error, 1), held: make(chan struct{}, 1)}
	opts := append([]Option{WithGetenv(env(settings...)), WithLogger(logTo(t)), func(o *Options) { o.stand.Dial = a.dial }, WithTools(
		NewTool("work", "Works.", func(context.Context, None) (string, error) { return "worked", nil }, ToolOptions{PerSecond: 100, Burst: 10}),
		NewTool("hold", "Does not end.", func(ctx context.Context, _ None) (string, error) {
			x.held <- struct{}{}
			<-ctx.Done()
			return "", ctx.Err()
		}, ToolOptions{Timeout: time.Hour}),
	)}, more...)
	ctx, term := context.WithCancel(t.Context())
	begin := time.Now()
	s, err := assemble(ctx, opts...)
	if err != nil {
		t.Fatal(err)
	}
	x.within("the start", begin, time.Second)
	ln := network.Listen()
	x.s, x.term, x.base = s, term, "http://"+ln.Addr().String()
	go func() { x.ended <- s.plane.(listens).Serve(ctx, ln) }()
	if d.token != nil {
		x.token = "Bearer " + d.token(t)
	}
	return x
}

func (x *tried) within(what string, begin time.Time, most time.Duration) {
	x.t.Helper()
	if took := time.Since(begin); took > most {
		x.t.Errorf("%s took %v, more than %v", what, took, most)
	}
}

func (x *tried) ready() string {
	x.t.Helper()
	begin := time.Now()
	status, body := get(x.t, x.base+"/ready")
	x.within("/ready", begin, maxReady)
	return fmt.Sprint(status, " ", body)
}

func (x *tried) call(tool string) string {
	x.t.Helper()
	begin := time.Now()
	w := modern("tools/call", tool, `"name":"`+tool+`"`)
	if x.token != "" {
		w = w.with("Authorization", x.token)
	}
	_, got := w.send(x.t, x.base)
	x.within("a call", begin, maxCall)
	return got
}

// well wants that calls are served and nothing is degraded.
func (x *tried) well(within time.Duration) {
	x.t.Helper()
	begin := time.Now()
	for {
		got, ready := x.call("work"), x.ready()
		if strings.Contains(got, "worked") && strings.HasPrefix(ready, "200") && strings.Contains(ready, `"degraded":[]`) {
			return
		}
		if time.Since(begin) > within+x.d.lags {
			x.t.Errorf("after %v: a call gets %s, and /ready says %s", time.Since(begin), got, ready)
			return
		}
		time.Sleep(100 * time.Millisecond) // in a bubble
	}
}

// told wants that /ready says what is away.
func (x *tried) told() {
	x.t.Helper()
	time.Sleep(x.d.settle) // in a bubble
	begin := time.Now()
	for {
		x.call("work")
		ready := x.ready()
		if strings.Contains(ready, x.d.said) {
			return
		}
		if time.Since(begin) > saidWithin {
			x.t.Errorf("after %v /ready does not say %q: %s", time.Since(begin), x.d.said, ready)
			return
		}
		time.Sleep(time.Second) // in a bubble
	}
}

// end tells the server to go, and wants that it does in time.
func (x *tried) end(before func()) {
	x.t.Helper()
	begin := time.Now()
	x.term()
	before()
	<-x.ended
	x.s.Close()
	x.within("the end", begin, endsWithin)
}

// TestDependencies takes each dependency away, in each way, at each moment of start, run and end. Whatever waits for it then has a
// bound, /ready says what is missing, and when it is back all is well again within seconds.
func TestDependencies(t *testing.T) {
	if os.Getenv("FIRESTORE_EMULATOR_HOST") != "" {
		t.Skip("the settings name an emulator")
	}
	nothing := func() {}
	moments := map[string]func(t *testing.T, d dependency, a *absence, how way){
		"start": func(t *testing.T, d dependency, a *absence, how way) {
			x := try(t, d, a, how)
			x.told()
			a.turn(there)
			x.well(wellWithin)
			x.end(nothing)
		},
		"run": func(t *testing.T, d dependency, a *absence, how way) {
			x := try(t, d, a, there)
			x.well(wellWithin)
			a.turn(how)
			x.told()
			a.turn(there)
			x.well(wellWithin)
			x.end(nothing)
		},
		"a long time": func(t *testing.T, d dependency, a *absence, how way) {
			x := try(t, d, a, there)
			x.well(wellWithin)
			a.turn(how)
			for range 10 {
				time.Sleep(90 * time.Second) // in a bubble
				x.call("work")
			}
			x.told()
			a.turn(there)
			x.well(wellWithin)
			x.end(nothing)
		},
		"start to end": func(t *testing.T, d dependency, a *absence, how way) {
			x := try(t, d, a, how)
			x.call("work")
			x.end(nothing)
		},
		"the end": func(t *testing.T, d dependency, a *absence, how way) {
			x := try(t, d, a, there)
			x.well(wellWithin)
			x.call("work")
			a.turn(how)
			x.end(nothing)
		},
		"the end of a call": func(t *testing.T, d dependency, a *absence, how way) {
			x := try(t, d, a, there)
			x.well(wellWithin)
			var calling sync.WaitGroup
			calling.Go(func() {
				w := modern("tools/call", "hold", `"name":"hold"`)
				if x.token != "" {
					w = w.with("Authorization", x.token)
				}
				w.send(t, x.base)
			})
			<-x.held
			a.turn(how)
			x.end(nothing)
			calling.Wait()
		},
		"the drain": func(t *testing.T, d dependency, a *absence, how way) {
			x := try(t, d, a, there)
			x.well(wellWithin)
			x.end(func() {
				time.Sleep(500 * time.Millisecond) // in a bubble
				x.call("work")
				a.turn(how)
			})
		},
	}
	for _, d := range dependencies() {
		for moment, run := range moments {
			for _, how := range []way{refuses, hangs} {
				t.Run(fmt.Sprintf("%s/%s/%s", d.name, moment, how), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						a := &absence{how: there}
						t.Cleanup(func() {
							a.turn(there)
							time.Sleep(time.Minute) // in a bubble: what waits ends by its bound
						})
						run(t, d, a, how)
					})
				})
			}
		}
	}
}
