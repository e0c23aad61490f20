package command

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"example.com/erlmcp/function/internal/backup"
	"example.com/erlmcp/function/internal/receipt"
	"example.com/erlmcp/function/internal/recovery"
)

const backupUsage = `erlmcp backup copies the store to a place: a folder, or gs://BUCKET/PREFIX.

  erlmcp backup PLACE [-at TIME]     kill switches, limits, tenants, plans, API keys (hashes), quotas and receipts, as they were at one time
  erlmcp backup PLACE -roots         the receipts' newest roots, and the receipts of changes since the last time; to be run each minute
  erlmcp backup PLACE -list          the backups that there are

What is in the place is never changed, so a bucket may have a retention policy that is locked. -at is the time to read the store at, now
if it is left out: one in the last hour, or, with point-in-time recovery, a whole minute in the last 7 days. The store is the one of
GOOGLE_CLOUD_PROJECT, or of STORE_FILE, which no server may have open. A backup to BACKUP_PLACE archives receipts there first, where
RECEIPT_STORE_DAYS is less than RECEIPT_RETENTION_DAYS: it is to be run each day then, and exits with 1 where some are about to leave the
store that are not archived. With RECEIPT_KEY_FILE or RECEIPT_KMS_KEY a backup is signed. -roots
exits with 1 where the store lacks a root that is in the place: it was rolled back.

`

const restoreUsage = `erlmcp restore has a store back from a place: a folder, or gs://BUCKET/PREFIX.

  erlmcp restore PLACE [-backup NAME] [-keys FILE]   a backup, the newest unless it is named, into the store, which must be empty
  erlmcp restore PLACE -adopt [-keys FILE]           close a store that was restored by Firestore's own means, before anything serves from it
  erlmcp restore PLACE -replay [-keys FILE]          list what was ordered since: what -confirm would replay, and what it would not
  erlmcp restore PLACE -confirm [-keys FILE]         list it, replay it, and let calls in

From the first record on a kill switch on everything refuses all calls, whatever Redis has, until -confirm. That replays revocations of
keys and tenants, suspensions and kill switches, as their receipts in the place say. What gives something back (grants, lifted kill switches,
limits, new keys) is listed for you to order again. Each record is held against the backup. What is interrupted may be run again.

The store is the one of GOOGLE_CLOUD_PROJECT, or of STORE_FILE. FILE of -keys has the operator's public keys in PEM; without it the key is
that of RECEIPT_KEY_FILE or RECEIPT_KMS_KEY, and without any it is not verified who signed.

`

const drillUsage = `erlmcp drill shows that the store can be had back, and writes a report, which it signs.

  erlmcp drill PLACE -into NAME [-empty] [-out FILE]   back up to PLACE, restore into NAME, compare, verify, confirm; measure RPO and RTO
  erlmcp drill PLACE -into NAME -ended URL [flags]     beside that, see all instances end and come back, and probe URL
  erlmcp drill -verify FILE -keys FILE                 verify who signed a report, and show it

With -ended, after the backup, you end all instances when the command says so, as by kubectl delete pods -l app=erlmcp. It waits until each has
ended, until others have come, and until URL, such as https://mcp.example.com, is healthy and serves both eras; then it verifies the receipts of
before against the roots in PLACE. Which instances run the control plane at TAIEA_URL tells, to which TAIEA_KEY is a viewer's key, or without
TAIEA_URL the Redis at REDIS_URL. What PROBE_TOKEN holds is sent to URL.

  -instances N        at least so many must come back, such as the autoscaler's fewest. Default 1
  -within DURATION    for how long each of these waits at most. Default 10m

NAME is another database of GOOGLE_CLOUD_PROJECT, or another file where the store is that of STORE_FILE. It must be empty, and has the copy
afterwards: delete it then. With -empty it is emptied before and after, and its name must end in "drill". The report is JSON, in PLACE
(reports/TIME.json), and to standard output unless -out says where. It exits with 1 where a step failed.

`

