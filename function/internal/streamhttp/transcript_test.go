package streamhttp

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/erlmcp/function/internal/mcp"
	"example.com/erlmcp/function/internal/seal"
)

var update = flag.Bool("update", false, "write the answers of today into the transcripts")

var marker = regexp.MustCompile(`(?m)^-- (.+) --\n`)

// TestTranscripts plays the HTTP requests of each file in testdata, which have the format of golang.org/x/tools/txtar, and wants each
// answer to the byte: its status, its headers and its body. The tests of package mcp hold the bodies against the protocol's schemas. A
// request whose header says that it is chunked is sent so; of any other the length is added.
func TestTranscripts(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatal("no transcripts", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			names := marker.FindAllStringSubmatch(string(text), -1)
			parts := marker.Split(string(text), -1)
			handler := newTestHandler(t, parts[0])
			written := parts[0]
			for i := 0; i < len(names); i += 2 {
				name, ok := strings.CutSuffix(names[i][1], ": request")
				if !ok || i+1 == len(names) || names[i+1][1] != name+": response" {
					t.Fatalf("%s: a request and its response are wanted", names[i][1])
				}
				w := httptest.NewRecorder()
				handler.ServeHTTP(w, readRequest(t, parts[i+1]))
				got := answer(w)
				if got != parts[i+2] && !*update {
					t.Errorf("%s: got\n%swant\n%s", name, got, parts[i+2])
				}
				written += names[i][0] + parts[i+1] + names[i+1][0] + got
			}
			if *update {
				if err := os.WriteFile(path, []byte(written), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// readRequest reads a request that has new lines for HTTP's line ends, and one more after its body.
func readRequest(t *testing.T, text string) *http.Request {
	t.Helper()
	head, body, _ := strings.Cut(text, "\n\n")
	body = strings.TrimSuffix(body, "\n")
	if strings.Contains(head, "chunked") {
		body = fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(body), body)
	} else {
		head += fmt.Sprintf("\nContent-Length: %d", len(body))
	}
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(strings.ReplaceAll(head, "\n", "\r\n") + "\r\n\r\n" + body)))
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	r.RemoteAddr = cmp.Or(r.Header.Get("Test-Address"), "203.0.113.9:999")
	return r.WithContext(t.Context())
}

func answer(w *httptest.ResponseRecorder) string {
	resp := w.Result()
	var b strings.Builder
	fmt.Fprintln(&b, resp.Status)
	resp.Header.Write(lines{&b})
	body, _ := io.ReadAll(resp.Body)
	if text := strings.TrimRight(string(body), "\n"); text != "" {
		fmt.Fprintf(&b, "\n%s\n", text)
	}
	return b.String()
}

// lines writes HTTP's line ends as new lines.
type lines struct{ io.Writer }

func (l lines) Write(p []byte) (int, error) {
	_, err := io.WriteString(l.Writer, strings.ReplaceAll(string(p), "\r\n", "\n"))
	return len(p), err
}

// newTestHandler is a server whose catalog is [bench]. Lines such as "option origins https://a.example" configure it.
func newTestHandler(t *testing.T, options string) http.Handler {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	engine := mcp.NewServer(mcp.Options{Catalog: bench{}, Gate: open{}, Keys: seal.RandomRing(), Info: mcp.Info{Name: "bench", Version: "1"}, Logger: log})
	opts := Options{
		Engine:  func() *mcp.Server { return engine },
		MaxBody: 1 << 10, SignIn: "send a key",
	}
	around := []func(http.Handler) http.Handler{}
	for _, line := range strings.Split(options, "\n") {
		words := strings.Fields(line)
		switch {
		case len(words) == 0 || words[0] != "option":
		case words[1] == "origins":
			if err := opts.Origins.Name(words[2:]...); err != nil {
				t.Fatal(err)
			}
		case words[1] == "loopback":
			opts.Origins.Loopback = true
			around = append(around, LoopbackOnly)
		case words[1] == "machine":
			around = append(around, FromThisMachine)
		default:
			t.Fatal(line)
		}
	}
	handler := http.Handler(NewHandler(opts))
	for _, wrap := range slices.Backward(around) {
		handler = wrap(handler)
	}
	return Observe(handler, &noted{}, func() string { return "r-1" }, log)
}

// open is a gate that lets all in, but for who asks to be refused by the header Test-Refuse.
type open struct{}

func (open) Admit(_ context.Context, h *mcp.RequestHeader) (mcp.Admission, *mcp.Refusal) {
	switch h.Header.Get("Test-Refuse") {
	case "rate":
		return guest{}, &mcp.Refusal{Reason: mcp.RateLimited, Message: "too fast", RetryAfter: 1500 * time.Millisecond, RateLimit: `"calls";r=0;t=2`, RateLimitPolicy: `"calls";q=1;w=1`}
	case "key":
		return nil, &mcp.Refusal{Reason: mcp.Unauthenticated, Message: "sign in", Challenge: `Bearer realm="test"`}
	}
	return guest{}, nil
}

func (open) MayRead(context.Context, *mcp.Call, string) error { return nil }

type guest struct{}

func (guest) Caller() string                                  { return "guest" }
func (guest) Tenant() string                                  { return "" }
func (guest) Believed() bool                                  { return true }
func (guest) End(*mcp.Ending)                                 {}
func (guest) Yield()                                          {}
func (guest) Charge(context.Context) *mcp.Refusal             { return nil }
func (guest) Invalid(context.Context, *mcp.Call) *mcp.Refusal { return nil }
func (guest) Drop(context.Context)                            {}
func (g guest) Start(ctx context.Context, _ *mcp.Call) (context.Context, mcp.Admission, *mcp.Refusal) {
	return ctx, g, nil
}

// bench is a catalog of tools.
type bench struct{ mcp.Catalog }

func (bench) Has(k mcp.Kind) bool                       { return k == mcp.Tools }
func (bench) Named(name string) string                  { return name }
func (bench) Settle(string, map[string]any, bool)       {}
func (bench) Completes() bool                           { return false }
func (bench) Entry(string, string) (kind, entry string) { return "", "" }
func (bench) Indirect(string) mcp.Indirection           { return mcp.Direct }
func (bench) Tool(_ context.Context, name string) *mcp.Tool {
	say := func(text string) *mcp.Result { return &mcp.Result{Content: []mcp.Content{mcp.Text(text)}} }
	return map[string]*mcp.Tool{
		"say": {Call: func(context.Context, *mcp.Call) (*mcp.Result, error) { return say("said\nall"), nil }},
		"talk": {Call: func(_ context.Context, c *mcp.Call) (*mcp.Result, error) {
			c.Progress(1, 2, "half")
			return say("talked"), c.Log("warning", "bench", json.RawMessage("{\n\"left\": 2}"))
		}},
		"long": {Call: func(context.Context, *mcp.Call) (*mcp.Result, error) { return say(strings.Repeat("x", 1<<20)), nil }},
	}[name]
}
