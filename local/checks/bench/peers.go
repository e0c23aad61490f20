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
	"os"
	"runtime"
	"strconv"
	"sync/atomic"
	"syscall"

	markmcp "github.com/mark3labs/mcp-go/mcp"
	markserver "github.com/mark3labs/mcp-go/server"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"example.com/erlmcp/function"
)

type peer struct{ name, what string }

var peers = []peer{
	{"bare", "bare net/http handler"},
	{"erlmcp", "erlmcp"},
	{"fleet", "erlmcp, limits in Redis"},
	{"callers", "erlmcp, limits in Redis, tokens, ten rules"},
	{"ungoverned", "erlmcp, its governor off"},
	{"unobserved", "erlmcp, neither logged, counted nor traced"},
	{"unrecorded", "erlmcp, leaving no receipts"},
	{"traced", "erlmcp, one call in fifty traced"},
	{"go-sdk", "official Go SDK, stateless"},
	{"mcp-go", "mcp-go, stateless"},
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

	if name == "erlmcp" || name == "fleet" || name == "callers" || name == "ungoverned" || name == "unobserved" || name == "unrecorded" || name == "traced" {
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
	handlers := map[string]func() http.Handler{"bare": bare, "go-sdk": official, "mcp-go": mark}
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
