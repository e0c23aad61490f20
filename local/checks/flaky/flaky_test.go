package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestRun runs tests that pass, that fail in every second run and that have a race, and looks at what is told of each.
func TestRun(t *testing.T) {
	t.Setenv("DAYS_FILE", filepath.Join(t.TempDir(), "second"))
	for _, test := range []struct {
		name, packages string
		runs           int
		err            string
		want           []string
	}{
		{"all pass", "./steady", 2, "", []string{
			"run 1, -shuffle=7: 0 of 1 packages failed, in T\n" +
				"run 2, -shuffle=8: 0 of 1 packages failed, in T\n" +
				"2 runs, and all tests passed in each\n",
		}},
		{"one fails now and then", "./steady,./every", 5, "1 tests failed in some of 5 runs", []string{
			"run 1, -shuffle=7: 0 of 2 packages failed, in T\nrun 2, -shuffle=8: 1 of 2 packages failed, in T\n" +
				"  every: TestSecond\n      -test.shuffle 8\n      --- FAIL: TestSecond (0.00s)\n          every_test.go:12: the file is there\n      FAIL\n" +
				"run 3, -shuffle=9: 0 of 2 packages failed, in T\nrun 4, -shuffle=10: 1 of 2",
			"\nevery TestSecond failed in 2 of 5 runs: 2 4\n",
		}},
		{"one has a race", "./racy", 1, "1 tests failed in some of 1 runs", []string{
			"  racy: TestRacy\n", "WARNING: DATA RACE", "\nracy TestRacy failed in every run\n",
		}},
		{"no tests", "./idle", 1, "-packages ./idle: no package has tests", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			var out bytes.Buffer
			o := options{root: "testdata/days", packages: test.packages, runs: test.runs, parallel: 2, loops: 2, seed: 7, timeout: time.Minute}
			if err := run(t.Context(), o, &out); test.err == "" && err != nil || test.err != "" && (err == nil || err.Error() != test.err) {
				t.Errorf("the error is %v, wanted %q", err, test.err)
			}
			got := regexp.MustCompile(`in \d\S*\n`).ReplaceAllString(out.String(), "in T\n")
			for _, want := range test.want {
				if !strings.Contains(got, want) {
					t.Errorf("no %q in\n%s", want, got)
				}
			}
		})
	}
}

// stopping ends a run once something is written.
type stopping struct {
	bytes.Buffer
	stop func()
}

func (s *stopping) Write(b []byte) (int, error) { s.stop(); return s.Buffer.Write(b) }

// TestInterrupted ends four runs in the second, and wants to be told of what was found, and how to go on.
func TestInterrupted(t *testing.T) {
	t.Setenv("DAYS_FILE", filepath.Join(t.TempDir(), "second"))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := &stopping{stop: cancel}
	err := run(ctx, options{root: "testdata/days", packages: "./steady", runs: 4, parallel: 2, seed: 7, timeout: time.Minute}, out)
	if want := "run 2 was interrupted: -seed 8 -n 3 goes on with it\n1 runs, and all tests passed in each\n"; !errors.Is(err, context.Canceled) || !strings.HasSuffix(out.String(), want) {
		t.Errorf("%v: %s", err, out.String())
	}
}

func TestBlamed(t *testing.T) {
	for out, want := range map[string][]string{
		"--- FAIL: TestB (0.00s)\n    --- FAIL: TestB/c (0.00s)\n--- FAIL: TestA (0.00s)\nFAIL":                                   {"TestA", "TestB", "TestB/c"},
		"panic: test timed out after 10m0s\n\trunning tests:\n\t\tTestA (10m0s)\n\t\tTestB/c (2s)\n\ngoroutine 7 [running]:\nf()": {"TestA (never ended)", "TestB/c (never ended)"},
		"fatal error: all goroutines are asleep - deadlock!":                                                                      {"as a whole"},
	} {
		if got := blamed([]byte(out)); !slices.Equal(got, want) {
			t.Errorf("%q blames %q, wanted %q", out, got, want)
		}
	}
}

func TestShortened(t *testing.T) {
	var long []string
	for i := range 1000 {
		long = append(long, fmt.Sprint(i))
	}
	got := strings.Split(shortened(strings.Join(long, "\n")), "\n")
	if len(got) != 301 || got[149] != "149" || got[150] != "[700 lines]" || got[151] != "850" {
		t.Errorf("%d lines: %q", len(got), got)
	}
	if got := shortened("a\nb"); got != "a\nb" {
		t.Errorf("two lines became %q", got)
	}
}
