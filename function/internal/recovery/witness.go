// Package recovery brings a store back from a backup, closed, and what was ordered since the backup with it.
//
// Beside backups the same place has, for each of the receipts' roots, an object, and one for each segment with receipts of changes: [Ship]
// puts them there, once a minute. They are never changed, so they show what a store that was rolled back has lost, and what operators had
// ordered.
package recovery

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"example.com/erlmcp/function/internal/backup"
	"example.com/erlmcp/function/internal/receipt"
	"example.com/erlmcp/function/internal/receipt/verify"
)

const (
	// firstShipped is how far the first run goes back: what is older is in backups.
	firstShipped = 24 * time.Hour
	// shipOverlap is how far before the last root segments are looked for that were stored late.
	shipOverlap = 15 * time.Minute

	rootsFolder   = "roots/"
	changesFolder = "changes/"
)

var endOfTime = time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)

func day(at time.Time) string { return at.UTC().Format(time.DateOnly) }

func rootObject(r *receipt.Root) string {
	return fmt.Sprintf("%s%s/%012d.json", rootsFolder, day(r.Time), r.Number)
}

func changeObject(s *receipt.Segment) string {
	return fmt.Sprintf("%s%s/%s-%012d.json", changesFolder, day(s.To), s.Chain, s.Number)
}

// A RolledBack is that a store has not the roots that were put elsewhere: it was rolled back, or is another one.
type RolledBack struct {
	Kept  int64 // number of the root elsewhere that the store does not have as it is there
	Last  int64 // the store's last one; 0 for none
	Place string
}

func (r *RolledBack) Error() string {
	return fmt.Sprintf("root %d in %s is not in the store, whose last one is root %d: the store was rolled back, or is another one; erlmcp verify -roots %[2]s names what is missing", r.Kept, r.Place, r.Last)
}

// A Shipped says what was put in its place.
type Shipped struct {
	Roots, Changes int64
	Last           *receipt.Root // the newest of all that are there; nil: none
}

// Ship puts the roots that were made since the last one there, and the segments with receipts of changes, into a place. It may be run as
// often as is wanted, and by several at once. Its error is a [*RolledBack] where the store has other roots than those that are there.
func Ship(ctx context.Context, store receipt.Store, to backup.Objects, now time.Time) (*Shipped, error) {
	kept, err := LastRoot(ctx, to)
	if err != nil {
		return nil, err
	}
	from := now.Add(-firstShipped)
	if kept != nil {
		from = kept.Time
		newest, err := store.LastRoot(ctx)
		if err != nil {
			return nil, fmt.Errorf("the last root can't be read: %w", err)
		}
		if newest == nil || newest.Number < kept.Number {
			r := &RolledBack{Kept: kept.Number, Place: to.String()}
			if newest != nil {
				r.Last = newest.Number
			}
			return nil, r
		}
	}
	s := &Shipped{Last: kept}
	// Changes come first: the next run begins at the last root.
	if err := s.changes(ctx, store, to, from.Add(-shipOverlap)); err != nil {
		return s, err
	}
	for r, err := range store.Roots(ctx, from, endOfTime) {
		if err != nil {
			return s, fmt.Errorf("roots can't be read: %w", err)
		}
		if kept != nil && r.Number < kept.Number {
			continue
		}
		if kept != nil && r.Number == kept.Number && bytes.Equal(r.Text, kept.Text) {
			continue
		}
		err := to.Create(ctx, rootObject(r), r.Text)
		switch {
		case errors.Is(err, backup.ErrExists), kept != nil && r.Number == kept.Number:
			return s, &RolledBack{Kept: r.Number, Last: r.Number, Place: to.String()}
		case err != nil:
			return s, fmt.Errorf("root %d can't be written to %s: %w", r.Number, to, err)
		}
		s.Roots, s.Last = s.Roots+1, r
	}
	return s, nil
}

func (s *Shipped) changes(ctx context.Context, store receipt.Store, to backup.Objects, since time.Time) error {
	known := map[string]bool{}
	for name, err := range to.List(ctx, changesFolder, changesFolder+day(since)) {
		if err != nil {
			return fmt.Errorf("%s can't be listed: %w", to, err)
		}
		known[name] = true
	}
	for segment, err := range store.Between(ctx, since, endOfTime) {
		if err != nil {
			return fmt.Errorf("segments can't be read: %w", err)
		}
		name := changeObject(segment)
		if known[name] || !hasChange(segment) {
			continue
		}
		text, err := json.Marshal(segment)
		if err != nil {
			return err
		}
		if err := to.Create(ctx, name, text); err != nil {
			return fmt.Errorf("%s can't be written to %s: %w", name, to, err)
		}
		s.Changes++
	}
	return nil
}

