// Command flaky runs the tests of a checkout many times, under the race detector, in another order each time, and while busy loops
// take the processor. It prints which tests failed in which run, with what they wrote and the seed that repeats their order. A test
// that fails in some runs alone depends on its order or on time, which a single run seldom shows.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"example.com/erlmcp/local/checks/gocommand"
)

type options struct {
	root, packages        string
	runs, parallel, loops int
	seed                  int64
	timeout               time.Duration
}

func main() {
	var o options
	flag.StringVar(&o.root, "root", "../..", "the checkout")
	flag.StringVar(&o.packages, "packages", "./...", "the packages, as the go command takes them, with commas between")
	flag.IntVar(&o.runs, "n", 20, "runs of all tests")
	flag.IntVar(&o.parallel, "p", 4, "packages tested at the same time: more than there are processors, so that each waits for them")
	flag.IntVar(&o.loops, "loops", 2, "busy loops beside the tests")
	flag.Int64Var(&o.seed, "seed", time.Now().UnixNano(), "the seed of the first run's order; each further run has the next")
	flag.DurationVar(&o.timeout, "timeout", 30*time.Minute, "for the tests of a package: three times go test's, for the sake of the loops")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, o, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "flaky:", err)
		os.Exit(1)
	}
}

// A program is the tests of a package, built.
type program struct {
	name, dir, path string
}

func run(ctx context.Context, o options, w io.Writer) error {
	if o.runs < 1 || o.parallel < 1 || o.loops < 0 {
		return fmt.Errorf("-n %d -p %d -loops %d: the first two are at least 1, and the third is not negative", o.runs, o.parallel, o.loops)
	}
	root, err := filepath.Abs(o.root)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "flaky")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	programs, err := build(ctx, root, dir, strings.Split(o.packages, ","))
	if err != nil {
		return err
	}

	ctx, cancel := context.WithCancel(ctx)
	var busy sync.WaitGroup
	defer busy.Wait()
	defer cancel()
	for range o.loops {
		busy.Go(func() {
			for ctx.Err() == nil {
			}
		})
	}

	runsOf := map[string][]int{} // by what failed
	for n := 1; n <= o.runs; n++ {
		seed, begin := o.seed+int64(n-1), time.Now()
		failures := all(ctx, programs, o, seed)
		if ctx.Err() != nil {
			fmt.Fprintf(w, "run %d was interrupted: -seed %d -n %d goes on with it\n", n, seed, o.runs-n+1)
			if n == 1 {
				return ctx.Err()
			}
			return errors.Join(ctx.Err(), summary(w, runsOf, n-1))
		}
		fmt.Fprintf(w, "run %d, -shuffle=%d: %d of %d packages failed, in %v\n", n, seed, len(failures), len(programs), time.Since(begin).Round(100*time.Millisecond))
		for _, f := range failures {
			fmt.Fprintf(w, "  %s: %s\n      %s\n", f.program.name, strings.Join(f.tests, ", "), strings.ReplaceAll(f.output, "\n", "\n      "))
			for _, t := range f.tests {
				what := f.program.name + " " + t
				runsOf[what] = append(runsOf[what], n)
			}
		}
	}
	return summary(w, runsOf, o.runs)
}

// summary prints how often what failed did, the most often first.
func summary(w io.Writer, runsOf map[string][]int, runs int) error {
	var failed []string
	for what := range runsOf {
		failed = append(failed, what)
	}
	if len(failed) == 0 {
		fmt.Fprintf(w, "%d runs, and all tests passed in each\n", runs)
		return nil
	}
	slices.SortFunc(failed, func(a, b string) int { return cmp.Or(cmp.Compare(len(runsOf[b]), len(runsOf[a])), cmp.Compare(a, b)) })
	for _, what := range failed {
		if n := len(runsOf[what]); n == runs {
			fmt.Fprintf(w, "%s failed in every run\n", what)
		} else {
			fmt.Fprintf(w, "%s failed in %d of %d runs: %s\n", what, n, runs, strings.Trim(fmt.Sprint(runsOf[what]), "[]"))
		}
	}
	return fmt.Errorf("%d tests failed in some of %d runs", len(failed), runs)
}

