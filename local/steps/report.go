package main

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"
)

// tail is how many lines are shown of what a step prints that passed.
const tail = 20

// notTested begins a line about what could not be checked here, which is repeated at the end.
const notTested = "NOT TESTED"

// A reporter tells what came of steps.
type reporter struct {
	out  io.Writer
	logs string
}

// event tells of a step that starts, or of one that ended.
func (r reporter) event(o outcome) {
	switch o.result {
	case "":
		fmt.Fprintf(r.out, "%s starts\n", o.name)
	case failed:
		fmt.Fprintf(r.out, "%s FAILED after %s; what it printed follows at the end\n", o.name, seconds(o.took))
	default:
		fmt.Fprintf(r.out, "%s is ok after %s\n", o.name, seconds(o.took))
		lines := strings.Split(strings.TrimSpace(o.log), "\n")
		if more := len(lines) - tail; more > 0 {
			fmt.Fprintf(r.out, "    %d lines before these are in %s\n", more, filepath.Join(r.logs, o.name))
			lines = lines[more:]
		}
		for _, l := range lines {
			if l != "" {
				fmt.Fprintf(r.out, "    %s\n", l)
			}
		}
	}
}

// end prints the table, all that failed steps printed, and what their tests gave as the reason. The last line counts steps.
func (r reporter) end(outcomes []outcome, took time.Duration) error {
	t := tabwriter.NewWriter(r.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\nstep\twall\tCPU\tresult")
	var names, untested []string
	var cpu time.Duration
	for _, o := range outcomes {
		cpu += o.cpu
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", o.name, seconds(o.took), seconds(o.cpu), o.result)
		if o.result == failed {
			names = append(names, o.name)
		}
		for l := range strings.Lines(o.log) {
			if strings.HasPrefix(l, notTested) {
				untested = append(untested, o.name+": "+l)
			}
		}
	}
	fmt.Fprintf(t, "all\t%s\t%s\t\n", seconds(took), seconds(cpu))
	t.Flush()
	fmt.Fprint(r.out, "\n", strings.Join(untested, ""))
	count := map[result]int{}
	for _, o := range outcomes {
		count[o.result]++
		if o.result == failed {
			fmt.Fprintf(r.out, "\n== %s FAILED, and printed:\n%s", o.name, o.log)
		}
	}
	for _, o := range outcomes {
		if o.result == failed {
			for _, l := range said(strings.Split(o.log, "\n")) {
				fmt.Fprintf(r.out, "%s: %s\n", o.name, l)
			}
		}
	}
	fmt.Fprintf(r.out, "%d passed, %d failed\n", count[passed], count[failed])
	switch {
	case len(names) > 0:
		return fmt.Errorf("%s failed, %d steps were not run", strings.Join(names, " and "), count[notRun])
	case count[notRun] > 0:
		return fmt.Errorf("stopped: %d steps were not run", count[notRun])
	}
	return nil
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.0f s", d.Seconds()) }
