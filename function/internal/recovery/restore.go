package recovery

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"example.com/erlmcp/function/internal/backup"
	"example.com/erlmcp/function/internal/directives"
	"example.com/erlmcp/function/internal/receipt"
)

// Restore says what is restored, and into what.
type Restore struct {
	From       backup.Objects
	Backup     string              // its name; "" for the newest
	Keys       []ed25519.PublicKey // the operator's; without any it is not verified who signed the backup
	Store      backup.Store
	Directives *directives.Writer // with the board, where that is known: an instance that can't read the store goes by it
	Receipts   receipt.Store
	Progress   func(kind backup.Kind, records int64)
	Now        func() time.Time
}

// A Restored says what was restored.
type Restored struct {
	Manifest *backup.Manifest
	Compared *backup.Difference // the store against the backup, record by record
	Roots    int64              // that were made since the backup
	Changes  int64              // segments of receipts since the backup
	Last     *receipt.Root      // the newest of all roots; nil: none
	Told     bool               // the board has the order to refuse every call
}

// epochsAhead is by how many the epoch is put ahead: more than were given since the backup.
const epochsAhead = 1_000_000

// Run restores a backup into an empty store, which refuses every call from the first record on until [Confirm.Run]. Where it was interrupted,
// the same may be run again. A store that has anything else is an [*Occupied].
func (r *Restore) Run(ctx context.Context) (*Restored, error) {
	m, err := backup.Find(ctx, r.From, r.Backup)
	if err != nil {
		return nil, err
	}
	if len(r.Keys) > 0 {
		if err := m.Verify(receipt.NewKeyring(r.Keys)); err != nil {
			return nil, fmt.Errorf("the manifest of backup %s in %s %w", m.Name, r.From, err)
		}
	}
	if err := r.close(ctx, m); err != nil {
		return nil, err
	}
	out := &Restored{Manifest: m}
	if out.Last, err = r.newest(ctx, m); err != nil {
		return nil, err
	}
	if err := r.epoch(ctx, m); err != nil {
		return nil, err
	}
	if err := m.Restore(ctx, r.From, r.Store, r.Progress); errors.Is(err, backup.ErrConflict) {
		return nil, fmt.Errorf("%w: something has written to the store since the restore began; name an empty one", err)
	} else if err != nil {
		return nil, err
	}
	if err := r.since(ctx, out, m.Time, m.Root); err != nil {
		return nil, err
	}
	if out.Compared, err = m.Compare(ctx, r.From, r.Store); err != nil {
		return nil, err
	}
	if err := out.Compared.Err(); err != nil {
		return nil, fmt.Errorf("the restored store is not the backup: %w", err)
	}
	if err := r.merge(ctx, m); err != nil {
		return nil, err
	}
	out.Told = r.told(ctx)
	return out, nil
}

// told tells whether the board has the order to refuse every call.
func (r *Restore) told(ctx context.Context) bool {
	if r.Directives.Board == nil {
		return false
	}
	b, err := r.Directives.Snapshot(ctx)
	name, _ := b.Directives.Restored()
	return err == nil && name != ""
}

// An Occupied is that a store has records, and nothing is restored over them.
type Occupied struct{ Found []string }

func (o *Occupied) Error() string {
	return "the store is not empty, and nothing is restored over what it has: " + strings.Join(o.Found, ", ") + "; name an empty one"
}

// close has the store refuse every call, and makes sure that it is empty, or that this very restore was begun.
func (r *Restore) close(ctx context.Context, m *backup.Manifest) error {
	d, err := r.Directives.Store.Directives(ctx)
	if err != nil {
		return fmt.Errorf("the store can't be read: %w", err)
	}
	switch of, complete := d.Restored(); {
	case of == m.Name && !complete:
		return nil
	case of == m.Name:
		return &Occupied{[]string{"backup " + of + " was restored already: erlmcp restore -confirm is next"}}
	case of != "":
		return &Occupied{[]string{"backup " + of + " is being restored"}}
	}
	found, err := backup.Occupied(ctx, r.Store)
	if err != nil {
		return err
	}
	if len(d.Kills)+len(d.Limits)+len(d.Gone) > 0 {
		found = append(found, "kill switches or changed limits")
	}
	if len(found) > 0 {
		return &Occupied{found}
	}
	return r.change(ctx, func(d *directives.Directives) error {
		d.Restore(directives.Restoring(m.Name, false, r.Now()))
		return nil
	})
}

func (r *Restore) change(ctx context.Context, change func(*directives.Directives) error) error {
	_, err := order(ctx, r.Directives, change)
	return err
}

// maxOrders is how often the store is asked to take directives, which waits for a few seconds each time.
const maxOrders = 5

// order changes the directives in the store, and then tells the board, which instances do as well where it can't be reached from here. On
// the board alone nothing is changed.
func order(ctx context.Context, w *directives.Writer, change func(*directives.Directives) error) (after directives.Directives, err error) {
	store := &directives.Writer{Store: w.Store, Now: w.Now}
	for range maxOrders {
		var refused error
		after, err = store.Change(ctx, func(d *directives.Directives) error {
			refused = change(d)
			return refused
		})
		if err == nil || refused != nil || ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		return after, fmt.Errorf("the store does not take directives: %w", err)
	}
	if w.Board != nil {
		w.Change(ctx, func(*directives.Directives) error { return nil }) // brings both together
	}
	return after, nil
}

