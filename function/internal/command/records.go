package command

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"text/tabwriter"
	"time"

	"example.com/erlmcp/function/internal/receipt"
	"example.com/erlmcp/function/internal/receipt/verify"
)

const verifyUsage = `erlmcp verify proves that receipts are whole and in order, and all there that roots and announcements name, or says which are not.

  erlmcp verify [-from TIME] [-to TIME] [-tenant NAME] [-keys FILE] [-root NUMBER:HASH] [-roots PLACE]
                                  what is stored, against roots and what instances have announced
  erlmcp verify -offline FILE [-keys FILE] [-root NUMBER:HASH]
                                  an export, or - for standard input, by the public key alone

Each verification ends with the last root. Note it where nobody who may write to the store can change it: with -root a later
verification names what is missing up to it. -roots does so with all roots that erlmcp backup -roots has put in a place, a folder or
gs://BUCKET/PREFIX, and with what they name. Without either the end of all chains and roots can be cut off unseen, once announcements
are gone (after 48 h).

TIME is like 2026-11-25T10:00:00Z, or a duration such as 24h for so long ago. FILE of -keys has the operator's public keys in
PEM; without it the key is that of RECEIPT_KEY_FILE or RECEIPT_KMS_KEY, and without any who signed is not verified. The store is the
one of GOOGLE_CLOUD_PROJECT; what was announced is read from REDIS_URL. It exits with 1 if anything is wrong.

`

const receiptsUsage = `erlmcp receipts reads the record of decisions.

  erlmcp receipts list [-from TIME] [-to TIME] [-tenant NAME] [-reason REASON] [-limit 1000]
                                  a line each, the newest first, the last hour's unless -from says otherwise
  erlmcp receipts show ID         those of one call, by the id that its caller was told
  erlmcp receipts export [-from TIME] [-to TIME] [-tenant NAME] [-out FILE]
                                  JSON Lines that erlmcp verify -offline proves; of one tenant, with the hashes of others',
                                  and with the key of that tenant's arguments and results where SEALING_KEYS is set

TIME is like 2026-11-25T10:00:00Z, or a duration such as 24h for so long ago. The store is the one of GOOGLE_CLOUD_PROJECT. With
RECEIPT_KEY_FILE or RECEIPT_KMS_KEY an export is signed.

`

// errFaults is that a verification found something, and has said what.
var errFaults = fmt.Errorf("the receipts do not verify: %w", errSaid)

// A period is a range of time on a command line.
type period struct{ from, to time.Time }

func (p *period) flags(f *flag.FlagSet) {
	f.Func("from", "", func(s string) (err error) { p.from, err = moment(s, time.Now()); return err })
	f.Func("to", "", func(s string) (err error) { p.to, err = moment(s, time.Now()); return err })
}

func moment(s string, now time.Time) (time.Time, error) {
	var ago time.Duration
	if days(&ago)(s) == nil {
		return now.Add(-ago), nil
	}
	at, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return at, errors.New("not a time such as 2026-11-25T10:00:00Z, nor a duration such as 24h or 7d")
	}
	return at, nil
}

// understand parses flags and as many other words as are wanted.
func (p *Program) understand(flags *flag.FlagSet, usage string, args []string, words int) error {
	flags.SetOutput(io.Discard)
	flags.Usage = func() { fmt.Fprint(p.out, p.text(usage)) }
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	if words >= 0 && flags.NArg() != words {
		return fmt.Errorf("%w: %d words are wanted beside the flags, and there is %q", errUsage, words, flags.Args())
	}
	return nil
}

func (p *Program) verify(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("verify", flag.ContinueOnError)
	var when period
	when.flags(flags)
	tenant := flags.String("tenant", "", "")
	offline := flags.String("offline", "", "")
	keys := flags.String("keys", "", "")
	var noted []verify.Witness
	flags.Func("root", "", func(s string) error {
		w, err := verify.ParseWitness(s)
		noted = append(noted, w)
		return err
	})
	roots := flags.String("roots", "", "")
	if err := p.understand(flags, verifyUsage, args, 0); err != nil {
		return err
	}
	var report *verify.Report
	var err error
	if *offline != "" {
		if *tenant != "" || when != (period{}) || *roots != "" {
			return fmt.Errorf("%w: an export is verified as a whole, without -from, -to, -tenant and -roots", errUsage)
		}
		report, err = p.verifyFile(ctx, *offline, *keys, noted)
	} else {
		var r Records
		if r, err = p.OpenRecords(ctx, *keys); err != nil {
			return err
		}
		defer r.Close()
		r.Expect(noted...)
		if *roots != "" && *tenant != "" {
			return fmt.Errorf("%w: -roots are of all tenants together: leave -tenant out", errUsage)
		}
		if *roots != "" {
			if err := r.Hold(ctx, *roots, when.from); err != nil {
				return err
			}
		}
		report, err = r.Verify(ctx, *tenant, when.from, when.to)
	}
	if err != nil {
		return err
	}
	fmt.Fprint(out, shownLines(report.String()))
	if !report.OK() {
		return errFaults
	}
	return nil
}

