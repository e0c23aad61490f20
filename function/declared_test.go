package function

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/erlmcp/function/internal/app/controlplane"
	"example.com/erlmcp/function/internal/catalog"
	"example.com/erlmcp/function/internal/directives"
	"example.com/erlmcp/function/internal/governor"
	"example.com/erlmcp/function/internal/identity"
	"example.com/erlmcp/function/internal/mcp"
	"example.com/erlmcp/function/internal/receipt"
	"example.com/erlmcp/function/internal/receipt/verify"
)

// declarations is how many take each other's place in a test: with make simulate a thousand.
var declarations = flag.Int("declarations", 200, "how many declarations take each other's place")

// rateOf is the rate of a tool in version k: so low that once it is used up it stays so, and for each version another one.
func rateOf(k int) float64 { return float64(100+k) / 1e6 }

// edition declares the version k of a catalog, in which everything says k: the answers, what they read, a limit, and the name of a tool.
func edition(k int) catalog.Declaration {
	version := strconv.Itoa(k)
	read := func(ctx context.Context) (string, error) {
		r, err := mcp.FromContext(ctx).Read(ctx, "note://version")
		if err != nil {
			return "", err
		}
		return version + " " + r.Contents[0].Text, nil
	}
	tool := func(name string, call func(context.Context) (string, error), limits governor.Limit) *catalog.Tool {
		t := catalog.FromFunc(name, "Says the version "+version+".", func(ctx context.Context, _ catalog.None) (string, error) { return call(ctx) })
		t.Terms.Limits, t.Terms.Breaker = limits, governor.Breaker{Failures: 3, Rest: time.Second}
		return t
	}
	return catalog.Declaration{Hash: version, Entries: []catalog.Entry{
		tool("which", read, governor.Limit{}),
		tool("wait", func(ctx context.Context) (string, error) {
			time.Sleep(35 * time.Millisecond) // in a bubble: longer than a version is in force
			return read(ctx)
		}, governor.Limit{Concurrency: 100}),
		tool("limited", read, governor.Limit{PerSecond: rateOf(k), Burst: 1}),
		tool("only"+version, read, governor.Limit{}),
		&catalog.Resource{URI: "note://version", Name: "version", Read: func(context.Context, string, map[string]string) (*mcp.ReadResult, error) {
			return &mcp.ReadResult{Contents: []mcp.ResourceContents{{Text: version}}}, nil
		}},
	}}
}

// A changing fleet has declarations take each other's place on each of its instances.
type changing struct {
	t       *testing.T
	client  *http.Client
	servers []testServer
	begun   []atomic.Int64 // of each instance, the version whose declaration has begun last
	inForce []atomic.Int64 // and has ended

	mu       sync.Mutex
	versions map[string]int // of catalogs, as receipts have them
	answered map[string]int // version by request
	refused  int
}

func (f *changing) declare(i, k int) {
	f.begun[i].Store(int64(k))
	p := data(f.servers[i].Server)
	if err := p.Declare(edition(k)); err != nil {
		f.t.Error(err)
	}
	f.inForce[i].Store(int64(k))
	f.mu.Lock()
	defer f.mu.Unlock()
	f.versions[p.Catalog().Version()] = k
}

// send sends a request in one of the eras, and returns the result's text, or the error's.
func (f *changing) send(i int, isModern bool, method, name string) (id, text string) {
	params := ""
	if name != "" {
		params = `"name":"` + name + `"`
	}
	w := legacy("2025-11-25", method, params)
	if isModern {
		w = modern(method, name, params)
	}
	resp, err := f.client.Do(w.request(f.t, f.servers[i].URL))
	if err != nil {
		f.t.Error(err)
		return "", ""
	}
	defer resp.Body.Close()
	var a struct {
		Result struct {
			Content []struct{ Text string }
			Tools   []struct{ Name string }
		}
		Error struct{ Message string }
	}
	if err := json.NewDecoder(resp.Body).Decode(&a); err != nil {
		f.t.Errorf("%s %s: %d %v", method, name, resp.StatusCode, err)
	}
	for _, tool := range a.Result.Tools {
		text += tool.Name + " "
	}
	for _, c := range a.Result.Content {
		text += c.Text
	}
	return resp.Header.Get("X-Request-Id"), text + a.Error.Message
}

