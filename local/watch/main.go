// Command watch builds a program and runs it, and does both again when its Go files change:
//
//	go run ./local/watch ./local [arguments]
//
// A build that fails leaves the program running that was there before.
package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) < 2 || strings.HasPrefix(os.Args[1], "-") {
		fmt.Fprintln(os.Stderr, "usage: go run ./local/watch PACKAGE [arguments]")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(watch(ctx, os.Args[1], os.Args[2:], os.Stderr))
}

// every is how often the files are looked at.
const every = 300 * time.Millisecond

// watch returns the exit status: the program's, where it ends by itself before anything has changed.
func watch(ctx context.Context, pkg string, args []string, say io.Writer) int {
	dir, err := os.MkdirTemp("", "watch")
	if err != nil {
		fmt.Fprintln(say, "watch:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary := filepath.Join(dir, "program")
	files := look(".")
	if !build(ctx, pkg, binary, say) {
		return 1
	}
	p, err := start(binary, args)
	if err != nil {
		fmt.Fprintln(say, "watch:", err)
		return 1
	}
	changed := false
	for {
		next, ok := change(ctx, files, p, changed)
		if !ok {
			return p.stop()
		}
		files, changed = next, true
		if !build(ctx, pkg, binary+".next", say) {
			continue
		}
		p.stop()
		if err := os.Rename(binary+".next", binary); err != nil {
			fmt.Fprintln(say, "watch:", err)
			return 1
		}
		if p, err = start(binary, args); err != nil {
			fmt.Fprintln(say, "watch:", err)
			return 1
		}
	}
}

// change waits until files have changed and rest, and returns how they are then; false at the end.
func change(ctx context.Context, before map[string]state, p *program, changed bool) (map[string]state, bool) {
	ended := p.ended
	if changed { // by who is at it: the next change may mend what has ended
		ended = nil
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	last := before
	for {
		select {
		case <-ctx.Done():
			return nil, false
		case <-ended:
			return nil, false
		case <-tick.C:
		}
		now := look(".")
		if maps.Equal(now, last) && !maps.Equal(now, before) {
			return now, true
		}
		last = now
	}
}

// state is what a change of a file changes.
type state struct {
	size    int64
	changed time.Time
}

// look returns the files that a build reads, below a folder.
func look(root string) map[string]state {
	files := map[string]state{}
	filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		name := d.Name()
		switch {
		case err != nil: // it has just gone
			return nil
		case d.IsDir() && file != root && (strings.HasPrefix(name, ".") || name == "testdata" || name == "node_modules"):
			return filepath.SkipDir
		case !d.Type().IsRegular() || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		if strings.HasSuffix(name, ".go") || name == "go.mod" || name == "go.sum" {
			if info, err := d.Info(); err == nil {
				files[file] = state{info.Size(), info.ModTime()}
			}
		}
		return nil
	})
	return files
}

func build(ctx context.Context, pkg, binary string, say io.Writer) bool {
	fmt.Fprintln(say, "building…")
	begin := time.Now()
	out, err := exec.CommandContext(ctx, "go", "build", "-o", binary, pkg).CombinedOutput()
	if err != nil {
		fmt.Fprintf(say, "%sthe build has failed: %v\n", bytes.TrimLeft(out, "\n"), err)
		return false
	}
	fmt.Fprintf(say, "built in %s\n\n", time.Since(begin).Round(100*time.Millisecond))
	return true
}

// A program runs.
type program struct {
	cmd   *exec.Cmd
	ended chan struct{}
}

func start(binary string, args []string) (*program, error) {
	p := &program{exec.Command(binary, args...), make(chan struct{})}
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { p.cmd.Wait(); close(p.ended) }()
	return p, nil
}

// stop lets the program end as it does, and returns its exit status.
func (p *program) stop() int {
	p.cmd.Process.Signal(syscall.SIGTERM) // nothing, where it has ended
	<-p.ended
	return p.cmd.ProcessState.ExitCode()
}
