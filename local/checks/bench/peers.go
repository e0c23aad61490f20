package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync/atomic"
	"syscall"

	markmcp "github.com/mark3labs/mcp-go/mcp"
	markserver "github.com/mark3labs/mcp-go/server"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"example.com/erlmcp/function"
)

// A peer is a server that is measured. Those that call a backend are counted by it.
type peer struct {
	name, what string
	calls      bool
}

var peers = []peer{
	{name: "bare", what: "bare net/http handler"},
	{name: "erlmcp", what: "erlmcp"},
	{name: "fleet", what: "erlmcp, limits in Redis"},
	{name: "callers", what: "erlmcp, limits in Redis, tokens, ten rules"},
	{name: "ungoverned", what: "erlmcp, its governor off"},
	{name: "unobserved", what: "erlmcp, neither logged, counted nor traced"},
	{name: "unrecorded", what: "erlmcp, leaving no receipts"},
	{name: "traced", what: "erlmcp, one call in fifty traced"},
	{name: "go-sdk", what: "official Go SDK, stateless"},
	{name: "mcp-go", what: "mcp-go, stateless"},
	{name: "proxy", what: "bare reverse proxy to a backend", calls: true},
	{name: "declared", what: "erlmcp, a tool of the catalog file that calls the backend", calls: true},
}

type input struct {
	A    int    `json:"a"`
	B    int    `json:"b"`
	Note string `json:"note"`
}

var ran atomic.Int64

// add is the tool: the same work in every server.
func add(in input) string {
	ran.Add(1)
	return "the sum is " + strconv.Itoa(in.A+in.B)
}

// serveOne serves one of the peers and, on a listener of its own, what the process used; it prints both addresses.
func serveOne(name string) {
	usageAt, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	go http.Serve(usageAt, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		var r syscall.Rusage
		syscall.Getrusage(syscall.RUSAGE_SELF, &r)
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		json.NewEncoder(w).Encode(usage{CPU: r.Utime.Nano() + r.Stime.Nano(), Bytes: m.TotalAlloc, Allocs: m.Mallocs, Calls: ran.Load()})
	}))
	// Standard output is the log's.
	announce := func(url string) { fmt.Fprintf(os.NewFile(3, "announcements"), "%s http://%s/\n", url, usageAt.Addr()) }

	if name == "erlmcp" || name == "fleet" || name == "callers" || name == "ungoverned" || name == "unobserved" || name == "unrecorded" || name == "traced" || name == "declared" {
		if name != "fleet" && name != "callers" {
			os.Unsetenv("REDIS_URL")
		}
		os.Setenv("PORT", "0")
		os.Setenv("RATE_LIMIT_PER_SECOND", "250000") // counted for each call, and never reached
		os.Setenv("GOVERNOR_ENABLED", strconv.FormatBool(name != "ungoverned"))
		os.Setenv("RECEIPTS", strconv.FormatBool(name != "unrecorded"))
		o := function.Options{Store: function.NewInMemoryStore(), Catalog: function.Catalog{Tools: []function.Tool{
			function.NewTool("add", "Adds two numbers.", func(_ context.Context, in input) (string, error) { return add(in), nil }),
		}}}
		switch name {
		case "unobserved":
			o.WithoutTelemetry = true
		case "declared":
			o.Catalog = function.Catalog{}
			os.Setenv("EGRESS_ALLOW", "127.0.0.1")
			os.Setenv("CATALOG_FILE", declared())
		case "traced":
			os.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", os.Getenv("BENCH_COLLECTOR"))
		}
		if name == "callers" {
			authenticated()
		} else {
			o.Loopback = true
		}
		s, err := function.New(context.Background(), o)
		if err != nil {
			log.Fatal(err)
		}
		log.Fatal(s.Run(context.Background(), announce))
	}
	handlers := map[string]func() http.Handler{"bare": bare, "go-sdk": official, "mcp-go": mark, "backend": backend, "proxy": proxy}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	announce("http://" + ln.Addr().String() + "/mcp")
	log.Fatal(http.Serve(ln, handlers[name]()))
}

// bare does what no server of tools can do without: it reads, decodes, computes and encodes.
func bare() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		var req struct {
			JSONRPC string          `json:"jsonrpc"`
			ID      json.RawMessage `json:"id"`
			Method  string          `json:"method"`
			Params  struct {
				Name      string `json:"name"`
				Arguments input  `json:"arguments"`
			} `json:"params"`
		}
		if err := json.Unmarshal(body, &req); err != nil {
			return
		}
		out, err := json.Marshal(map[string]any{
			"jsonrpc": "2.0", "id": req.ID,
			"result": map[string]any{"content": []any{map[string]any{"type": "text", "text": add(req.Params.Arguments)}}},
		})
		if err != nil {
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Write(out)
	})
}

// backend is an API with what bare does in its form, and bare itself for the proxy.
func backend() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/mcp", bare())
	mux.HandleFunc("POST /add", func(w http.ResponseWriter, r *http.Request) {
		var in input
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "text/plain")
		io.WriteString(w, add(in))
	})
	return mux
}

func backendURL() *url.URL {
	to, err := url.Parse(os.Getenv("BENCH_BACKEND"))
	if err != nil {
		log.Fatal(err)
	}
	return to
}

// proxy does what nothing between a client and an API can do without.
func proxy() http.Handler {
	p := httputil.NewSingleHostReverseProxy(backendURL())
	p.Transport = &http.Transport{MaxIdleConnsPerHost: 16}
	return p
}

// declared writes a catalog file that makes the backend's request a tool.
func declared() (file string) {
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		log.Fatal(err)
	}
	file = filepath.Join(dir, "catalog.yaml")
	text := "catalog: 1\nsources:\n- name: api\n  rest: " + backendURL().String() + "\n  tools:\n  - name: add\n    request: POST /add\n    description: Adds two numbers.\n" +
		"    arguments: {a: integer, b: integer, note: string}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		log.Fatal(err)
	}
	return file
}

func official() http.Handler {
	s := mcp.NewServer(&mcp.Implementation{Name: "bench", Version: "1.0.0"}, &mcp.ServerOptions{Logger: slog.New(slog.DiscardHandler)})
	mcp.AddTool(s, &mcp.Tool{Name: "add", Description: "Adds two numbers."}, func(_ context.Context, _ *mcp.CallToolRequest, in input) (*mcp.CallToolResult, any, error) {
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: add(in)}}}, nil, nil
	})
	return mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return s }, &mcp.StreamableHTTPOptions{Stateless: true, JSONResponse: true})
}

func mark() http.Handler {
	s := markserver.NewMCPServer("bench", "1.0.0")
	s.AddTool(markmcp.NewTool("add", markmcp.WithDescription("Adds two numbers."),
		markmcp.WithNumber("a", markmcp.Required()), markmcp.WithNumber("b", markmcp.Required()), markmcp.WithString("note")),
		func(_ context.Context, r markmcp.CallToolRequest) (*markmcp.CallToolResult, error) {
			var in input
			if err := r.BindArguments(&in); err != nil {
				return nil, err
			}
			return markmcp.NewToolResultText(add(in)), nil
		})
	return markserver.NewStreamableHTTPServer(s, markserver.WithStateLess(true))
}
