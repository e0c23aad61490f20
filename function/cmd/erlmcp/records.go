package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"example.com/erlmcp/function"
)

const verifyUsage = `erlmcp verify proves that receipts are whole, in order and all there, or says which are not.

  erlmcp verify [-from TIME] [-to TIME] [-tenant NAME] [-keys FILE]
                                  what is stored, against roots and what instances have announced
  erlmcp verify -offline FILE [-keys FILE]
                                  an export, or - for standard input, by the public key alone

TIME is like 2026-11-25T10:00:00Z, or a duration such as 24h for so long ago. FILE of -keys has the operator's public keys in
PEM; without it the key is that of RECEIPT_KEY_FILE or RECEIPT_KMS_KEY, and without any who signed is not verified. The store is the
one of GOOGLE_CLOUD_PROJECT; what was announced is read from REDIS_URL. It exits with 1 if anything is wrong.

`

const receiptsUsage = `erlmcp receipts reads the record of decisions.

  erlmcp receipts list [-from TIME] [-to TIME] [-tenant NAME]
                                  a line each, the last hour's unless -from says otherwise
  erlmcp receipts show ID         those of one call, by the id that its caller was told
  erlmcp receipts export [-from TIME] [-to TIME] [-tenant NAME] [-out FILE]
                                  JSON Lines that erlmcp verify -offline proves; of one tenant, with the hashes of others'

TIME is like 2026-11-25T10:00:00Z, or a duration such as 24h for so long ago. The store is the one of GOOGLE_CLOUD_PROJECT. With
RECEIPT_KEY_FILE or RECEIPT_KMS_KEY an export is signed.

`

// errFaults is that a verification found something, and has said what.
var errFaults = errors.New("the receipts do not verify")

// records runs verify or receipts, and exits as operate does.
func records(command string, args []string) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	run := map[string]func(context.Context, []string, io.Writer) error{"verify": verify, "receipts": receipts}[command]
	switch err := run(ctx, args, os.Stdout); {
	case err == nil || errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage):
		fmt.Fprintf(os.Stderr, "erlmcp %s: %v\n\nerlmcp %[1]s -h says how.\n", command, err)
		os.Exit(2)
	case errors.Is(err, errFaults):
		os.Exit(1)
	default:
		fail(err)
	}
}

// A period is a range of time on a command line.
type period struct{ from, to time.Time }

func (p *period) flags(f *flag.FlagSet) {
	f.Func("from", "", func(s string) (err error) { p.from, err = moment(s, time.Now()); return err })
	f.Func("to", "", func(s string) (err error) { p.to, err = moment(s, time.Now()); return err })
}

func moment(s string, now time.Time) (time.Time, error) {
	if ago, err := time.ParseDuration(s); err == nil {
		return now.Add(-ago), nil
	}
	at, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return at, errors.New("not a time such as 2026-11-25T10:00:00Z, nor a duration such as 24h")
	}
	return at, nil
}

// understand parses flags and as many other words as are wanted.
func understand(flags *flag.FlagSet, usage string, args []string, words int) error {
	flags.SetOutput(io.Discard)
	flags.Usage = func() { fmt.Print(usage) }
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	if flags.NArg() != words {
		return fmt.Errorf("%w: %d words are wanted beside the flags, and there is %q", errUsage, words, flags.Args())
	}
	return nil
}

func verify(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("verify", flag.ContinueOnError)
	var when period
	when.flags(flags)
	tenant := flags.String("tenant", "", "")
	offline := flags.String("offline", "", "")
	keys := flags.String("keys", "", "")
	if err := understand(flags, verifyUsage, args, 0); err != nil {
		return err
	}
	var report *function.Report
	var err error
	if *offline != "" {
		if *tenant != "" || when != (period{}) {
			return fmt.Errorf("%w: an export is verified as a whole, without -from, -to and -tenant", errUsage)
		}
		report, err = verifyFile(ctx, *offline, *keys)
	} else {
		var r *function.Records
		if r, err = function.OpenRecords(ctx, *keys); err != nil {
			return err
		}
		defer r.Close()
		report, err = r.Verify(ctx, *tenant, when.from, when.to)
	}
	if err != nil {
		return err
	}
	fmt.Fprint(out, report)
	if !report.OK() {
		return errFaults
	}
	return nil
}