func (p *Program) verifyFile(ctx context.Context, name, keyFile string, noted []verify.Witness) (*verify.Report, error) {
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
		return p.VerifyExport(ctx, in, receipt.PublicKeys{}, noted...)
	}
	keys, err := p.PublicKeys(keyFile)
	if err != nil {
		return nil, err
	}
	return p.VerifyExport(ctx, in, keys, noted...)
}

func (p *Program) receipts(ctx context.Context, args []string, out io.Writer) error {
	what := ""
	if len(args) > 0 {
		what, args = args[0], args[1:]
	}
	switch what {
	case "list":
		return p.list(ctx, args, out)
	case "show":
		return p.show(ctx, args, out)
	case "export":
		return p.export(ctx, args, out)
	}
	if isHelp(what) {
		fmt.Fprint(out, p.text(receiptsUsage))
		return nil
	}
	return fmt.Errorf("%w: list, show or export?", errUsage)
}

func (p *Program) list(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("list", flag.ContinueOnError)
	when := period{from: time.Now().Add(-time.Hour)}
	when.flags(flags)
	tenant := flags.String("tenant", "", "")
	reason := flags.String("reason", "", "")
	limit := flags.Int("limit", 1000, "")
	if err := p.understand(flags, receiptsUsage, args, 0); err != nil {
		return err
	}
	if *limit < 1 {
		return fmt.Errorf("%w: -limit %d is not a number from 1 on", errUsage, *limit)
	}
	r, err := p.OpenRecords(ctx, "")
	if err != nil {
		return err
	}
	defer r.Close()
	var newest []receipt.Receipt // in order of time, as far as the list goes
	older := 0
	for one, err := range r.Select(ctx, *tenant, when.from, when.to) {
		if err != nil {
			return err
		}
		if *reason != "" && one.Reason != *reason {
			continue
		}
		// Chains come one beside the other: what is later in time comes not much earlier.
		i, _ := slices.BinarySearchFunc(newest, one.Time, func(r receipt.Receipt, at time.Time) int {
			if r.Time.After(at) {
				return 1
			}
			return -1
		})
		if newest = slices.Insert(newest, i, one); len(newest) > *limit {
			newest = newest[1:]
			older++
		}
	}
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "TIME\tKIND\tTENANT\tMETHOD\tTOOL\tREASON\tLIMIT\tMORE\tID")
	for _, one := range slices.Backward(newest) {
		more := ""
		if one.More > 0 {
			more = fmt.Sprint("+", one.More)
		}
		fmt.Fprintln(t, row(one.Time.Format("2006-01-02T15:04:05.000Z"), string(one.Kind), one.Tenant, one.Method, one.Tool, one.Reason, one.Limit, more, one.ID))
	}
	if older > 0 {
		fmt.Fprintf(t, "and %d before: -limit says how many are listed, -to up to when\n", older)
	}
	return t.Flush()
}

func (p *Program) show(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("show", flag.ContinueOnError)
	if err := p.understand(flags, receiptsUsage, args, 1); err != nil {
		return err
	}
	r, err := p.OpenRecords(ctx, "")
	if err != nil {
		return err
	}
	defer r.Close()
	all, report, err := r.Find(ctx, flags.Arg(0))
	if err != nil {
		return err
	}
	for _, one := range all {
		fmt.Fprintln(out, shown(string(one.Append(nil)))) // the same JSON
	}
	if len(all) == 0 {
		fmt.Fprintln(p.errs, "there is no receipt of this id: it may wait to be stored for a second, or the refusal was counted in another's receipt")
	}
	if !report.OK() {
		fmt.Fprint(p.errs, shownLines(report.String()))
		return errFaults
	}
	return nil
}

func (p *Program) export(ctx context.Context, args []string, out io.Writer) (err error) {
	flags := flag.NewFlagSet("export", flag.ContinueOnError)
	var when period
	when.flags(flags)
	tenant := flags.String("tenant", "", "")
	name := flags.String("out", "", "")
	if err := p.understand(flags, receiptsUsage, args, 0); err != nil {
		return err
	}
	r, err := p.OpenRecords(ctx, "")
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
		fmt.Fprintf(p.errs, "%d receipts\n", n)
	}
	return err
}
