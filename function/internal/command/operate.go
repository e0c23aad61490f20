package command

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"example.com/erlmcp/function/internal/directives"
)

const reached = `The fleet is that of the control plane at TAIEA_URL, to which TAIEA_KEY is an operator's key. Without TAIEA_URL it is the one of
GOOGLE_CLOUD_PROJECT (the store, which outlives Redis) and REDIS_URL: an order is the same then, with the same checks and receipts. With
REDIS_URL alone, as while Firestore is away, it is in Redis alone, and has no receipt.

`

const killUsage = `erlmcp kill stops calls on all instances within 2 seconds, and shows what is stopped.

  erlmcp kill                                         list the kill switches
  erlmcp kill SCOPE -reason TEXT [-for DURATION]      stop the scope; callers read the reason
  erlmcp kill SCOPE -lift                             let it go on

SCOPE is everything, tool:NAME, tenant:NAME or upstream:NAME. With -json the answer is printed as taiea gives it.

` + reached

const limitsUsage = `erlmcp limits shows the limits that are in force on the running fleet, and changes them within 2 seconds.

  erlmcp limits                                       list the limits of what runs, and what is in use
  erlmcp limits SCOPE [-per-second N] [-burst N] [-at-a-time N] [-per-day N] [-shadow=true|false]
                                                      change some; 0 is no limit; in shadow mode a limit refuses no one
  erlmcp limits SCOPE -reset                          go back to the settings and the tool's own limits

SCOPE is everything, tool:NAME, tenant:NAME, upstream:NAME, each-tenant or each-client. Of the calls at a time, some are leased to
instances, whether or not calls run. With -json the answer is printed as taiea gives it.

` + reached

// operating bounds what a command may take that changes the fleet.
const operating = 15 * time.Second

// parse parses flags, and the scope before or after them.
func (p *Program) parse(flags *flag.FlagSet, usage string, args []string) (scope string, err error) {
	scope, err = p.word(flags, usage, args)
	changes := false
	flags.Visit(func(f *flag.Flag) { changes = changes || f.Name != "json" })
	if err == nil && scope == "" && changes {
		err = fmt.Errorf("%w: which scope?", errUsage)
	}
	return scope, err
}

// word parses flags, and takes the one other word from before or after them: "" where there is none.
func (p *Program) word(flags *flag.FlagSet, usage string, args []string) (word string, err error) {
	flags.SetOutput(io.Discard)
	flags.Usage = func() { fmt.Fprint(p.out, p.text(usage)) }
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		word, args = args[0], args[1:]
	}
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return "", err
		}
		return "", fmt.Errorf("%w: %w", errUsage, err)
	}
	rest := flags.Args()
	if word == "" && len(rest) > 0 {
		word, rest = rest[0], rest[1:]
	}
	if len(rest) > 0 {
		return "", fmt.Errorf("%w: what is %q?", errUsage, rest)
	}
	return word, nil
}

func (p *Program) kill(ctx context.Context, args []string, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, operating)
	defer cancel()
	flags := flag.NewFlagSet("kill", flag.ContinueOnError)
	reason := flags.String("reason", "", "")
	var lasts time.Duration
	flags.Func("for", "", days(&lasts))
	lift := flags.Bool("lift", false, "")
	raw := flags.Bool("json", false, "")
	scope, err := p.parse(flags, killUsage, args)
	if err != nil {
		return err
	}
	f, err := p.reach(ctx)
	if err != nil {
		return err
	}
	defer f.close()
	if scope == "" {
		return f.list(ctx, out, "/v1/kills", *raw, func(text []byte) error {
			var all struct{ Kills []killSwitch }
			if err := json.Unmarshal(text, &all); err != nil {
				return err
			}
			printKills(out, all.Kills)
			return nil
		})
	}
	path, body := "/v1/kills/"+url.PathEscape(scope), map[string]any{"reason": *reason}
	method := http.MethodPut
	if lasts != 0 {
		body["until"] = time.Now().UTC().Add(lasts)
	}
	if *lift {
		method, body = http.MethodDelete, nil
	}
	answer, err := f.order(ctx, method, path, "", body)
	switch {
	case err != nil:
		return err
	case *raw:
		fmt.Fprint(out, shownLines(string(answer)))
	case *lift:
		fmt.Fprintf(out, "%s goes on, on all instances within 2 seconds\n", shown(scope))
	default:
		fmt.Fprintf(out, "%s is stopped, on all instances within 2 seconds; to let it go on: %s kill %[1]s -lift\n", shown(scope), p.Name)
	}
	return nil
}

// A killSwitch is one as the control plane lists it.
type killSwitch struct {
	Scope  string
	Reason string
	At     time.Time
	Until  time.Time
}

