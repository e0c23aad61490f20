// Package function is the serverless function erlmcp: a governed MCP server over streamable HTTP. It is the public face of
// the product: write a tool as a Go function, hand it to [Main] or [New], and agents can call it.
//
// To add tools to a copy of this repository, write them in the package tools. To keep them in a repository of your own, let
// erlmcp new make one, or import this package and call [Main] with [WithTools]:
//
//	func main() {
//		function.Main(function.WithTools(
//			function.NewTool("greet", "Greets a person by name.", greet),
//		))
//	}
//
// A tool reaches its call through the context: [Progress] tells the client how far it is, [Ask] puts a question to the
// person at the client, [Caller] says who calls.
package function

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
	_ "time/tzdata" // the image has no time zones of its own

	"example.com/erlmcp/function/internal/catalog"
	"example.com/erlmcp/function/internal/gcp"
	"example.com/erlmcp/function/internal/mcp"
	"example.com/erlmcp/function/internal/outbound"
	"example.com/erlmcp/function/internal/receipt"
	"example.com/erlmcp/function/internal/tenant"
)

// Version of the product.
const Version = "0.7.0"

// Info is how the server presents itself to clients. Instructions tell the model how to use it.
type Info = mcp.Info

type options struct {
	info       Info
	entries    []catalog.Entry
	getenv     func(string) string
	logger     *slog.Logger
	output     io.Writer // of the log
	unobserved bool
	loopback   bool
	memory     *Memory
	receipts   func(receipt.Store) receipt.Store // tests stand before the stores
	tenants    func(tenant.Store) tenant.Store
	stores     func(*parts)
	kms        func(*gcp.Options) // and in for Cloud KMS
	dial       dialer             // and in for the network
	resolver   outbound.Resolver  // of what is reached outside; nil: the system's
	pageSize   int
}

// A dialer connects as [net.Dialer.DialContext] does; nil is that.
type dialer func(ctx context.Context, network, address string) (net.Conn, error)

// An Option changes what [New] and [Main] make.
type Option func(*options)

// WithTools adds tools.
func WithTools(tools ...Tool) Option {
	return func(o *options) {
		for _, t := range tools {
			o.entries = append(o.entries, t.entry)
		}
	}
}

// WithResources adds resources and resource templates.
func WithResources(resources ...Resource) Option {
	return func(o *options) {
		for _, r := range resources {
			o.entries = append(o.entries, r.entry)
		}
	}
}

// WithPrompts adds prompts.
func WithPrompts(prompts ...Prompt) Option {
	return func(o *options) {
		for _, p := range prompts {
			o.entries = append(o.entries, p.entry)
		}
	}
}

// WithInfo replaces the name and instructions that clients see, and the version: the one that clients, health, metrics and the
// command version tell. Without a version it is [Version].
func WithInfo(info Info) Option { return func(o *options) { o.info = info } }

// WithInstructions adds to the instructions that clients see.
func WithInstructions(text string) Option {
	return func(o *options) { o.info.Instructions = strings.TrimSpace(o.info.Instructions + " " + text) }
}

// WithLogOutput replaces standard output as where the log goes.
func WithLogOutput(w io.Writer) Option { return func(o *options) { o.output = w } }

// WithLogger replaces the log: records of requests go to it too.
func WithLogger(l *slog.Logger) Option { return func(o *options) { o.logger = l } }

// WithGetenv replaces [os.Getenv] as the source of settings, for tests.
func WithGetenv(getenv func(string) string) Option { return func(o *options) { o.getenv = getenv } }

// Changing changes what the settings are read as, whatever source they have.
func Changing(setting func(name, value string) string) Option {
	return func(o *options) {
		before := o.getenv
		o.getenv = func(name string) string { return setting(name, before(name)) }
	}
}

// Unobserved leaves requests out of log, metrics and traces, to measure what those cost.
func Unobserved() Option { return func(o *options) { o.unobserved = true } }

// WithPageSize sets how many entries one page of a list has; the default is 100.
func WithPageSize(n int) Option { return func(o *options) { o.pageSize = n } }

// WithLoopback binds the server to this machine: it listens on 127.0.0.1, answers only requests that were sent to that
// name, and takes calls from any web page that this machine serves.
func WithLoopback() Option { return func(o *options) { o.loopback = true } }

// WithMemory keeps in this process what must outlive Redis, where the settings name no project. The Redis must begin and end
// with the process too, as in the local run and in tests.
func WithMemory(m *Memory) Option { return func(o *options) { o.memory = m } }

func run(opts []Option) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	limitMemory(os.Getenv)
	s, err := New(ctx, append(opts, takeEmulator()...)...)
	if err != nil {
		return err
	}
	defer s.Close()
	defer s.reloadOn(syscall.SIGHUP)()
	return s.Run(ctx, func(url string) {
		s.logger.Info("serving", "url", url, "version", s.version, "instance", s.instance)
	})
}

// takeEmulator takes the address of Firestore's emulator from the environment, where the client library would read it and then
// reconnect in its own time: two minutes after a long outage.
func takeEmulator() []Option {
	const setting = "FIRESTORE_EMULATOR_HOST"
	address := os.Getenv(setting)
	if address == "" {
		return nil
	}
	os.Unsetenv(setting)
	return []Option{Changing(func(name, value string) string {
		if name == setting {
			return address
		}
		return value
	})}
}

// A StartError lists everything that stopped a start.
type StartError struct{ Faults error }

func (e *StartError) Error() string {
	return "erlmcp can't start:\n  " + indent(e.Faults.Error())
}

func (e *StartError) Unwrap() error { return e.Faults }

func indent(text string) string {
	out := make([]byte, 0, len(text)+16)
	for _, c := range []byte(text) {
		out = append(out, c)
		if c == '\n' {
			out = append(out, "  "...)
		}
	}
	return string(out)
}

// errNoCall is the panic-free answer of context functions outside of a call.
var errNoCall = errors.New("this context is not that of a call")

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
		return errNoCall
	}
	return c.Log(level, logger, data)
}

const (
	// deadlineSlack is what remains of a drain for the process's own end.
	deadlineSlack = cancelled + lastMoment + exit
	// cancelled is how long the end waits for calls that were cancelled to return.
	cancelled = 250 * time.Millisecond
	// lastMoment is for what is still to be written and sent when no call runs any more.
	lastMoment = time.Second
	// exit is for the process to go.
	exit = 100 * time.Millisecond
)