var refusedAt = regexp.MustCompile(`^refused: the limit of (0\.\d+) calls a second on tool:limited is reached`)

// call calls a tool, and holds the answer against the versions that it may be of.
func (f *changing) call(i int, isModern bool, name string) {
	from := int(f.inForce[i].Load())
	id, text := f.send(i, isModern, "tools/call", name)
	to := int(f.begun[i].Load())
	var own, read int
	if m := refusedAt.FindStringSubmatch(text); name == "limited" && m != nil {
		rate, _ := strconv.ParseFloat(m[1], 64)
		own = int(rate*1e6+0.5) - 100
		read = own
		f.mu.Lock()
		f.refused++
		f.mu.Unlock()
	} else if _, err := fmt.Sscanf(text, "%d %d", &own, &read); err != nil {
		f.t.Errorf("%s fails: %s", name, text)
		return
	} else {
		f.mu.Lock()
		f.answered[id] = own
		f.mu.Unlock()
	}
	if own != read || own < from || own > to {
		f.t.Errorf("%s answers %q, while %d to %d are in force", name, text, from, to)
	}
}

// TestDeclarationsUnderCalls has declarations take each other's place on two instances, one a while after the other, under 200 calls a second: no call
// fails, each is answered, limited and recorded by one version, which was in force when it came; what is added is there at once, and what is taken away
// is not.
func TestDeclarationsUnderCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		redis, memory := network.Redis(t), NewInMemoryStore()
		f := &changing{t: t, client: network.Client(t), versions: map[string]int{}, answered: map[string]int{}, begun: make([]atomic.Int64, 2), inForce: make([]atomic.Int64, 2)}
		for range 2 {
			f.servers = append(f.servers, start(t, WithMemory(memory), WithLogger(slog.New(slog.DiscardHandler)), WithGetenv(env("REDIS_URL", redis.URL)), WithTools(
				NewTool("own", "Of the program.", func(context.Context, None) (string, error) { return "here", nil }))))
		}
		f.declare(0, 1)
		f.declare(1, 1)
		f.call(0, true, "limited") // which uses it up
		time.Sleep(time.Second)
		done := make(chan struct{})
		var calling sync.WaitGroup
		for n := range 8 { // 25 calls a second each
			calling.Go(func() {
				for m := n; ; m++ {
					select {
					case <-done:
						return
					default:
					}
					began := time.Now()
					f.call(n%2, m%2 == 0, []string{"which", "wait", "limited", "which"}[m/2%4])
					time.Sleep(time.Until(began.Add(40 * time.Millisecond)))
				}
			})
		}
		for k := 2; k <= *declarations; k++ {
			for _, i := range []int{k % 2, 1 - k%2} {
				f.declare(i, k)
				time.Sleep(11 * time.Millisecond)
				if k%10 > 1 && k < *declarations {
					continue
				}
				isModern := k%20 > 1
				was, is := fmt.Sprint("only", k-1), fmt.Sprint("only", k)
				f.call(i, isModern, is)
				if _, text := f.send(i, isModern, "tools/call", was); text != fmt.Sprintf("unknown tool: %q", was) {
					t.Errorf("what was taken away answers %q", text)
				}
				if _, text := f.send(i, isModern, "tools/list", ""); text != "limited "+is+" own wait which " {
					t.Errorf("version %d lists %s", k, text)
				}
			}
		}
		close(done)
		calling.Wait()
		for i := range f.servers {
			_, metrics := get(t, f.servers[i].URL+"/metrics")
			names := map[string]bool{}
			for _, name := range regexp.MustCompile(`="(which|only\d+)"`).FindAllStringSubmatch(metrics, -1) {
				names[name[1]] = true
			}
			if len(names) != 2 || !names["which"] || !names[fmt.Sprint("only", *declarations)] {
				t.Errorf("there are series of %v", names)
			}
			f.servers[i].Close()
		}
		recorded, refusals := 0, 0
		for r, err := range verify.Select(t.Context(), memory.memory.Receipts, identity.TenantAnonymous, time.Time{}, time.Time{}) {
			if err != nil {
				t.Fatal(err)
			}
			version, known := f.versions[r.Catalog]
			if !known {
				t.Fatalf("the catalog %s was never in force", r.Catalog)
			}
			if k := f.answered[r.ID]; k != 0 && (r.Kind != receipt.Completed || k != version) {
				t.Errorf("a call that version %d answered is recorded as %s of %d", k, r.Kind, version)
			} else if k != 0 {
				recorded++
			}
			if r.Kind == receipt.Refused {
				if want := fmt.Sprintf("tool:limited %s/s", strconv.FormatFloat(rateOf(version), 'f', -1, 64)); r.Limit != want {
					t.Errorf("version %d refuses by %s", version, r.Limit)
				}
				refusals += 1 + int(r.More)
			}
		}
		if recorded != len(f.answered) || refusals != f.refused || refusals < *declarations/10 {
			t.Errorf("%d of %d answers are recorded, and %d of %d refusals", recorded, len(f.answered), refusals, f.refused)
		}
		t.Logf("%d declarations, %d answers, %d refusals", 2*(*declarations), recorded, refusals)
	})
}

