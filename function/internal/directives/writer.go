package directives

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// A Writer changes the directives, in the store and on the board, and reads them from both. Nothing else writes them. It is safe for
// concurrent use, in any number of processes.
type Writer struct {
	Store     Store // nil: there is none, or it is not known which
	Board     Board // nil: there is none
	Storeless bool  // it is known that there is no store
	Now       func() time.Time
}

// An Apart says, beside directives that are good, that some of them are in one place alone, or that one could not be asked.
type Apart struct {
	Store, Board         error    // why it could not be asked, or told
	OnlyStore, OnlyBoard []string // the scopes of directives that the other place does not have
}

func (a *Apart) Error() string { return strings.Join(a.Warnings(), "; ") }

// Unwrap returns why a place could not be asked.
func (a *Apart) Unwrap() []error {
	var out []error
	for _, err := range []error{a.Store, a.Board} {
		if err != nil {
			out = append(out, err)
		}
	}
	return out
}

// Warnings say it in words, without causes, which may name what is not for all to know.
func (a *Apart) Warnings() (out []string) {
	if a.Store != nil {
		out = append(out, "the store can't be reached: what is in Redis alone is lost with it, until an instance has written it to the store")
	}
	if a.Board != nil {
		out = append(out, "Redis can't be reached: instances follow as they read the store, within a second or two")
	}
	if len(a.OnlyBoard) > 0 {
		out = append(out, "in Redis alone: "+ListScopes(a.OnlyBoard))
	}
	if len(a.OnlyStore) > 0 {
		out = append(out, "in the store alone: "+ListScopes(a.OnlyStore))
	}
	return out
}

// ListScopes lists what there may be many of.
func ListScopes(scopes []string) string {
	const maxListed = 5
	if n := len(scopes) - maxListed; n > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(scopes[:maxListed], ", "), n)
	}
	return strings.Join(scopes, ", ")
}

// orNil returns nil where there is nothing to say.
func (a *Apart) orNil() error {
	if a.Store == nil && a.Board == nil && len(a.OnlyStore)+len(a.OnlyBoard) == 0 {
		return nil
	}
	return a
}

// How long the writer waits for each place. Together it is less than a change may take.
const (
	boardWait = 500 * time.Millisecond
	storeWait = 3 * time.Second
)

// Directives returns those in force. An [Apart] comes with directives that are good.
func (w *Writer) Directives(ctx context.Context) (Directives, error) {
	var apart Apart
	var stored, published Directives
	var b Snapshot
	if w.Board != nil {
		b, apart.Board = w.Snapshot(ctx)
		published = w.Published(b, nil)
	}
	if w.Store != nil {
		short, done := context.WithTimeout(ctx, storeWait)
		if stored, apart.Store = w.Store.Directives(short); apart.Store == nil {
			published = w.Published(b, &stored)
		}
		done()
	}
	if w.lost(&apart) {
		return Directives{}, errors.Join(apart.Unwrap()...)
	}
	out := Merge(stored, published, w.Now())
	if w.Store != nil && w.Board != nil && apart.Store == nil && apart.Board == nil {
		apart.OnlyStore, apart.OnlyBoard = out.Beyond(&published), out.Beyond(&stored)
	}
	return out, apart.orNil()
}

// lost tells that no place could be asked.
func (w *Writer) lost(a *Apart) bool {
	return (w.Store == nil || a.Store != nil) && (w.Board == nil || a.Board != nil)
}

// Snapshot returns what was announced last.
func (w *Writer) Snapshot(ctx context.Context) (Snapshot, error) {
	short, done := context.WithTimeout(ctx, boardWait)
	defer done()
	return w.Board.Snapshot(short)
}

