package observability

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/erlmcp/function"
	"example.com/erlmcp/local/embedded"
)

// serve runs the function on an embedded Redis, as the local run does, until it is told to stop.
func serve(t *testing.T, further map[string]string) (url string, stop func()) {
	t.Helper()
	keys := filepath.Join(t.TempDir(), "keys.json")
	ending := `{"keys": [{"id": "aaaaaaaa", "tenant": "acme", "subject": "ci", "scopes": [], "hash": "sha256:` + strings.Repeat("0", 64) + `", "expires": "2100-01-01T00:00:00Z"}]}`
	if err := os.WriteFile(keys, []byte(ending), 0o600); err != nil {
		t.Fatal(err)
	}
	settings := map[string]string{"PORT": "0", "AUTHENTICATION": "keys,anonymous", "API_KEYS_FILE": keys, "TENANT_CALLS_PER_DAY": "1000", "BACKUP_PLACE": t.TempDir()}
	maps.Copy(settings, further)
	_, o, stopRedis, err := embedded.Redis(func(name string) string { return settings[name] })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stopRedis)
	o.Loopback, o.Logger = true, slog.New(slog.DiscardHandler)
	o.Catalog.Tools = []function.Tool{
		function.NewTool("hello", "Says hello.", func(_ context.Context, in who) (string, error) { return "hello " + in.Name, nil }, function.ToolOptions{AllowWhen: []function.Condition{{When: `args.name != "nobody"`}}}),
		function.NewAction("fail", "Fails.", func(context.Context, function.None) error { return errors.New("the disk is full") }),
		function.NewAction("panic", "Panics.", func(context.Context, function.None) error { panic("a fault") }),
		function.NewTool("rare", "Can be called once.", func(context.Context, function.None) (string, error) { return "here", nil }, function.ToolOptions{PerSecond: 0.001, Burst: 1}),
		function.NewAction("slow", "Takes too long.", func(ctx context.Context, _ function.None) error { <-ctx.Done(); return ctx.Err() }, function.ToolOptions{Timeout: 50 * time.Millisecond}),
	}
	o.Catalog.Resources = []function.Resource{function.NewResource("note://hello", "hello", func(_ context.Context, uri string, _ map[string]string) ([]function.ResourceContents, error) {
		return []function.ResourceContents{{URI: uri, Text: "hello"}}, nil
	}, function.ResourceOptions{}), function.NewResource("note://panic", "panic", func(context.Context, string, map[string]string) ([]function.ResourceContents, error) {
		panic("a fault")
	}, function.ResourceOptions{})}
	ctx, cancel := context.WithCancel(t.Context())
	s, err := function.New(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	at, ended := make(chan string, 1), make(chan error, 1)
	go func() { ended <- s.Run(ctx, func(url string) { at <- url }) }()
	stop = sync.OnceFunc(func() { cancel(); <-ended; s.Close() })
	t.Cleanup(stop)
	select {
	case url := <-at:
		return strings.TrimSuffix(url, "/mcp"), stop
	case err := <-ended:
		t.Fatal(err)
		return "", nil
	}
}

type who struct {
	Name string `json:"name"`
}

func post(t *testing.T, url, body, key string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "POST", url+"/mcp", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	text, _ := io.ReadAll(r.Body)
	return string(text)
}

var sample = regexp.MustCompile(`(?m)^(\w+)(?:\{(.*)\})? \S+$`)

// ask asks for every kind of thing.
func ask(t *testing.T, url string) {
	t.Helper()
	call := func(name, args string) string {
		return `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"` + name + `","arguments":{` + args + `}}}`
	}
	read := func(uri string) string {
		return `{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"` + uri + `"}}`
	}
	list := `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`
	for _, c := range []struct{ body, key, want string }{
		{call("hello", `"name":"Ada"`), "", "hello Ada"}, {call("hello", `"name":"nobody"`), "", "2001"}, {call("hello", `"nam":"Ada"`), "", "rror"},
		{call("fail", ""), "", "disk is full"}, {call("panic", ""), "", "-32603"}, {call("slow", ""), "", "rror"}, {call("nothing", ""), "", "-32602"},
		{call("rare", ""), "", "here"}, {call("rare", ""), "", "1056"},
		{list, "", "rare"}, {list, "erlmcp_wrong", "rror"}, {"{", "", "-32700"},
		{read("note://hello"), "", "hello"}, {read("note://panic"), "", "-32603"},
	} {
		answer := post(t, url, c.body, c.key)
		for end := time.Now().Add(10 * time.Second); strings.Contains(answer, `"code":1005`) && time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
			answer = post(t, url, c.body, c.key) // the machine is too busy for the counters
		}
		if !strings.Contains(answer, c.want) {
			t.Errorf("no %q in %s", c.want, answer)
		}
	}
}

// scrape returns the labels of each metric that is there after that, with their values.
func scrape(t *testing.T) map[string]map[string][]string {
	url, _ := serve(t, nil)
	ask(t, url)
	r, err := http.Get(url + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]map[string][]string{}
	for _, m := range sample.FindAllStringSubmatch(string(text), -1) {
		if out[m[1]] == nil {
			out[m[1]] = map[string][]string{}
		}
		for _, l := range regexp.MustCompile(`(\w+)="((?:[^"\\]|\\.)*)"`).FindAllStringSubmatch(m[2], -1) {
			out[m[1]][l[1]] = append(out[m[1]][l[1]], l[2])
		}
	}
	return out
}

// TestMetricsAreThere holds the names in alerts, dashboard and documents, and the labels and values by which queries choose,
// against a server that runs.
func TestMetricsAreThere(t *testing.T) {
	there := scrape(t)
	uses := named(t)
	for _, name := range slices.Sorted(maps.Keys(uses)) {
		family := there[name] // a document may name a histogram as a whole
		if family == nil {
			family = there[name+"_count"]
		}
		if family == nil {
			t.Errorf("there is no metric %s (%s)", name, strings.Join(slices.Compact(uses[name]), ", "))
		}
	}
	// Whoever reads the objective finds all of its faults before there was one.
	for _, fault := range []string{"panic", "-32603", "backpressure", "shutting_down"} {
		if !slices.Contains(there["erlmcp_errors_total"]["type"], fault) {
			t.Errorf("erlmcp_errors_total has no type %s", fault)
		}
	}
	for _, q := range queries(t) {
		for _, s := range selectors(q.text) {
			for label, match := range s.labels {
				values, ok := there[s.metric][label]
				switch {
				case there[s.metric] == nil, label == "job": // missing as a whole; given by who collects
				case !ok:
					t.Errorf("%s: %s has no label %s", q.where, s.metric, label)
				case label == "outage": // there is none
				case strings.HasPrefix(match, "="):
					want := regexp.MustCompile("^(?:" + strings.Trim(match, `=~"`) + ")$")
					if !slices.ContainsFunc(values, want.MatchString) {
						t.Errorf("%s: %s has %s %q, and never %s", q.where, s.metric, label, values, match)
					}
				}
			}
		}
	}
}
