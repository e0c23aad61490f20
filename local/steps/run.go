package main

import (
	"context"
	"slices"
	"time"
)

// A use is how a step uses the machine.
type use int

const (
	computes use = iota // one at a time
	waits               // two at a time, beside one that computes
	measures            // alone
)

// A step is a target of the Makefile.
type step struct {
	name  string
	use   use
	after []string // what must have passed before
	long  bool     // of make check-long alone
}

// chosen are the steps that are to run.
func chosen(table []step, long bool) []step {
	return slices.DeleteFunc(slices.Clone(table), func(s step) bool { return s.long && !long })
}

type result string

const (
	passed result = "ok"
	failed result = "FAILED"
	notRun result = "not run"
)

// An outcome is what came of a step.
type outcome struct {
	step
	result    result
	took, cpu time.Duration // cpu is that of all its processes, user and system
	log       string
}

// run runs steps in their order as far as they may run beside each other, and returns what came of each. It tells of each that starts, which
// has no result yet, and of each that ended. The first failure stops the rest unless keep is set.
func run(ctx context.Context, steps []step, keep bool, do func(context.Context, step) outcome, tell func(outcome)) []outcome {
	outcomes := make([]outcome, len(steps))
	for i, s := range steps {
		outcomes[i] = outcome{step: s, result: notRun}
	}
	var left, running []step
	left = append(left, steps...)
	ended, ready := make(chan outcome), map[string]bool{}
	stopped := false
	for {
		for i := next(left, running, ready); i >= 0 && !stopped && ctx.Err() == nil; i = next(left, running, ready) {
			s := left[i]
			left, running = slices.Delete(left, i, i+1), append(running, s)
			tell(outcome{step: s})
			go func() { ended <- do(ctx, s) }()
		}
		if len(running) == 0 {
			return outcomes
		}
		o := <-ended
		tell(o)
		running = slices.DeleteFunc(running, func(s step) bool { return s.name == o.name })
		outcomes[slices.IndexFunc(steps, func(s step) bool { return s.name == o.name })] = o
		if o.result == passed {
			ready[o.name] = true
		} else {
			stopped = !keep
		}
	}
}

// next is the first step left that may start beside those that run, or -1.
func next(left, running []step, ready map[string]bool) int {
	var count [measures + 1]int
	for _, s := range running {
		count[s.use]++
	}
	room := [measures + 1]bool{computes: count[computes] == 0, waits: count[waits] < 2, measures: len(running) == 0}
	return slices.IndexFunc(left, func(s step) bool {
		return count[measures] == 0 && room[s.use] && !slices.ContainsFunc(s.after, func(name string) bool { return !ready[name] })
	})
}
