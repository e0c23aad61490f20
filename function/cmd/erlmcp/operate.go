package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"example.com/erlmcp/function"
)

const killUsage = `erlmcp kill stops calls on all instances within 2 seconds, and shows what is stopped.

  erlmcp kill                                         list the kill switches
  erlmcp kill SCOPE -reason TEXT [-for DURATION]      stop the scope; callers read the reason
  erlmcp kill SCOPE -lift                             let it go on

SCOPE is everything, tool:NAME, tenant:NAME or upstream:NAME. The fleet is the one of GOOGLE_CLOUD_PROJECT (the store, which
outlives Redis) and REDIS_URL; one of them is enough, both are faster and safer.

`

const limitsUsage = `erlmcp limits shows the limits that are in force on the running fleet, and changes them within 2 seconds.

  erlmcp limits                                       list the limits, and what is in use
  erlmcp limits SCOPE [-per-second N] [-burst N] [-at-a-time N] [-per-day N] [-shadow=true|false]
                                                      change some; 0 is no limit; in shadow mode a limit refuses no one
  erlmcp limits SCOPE -reset                          go back to the settings and the tool's own limits

SCOPE is everything, tool:NAME, tenant:NAME, upstream:NAME, each-tenant or each-client. The fleet is the one of
GOOGLE_CLOUD_PROJECT and REDIS_URL, as for erlmcp kill.

`

// operate runs a command of the operator's and exits with 1 if it failed, 2 if it was not understood.
func operate(command string, args []string) {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	run := map[string]func(context.Context, []string, io.Writer) error{"kill": kill, "limits": limits}[command]
	switch err := run(ctx, args, os.Stdout); {
	case err == nil || errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage):
		fmt.Fprintf(os.Stderr, "erlmcp %s: %v\n\nerlmcp %[1]s -h says how.\n", command, err)
		os.Exit(2)
	default:
		fail(err)
	}
}

var errUsage = errors.New("the command line is wrong")

// parse takes the scope from before or after the flags.
func parse(flags *flag.FlagSet, usage string, args []string) (scope string, err error) {
	flags.SetOutput(io.Discard)
	flags.Usage = func() { fmt.Print(usage) }
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		scope, args = args[0], args[1:]
	}
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return "", err
		}
		return "", fmt.Errorf("%w: %w", errUsage, err)
	}
	rest := flags.Args()
	if scope == "" && len(rest) > 0 {
		scope, rest = rest[0], rest[1:]
	}
	if len(rest) > 0 {
		return "", fmt.Errorf("%w: what is %q?", errUsage, rest)
	}
	if scope == "" && flags.NFlag() > 0 {
		return "", fmt.Errorf("%w: which scope?", errUsage)
	}
	return scope, nil
}

// open understands the command line before it connects to the fleet.
func open(ctx context.Context, flags *flag.FlagSet, usage string, args []string) (scope string, op *function.Operator, err error) {
	if scope, err = parse(flags, usage, args); err != nil {
		return "", nil, err
	}
	op, err = function.OpenOperator(ctx, function.WithTools(function.Tools()...))
	return scope, op, err
}

func kill(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("kill", flag.ContinueOnError)
	reason := flags.String("reason", "", "")
	lasts := flags.Duration("for", 0, "")
	lift := flags.Bool("lift", false, "")
	scope, op, err := open(ctx, flags, killUsage, args)
	if err != nil {
		return err
	}
	defer op.Close()
	if scope == "" {
		orders, err := op.Orders(ctx)
		if err != nil {
			return err
		}
		printKills(out, orders.Kills, time.Now())
		return nil
	}
	_, err = op.Change(ctx, func(o *function.Orders) error {
		if *lift {
			return o.Lift(scope)
		}
		k := function.Kill{Scope: scope, Reason: *reason, At: time.Now().UTC().Truncate(time.Second)}
		if *lasts != 0 {
			k.Until = k.At.Add(*lasts)
		}
		return o.Kill(k)
	})
	if err != nil && !errors.Is(err, function.ErrNotTold) {
		return err
	}
	if *lift {
		fmt.Fprintf(out, "%s goes on, on all instances within 2 seconds\n", scope)
	} else {
		fmt.Fprintf(out, "%s is stopped, on all instances within 2 seconds; to let it go on: erlmcp kill %[1]s -lift\n", scope)
	}
	return err
}

func printKills(out io.Writer, kills []function.Kill, now time.Time) {
	if len(kills) == 0 {
		fmt.Fprintln(out, "nothing is stopped")
		return
	}
	t := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "SCOPE\tSINCE\tUNTIL\tREASON")
	for _, k := range kills {
		until := "lifted"
		if !k.Until.IsZero() {
			until = k.Until.Format(time.RFC3339)
			if !now.Before(k.Until) {
				until += " (over)"
			}
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", k.Scope, k.At.Format(time.RFC3339), until, k.Reason)
	}
	t.Flush()
}

func limits(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("limits", flag.ContinueOnError)
	var v function.Override
	flags.Func("per-second", "", float(&v.PerSecond))
	flags.Func("burst", "", float(&v.Burst))
	flags.Func("at-a-time", "", whole(&v.Concurrency))
	flags.Func("per-day", "", whole(&v.PerDay))
	flags.BoolFunc("shadow", "", func(text string) error {
		b, err := strconv.ParseBool(text)
		v.Shadow = &b
		return err
	})
	reset := flags.Bool("reset", false, "")
	scope, op, err := open(ctx, flags, limitsUsage, args)
	if err != nil {
		return err
	}
	defer op.Close()
	if scope != "" {
		if flags.NFlag() == 0 {
			return fmt.Errorf("%w: what is to change on %s?", errUsage, scope)
		}
		v.Scope = scope
		_, err := op.Change(ctx, func(o *function.Orders) error {
			if *reset {
				return o.Reset(scope)
			}
			return o.Override(v)
		})
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "changed, on all instances within 2 seconds\n\n")
	}
	list, instances, err := op.Limits(ctx)
	printLimits(out, list, instances)
	return err
}

func float(into **float64) func(string) error {
	return func(text string) error {
		n, err := strconv.ParseFloat(text, 64)
		*into = &n
		return err
	}
}

func whole(into **int64) func(string) error {
	return func(text string) error {
		n, err := strconv.ParseInt(text, 10, 64)
		*into = &n
		return err
	}
}

func printLimits(out io.Writer, list []function.LimitInUse, instances int) {
	t := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "SCOPE\tPER SECOND\tBURST\tAT A TIME\tHELD\tPER DAY\tDRAWN TODAY\t")
	for _, l := range list {
		burst := "-"
		if l.PerSecond > 0 {
			burst = number(l.MaxBurst())
		}
		shadow := ""
		if l.Shadow {
			shadow = "shadow"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", l.Scope, number(l.PerSecond), burst, number(float64(l.Concurrency)), known(l.Slots),
			number(float64(l.PerDay)), known(l.Today), shadow)
	}
	t.Flush()
	if instances >= 0 {
		fmt.Fprintf(out, "\n%d instances\n", instances)
	}
}

func number(n float64) string {
	if n == 0 {
		return "-"
	}
	return strconv.FormatFloat(n, 'f', -1, 64)
}

func known(n int64) string {
	if n < 0 {
		return ""
	}
	return strconv.FormatInt(n, 10)
}