// TestBatchIsOfOneVersion has another declaration take the place of one while the first message of a batch runs: the others are of the same version.
func TestBatchIsOfOneVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, WithLoopback(), WithGetenv(env("GOVERNOR_SCOPE", "instance")))
		declare := func(k int) {
			t.Helper()
			if err := data(s.Server).Declare(edition(k)); err != nil {
				t.Fatal(err)
			}
		}
		declare(1)
		w := legacy("2025-03-26", "tools/call", "")
		one := func(tool string) string {
			return `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"` + tool + `"}}`
		}
		w.body = "[" + one("wait") + "," + one("which") + "," + one("only1") + "," + one("only2") + "]"
		answer := make(chan string)
		go func() {
			_, got := w.send(t, s.URL)
			answer <- got
		}()
		time.Sleep(10 * time.Millisecond) // in a bubble: the first waits for longer
		declare(2)
		if _, got := legacy("2025-03-26", "tools/call", `"name":"which"`).send(t, s.URL); !strings.Contains(got, `"2 2"`) {
			t.Errorf("beside it: %s", got)
		}
		if got := <-answer; strings.Count(got, `"text":"1 1"`) != 3 || !strings.Contains(got, `unknown tool: \"only2\"`) {
			t.Errorf("the batch: %s", got)
		}
	})
}

// TestMemoryOfDeclarations declares ever other tools, which are called and refused: of those that were, next to nothing is kept.
func TestMemoryOfDeclarations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		redis := network.Redis(t)
		s := start(t, WithMemory(NewInMemoryStore()), WithLogger(slog.New(slog.DiscardHandler)), WithGetenv(env("REDIS_URL", redis.URL, "RECEIPTS", "false")))
		f := &changing{t: t, client: network.Client(t), servers: []testServer{s}}
		declare := func(k int) {
			t.Helper()
			d := edition(k)
			rare := catalog.FromFunc(fmt.Sprint("rare", k), "Once in a while.", func(context.Context, struct {
				Name  string `json:"name,omitempty"`
				Count []int  `json:"count,omitempty"`
			}) (string, error) {
				return "here", nil
			})
			rare.Terms.Limits = governor.Limit{PerSecond: 0.1, Burst: 1}
			d.Entries = append(d.Entries, rare)
			if err := data(s.Server).Declare(d); err != nil {
				t.Fatal(err)
			}
			for _, c := range []struct{ tool, says string }{
				{fmt.Sprint("only", k), fmt.Sprintf("%d %d", k, k)}, {rare.Name, "here"}, {rare.Name, "calls a second"}, {fmt.Sprint("only", k-1), "unknown tool"},
			} {
				if _, text := f.send(0, k%2 == 0, "tools/call", c.tool); !strings.Contains(text, c.says) {
					t.Fatalf("%s answers %s", c.tool, text)
				}
			}
			time.Sleep(100 * time.Millisecond)
		}
		live := func() int64 {
			runtime.GC()
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			return int64(m.HeapAlloc)
		}
		for k := range 50 {
			declare(k + 1)
		}
		n := *declarations
		before := live()
		for k := range n {
			declare(k + 51)
		}
		grown := live() - before
		t.Logf("%d declarations have taken %d bytes", n, grown)
		if grown/int64(n) > 4<<10 { // an edition has some 60 kB; the Redis of the test has of each name half a kB
			t.Errorf("%d declarations have taken %d bytes", n, grown)
		}
	})
}