func verifyFile(ctx context.Context, name, keyFile string) (*function.Report, error) {
	in := os.Stdin
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		in = file
	}
	if keyFile == "" {
		return function.VerifyExport(ctx, in, nil)
	}
	keys, err := function.PublicKeys(keyFile)
	if err != nil {
		return nil, err
	}
	return function.VerifyExport(ctx, in, keys)
}

func receipts(ctx context.Context, args []string, out io.Writer) error {
	what := ""
	if len(args) > 0 {
		what, args = args[0], args[1:]
	}
	switch what {
	case "list":
		return list(ctx, args, out)
	case "show":
		return show(ctx, args, out)
	case "export":
		return export(ctx, args, out)
	case "-h", "--help", "help":
		fmt.Fprint(out, receiptsUsage)
		return nil
	}
	return fmt.Errorf("%w: list, show or export?", errUsage)
}

func list(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("list", flag.ContinueOnError)
	when := period{from: time.Now().Add(-time.Hour)}
	when.flags(flags)
	tenant := flags.String("tenant", "", "")
	if err := understand(flags, receiptsUsage, args, 0); err != nil {
		return err
	}
	r, err := function.OpenRecords(ctx, "")
	if err != nil {
		return err
	}
	defer r.Close()
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	defer t.Flush()
	fmt.Fprintln(t, "TIME\tKIND\tTENANT\tMETHOD\tTOOL\tREASON\tLIMIT\tMORE\tID")
	for one, err := range r.Select(ctx, *tenant, when.from, when.to) {
		if err != nil {
			return err
		}
		more := ""
		if one.More > 0 {
			more = fmt.Sprint("+", one.More)
		}
		fmt.Fprintln(t, strings.Join([]string{one.Time.Format("2006-01-02T15:04:05.000Z"), string(one.Kind), one.Tenant, one.Method, one.Tool, one.Reason, one.Limit, more, one.ID}, "\t"))
	}
	return nil
}

func show(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("show", flag.ContinueOnError)
	if err := understand(flags, receiptsUsage, args, 1); err != nil {
		return err
	}
	r, err := function.OpenRecords(ctx, "")
	if err != nil {
		return err
	}
	defer r.Close()
	all, report, err := r.Find(ctx, flags.Arg(0))
	if err != nil {
		return err
	}
	for _, one := range all {
		fmt.Fprintf(out, "%s\n", one.Append(nil))
	}
	if len(all) == 0 {
		fmt.Fprintln(os.Stderr, "there is no receipt of this id: it may wait to be stored for a second, or the refusal was counted in another's receipt")
	}
	if !report.OK() {
		fmt.Fprint(os.Stderr, report)
		return errFaults
	}
	return nil
}

func export(ctx context.Context, args []string, out io.Writer) (err error) {
	flags := flag.NewFlagSet("export", flag.ContinueOnError)
	var when period
	when.flags(flags)
	tenant := flags.String("tenant", "", "")
	name := flags.String("out", "", "")
	if err := understand(flags, receiptsUsage, args, 0); err != nil {
		return err
	}
	r, err := function.OpenRecords(ctx, "")
	if err != nil {
		return err
	}
	defer r.Close()
	if *name != "" {
		file, err := os.OpenFile(*name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, file.Close()) }()
		out = file
	}
	w := bufio.NewWriterSize(out, 1<<16)
	n, err := r.Export(ctx, w, *tenant, when.from, when.to)
	if err = errors.Join(err, w.Flush()); err == nil {
		fmt.Fprintf(os.Stderr, "%d receipts\n", n)
	}
	return err
}
