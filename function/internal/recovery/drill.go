package recovery

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"time"

	"example.com/erlmcp/function/internal/backup"
	"example.com/erlmcp/function/internal/directives"
	"example.com/erlmcp/function/internal/receipt"
	"example.com/erlmcp/function/internal/receipt/verify"
)

// Drill says what is to be shown: that the store can be had back from a place, in another store that is empty, and, where there is an Ending,
// that what serves comes back by itself.
type Drill struct {
	Place      backup.Objects
	Store      backup.Store
	Directives directives.Store
	Receipts   receipt.Store
	Ending     *Ending  // nil: what serves goes on meanwhile
	Restore    *Restore // into the other store
	Confirm    *Confirm // of it
	Into       string   // its name, for the report
	Version    string
	Keys       []ed25519.PublicKey
	Roots      receipt.RootKeys
	Signer     receipt.Signer // nil: nobody vouches for the report
	Progress   func(kind backup.Kind, records int64)
	Now        func() time.Time
}

// DrillOptions are what an operator says of a drill.
type DrillOptions struct {
	Into     string  // the other store
	Empty    bool    // it is emptied before and after
	Ending   *Ending // nil: what serves goes on meanwhile
	Progress func(kind backup.Kind, records int64)
}

// A Report is what a drill has found, in JSON. Times are in seconds.
type Report struct {
	Format  int64                 `json:"format"`
	Time    time.Time             `json:"time"` // of the begin
	Version string                `json:"version"`
	Place   string                `json:"place"`
	Into    string                `json:"into"`
	Backup  string                `json:"backup,omitempty"`
	Steps   []Step                `json:"steps"`
	Records map[backup.Kind]int64 `json:"records,omitempty"`
	// What was not in the place when the drill began, and would have been lost: of receipts and changes, the age of the oldest root that
	// had not been put there; of all else, the age of the last backup. Left out where there was none before.
	InsideSeconds  *float64 `json:"rpoInsideSeconds,omitempty"`
	OutsideSeconds *float64 `json:"rpoOutsideSeconds,omitempty"`
	// From the begin of the restore until the store was open.
	RTOSeconds float64 `json:"rtoSeconds,omitempty"`
	// From when the last instance that was ended was heard of until what came back was healthy.
	BackSeconds float64       `json:"backSeconds,omitempty"`
	OK          bool          `json:"ok"`
	Operator    string        `json:"operator,omitempty"`
	Signature   receipt.Bytes `json:"signature,omitempty"`
}

// A Step is one of a drill.
type Step struct {
	Name    string  `json:"name"`
	Seconds float64 `json:"seconds"`
	OK      bool    `json:"ok"`
	Words   string  `json:"words"` // what was found
}

func (r *Report) canonical() []byte {
	unsigned := *r
	unsigned.Signature = nil
	return receipt.Canonical(receipt.Plain(&unsigned))
}

// ReadReport reads a report, and says why it is not to be believed: [receipt.ErrUnsigned], or that none of the keys has signed it.
func ReadReport(text []byte, keys []ed25519.PublicKey) (*Report, error) {
	r := &Report{}
	if err := json.Unmarshal(text, r); err != nil || r.Format != format {
		return nil, errors.New("this is no report of a drill that this version knows")
	}
	if err := receipt.DrillReport.Verify(receipt.NewKeyring(keys), r.Operator, r.canonical(), r.Signature); err != nil {
		return nil, fmt.Errorf("the report %w", err)
	}
	return r, nil
}

// format is that of reports.
const format = 1