// TestOrdersAboutWhatIsDeclared gives orders about a tool and an upstream before any instance serves them, and after: they hold from the
// first call on, and the control plane knows the names as soon as any order is in force anywhere.
func TestOrdersAboutWhatIsDeclared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		redis, memory := network.Redis(t), NewInMemoryStore()
		file, keys := keyFile(t, identity.Key{Tenant: "acme", Subject: "ci", Scopes: []string{"*"}})
		a := packed(t, memory, "REDIS_URL", redis.URL, "API_KEYS_FILE", file)
		p := data(a.Server)
		fleet := controlplane.NewFleet(p.Config, p.Catalog(), p.Stores)
		call := func(tool string) string {
			_, body := modern("tools/call", tool, `"name":"`+tool+`"`).with("Authorization", "Bearer "+keys[0]).send(t, a.URL)
			return body
		}
		order := func(change func(*directives.Directives) error) {
			t.Helper()
			if _, err := fleet.Change(t.Context(), change); err != nil {
				t.Fatal(err)
			}
		}
		tool := func(name, upstream string) catalog.Entry {
			tool := catalog.FromFunc(name, "Declared.", func(context.Context, catalog.None) (string, error) { return "here", nil })
			tool.Terms.Upstream = upstream
			return tool
		}
		perSecond := 0.25
		call("plain")

		order(func(d *directives.Directives) error {
			return d.Override(directives.Override{Scope: "tool:early", Limits: directives.Limits{PerSecond: &perSecond}, At: time.Now()})
		})
		order(func(d *directives.Directives) error {
			return d.Kill(directives.Kill{Scope: "upstream:crm", Reason: "it leaks", At: time.Now()})
		})
		time.Sleep(inForce)
		if scope := fleet.Known("tool:early"); scope != "" {
			t.Errorf("%s is known before it is declared", scope)
		}
		if err := p.Declare(catalog.Declaration{Hash: "1", Entries: []catalog.Entry{tool("early", ""), tool("late", ""), tool("ask", "crm")}}); err != nil {
			t.Fatal(err)
		}
		for tool, want := range map[string]string{"early": `"here"`, "late": `"here"`, "ask": "an operator has stopped upstream:crm: it leaks"} {
			if body := call(tool); !strings.Contains(body, want) {
				t.Errorf("%s: %s", tool, body)
			}
		}
		if body := call("early"); !strings.Contains(body, "the limit of 0.25 calls a second on tool:early is reached") {
			t.Error(body)
		}
		within(t, inForce+time.Second, func() string {
			for _, scope := range []string{"tool:early", "tool:late", "upstream:crm", "tool:plain"} {
				if fleet.Known(scope) == "" {
					return scope + " is not known"
				}
			}
			return ""
		})
		order(func(d *directives.Directives) error {
			return d.Kill(directives.Kill{Scope: "tool:late", Reason: "later", At: time.Now()})
		})
		within(t, inForce, func() string {
			if body := call("late"); !strings.Contains(body, "an operator has stopped tool:late: later") {
				return body
			}
			return ""
		})
		if err := p.Declare(catalog.Declaration{Hash: "2", Entries: []catalog.Entry{tool("late", "")}}); err != nil {
			t.Fatal(err)
		}
		if body := call("late"); !strings.Contains(body, "an operator has stopped tool:late") {
			t.Errorf("another declaration lifts the kill switch: %s", body)
		}
		within(t, inForce+time.Second, func() string { return fleet.Known("tool:early") })
	})
}
