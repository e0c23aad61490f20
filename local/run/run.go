// Package run serves a catalog on this machine, with everything that it needs inside one process: a Redis, a store, and the
// control plane beside the function. A repository's local run is
//
//	func main() { run.Main(run.Program{Catalog: tools.Catalog(), Commands: "go run ./cmd/myshop"}) }
//
// It listens on loopback only, unless it is told otherwise and who may call.
package run

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"example.com/erlmcp/function"
	"example.com/erlmcp/local/embedded"
)

// A Program is what is run.
type Program struct {
	Catalog  function.Catalog
	Commands string  // how the operator's commands are run, such as "go run ./cmd/myshop"
	Sample   *Sample // nil for none
}

// A Sample is a catalog to try the server with, beside its own.
type Sample struct {
	What    string // in a few words
	Catalog function.Catalog
	Tool    string // one to show the operator's commands with
	Tries   func(now time.Time) []Try
	Service *Service // an API that is declared as tools; nil for none
}

// Main runs the program until SIGTERM or SIGINT. It exits with 1 if that fails, and with 2 if the command line is wrong.
func Main(p Program) {
	switch err := p.run(os.Args[1:], os.Stdout); {
	case err == nil || errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage):
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// errUsage is a fault in the command line that has been reported.
var errUsage = errors.New("usage")

func (p Program) run(args []string, out io.Writer) error {
	flags := flag.NewFlagSet("local", flag.ContinueOnError)
	withSample := new(bool)
	if p.Sample != nil {
		withSample = flags.Bool("sample", true, "serve "+p.Sample.What+" too; -sample=false leaves it out")
	}
	public := flags.Bool("public", false, "listen on all interfaces, and not on loopback alone; AUTHENTICATION must say who may call")
	flags.Usage = func() { usage(flags) }
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return err
	case err != nil:
		return errUsage
	case flags.NArg() > 0:
		fmt.Fprintf(os.Stderr, "local takes no arguments, only flags: %q\n", flags.Args())
		return errUsage
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	redis, o, stopRedis, err := embedded.Redis(os.Getenv)
	if err != nil {
		return err
	}
	defer stopRedis()
	o.Catalog = p.Catalog
	if *withSample {
		o.Catalog = o.Catalog.With(p.Sample.Catalog)
	} else {
		p.Sample = nil
	}
	if os.Getenv("LOG_OUTPUT") == "" { // standard output is for what to try
		o.LogOutput = os.Stderr
	}
	o.Loopback = !*public // others get in with credentials alone
	g := greeting{Program: p, redis: redis}
	settings, stopService, err := declare(p.Sample, o.Loopback)
	if err != nil {
		return err
	}
	defer stopService()
	o.Getenv = with(settings, o.Getenv)
	g.catalog = settings["CATALOG_FILE"]
	s, err := function.New(ctx, o)
	if err != nil && *withSample {
		return fmt.Errorf("%w\n(go run ./local -sample=false starts without the sample)", err)
	}
	if err != nil {
		return err
	}
	defer s.Close()
	g.tools = s.Tools()
	if !*public && redis != "" && os.Getenv("FUNCTION_TARGET") == "" {
		url, stop, err := controlPlane(ctx, o)
		if err != nil {
			return err
		}
		defer stop()
		g.taiea = url
	}
	return s.Run(ctx, func(url string) { g.write(out, url, time.Now()) })
}

// controlPlane serves taiea beside the function, on the port after its own, with the same stores.
func controlPlane(ctx context.Context, o function.Options) (url string, stop func(), err error) {
	port := "8081"
	if p, err := strconv.Atoi(os.Getenv("PORT")); err == nil && p > 0 {
		port = strconv.Itoa(p + 1)
	} else if err == nil {
		port = "0"
	}
	o.Getenv = with(map[string]string{"FUNCTION_TARGET": "taiea", "PORT": port}, o.Getenv)
	s, err := function.New(ctx, o)
	if err != nil {
		return "", nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	listening, ended := make(chan string, 1), make(chan error, 1)
	go func() { ended <- s.Run(ctx, func(url string) { listening <- strings.TrimSuffix(url, "/mcp") }) }()
	stop = func() { cancel(); <-ended; s.Close() }
	select {
	case url := <-listening:
		return url, stop, nil
	case err := <-ended:
		cancel()
		s.Close()
		return "", nil, fmt.Errorf("the control plane listens on the port after PORT, %s here, and can't: %w", port, err)
	}
}

// with puts settings before others.
func with(own map[string]string, others func(string) string) func(string) string {
	return func(name string) string {
		if v, ok := own[name]; ok {
			return v
		}
		return others(name)
	}
}

func usage(flags *flag.FlagSet) {
	w := flags.Output()
	fmt.Fprintf(w, "local serves this repository's catalog on this machine, with everything that it needs inside (erlmcp %s).\n"+
		"The control plane is on the port after PORT.\n\nUsage: go run ./local [flags]\n\n", function.Version)
	flags.PrintDefaults()
	fmt.Fprint(w, "\nSettings, from the environment:\n\n")
	function.WriteSettings(w)
}
