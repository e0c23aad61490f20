// Command local runs the function on this machine with everything that it needs inside one process, and a sample catalog to
// try it with:
//
//	go run ./local
//
// It listens on loopback only, unless it is told otherwise and who may call. Settings come from the environment, as everywhere (go run ./local -h lists them).
package main

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
	"text/tabwriter"
	"time"

	"example.com/erlmcp/function"
	"example.com/erlmcp/local/embedded"
	"example.com/erlmcp/local/sample"
)

func main() {
	switch err := run(os.Args[1:], os.Stdout); {
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

func run(args []string, out io.Writer) error {
	flags := flag.NewFlagSet("local", flag.ContinueOnError)
	withSample := flags.Bool("sample", true, "serve the sample catalog of world cities; -sample=false leaves it out")
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
	redis, opts, stopRedis, err := embedded.Redis(os.Getenv)
	if err != nil {
		return err
	}
	defer stopRedis()
	opts = append(opts, catalog(*withSample)...)
	if os.Getenv("LOG_OUTPUT") == "" { // standard output is for what to try
		opts = append(opts, function.WithLogOutput(os.Stderr))
	}
	if !*public { // others get in with credentials alone
		opts = append(opts, function.WithLoopback())
	}
	s, err := function.New(ctx, opts...)
	if err != nil {
		return err
	}
	defer s.Close()
	var taiea string
	if !*public && redis != "" && os.Getenv("FUNCTION_TARGET") == "" {
		url, stop, err := controlPlane(ctx, opts)
		if err != nil {
			return err
		}
		defer stop()
		taiea = url
	}
	return s.Run(ctx, func(url string) { greet(out, url, taiea, redis, *withSample, time.Now()) })
}

// controlPlane serves taiea beside the function, on the port after its own, with the same stores.
func controlPlane(ctx context.Context, opts []function.Option) (url string, stop func(), err error) {
	port := "8081"
	if p, err := strconv.Atoi(os.Getenv("PORT")); err == nil && p > 0 {
		port = strconv.Itoa(p + 1)
	} else if err == nil {
		port = "0"
	}
	own := map[string]string{"FUNCTION_TARGET": function.ControlTarget, "PORT": port}
	s, err := function.New(ctx, append(opts[:len(opts):len(opts)], function.Changing(func(name, value string) string {
		if v, ok := own[name]; ok {
			return v
		}
		return value
	}))...)
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
		return "", nil, err
	}
}

func catalog(withSample bool) []function.Option {
	info := function.Info{
		Name: "erlmcp-local", Title: "erlmcp on this machine", Version: function.Version,
		Instructions: "Tools of this server are governed: a refused call says why and when to try again.",
	}
	opts := []function.Option{function.WithTools(function.Tools()...)}
	if withSample {
		info.Instructions += " The sample catalog knows world cities: find_cities to look them up, sun_times and daylight_year for the sun, " +
			"distance between two, meeting_times to find when people in several cities can meet, then invite to make a calendar file, " +
			"which asks the user first. Cities go by their names; an unknown one is answered with the nearest names. " +
			"The resource cities://all is the whole table, city://{name} one of them."
		opts = append(opts, function.WithTools(sample.Tools()...), function.WithResources(sample.Resources()...), function.WithPrompts(sample.Prompts()...))
	}
	return append(opts, function.WithInfo(info))
}

func usage(flags *flag.FlagSet) {
	w := flags.Output()
	fmt.Fprintf(w, "local serves erlmcp %s on this machine, with everything that it needs inside.\n\nUsage: go run ./local [flags]\n\n", function.Version)
	flags.PrintDefaults()
	fmt.Fprint(w, "\nSettings, from the environment:\n\n")
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, s := range function.Settings() {
		fmt.Fprintf(t, "  %s\t%s\n\tdefault: %s\n", s.Name, s.Help, s.Default)
	}
	t.Flush()
}