// newest puts the newest root first, of the backup and the place: an instance that makes a root meanwhile makes the one after it.
func (r *Restore) newest(ctx context.Context, m *backup.Manifest) (*receipt.Root, error) {
	last, err := LastRoot(ctx, r.From)
	if err != nil {
		return nil, err
	}
	of, err := m.Last(ctx, r.From, backup.Roots)
	if err != nil {
		return nil, err
	}
	if of != nil {
		root := &receipt.Root{}
		if err := json.Unmarshal(of.Value, root); err != nil {
			return nil, fmt.Errorf("root %s in backup %s: %w", of.ID, m.Name, err)
		}
		if last == nil || last.Number < root.Number {
			last = root
		}
	}
	if last == nil {
		return nil, nil
	}
	if err := r.Receipts.PutRoot(ctx, last); err != nil {
		return nil, fmt.Errorf("root %d can't be restored: %w", last.Number, err)
	}
	return last, nil
}

func (r *Restore) epoch(ctx context.Context, m *backup.Manifest) error {
	for one, err := range m.Records(ctx, r.From, backup.Epoch) {
		if err != nil {
			return err
		}
		var epoch int64
		if err := json.Unmarshal(one.Value, &epoch); err != nil {
			return fmt.Errorf("the epoch in backup %s: %w", m.Name, err)
		}
		one.Value, _ = json.Marshal(epoch + epochsAhead)
		// An instance may have been first.
		if err := r.Store.Put(ctx, backup.Epoch, []backup.Record{one}); err != nil && !errors.Is(err, backup.ErrConflict) {
			return fmt.Errorf("the epoch can't be restored: %w", err)
		}
	}
	return nil
}

// since puts what was kept of the record since the backup: roots, so that what is missing is named, and the receipts of changes.
func (r *Restore) since(ctx context.Context, out *Restored, at time.Time, last *backup.Root) error {
	for root, err := range Roots(ctx, r.From, at.Add(-shipOverlap)) {
		if err != nil {
			return err
		}
		if last != nil && root.Number <= last.Number {
			continue
		}
		if err := r.Receipts.PutRoot(ctx, root); err != nil {
			return fmt.Errorf("root %d can't be restored: %w", root.Number, err)
		}
		out.Roots++
	}
	for c, err := range Changes(ctx, r.From, at.Add(-shipOverlap), r.Keys) {
		if err != nil {
			return err
		}
		if err := r.Receipts.PutSegment(ctx, c.Segment); err != nil {
			return fmt.Errorf("segment %d of chain %s can't be restored: %w", c.Segment.Number, c.Segment.Chain, err)
		}
		out.Changes++
	}
	return nil
}

// merge has the backup's directives in force beside those that are, and marks the restore as complete.
func (r *Restore) merge(ctx context.Context, m *backup.Manifest) error {
	var of directives.Directives
	for one, err := range m.Records(ctx, r.From, backup.Directives) {
		if err == nil {
			err = json.Unmarshal(one.Value, &of)
		}
		if err != nil {
			return fmt.Errorf("the directives in backup %s: %w", m.Name, err)
		}
	}
	of.Confirm() // one that was confirmed later is not to wait once more
	return r.change(ctx, func(d *directives.Directives) error {
		*d = directives.Merge(of, *d, r.Now())
		d.Restore(directives.Restoring(m.Name, true, r.Now()))
		return nil
	})
}

// ErrNoRoot is that a store says nothing of its time.
var ErrNoRoot = errors.New("the store has no root, so it does not say up to when it has the record: nothing can be replayed into it")

// Adopt closes a store that was restored by other means than [Restore.Run], such as Firestore's own backups, until [Confirm.Run]. The time
// that it is of is that of its last root. It has to be run before any instance serves from the store.
func (r *Restore) Adopt(ctx context.Context) (*Restored, error) {
	root, err := r.Receipts.LastRoot(ctx)
	switch {
	case err != nil:
		return nil, fmt.Errorf("the store can't be read: %w", err)
	case root == nil:
		return nil, ErrNoRoot
	}
	d, err := r.Directives.Store.Directives(ctx)
	if err != nil {
		return nil, fmt.Errorf("the store can't be read: %w", err)
	}
	at := root.Time
	switch of, complete := d.Restored(); {
	case of != "" && complete:
		return nil, &Occupied{[]string{"it waits to be confirmed, since " + of + ": erlmcp restore -confirm is next"}}
	case of != "": // an adoption was interrupted, and roots were put already
		if at, err = backup.TimeOf(of); err != nil {
			return nil, err
		}
	}
	set := func(complete bool) error {
		return r.change(ctx, func(d *directives.Directives) error {
			*d = directives.Merge(*d, directives.Directives{}, r.Now())
			d.Restore(directives.Restoring(backup.NameOf(at), complete, r.Now()))
			return nil
		})
	}
	if err := set(false); err != nil {
		return nil, err
	}
	out := &Restored{}
	if out.Last, err = LastRoot(ctx, r.From); err != nil {
		return nil, err
	}
	if err := r.since(ctx, out, at, &backup.Root{Number: root.Number}); err != nil {
		return nil, err
	}
	if err := set(true); err != nil {
		return nil, err
	}
	out.Told = r.told(ctx)
	return out, nil
}
