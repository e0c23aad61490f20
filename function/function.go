// Package function is the serverless function erlmcp: a governed MCP server over streamable HTTP. It is the public face of
// the product: write a tool as a Go function, hand it to [Main] or [New], and agents can call it.
//
// To add tools to a copy of this repository, write them in the package tools. To keep them in a repository of your own, let
// erlmcp new make one, or import this package and call [Main]:
//
//	func main() {
//		function.Main(function.Options{Catalog: function.Catalog{Tools: []function.Tool{
//			function.NewTool("greet", "Greets a person by name.", greet),
//		}}})
//	}
//
// A tool reaches its call through the context: [Progress] tells the client how far it is, [Caller] says who calls, and package ask puts
// questions to the person at the client.
package function

import (
	"cmp"
	"context"
	"io"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"
	_ "time/tzdata" // the image has no time zones of its own

	"example.com/erlmcp/function/internal/app"
	"example.com/erlmcp/function/internal/app/controlplane"
	"example.com/erlmcp/function/internal/app/dataplane"
	"example.com/erlmcp/function/internal/catalog"
	"example.com/erlmcp/function/internal/command"
	"example.com/erlmcp/function/internal/mcp"
	"example.com/erlmcp/function/internal/serve"
)

// Version of the product.
const Version = app.Version

// Info is how the server presents itself to clients.
type Info struct {
	Name         string
	Title        string // that people see
	Version      string
	WebsiteURL   string
	Instructions string // for the model, on how to use the server
}

// A Catalog is what is served, and how the server presents itself.
type Catalog struct {
	// Info is the name and instructions that clients see, and the version: the one that clients, health, metrics and the command version
	// tell. What it leaves out is erlmcp's own.
	Info      Info
	Tools     []Tool
	Resources []Resource // and templates
	Prompts   []Prompt
	Search    *Search // nil: all tools are listed
}

// Search lets callers look for tools where these are too many for a list: who sees more than Above of them has find_tools and call_tool in
// its place, and the tools that are Listed. 0 is for all callers. What call_tool calls is limited, ruled and recorded as if it had been
// called by its own name, which is possible too.
type Search struct{ Above int }

// With returns the catalog with the entries of another in it, and its instructions after those that there are.
func (c Catalog) With(other Catalog) Catalog {
	c.Tools = slices.Concat(c.Tools, other.Tools)
	c.Resources = slices.Concat(c.Resources, other.Resources)
	c.Prompts = slices.Concat(c.Prompts, other.Prompts)
	c.Search = cmp.Or(c.Search, other.Search)
	c.Info.Instructions = strings.TrimSpace(c.Info.Instructions + " " + other.Info.Instructions)
	return c
}

func (c Catalog) entries() (out []catalog.Entry) {
	for _, t := range c.Tools {
		out = append(out, t.entry)
	}
	for _, r := range c.Resources {
		out = append(out, r.entry)
	}
	for _, p := range c.Prompts {
		out = append(out, p.entry)
	}
	if s := c.Search; s != nil {
		out = append(out, &catalog.Search{Above: s.Above})
	}
	return out
}

// Lint says what of the tools models' interfaces and clients refuse or drop, and why. Its error lists what stops a start.
func (c Catalog) Lint() (out []string, err error) {
	built, err := catalog.Build(c.entries()...)
	if err != nil {
		return nil, &StartError{Faults: err}
	}
	for _, finding := range built.Lint() {
		out = append(out, finding.String())
	}
	return out, nil
}

// Options are what a server is made of, beside its settings; the zero value of each is a good one.
type Options struct {
	Catalog Catalog
	// Getenv is the source of settings, in place of [os.Getenv].
	Getenv func(string) string
	// Logger is the log in place of the server's own, which LogOutput has written elsewhere than to standard output. Records of requests
	// go to it too.
	Logger    *slog.Logger
	LogOutput io.Writer
	// Loopback binds the server to this machine: it listens on 127.0.0.1, answers only requests that were sent to that
	// name, and takes calls from any web page that this machine serves.
	Loopback bool
	// Store keeps in this process what must outlive Redis, where the settings name no project. The Redis must begin and end
	// with the process too, as in the local run and in tests.
	Store *InMemoryStore
	// PageSize is how many entries one page of a list has; default 100.
	PageSize int
	// WithoutTelemetry leaves requests out of log, metrics and traces, to measure what those cost.
	WithoutTelemetry bool

	stand app.StandIns // of tests
}