// progress tells of long work, now and then.
func (p *Program) progress(verb string) func(backup.Kind, int64) {
	last := time.Now()
	return func(kind backup.Kind, records int64) {
		if now := time.Now(); now.Sub(last) >= progressEvery {
			last = now
			fmt.Fprintf(p.errs, "%s: %d %s so far\n", verb, records, kind)
		}
	}
}

const progressEvery = 5 * time.Second

func (p *Program) backup(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("backup", flag.ContinueOnError)
	var at time.Time
	flags.Func("at", "", func(s string) (err error) { at, err = moment(s, time.Now()); return err })
	roots, list := flags.Bool("roots", false, ""), flags.Bool("list", false, "")
	place, err := p.word(flags, backupUsage, args)
	switch {
	case err != nil:
		return err
	case place == "":
		return fmt.Errorf("%w: which place? Name a folder, or gs://BUCKET/PREFIX", errUsage)
	case *roots && *list || !at.IsZero() && (*roots || *list):
		return fmt.Errorf("%w: -at, -roots and -list do not go together", errUsage)
	case *list:
		return p.listBackups(ctx, place, out)
	}
	r, err := p.OpenRecovery(ctx, "")
	if err != nil {
		return err
	}
	defer r.Close()
	if *roots {
		s, err := r.Ship(ctx, place)
		if err != nil {
			return err
		}
		last := "there is no root yet"
		if s.Last != nil {
			last = fmt.Sprintf("the last is root %d of %s", s.Last.Number, receipt.FormatTime(s.Last.Time))
		}
		fmt.Fprintf(out, "%d roots and %d segments with changes are new in %s; %s\n", s.Roots, s.Changes, shown(place), last)
		return nil
	}
	archived, failed := r.Archive(ctx, place)
	if archived != nil {
		fmt.Fprintf(out, "archived: %d segments of %d days, %d of them stored late, and %d roots; all before %s is archived\n",
			archived.Segments, archived.Days, archived.Late, archived.Roots, receipt.FormatTime(archived.Until))
	}
	m, err := r.Backup(ctx, place, at, p.progress("backing up"))
	if err != nil {
		return errors.Join(failed, err)
	}
	fmt.Fprintf(out, "backup %s: %s\n", m.Name, counts(m))
	if m.Operator == "" {
		fmt.Fprintln(p.errs, "the backup is not signed: RECEIPT_KEY_FILE or RECEIPT_KMS_KEY names a key")
	}
	return failed
}

func counts(m *backup.Manifest) string {
	text := ""
	for _, kind := range backup.Kinds {
		if kind.Copied() {
			text += fmt.Sprintf("%d %s, ", m.Counts[kind], kind)
		}
	}
	return text + fmt.Sprintf("in %d objects", len(m.Objects))
}

// maxListed is how many backups are listed.
const maxListed = 100

func (p *Program) listBackups(ctx context.Context, place string, out io.Writer) error {
	all, unfinished, err := p.ListBackups(ctx, place, maxListed)
	if err != nil {
		return err
	}
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NAME\tTIME\tVERSION\tSIGNED BY\tRECORDS")
	for _, m := range all {
		fmt.Fprintln(t, row(m.Name, receipt.FormatTime(m.Time), m.Version, m.Operator, counts(m)))
	}
	for _, name := range unfinished {
		fmt.Fprintln(t, row(name, "", "", "", "not finished: it is no backup"))
	}
	return t.Flush()
}

