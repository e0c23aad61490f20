package backup

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"time"
)

// Occupied lists what kinds of records a store has, each with the id of one; directives and the epoch left out.
func Occupied(ctx context.Context, store Store) (found []string, err error) {
	for _, kind := range Kinds {
		if !kind.Copied() {
			continue
		}
		for r, err := range store.Records(ctx, kind, time.Time{}) {
			if err != nil {
				return nil, fmt.Errorf("%s can't be read: %w", kind, err)
			}
			found = append(found, fmt.Sprintf("%s (such as %.80q)", kind, r.ID))
			break
		}
	}
	return found, nil
}

// Restore puts the records of a backup into a store, those of kinds that are [Kind.Copied]. It may be repeated after an interruption: what
// is there already is left as it is, and anything else in its place is an error.
func (m *Manifest) Restore(ctx context.Context, from Objects, store Store, progress func(kind Kind, records int64)) error {
	for _, kind := range Kinds {
		if !kind.Copied() {
			continue
		}
		var done int64
		for batch, err := range batches(m.Records(ctx, from, kind)) {
			if err == nil {
				if err = store.Put(ctx, kind, batch); err != nil {
					err = fmt.Errorf("%s can't be restored: %w", kind, err)
				}
			}
			if err != nil {
				return err
			}
			if done += int64(len(batch)); progress != nil {
				progress(kind, done)
			}
		}
	}
	return nil
}

// batches yields records as many as are put at a time.
func batches(records iter.Seq2[Record, error]) iter.Seq2[[]Record, error] {
	return func(yield func([]Record, error) bool) {
		var batch []Record
		size := 0
		for r, err := range records {
			if err != nil {
				yield(nil, err)
				return
			}
			if n := len(r.Value); len(batch) > 0 && (len(batch) >= MaxBatch || size+n > MaxBatchBytes) {
				if !yield(batch, nil) {
					return
				}
				batch, size = nil, 0
			}
			batch, size = append(batch, r), size+len(r.Value)
		}
		if len(batch) > 0 {
			yield(batch, nil)
		}
	}
}

// A Difference is what a store lacks of a backup, or has otherwise.
type Difference struct {
	Compared int64    // records of the backup that were looked for
	Missing  int64    // not in the store
	Other    int64    // another one in their place
	Examples []string // of both, a few
}

// maxExamples is how many are told of.
const maxExamples = 10

// OK tells whether the store has every record of the backup.
func (d *Difference) OK() bool { return d.Missing == 0 && d.Other == 0 }

// Err is nil where the store has every record of the backup.
func (d *Difference) Err() error {
	if d.OK() {
		return nil
	}
	return fmt.Errorf("of %d records %d are missing and %d are others than in the backup: %q", d.Compared, d.Missing, d.Other, d.Examples)
}

// Compare looks for each record of a backup in a store, of the kinds that are [Kind.Copied]. What the store has beyond those is not looked at.
func (m *Manifest) Compare(ctx context.Context, from Objects, store Store) (*Difference, error) {
	d := &Difference{}
	for _, kind := range Kinds {
		if !kind.Copied() {
			continue
		}
		for batch, err := range batches(m.Records(ctx, from, kind)) {
			if err != nil {
				return nil, err
			}
			ids := make([]string, len(batch))
			for i := range batch {
				ids[i] = batch[i].ID
			}
			there, err := store.Get(ctx, kind, ids)
			if err != nil {
				return nil, fmt.Errorf("%s can't be read: %w", kind, err)
			}
			for i := range batch {
				d.hold(kind, &batch[i], there)
			}
		}
	}
	return d, nil
}

func (d *Difference) hold(kind Kind, want *Record, there map[string]Record) {
	d.Compared++
	got, found := there[want.ID]
	word := ""
	switch {
	case !found:
		d.Missing++
		word = "missing"
	case !bytes.Equal(got.Value, want.Value):
		d.Other++
		word = "another"
	}
	if word != "" && len(d.Examples) < maxExamples {
		d.Examples = append(d.Examples, fmt.Sprintf("%s %.80s: %s", kind, want.ID, word))
	}
}

// PutMissing has those of some records put that a store does not have. Where another one is there it is [ErrConflict], and none is put.
func PutMissing(ctx context.Context, store Store, kind Kind, records []Record, put func([]Record) error) error {
	ids := make([]string, len(records))
	for i := range records {
		ids[i] = records[i].ID
	}
	there, err := store.Get(ctx, kind, ids)
	if err != nil {
		return err
	}
	var missing []Record
	for _, r := range records {
		switch old, found := there[r.ID]; {
		case !found:
			missing = append(missing, r)
		case !bytes.Equal(old.Value, r.Value):
			return fmt.Errorf("%s %.80q: %w", kind, r.ID, ErrConflict)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return put(missing)
}