func (o *Options) app() app.Options {
	return app.Options{
		Info: mcp.Info(o.Catalog.Info), Entries: o.Catalog.entries(), Getenv: o.Getenv, Logger: o.Logger, Output: o.LogOutput, WithoutTelemetry: o.WithoutTelemetry,
		Loopback: o.Loopback, Memory: o.Store.of(), PageSize: o.PageSize, Stand: o.stand,
	}
}

// A Server is an assembled function. It is an [http.Handler] for every path that it has; [Server.Run] serves it.
type Server struct{ plane }

// A plane is either of the two functions.
type plane interface {
	http.Handler
	Run(ctx context.Context, listening func(url string)) error
	Finish()
	Reload()
	Serving(url string)
	Close()
}

// New assembles a server from the settings and options: the data plane, or the control plane where FUNCTION_TARGET says so. Its error is a
// [*StartError] that lists every fault. The context bounds the assembly alone; call [Server.Close] at the end.
func New(ctx context.Context, o Options) (*Server, error) {
	if o.Getenv == nil {
		o.Getenv = os.Getenv
	}
	if o.Getenv("FUNCTION_TARGET") == app.ControlTarget {
		p, err := controlplane.New(ctx, o.app())
		if err != nil {
			return nil, err
		}
		return &Server{p}, nil
	}
	p, err := dataplane.New(ctx, o.app())
	if err != nil {
		return nil, err
	}
	return &Server{p}, nil
}

// ServeHTTP serves one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.plane.ServeHTTP(w, r) }

// Run listens on PORT and serves until the context ends, then drains: /ready turns 503, running calls finish within
// DRAIN_TIMEOUT, the rest are cancelled. It calls listening once with the server's URL. The error is nil after a drain in
// time.
func (s *Server) Run(ctx context.Context, listening func(url string)) error {
	return s.plane.Run(ctx, listening)
}

// Close ends what still runs, and writes and sends what is still to be told. It takes what is left of DRAIN_TIMEOUT at most, and a second
// where that is less, whatever does not answer.
func (s *Server) Close() { s.plane.Close() }

// Tools are the names of the tools that are served, without those of the governor: none of the control plane.
func (s *Server) Tools() []string {
	if p, ok := s.plane.(*dataplane.Plane); ok {
		return p.Tools()
	}
	return nil
}

// WriteSettings writes the environment variables that [New] reads, with what each is for and its default.
func WriteSettings(w io.Writer) error { return command.WriteSettings(w) }

// A StartError lists everything that stopped a start.
type StartError = serve.StartError

func run(o Options) error {
	ctx, stop := serve.UntilTold()
	defer stop()
	serve.LimitMemory(os.Getenv)
	o.takeEmulator()
	s, err := New(ctx, o)
	if err != nil {
		return err
	}
	defer s.Close()
	defer serve.OnSignal(syscall.SIGHUP, s.Reload)()
	return s.Run(ctx, s.Serving)
}

// takeEmulator takes the address of Firestore's emulator from the environment, where the client library would read it and then
// reconnect in its own time: two minutes after a long outage.
func (o *Options) takeEmulator() {
	const setting = "FIRESTORE_EMULATOR_HOST"
	if address := os.Getenv(setting); address != "" {
		os.Unsetenv(setting)
		o.set(map[string]string{setting: address})
	}
}

// set has settings be read as others than they are.
func (o *Options) set(settings map[string]string) {
	before := o.Getenv
	if before == nil {
		before = os.Getenv
	}
	o.Getenv = func(name string) string {
		if v, ok := settings[name]; ok {
			return v
		}
		return before(name)
	}
}

// VerifyExport proves an export of receipts by the operator's public keys alone, which are in a file in PEM: it returns in words what was
// verified, and what is wrong.
func VerifyExport(ctx context.Context, export io.Reader, keyFile string) (report string, err error) {
	keys, err := app.PublicKeys(keyFile)
	if err != nil {
		return "", err
	}
	found, err := app.VerifyExport(ctx, export, keys)
	if err != nil {
		return "", err
	}
	return found.String(), nil
}

// Progress tells the client how far the call is, if the client asked to be told: done of total, where a total of 0 is
// unknown. It returns at once; a value that is not greater than the last one is dropped.
func Progress(ctx context.Context, done, total float64, message string) {
	if c := mcp.FromContext(ctx); c != nil {
		c.Progress(done, total, message)
	}
}

// Log sends a message to the client, if the client asked for messages of this level: debug, info, notice, warning, error,
// critical, alert or emergency. Data is any value that marshals to JSON. The protocol has deprecated such messages: what
// the operator should read belongs into the log of the server.
func Log(ctx context.Context, level, logger string, data any) error {
	c := mcp.FromContext(ctx)
	if c == nil {
		return mcp.ErrNoCall
	}
	return c.Log(level, logger, data)
}