// Run does the drill. Its report, which is put into the place as well, says where it failed. The error is that there is none, that it is not
// signed, or not there.
func (d *Drill) Run(ctx context.Context) (*Report, error) {
	r := &Report{Format: format, Time: d.Now().UTC().Truncate(time.Microsecond), Version: d.Version, Place: d.Place.String(), Into: d.Into}
	steps := d.steps(r)
	for _, s := range steps {
		begin := d.Now()
		words, err := s.run(ctx)
		step := Step{Name: s.name, Seconds: seconds(d.Now().Sub(begin)), OK: err == nil, Words: words}
		if err != nil {
			step.Words = err.Error()
		}
		r.Steps = append(r.Steps, step)
		if err != nil {
			break
		}
	}
	r.OK = len(r.Steps) == len(steps) && r.Steps[len(steps)-1].OK
	if d.Signer != nil {
		r.Operator = receipt.KeyID(d.Signer.Public())
		var err error
		if _, r.Signature, err = receipt.DrillReport.Sign(ctx, d.Signer, r.canonical()); err != nil {
			return r, err
		}
	}
	if err := d.Place.Create(ctx, "reports/"+r.Time.Format("20060102T150405.000000Z")+".json", r.Text()); err != nil {
		return r, fmt.Errorf("the report can't be written to %s: %w", d.Place, err)
	}
	return r, nil
}

// Text is the report in JSON, over several lines.
func (r *Report) Text() []byte {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		panic(err) // of numbers and texts
	}
	return append(text, '\n')
}

func seconds(d time.Duration) float64 { return d.Round(time.Millisecond).Seconds() }

// A step is one that is to be done.
type step struct {
	name string
	run  func(context.Context) (found string, err error)
}

func (d *Drill) steps(r *Report) []step {
	var restored *Restored
	var begin time.Time
	steps := []step{
		{"look at what is in the place", func(ctx context.Context) (string, error) { return d.look(ctx, r) }},
		{"back up", func(ctx context.Context) (string, error) {
			m, err := d.backUp(ctx)
			if err != nil {
				return "", err
			}
			r.Backup, r.Records, d.Restore.Backup = m.Name, m.Counts, m.Name
			return fmt.Sprintf("%d records in %d objects", total(m), len(m.Objects)), nil
		}},
	}
	if d.Ending != nil {
		steps = append(steps, d.Ending.steps(r, d.Now)...)
		steps = append(steps, step{"verify the receipts of what serves against the roots in the place", d.verifyServing})
	}
	return append(steps, []step{
		{"restore into an empty store, and compare each record", func(ctx context.Context) (_ string, err error) {
			begin = d.Now()
			if restored, err = d.Restore.Run(ctx); err != nil {
				return "", err
			}
			c := restored.Compared
			return fmt.Sprintf("%d records compared, %d missing, %d others", c.Compared, c.Missing, c.Other), nil
		}},
		{"verify the receipts against the roots in the place", func(ctx context.Context) (string, error) {
			return d.verify(ctx, d.Restore.Receipts, restored.Manifest.Time)
		}},
		{"confirm what was ordered since, and open", func(ctx context.Context) (string, error) {
			words, err := d.confirm(ctx)
			r.RTOSeconds = seconds(d.Now().Sub(begin))
			return words, err
		}},
	}...)
}

func total(m *backup.Manifest) (n int64) {
	for _, count := range m.Counts {
		n += count
	}
	return n
}

// look measures what would have been lost.
func (d *Drill) look(ctx context.Context, r *Report) (string, error) {
	age := func(at time.Time) *float64 {
		s := max(0, seconds(d.Now().Sub(at)))
		return &s
	}
	words := "there was no backup before"
	switch m, err := backup.Find(ctx, d.Place, ""); {
	case err == nil:
		r.OutsideSeconds = age(m.Time)
		words = "the last backup was of " + receipt.FormatTime(m.Time)
	case !errors.Is(err, backup.ErrNoBackup):
		return "", err
	}
	kept, err := LastRoot(ctx, d.Place)
	switch {
	case err != nil:
		return "", err
	case kept == nil:
		return words + ", and there were no roots", nil
	}
	r.InsideSeconds = new(float64)
	for root, err := range d.Receipts.Roots(ctx, kept.Time, endOfTime) {
		if err != nil {
			return "", fmt.Errorf("roots can't be read: %w", err)
		}
		if root.Number > kept.Number {
			r.InsideSeconds = age(root.Time)
			break
		}
	}
	return fmt.Sprintf("%s, and the last root that of %s", words, receipt.FormatTime(kept.Time)), nil
}