// build makes a program of each package's tests, so that each further run costs no compiling.
func build(ctx context.Context, root, dir string, patterns []string) ([]program, error) {
	packages, err := gocommand.List(ctx, root, patterns...)
	if err != nil {
		return nil, err
	}
	var programs []program
	for _, p := range packages {
		if !p.Tested() {
			continue
		}
		path := filepath.Join(dir, strconv.Itoa(len(programs))+".test")
		if out, err := gocommand.Output(gocommand.New(ctx, root, "go", "test", "-race", "-c", "-o", path, p.ImportPath)); err != nil {
			return nil, fmt.Errorf("the tests of %s don't build: %w\n%s", p.Name(root), err, out)
		}
		programs = append(programs, program{p.Name(root), p.Dir, path})
	}
	if len(programs) == 0 {
		return nil, fmt.Errorf("-packages %s: no package has tests", strings.Join(patterns, ","))
	}
	return programs, nil
}

// A failure is a program that failed in one run.
type failure struct {
	program program
	tests   []string
	output  string
}

// all runs each program once and returns those that failed, in the programs' order.
func all(ctx context.Context, programs []program, o options, seed int64) []failure {
	results := make([]*failure, len(programs))
	slots := make(chan struct{}, o.parallel)
	var running sync.WaitGroup
	for i, p := range programs {
		slots <- struct{}{}
		running.Go(func() {
			defer func() { <-slots }()
			results[i] = once(ctx, p, seed, o.timeout)
		})
	}
	running.Wait()
	var failures []failure
	for _, f := range results {
		if f != nil {
			failures = append(failures, *f)
		}
	}
	return failures
}

// once runs a program as go test would.
func once(ctx context.Context, p program, seed int64, timeout time.Duration) *failure {
	// One processor, as for make race: with more, Go 1.26's race detector crashes now and then in bubbles.
	cmd := gocommand.New(ctx, p.dir, p.path, "-test.paniconexit0", "-test.cpu=1", "-test.shuffle="+strconv.FormatInt(seed, 10), "-test.timeout="+timeout.String())
	cmd.Env = append(os.Environ(), "PWD="+p.dir)
	out, err := gocommand.Output(cmd)
	if err == nil {
		return nil
	}
	var exit interface{ ExitCode() int }
	if !errors.As(err, &exit) { // it could not be started, which its output does not say
		out = append(out, err.Error()...)
	}
	return &failure{p, blamed(out), shortened(strings.TrimSpace(string(out)))}
}

var (
	failed = regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)`)
	late   = regexp.MustCompile(`panic: test timed out after \S+\s+running tests:\n((?:\s+\S+ \(\S+\)\n)+)`)
	still  = regexp.MustCompile(`\S+ \(`)
)

// blamed are the tests that a program's output names: those that failed, and those that ran when its time was over. Where it
// names none, the package failed as a whole.
func blamed(out []byte) []string {
	var tests []string
	for _, m := range failed.FindAllSubmatch(out, -1) {
		tests = append(tests, string(m[1]))
	}
	if m := late.FindSubmatch(out); m != nil {
		for _, t := range still.FindAllString(string(m[1]), -1) {
			tests = append(tests, strings.TrimSuffix(t, " (")+" (never ended)")
		}
	}
	if tests == nil {
		tests = []string{"as a whole"}
	}
	slices.Sort(tests)
	return slices.Compact(tests)
}

// shortened leaves out the middle of an output that nobody reads to its end, as a list of all goroutines.
func shortened(out string) string {
	const most = 150
	lines := strings.Split(out, "\n")
	if n := len(lines) - 2*most; n > 0 {
		lines = slices.Replace(lines, most, most+n, fmt.Sprintf("[%d lines]", n))
	}
	return strings.Join(lines, "\n")
}
