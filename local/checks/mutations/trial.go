package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"example.com/erlmcp/local/checks/gocommand"
)

// A verdict is what the tests make of a mutation.
type verdict struct {
	found  string // the package whose test fails, empty where all pass
	test   string // the first that fails, or that runs when the time is over
	output string // of the package's tests
	err    error  // why the mutation could not be tried
}

func (v verdict) String() string {
	switch {
	case v.err != nil:
		return "NOT TRIED: " + v.err.Error()
	case v.found == "":
		return "SURVIVED"
	}
	return "found by " + v.found + " " + v.test
}

// A trial runs the tests of a checkout against mutations.
type trial struct {
	*checkout
	timeout time.Duration            // for the tests of a package
	usual   map[string]time.Duration // how long those of a package take without a fault
}

// judges are the packages whose tests may find a fault in one: its own, then those that import it, and the function, which
// runs everything. Of these, the fastest come first.
func (t *trial) judges(name string) []string {
	mutated := t.packages[name]
	var rest []string
	for other, p := range t.packages {
		imported := slices.Contains(slices.Concat(p.Imports, p.TestImports, p.XTestImports), mutated.ImportPath)
		if other != name && p.Tested() && (imported || other == whole) {
			rest = append(rest, other)
		}
	}
	slices.SortFunc(rest, func(a, b string) int { return cmp.Or(cmp.Compare(t.usual[a], t.usual[b]), cmp.Compare(a, b)) })
	if mutated.Tested() {
		rest = slices.Insert(rest, 0, name)
	}
	return rest
}

// whole is the package whose tests run the whole server.
const whole = "function"

// prepare runs the tests without a fault. They must pass, since what fails anyway finds nothing; and with a mutation they get three
// times as long as without, lest a busy machine finds it.
func (t *trial) prepare(ctx context.Context, packages []string) error {
	var judges []string
	for _, p := range packages {
		judges = append(judges, t.judges(p)...)
	}
	slices.Sort(judges)
	for _, j := range slices.Compact(judges) {
		begin := time.Now()
		v := t.judge(ctx, j, 5*t.timeout)
		if v.err != nil {
			return v.err
		}
		if v.found != "" {
			return fmt.Errorf("%s of %s fails without a mutation, so that it can't find one:\n%s", v.test, j, v.output)
		}
		t.usual[j] = time.Since(begin)
	}
	return nil
}

// try runs the tests that may find a mutation until one does.
func (t *trial) try(ctx context.Context, m mutation) verdict {
	overlay, remove, err := t.overlay(m)
	if err != nil {
		return verdict{err: err}
	}
	defer remove()
	for _, j := range t.judges(path.Dir(m.File)) {
		if v := t.judge(ctx, j, max(t.timeout, 3*t.usual[j]), "-overlay", overlay); v.found != "" || v.err != nil {
			return v
		}
	}
	return verdict{}
}

// judge runs a package's tests. A test that fails has to do so again by itself, lest one that fails now and then finds what it
// does not know of; where it passes, all run anew, a few times at most.
func (t *trial) judge(ctx context.Context, name string, timeout time.Duration, flags ...string) verdict {
	flags = append([]string{"test", "-count=1", "-failfast", "-timeout", timeout.String()}, flags...)
	fails := func(more ...string) (string, bool, error) {
		out, err := gocommand.Output(gocommand.New(ctx, t.root, "go", slices.Concat(flags, more, []string{"./" + name})...))
		if err != nil && unbuilt.Match(out) {
			return "", false, fmt.Errorf("the tests of %s don't build:\n%s", name, out)
		}
		return string(out), err != nil, ctx.Err()
	}
	const rounds = 3
	for range rounds {
		out, failed, err := fails()
		if err != nil || !failed {
			return verdict{err: err}
		}
		test, top := failing(out)
		if _, failed, err = fails("-run", top); err != nil {
			return verdict{err: err}
		} else if failed {
			return verdict{found: name, test: test, output: out}
		}
	}
	return verdict{}
}

var (
	unbuilt = regexp.MustCompile(`(?m)^FAIL\t.*\[(build|setup) failed\]$`)
	failed  = regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)`)
	late    = regexp.MustCompile(`panic: test timed out after (\S+)\s+running tests:\s+(\S+)`)
)

// failing is the test that the output of go test blames, and what has go test run it alone; all, where none is blamed.
func failing(out string) (test, run string) {
	test, run = "as a whole", "."
	if m := late.FindStringSubmatch(out); m != nil {
		test, run = m[2]+", which runs for more than "+m[1], m[2]
	} else if m := failed.FindStringSubmatch(out); m != nil {
		test, run = m[1], m[1]
	}
	if run != "." {
		top, _, _ := strings.Cut(run, "/")
		run = "^" + top + "$"
	}
	return test, run
}

// blame is what the output of go test says against the test that failed first, without the log before it.
func blame(out string) string {
	const most = 30
	if at := strings.Index(out, "--- FAIL: "); at >= 0 {
		out = out[at:]
	} else if at := strings.Index(out, "panic: "); at >= 0 {
		out = out[at:]
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	return strings.Join(lines[:min(most, len(lines))], "\n")
}

// count tries all mutations and prints what becomes of each, in their order.
func (t *trial) count(ctx context.Context, o options, all []mutation, gone []error, w io.Writer) error {
	var packages []string
	for i, m := range all {
		if gone[i] == nil {
			packages = append(packages, path.Dir(m.File))
		}
	}
	slices.Sort(packages)
	if err := t.prepare(ctx, slices.Compact(packages)); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var trying sync.WaitGroup
	defer trying.Wait()
	defer cancel()
	verdicts := make([]chan verdict, len(all))
	slots := make(chan struct{}, o.parallel)
	for i := range verdicts {
		verdicts[i] = make(chan verdict, 1)
	}
	trying.Go(func() {
		for i, m := range all {
			slots <- struct{}{}
			trying.Go(func() {
				defer func() { <-slots }()
				if gone[i] != nil {
					verdicts[i] <- verdict{err: gone[i]}
				} else {
					verdicts[i] <- t.try(ctx, m)
				}
			})
		}
	})

	found, untried := 0, 0
	for i, m := range all {
		v := <-verdicts[i]
		if ctx.Err() != nil {
			return ctx.Err()
		}
		fmt.Fprintf(w, "%2d %v: %v\n", i+1, m, v)
		switch {
		case v.err != nil:
			untried++
		case v.found != "":
			found++
			if o.verbose {
				fmt.Fprintln(w, "      "+strings.ReplaceAll(blame(v.output), "\n", "\n      "))
			}
		}
	}
	fmt.Fprintf(w, "%d mutations, %d found\n", len(all), found)
	var err error
	if untried > 0 {
		err = fmt.Errorf("%d mutations could not be tried", untried)
	}
	if found < o.least {
		err = errors.Join(err, fmt.Errorf("%d of %d mutations were found, and %d are wanted: those that survived name what no test holds", found, len(all), o.least))
	}
	return err
}
