package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestOrder has each step take its time, and compares when each started and what came of it.
func TestOrder(t *testing.T) {
	for _, c := range []struct {
		name  string
		steps []step
		takes map[string]time.Duration // one second where nothing is said
		fails string
		keep  bool
		stop  time.Duration // when all is stopped, if ever
		want  string
	}{
		{"computing steps one at a time", []step{{name: "a"}, {name: "b"}}, nil, "", false, 0, "a at 0 ok, b at 1 ok"},
		{"two that wait, beside", []step{{name: "a", use: waits}, {name: "b", use: waits}, {name: "c", use: waits}, {name: "d"}},
			map[string]time.Duration{"a": 3 * time.Second}, "", false, 0, "a at 0 ok, b at 0 ok, c at 1 ok, d at 0 ok"},
		{"one that measures is alone", []step{{name: "a"}, {name: "b", use: measures}, {name: "c", use: waits}, {name: "d", use: measures}},
			map[string]time.Duration{"c": 2 * time.Second}, "", false, 0, "a at 0 ok, b at 2 ok, c at 0 ok, d at 3 ok"},
		{"one after another", []step{{name: "a", after: []string{"b"}}, {name: "b", use: waits}}, nil, "", false, 0, "a at 1 ok, b at 0 ok"},
		{"a failure ends it, those that run end first", []step{{name: "a"}, {name: "b", use: waits}, {name: "c"}, {name: "d", use: measures}},
			map[string]time.Duration{"b": 5 * time.Second}, "a", false, 0, "a at 0 FAILED, b at 0 ok, c not run, d not run"},
		{"what needs a failed step is not run", []step{{name: "a", use: waits}, {name: "b", after: []string{"a"}}}, nil, "a", false, 0, "a at 0 FAILED, b not run"},
		{"a failure ends it not", []step{{name: "a"}, {name: "b", after: []string{"a"}}, {name: "c"}}, nil, "a", true, 0, "a at 0 FAILED, b not run, c at 1 ok"},
		{"stopped", []step{{name: "a"}, {name: "b"}, {name: "c"}}, nil, "", false, 1500 * time.Millisecond, "a at 0 ok, b at 1 FAILED, c not run"},
		{"a need that is not there", []step{{name: "a", after: []string{"x"}}}, nil, "", false, 0, "a not run"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if c.stop > 0 {
					time.AfterFunc(c.stop, cancel)
				}
				begin, started := time.Now(), map[string]time.Duration{}
				outcomes := run(ctx, c.steps, c.keep, func(ctx context.Context, s step) outcome {
					o := outcome{step: s, result: passed}
					takes := c.takes[s.name]
					if takes == 0 {
						takes = time.Second
					}
					select {
					case <-time.After(takes):
					case <-ctx.Done():
						o.result = failed
					}
					if s.name == c.fails {
						o.result = failed
					}
					return o
				}, func(o outcome) {
					if o.result == "" {
						started[o.name] = time.Since(begin)
					}
				})
				var got []string
				for _, o := range outcomes {
					if at, ok := started[o.name]; ok {
						got = append(got, fmt.Sprintf("%s at %.0f %s", o.name, at.Seconds(), o.result))
					} else {
						got = append(got, o.name+" "+string(o.result))
					}
				}
				if got := strings.Join(got, ", "); got != c.want {
					t.Errorf("%s, want %s", got, c.want)
				}
			})
		})
	}
}

// TestTable wants that each step is a target, and comes after those that it needs.
func TestTable(t *testing.T) {
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	for _, long := range []bool{false, true} {
		var before []string
		for _, s := range chosen(table, long) {
			if !strings.Contains(string(makefile), "\n"+s.name+":") {
				t.Errorf("make has no target %s", s.name)
			}
			if slices.Contains(before, s.name) {
				t.Errorf("%s is there twice", s.name)
			}
			for _, n := range s.after {
				if !slices.Contains(before, n) {
					t.Errorf("%s needs %s, which does not come before it", s.name, n)
				}
			}
			before = append(before, s.name)
		}
	}
}

// TestMake runs targets of a Makefile of its own to the end of the report.
func TestMake(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("Makefile", []byte("good:\n\t@seq 30\n\t@echo NOT TESTED: the moon\nbad:\n\t@echo one; echo two >&2; exit 3\nlast:\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	say := reporter{&out, t.TempDir()}
	steps := []step{{name: "good"}, {name: "bad", use: measures}, {name: "last", after: []string{"bad"}}}
	err := say.end(run(t.Context(), steps, false, target{say.logs}.run, say.event), time.Minute)
	if err == nil || err.Error() != "bad failed, 1 steps were not run" {
		t.Error(err)
	}
	got := regexp.MustCompile(` +\d+ s +\d+ s `).ReplaceAllString(out.String(), " T ") // how long a step takes is the machine's
	for _, want := range []string{
		"11 lines before these are in " + filepath.Join(say.logs, "good") + "\n    12\n",
		"\ngood T  ok\nbad T  FAILED\nlast T  not run\nall T  \n",
		"\ngood: NOT TESTED: the moon\n",
		"\n== bad FAILED, and printed:\none\ntwo\n",
		"exit status 2\n1 passed, 1 failed\n",
	} {
		at := strings.Index(got, want)
		if at < 0 {
			t.Fatalf("%q is not there, or not in its order:\n%s", want, out.String())
		}
		got = got[at+len(want)-1:]
	}
	if got != "\n" {
		t.Errorf("after the end: %q", got)
	}
	if log, err := os.ReadFile(filepath.Join(say.logs, "good")); err != nil || !strings.HasPrefix(string(log), "1\n2\n") {
		t.Errorf("%q, %v", log, err)
	}
}