func (p *Program) restore(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("restore", flag.ContinueOnError)
	name, keys := flags.String("backup", "", ""), flags.String("keys", "", "")
	confirm, replay, adopt := flags.Bool("confirm", false, ""), flags.Bool("replay", false, ""), flags.Bool("adopt", false, "")
	place, err := p.word(flags, restoreUsage, args)
	switch {
	case err != nil:
		return err
	case place == "":
		return fmt.Errorf("%w: which place? Name a folder, or gs://BUCKET/PREFIX", errUsage)
	case *adopt && (*confirm || *replay):
		return fmt.Errorf("%w: -adopt comes first, by itself", errUsage)
	case (*confirm || *replay || *adopt) && *name != "":
		return fmt.Errorf("%w: the store knows which backup it was restored from: leave -backup out", errUsage)
	}
	r, err := p.OpenRecovery(ctx, *keys)
	if err != nil {
		return err
	}
	defer r.Close()
	if *confirm || *replay {
		return p.confirm(ctx, r, place, *confirm, out)
	}
	if *adopt {
		restored, err := r.Adopt(ctx, place)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "made since: %d roots and %d segments with receipts of changes\n", restored.Roots, restored.Changes)
		p.next(restored, place, out)
		return nil
	}
	begin := time.Now()
	restored, err := r.Restore(ctx, place, *name, p.progress("restoring"))
	if err != nil {
		return err
	}
	m := restored.Manifest
	fmt.Fprintf(out, "restored backup %s in %v: %s\n", m.Name, time.Since(begin).Round(time.Millisecond), counts(m))
	fmt.Fprintf(out, "compared: %d records are as in the backup\n", restored.Compared.Compared)
	fmt.Fprintf(out, "made since: %d roots and %d segments with receipts of changes\n", restored.Roots, restored.Changes)
	p.next(restored, place, out)
	return nil
}

func (p *Program) next(r *recovery.Restored, place string, out io.Writer) {
	if !r.Told {
		fmt.Fprintln(out, "Redis was not told: an instance that can't read the store goes by what Redis has. Empty Redis before anything serves.")
	}
	fmt.Fprint(out, p.text(fmt.Sprintf("Every call is refused. Next: erlmcp restore %s -replay, and then -confirm\n", shown(place))))
}

func (p *Program) confirm(ctx context.Context, r Recovery, place string, run bool, out io.Writer) error {
	c, plan, err := r.Confirm(ctx, place, run)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "The store was restored from backup %s, of %s.\n", plan.Backup, receipt.FormatTime(plan.Since))
	if plan.Last != nil && plan.Last.Time.After(plan.Since) {
		fmt.Fprintf(out, "What was ordered after the last root in %s, of %s, is not known.\n", shown(place), receipt.FormatTime(plan.Last.Time))
	} else {
		fmt.Fprintf(out, "WARNING: no root in %s is later: what was ordered since is not known.\n", shown(place))
	}
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "TIME\tORDER\tRECEIPT\t")
	for _, o := range plan.Replay {
		fmt.Fprintln(t, row(receipt.FormatTime(o.Time), o.What, o.ID, unsure(&o)))
	}
	for _, o := range plan.Left {
		fmt.Fprintln(t, row(receipt.FormatTime(o.Time), o.What, o.ID, "not replayed: order it again if it is to hold"))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if !run {
		fmt.Fprintf(out, "%d orders would be replayed, and %d not. Every call is refused until -confirm.\n", len(plan.Replay), len(plan.Left))
		return nil
	}
	err = c.Run(ctx, plan, func(o recovery.Order, became string) { fmt.Fprintf(out, "%s: %s\n", shown(o.What), became) })
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%d orders are replayed. Calls are let in.\n", len(plan.Replay))
	return nil
}

func unsure(o *recovery.Order) string {
	if o.Unsure {
		return "what came of it is not recorded"
	}
	return ""
}

// errDrill is that a drill failed, and its report says where.
var errDrill = fmt.Errorf("the drill failed: %w", errSaid)

