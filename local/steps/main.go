// Command steps runs what CI checks, each step by its target of the Makefile, and says what each took. Steps that wait run beside one that
// computes; a step that measures time has the machine for itself. What a step prints comes in one piece, once it has ended.
//
// When a step fails no other is started unless -keep-going is set, and the exit status is 1 after those that run have ended.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

func main() {
	long := flag.Bool("long", false, "also what only make check-long runs")
	keep := flag.Bool("keep-going", false, "after a failure, run what does not need the step that failed")
	logs := flag.String("logs", ".tools/logs", "folder for all that the steps print")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := check(ctx, chosen(table, *long), *keep, *logs); err != nil {
		fmt.Fprintln(os.Stderr, "steps:", err)
		os.Exit(1)
	}
}

func check(ctx context.Context, steps []step, keep bool, logs string) error {
	if err := os.MkdirAll(logs, 0o755); err != nil {
		return err
	}
	begin := time.Now()
	say := reporter{out: os.Stdout, logs: logs}
	outcomes := run(ctx, steps, keep, target{logs}.run, say.event)
	return say.end(outcomes, time.Since(begin))
}

// A target runs make, and keeps what it prints in a file.
type target struct{ logs string }

func (r target) run(ctx context.Context, s step) outcome {
	o := outcome{step: s, result: failed}
	name := filepath.Join(r.logs, s.name)
	log, err := os.Create(name)
	if err != nil {
		o.log = err.Error()
		return o
	}
	defer log.Close()
	args := []string{"make", "--no-print-directory", s.name}
	if s.use == computes { // what waits must not wait for it
		args = append([]string{"nice"}, args...)
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // make, which nice becomes, passes it on
	cmd.WaitDelay = 10 * time.Second
	begin := time.Now()
	err = cmd.Run()
	o.took = time.Since(begin)
	if state := cmd.ProcessState; state != nil {
		o.cpu = state.UserTime() + state.SystemTime()
	}
	printed, fault := os.ReadFile(name)
	if err == nil {
		err = fault
	}
	o.log = string(printed)
	if err != nil {
		o.log += err.Error() + "\n"
		return o
	}
	o.result = passed
	return o
}