func (d *Drill) backUp(ctx context.Context) (*backup.Manifest, error) {
	if _, err := Ship(ctx, d.Receipts, d.Place, d.Now()); err != nil {
		return nil, err
	}
	return Backup(ctx, d.Store, d.Directives, d.Place, backup.Options{Version: d.Version, Signer: d.Signer, Progress: d.Progress, Now: d.Now})
}

// Backup makes a backup of a store, unless that waits to be confirmed: what was ordered since the backup that it was restored from is not
// in it yet.
func Backup(ctx context.Context, store backup.Store, of directives.Store, to backup.Objects, o backup.Options) (*backup.Manifest, error) {
	d, err := of.Directives(ctx)
	if err != nil {
		return nil, fmt.Errorf("the store can't be read: %w", err)
	}
	if name, _ := d.Restored(); name != "" {
		return nil, fmt.Errorf("the store was restored from backup %s and is not confirmed, so it lacks what was ordered since: erlmcp restore -confirm comes first", name)
	}
	return backup.Write(ctx, store, to, o)
}

// proved is for how long before the backup the record is proved: erlmcp verify proves all of it.
const proved = 24 * time.Hour

// settling is how old a root is whose receipts are all stored.
const settling = 10 * time.Second

// verifyServing proves that the store that serves has what it had before all instances ended.
func (d *Drill) verifyServing(ctx context.Context) (string, error) {
	if _, err := Ship(ctx, d.Receipts, d.Place, d.Now()); err != nil {
		return "", err
	}
	return d.verify(ctx, d.Receipts, d.Now())
}

// verify proves receipts against roots that were made well before a time.
func (d *Drill) verify(ctx context.Context, of receipt.Store, at time.Time) (string, error) {
	from, until := at.Add(-proved), at.Add(-settling)
	kept := func(yield func(*receipt.Root, error) bool) {
		for r, err := range Roots(ctx, d.Place, from) {
			if err == nil && r.Time.After(until) || !yield(r, err) {
				return
			}
		}
	}
	report, err := verify.Store(ctx, settled{of, until}, verify.Options{
		Keys: d.Keys, Roots: d.Roots, Kept: verify.Kept{Place: d.Place.String(), Roots: kept}, From: from, Now: until,
	})
	switch {
	case err != nil:
		return "", err
	case !report.OK():
		words := make([]string, 0, 3)
		for _, f := range report.Faults[:min(3, len(report.Faults))] {
			words = append(words, f.Words)
		}
		return "", fmt.Errorf("%d faults: %q", int64(len(report.Faults))+report.More, words)
	}
	return fmt.Sprintf("%d receipts in %d chains, %d roots: nothing is altered or missing", report.Receipts, report.Chains, report.Roots), nil
}

// settled are receipts whose later roots are left out.
type settled struct {
	receipt.Store
	until time.Time
}

// Roots implements [receipt.Store].
func (s settled) Roots(ctx context.Context, from, to time.Time) iter.Seq2[*receipt.Root, error] {
	if to.After(s.until) {
		to = s.until
	}
	return s.Store.Roots(ctx, from, to)
}

func (d *Drill) confirm(ctx context.Context) (string, error) {
	p, err := d.Confirm.Plan(ctx)
	if err != nil {
		return "", err
	}
	in, err := d.Restore.Directives.Store.Directives(ctx)
	if err != nil {
		return "", err
	}
	if in.Killed(d.Now(), nil) == nil {
		return "", errors.New("the restored store refused no call before it was confirmed")
	}
	if err := d.Confirm.Run(ctx, p, func(Order, string) {}); err != nil {
		return "", err
	}
	if in, err = d.Restore.Directives.Store.Directives(ctx); err != nil {
		return "", err
	}
	if name, _ := in.Restored(); name != "" {
		return "", errors.New("the restored store refuses calls after it was confirmed")
	}
	return fmt.Sprintf("%d orders replayed, %d left to operators; the store refused every call until then", len(p.Replay), len(p.Left)), nil
}