func printKills(out io.Writer, kills []killSwitch) {
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
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", shown(k.Scope), k.At.Format(time.RFC3339), until, shown(k.Reason))
	}
	t.Flush()
}

// A limit is one as the control plane lists it.
type limit struct {
	Scope              string
	PerSecond, Burst   float64
	Concurrency        int64
	PerDay             int64
	Shadow             bool
	Slots, Used, Today *int64
	Override           *struct {
		directives.Limits
		ETag string
	}
}

func (p *Program) limits(ctx context.Context, args []string, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, operating)
	defer cancel()
	flags := flag.NewFlagSet("limits", flag.ContinueOnError)
	var v directives.Limits
	flags.Func("per-second", "", float(&v.PerSecond))
	flags.Func("burst", "", float(&v.Burst))
	flags.Func("at-a-time", "", whole(&v.Concurrency))
	flags.Func("per-day", "", whole(&v.PerDay))
	flags.BoolFunc("shadow", "", func(text string) error {
		b, err := strconv.ParseBool(text)
		v.DryRun = &b
		return err
	})
	reset := flags.Bool("reset", false, "")
	raw := flags.Bool("json", false, "")
	scope, err := p.parse(flags, limitsUsage, args)
	if err != nil {
		return err
	}
	if scope != "" && v == (directives.Limits{}) && !*reset {
		return fmt.Errorf("%w: what is to change on %s?", errUsage, shown(scope))
	}
	f, err := p.reach(ctx)
	if err != nil {
		return err
	}
	defer f.close()
	if scope != "" {
		answer, err := f.limit(ctx, scope, v, *reset)
		if err != nil {
			return err
		}
		if *raw {
			fmt.Fprint(out, shownLines(string(answer)))
			return nil
		}
		fmt.Fprintf(out, "changed, on all instances within 2 seconds\n\n")
	}
	return f.list(ctx, out, "/v1/limits", *raw, func(text []byte) error {
		var all struct {
			Limits    []limit
			Instances *int64
		}
		if err := json.Unmarshal(text, &all); err != nil {
			return err
		}
		p.printLimits(out, all.Limits, all.Instances)
		return nil
	})
}

// limit changes the override on a scope: what was overridden before and is not named stays.
func (f *fleet) limit(ctx context.Context, scope string, v directives.Limits, reset bool) ([]byte, error) {
	path, etag := "/v1/limits/"+url.PathEscape(scope), ""
	status, text, err := f.ask(ctx, http.MethodGet, path, "", nil)
	if err != nil {
		return nil, err
	}
	if status == http.StatusOK {
		var is limit
		if err := json.Unmarshal(text, &is); err != nil {
			return nil, err
		}
		if o := is.Override; o != nil {
			etag = o.ETag
			v = v.Over(o.Limits)
		}
	} else if status != http.StatusNotFound {
		return nil, f.refused(status, text)
	}
	if reset {
		return f.order(ctx, http.MethodDelete, path, etag, nil)
	}
	return f.order(ctx, http.MethodPut, path, etag, v)
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

func (p *Program) printLimits(out io.Writer, list []limit, instances *int64) {
	t := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "SCOPE\tPER SECOND\tBURST\tAT A TIME\tRUNNING\tLEASED\tPER DAY\tDRAWN TODAY\t")
	for _, l := range list {
		var notes []string
		if l.Shadow {
			notes = append(notes, "shadow")
		}
		if l.Override != nil {
			notes = append(notes, "overridden")
		}
		fmt.Fprintln(t, strings.Join([]string{
			shown(l.Scope), number(l.PerSecond), number(l.Burst), number(float64(l.Concurrency)), known(l.Used), known(l.Slots), number(float64(l.PerDay)), known(l.Today),
			strings.Join(notes, ", "),
		}, "\t"))
	}
	t.Flush()
	if shared, own := tenantsShare(list); shared && !own {
		fmt.Fprintln(out, p.text("\nTenants take turns where all of a limit is used up. To give each a limit of its own: erlmcp limits each-tenant -per-second N"))
	}
	if instances != nil {
		fmt.Fprintf(out, "\n%d instances\n", *instances)
	}
}

// tenantsShare tells whether there is a limit that is common to all tenants, and one that each has for itself.
func tenantsShare(list []limit) (shared, own bool) {
	for i := range list {
		switch scope := list[i].Scope; {
		case scope == "each-tenant":
			own = true
		case scope != "each-client" && !strings.HasPrefix(scope, "tenant:"):
			shared = true
		}
	}
	return shared, own
}

func number(n float64) string {
	if n == 0 {
		return "-"
	}
	return strconv.FormatFloat(n, 'f', -1, 64)
}

func known(n *int64) string {
	if n == nil {
		return ""
	}
	return strconv.FormatInt(*n, 10)
}