func (p *Program) drill(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("drill", flag.ContinueOnError)
	into, report, file, keys := flags.String("into", "", ""), flags.String("verify", "", ""), flags.String("out", "", ""), flags.String("keys", "", "")
	clear, ended := flags.Bool("empty", false, ""), flags.String("ended", "", "")
	least, within := flags.Int("instances", 1, ""), flags.Duration("within", 10*time.Minute, "")
	place, err := p.word(flags, drillUsage, args)
	switch {
	case err != nil:
		return err
	case *report != "" && place == "":
		return p.verifyReport(*report, *keys, out)
	case place == "" || *into == "" || *report != "":
		return fmt.Errorf("%w: a drill wants a place and -into, or -verify alone", errUsage)
	case *least < 1 || *within <= 0:
		return fmt.Errorf("%w: -instances %d is at least 1, and -within %v more than nothing", errUsage, *least, *within)
	}
	r, err := p.OpenRecovery(ctx, *keys)
	if err != nil {
		return err
	}
	defer r.Close()
	what := recovery.DrillOptions{Into: *into, Empty: *clear, Progress: p.progress("drill")}
	if *ended != "" {
		f, err := p.reach(ctx)
		if err != nil {
			return fmt.Errorf("-ended: %w", err)
		}
		defer f.close()
		what.Ending = f.ending(strings.TrimSuffix(*ended, "/"), *least, *within)
	}
	found, err := r.Drill(ctx, place, what)
	if found == nil {
		return err
	}
	var fault error
	if *file == "" {
		_, fault = out.Write(found.Text())
	} else if fault = os.WriteFile(*file, found.Text(), 0o644); fault == nil {
		showReport(found, out)
	}
	if err = errors.Join(err, fault); err == nil && !found.OK {
		err = errDrill
	}
	return err
}

// stillRuns is how long ago an instance was seen that still runs: it says so every 2 s.
const stillRuns = 10 * time.Second

// ending is the part of a drill in which all instances of the fleet are ended.
func (f *fleet) ending(url string, least int, within time.Duration) *recovery.Ending {
	p := f.program
	return &recovery.Ending{
		Least: least, Within: within,
		Running: func(ctx context.Context) (running []recovery.Instance, err error) {
			all, at, err := f.instances(ctx)
			for _, i := range all {
				if i.Catalog != "" && at.Sub(i.Seen) < stillRuns { // the control plane has none
					running = append(running, recovery.Instance{Name: i.Name + " of " + i.Began.Format(time.RFC3339), Seen: i.Seen})
				}
			}
			return running, err
		},
		Probe: func(ctx context.Context) error {
			token := os.Getenv("PROBE_TOKEN")
			if err := p.probeHealth(ctx, url, token, ""); err != nil {
				return err
			}
			return p.probeEras(ctx, url, token, io.Discard)
		},
		Tell: func(running int) {
			fmt.Fprintf(p.errs, "End all %d instances now, as by kubectl delete pods -l app=erlmcp: the drill waits for that, %v at most.\n", running, within)
		},
	}
}

func (p *Program) verifyReport(name, keyFile string, out io.Writer) error {
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	if keyFile == "" {
		return fmt.Errorf("%w: whose signature? -keys names a file of the operator's public keys in PEM", errUsage)
	}
	keys, err := p.PublicKeys(keyFile)
	if err != nil {
		return err
	}
	found, err := recovery.ReadReport(text, keys.Keys)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	showReport(found, out)
	if !found.OK {
		return errDrill
	}
	return nil
}

func showReport(r *recovery.Report, out io.Writer) {
	fmt.Fprintf(out, "drill of %s with erlmcp %s: backup %s in %s, restored into %s\n", receipt.FormatTime(r.Time), shown(r.Version), shown(r.Backup), shown(r.Place), shown(r.Into))
	for _, s := range r.Steps {
		word := "ok"
		if !s.OK {
			word = "FAILED"
		}
		fmt.Fprintf(out, "%-6s %8.3f s  %s: %s\n", word, s.Seconds, shown(s.Name), shown(s.Words))
	}
	known := func(s *float64) string {
		if s == nil {
			return "not known"
		}
		return fmt.Sprintf("%.3f s", *s)
	}
	fmt.Fprintf(out, "RPO: %s of receipts and changes, %s of all else; RTO of the store: %.3f s\n", known(r.InsideSeconds), known(r.OutsideSeconds), r.RTOSeconds)
	if r.BackSeconds > 0 {
		fmt.Fprintf(out, "RTO of the service, from when the last instance that was ended was heard of: %.3f s\n", r.BackSeconds)
	}
	if r.Operator != "" {
		fmt.Fprintf(out, "signed with key %s\n", shown(r.Operator))
	}
}