// Change changes the directives, and returns those in force. What is on the board alone goes into the store with the change, and the
// store's directives go to the board. With [Apart] the change is made, in one place. The function may be called several times; its error
// changes nothing, and is returned.
func (w *Writer) Change(ctx context.Context, change func(*Directives) error) (Directives, error) {
	var apart Apart
	var b Snapshot
	if w.Board != nil {
		b, apart.Board = w.Snapshot(ctx)
	}
	if w.Store != nil {
		var refused error
		short, done := context.WithTimeout(ctx, storeWait)
		after, err := w.Store.Change(short, func(d *Directives) error {
			*d = Merge(*d, w.Published(b, d), w.Now())
			refused = w.apply(d, change)
			return refused
		})
		done()
		switch {
		case err == nil:
			if w.Board != nil && apart.Board == nil {
				after, apart.Board = w.Publish(ctx, b, after)
			}
			return after, apart.orNil()
		case refused != nil && errors.Is(err, refused):
			return Directives{}, err
		}
		apart.Store = err
	}
	if w.lost(&apart) {
		return Directives{}, errors.Join(apart.Unwrap()...)
	}
	after, err := w.changeBoard(ctx, change)
	switch {
	case err != nil && apart.Store != nil: // what the store has might have made it possible
		return Directives{}, fmt.Errorf("%w; in Redis alone: %v", apart.Store, err)
	case err != nil:
		return Directives{}, err
	}
	return after, apart.orNil()
}

// apply makes a change of a copy of the directives.
func (w *Writer) apply(d *Directives, change func(*Directives) error) error {
	if err := change(d); err != nil {
		return err
	}
	now := w.Now()
	for i := range d.Gone {
		if d.Gone[i].At.IsZero() {
			d.Gone[i].At = now.UTC().Truncate(time.Second)
		}
	}
	d.clean(now)
	return nil
}

// maxAttempts is how often a change of the board begins anew, where others change it at the same time.
const maxAttempts = 10

var errBusy = errors.New("others changed the orders at the same time, ten times in a row: try again")

// changeBoard makes a change on the board alone.
func (w *Writer) changeBoard(ctx context.Context, change func(*Directives) error) (Directives, error) {
	for range maxAttempts {
		b, err := w.Snapshot(ctx)
		if err != nil {
			return Directives{}, err
		}
		after := Merge(w.Published(b, nil), Directives{}, w.Now())
		if err := w.apply(&after, change); err != nil {
			return Directives{}, err
		}
		after.Version = NextVersion(b.Directives.Version, w.Now())
		if published, err := w.Board.Publish(ctx, b.Directives.Version, after); err != nil || published {
			return after, err
		}
	}
	return Directives{}, errBusy
}

// Publish brings directives to the board, and returns them merged with what is there.
func (w *Writer) Publish(ctx context.Context, b Snapshot, d Directives) (Directives, error) {
	for range maxAttempts {
		all := Merge(d, w.Published(b, nil), w.Now())
		if b.Directives.Merged && all.Beyond(&b.Directives) == nil {
			return all, nil
		}
		all.Version = max(all.Version, b.Directives.Version+1)
		short, done := context.WithTimeout(ctx, boardWait)
		published, err := w.Board.Publish(short, b.Directives.Version, all)
		done()
		if err != nil || published {
			return all, err
		}
		if b, err = w.Snapshot(ctx); err != nil {
			return all, err
		}
	}
	return d, errBusy
}

// Save brings directives to the store, where they were read, and returns what is there then. What has gone there since is not brought back.
func (w *Writer) Save(ctx context.Context, stored, d Directives) (Directives, error) {
	if all := Merge(d, stored, w.Now()); stored.Settled() && all.Beyond(&stored) == nil {
		return stored, nil
	}
	after, err := w.Store.Change(ctx, func(there *Directives) error {
		all := Merge(d, Rewritten(stored, *there, w.Now()), w.Now())
		if there.Settled() && all.Beyond(there) == nil {
			stored = *there
			return errThere
		}
		*there = all
		return nil
	})
	if errors.Is(err, errThere) {
		return stored, nil
	}
	return after, err
}

var errThere = errors.New("it is there already")