// hasChange tells whether a segment has the receipt of a change, of its intent, or of its failure: beside refusals these alone have a detail.
func hasChange(s *receipt.Segment) bool {
	if !bytes.Contains(s.Receipts, []byte(`"detail":`)) {
		return false
	}
	for line := range bytes.Lines(s.Receipts) {
		if r, err := receipt.Parse(bytes.TrimSuffix(line, []byte("\n"))); err != nil || isChange(&r) {
			return true // and what can't be read is for who reads it there to tell
		}
	}
	return false
}

func isChange(r *receipt.Receipt) bool {
	switch r.Kind {
	case receipt.Changed, receipt.Killed, receipt.Entitled:
		return true
	case receipt.Admitted, receipt.Failed, receipt.Completed:
		return r.Detail != ""
	}
	return false
}

// LastRoot returns the newest root in a place, nil where there is none.
func LastRoot(ctx context.Context, from backup.Objects) (*receipt.Root, error) {
	days, err := from.Folders(ctx, rootsFolder)
	if err != nil {
		return nil, fmt.Errorf("%s can't be listed: %w", from, err)
	}
	for _, day := range slices.Backward(days) {
		last := ""
		for name, err := range from.List(ctx, rootsFolder+day+"/", "") {
			if err != nil {
				return nil, fmt.Errorf("%s can't be listed: %w", from, err)
			}
			last = name
		}
		if last != "" {
			return readRoot(ctx, from, last)
		}
	}
	return nil, nil
}

func readRoot(ctx context.Context, from backup.Objects, name string) (*receipt.Root, error) {
	text, err := from.Read(ctx, name)
	if err != nil {
		return nil, err
	}
	h, err := receipt.ReadHeads(text)
	if err != nil {
		return nil, fmt.Errorf("%s in %s %w", name, from, err)
	}
	root := &receipt.Root{Number: h.Number, Time: h.Time, Text: text}
	if rootObject(root) != name {
		return nil, fmt.Errorf("%s in %s is root %d of %s: it is in the place of another", name, from, h.Number, receipt.FormatTime(h.Time))
	}
	return root, nil
}

// Roots yields the roots in a place by their numbers, from the day of a time on.
func Roots(ctx context.Context, from backup.Objects, since time.Time) iter.Seq2[*receipt.Root, error] {
	return func(yield func(*receipt.Root, error) bool) {
		for name, err := range from.List(ctx, rootsFolder, begin(rootsFolder, since)) {
			var root *receipt.Root
			if err == nil {
				root, err = readRoot(ctx, from, name)
			}
			if !yield(root, err) || err != nil {
				return
			}
		}
	}
}

func begin(folder string, since time.Time) string {
	if since.IsZero() {
		return ""
	}
	return folder + day(since)
}

// Changes yields the segments with receipts of changes in a place, each with its receipts, from the day of a time on. Where one does not
// verify, the sequence ends with an error. Without keys it is not verified who signed.
func Changes(ctx context.Context, from backup.Objects, since time.Time, keys []ed25519.PublicKey) iter.Seq2[*Change, error] {
	return func(yield func(*Change, error) bool) {
		for name, err := range from.List(ctx, changesFolder, begin(changesFolder, since)) {
			var c *Change
			if err == nil {
				c, err = readChange(ctx, from, name, keys)
			}
			if !yield(c, err) || err != nil {
				return
			}
		}
	}
}

// A Change is a segment with receipts of changes.
type Change struct {
	Segment  *receipt.Segment
	Receipts []receipt.Receipt
}

func readChange(ctx context.Context, from backup.Objects, name string, keys []ed25519.PublicKey) (*Change, error) {
	text, err := from.Read(ctx, name)
	if err != nil {
		return nil, err
	}
	c := &Change{Segment: &receipt.Segment{}}
	if err := json.Unmarshal(text, c.Segment); err != nil {
		return nil, fmt.Errorf("%s in %s is no segment of receipts: %w", name, from, err)
	}
	var report *verify.Report
	if c.Receipts, report = verify.Segment(c.Segment, keys); !report.OK() {
		return nil, fmt.Errorf("%s in %s does not verify: %s", name, from, strings.TrimSpace(report.Faults[0].Words))
	}
	if changeObject(c.Segment) != name {
		return nil, fmt.Errorf("%s in %s is segment %d of chain %s: it is in the place of another", name, from, c.Segment.Number, c.Segment.Chain)
	}
	return c, nil
}
