// Command mutations puts small faults into the product's code, one at a time, and counts how many the tests find. A fault is given
// to the go command as an overlay, so that the checkout is only read, and is drawn from the source by a seed. What survives names
// code that no test holds to anything, unless the fault makes no difference.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

type options struct {
	root, packages, replay string
	n, parallel, least     int
	seed                   uint64
	timeout                time.Duration
	list, verbose          bool
}

func main() {
	var o options
	flag.StringVar(&o.root, "root", "../..", "the checkout")
	flag.StringVar(&o.packages, "packages", "function/internal/governor,function/internal/directives,function/internal/loadshed,function/internal/admission,function/internal/identity,function/internal/receipt,function/internal/receipt/journal,function/internal/receipt/verify,function/internal/mcp",
		"the packages to mutate, by folder")
	flag.IntVar(&o.n, "n", 30, "mutations, spread evenly over the packages")
	flag.Uint64Var(&o.seed, "seed", 1, "decides which")
	flag.IntVar(&o.parallel, "p", 1, "mutations tried at the same time")
	flag.DurationVar(&o.timeout, "timeout", 2*time.Minute, "for the tests of a package; three times what they take without a mutation, where that is more")
	flag.IntVar(&o.least, "least", 0, "exit with 1 where fewer are found")
	flag.BoolVar(&o.list, "list", false, "print the mutations as JSON and try none")
	flag.StringVar(&o.replay, "replay", "", "try those of a file that -list has written")
	flag.BoolVar(&o.verbose, "v", false, "print the output of the tests that find one")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := bound()
	if err == nil {
		err = run(ctx, o, os.Stdout)
	}
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutations:", err)
		os.Exit(1)
	}
}

// bound keeps what is started here from taking the machine's memory: a loop that a fault makes endless may fill any.
func bound() error {
	const most = 4 << 30
	return syscall.Setrlimit(syscall.RLIMIT_DATA, &syscall.Rlimit{Cur: most, Max: most})
}

func run(ctx context.Context, o options, w io.Writer) error {
	root, err := filepath.Abs(o.root)
	if err != nil {
		return err
	}
	if o.n < 1 || o.parallel < 1 {
		return fmt.Errorf("-n %d -p %d: both are at least 1", o.n, o.parallel)
	}
	c, err := open(ctx, root)
	if err != nil {
		return err
	}
	var all []mutation
	var gone []error
	if o.replay != "" {
		if o.list {
			return errors.New("-list draws mutations, and -replay brings its own: give one of them")
		}
		list, err := os.ReadFile(o.replay)
		if err != nil {
			return err
		}
		if all, gone, err = c.replay(list); err != nil {
			return err
		}
	} else {
		if all, err = c.draw(ctx, strings.Split(o.packages, ","), o.n, o.seed); err != nil {
			return err
		}
		gone = make([]error, len(all))
	}
	if o.list {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		return e.Encode(all)
	}
	t := &trial{checkout: c, timeout: o.timeout, usual: map[string]time.Duration{}}
	return t.count(ctx, o, all, gone, w)
}
