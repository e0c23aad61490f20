package governor

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// A Board is where orders are announced to the instances: [Counters] are one.
type Board interface {
	// Bulletin returns what was announced last.
	Bulletin(context.Context) (Bulletin, error)
	// Post announces orders in place of those of a version; it tells whether those were there.
	Post(ctx context.Context, before int64, o Orders) (posted bool, err error)
}

// A Writer changes the orders, in the store and on the board, and reads them from both. Nothing else writes them. It is safe for
// concurrent use, in any number of processes.
type Writer struct {
	Store     OrderStore // nil: there is none, or it is not known which
	Board     Board      // nil: there is none
	Storeless bool       // it is known that there is no store
	Now       func() time.Time
}

// An Apart says, beside orders that are good, that some of them are in one place alone, or that one could not be asked.
type Apart struct {
	Store, Board         error    // why it could not be asked, or told
	OnlyStore, OnlyBoard []string // the scopes of orders that the other place does not have
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
		out = append(out, "in Redis alone: "+some(a.OnlyBoard))
	}
	if len(a.OnlyStore) > 0 {
		out = append(out, "in the store alone: "+some(a.OnlyStore))
	}
	return out
}

// some lists what there may be many of.
func some(scopes []string) string {
	const most = 5
	if n := len(scopes) - most; n > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(scopes[:most], ", "), n)
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

// Orders returns those in force. An [Apart] comes with orders that are good.
func (w *Writer) Orders(ctx context.Context) (Orders, error) {
	var apart Apart
	var stored, posted Orders
	var b Bulletin
	if w.Board != nil {
		b, apart.Board = w.bulletin(ctx)
		posted = w.posted(b, nil)
	}
	if w.Store != nil {
		short, done := context.WithTimeout(ctx, storeWait)
		if stored, apart.Store = w.Store.Orders(short); apart.Store == nil {
			posted = w.posted(b, &stored)
		}
		done()
	}
	if w.lost(&apart) {
		return Orders{}, errors.Join(apart.Unwrap()...)
	}
	out := Merge(stored, posted, w.Now())
	if w.Store != nil && w.Board != nil && apart.Store == nil && apart.Board == nil {
		apart.OnlyStore, apart.OnlyBoard = out.Beyond(&posted), out.Beyond(&stored)
	}
	return out, apart.orNil()
}

// lost tells that no place could be asked.
func (w *Writer) lost(a *Apart) bool {
	return (w.Store == nil || a.Store != nil) && (w.Board == nil || a.Board != nil)
}

func (w *Writer) bulletin(ctx context.Context) (Bulletin, error) {
	short, done := context.WithTimeout(ctx, boardWait)
	defer done()
	return w.Board.Bulletin(short)
}

// Change changes the orders, and returns those in force. What is on the board alone goes into the store with the change, and the
// store's orders go to the board. With [Apart] the change is made, in one place. The function may be called several times; its error
// changes nothing, and is returned.
func (w *Writer) Change(ctx context.Context, change func(*Orders) error) (Orders, error) {
	var apart Apart
	var b Bulletin
	if w.Board != nil {
		b, apart.Board = w.bulletin(ctx)
	}
	if w.Store != nil {
		var refused error
		short, done := context.WithTimeout(ctx, storeWait)
		after, err := w.Store.Change(short, func(o *Orders) error {
			*o = Merge(*o, w.posted(b, o), w.Now())
			refused = w.apply(o, change)
			return refused
		})
		done()
		switch {
		case err == nil:
			if w.Board != nil && apart.Board == nil {
				after, apart.Board = w.post(ctx, b, after)
			}
			return after, apart.orNil()
		case refused != nil && errors.Is(err, refused):
			return Orders{}, err
		}
		apart.Store = err
	}
	if w.lost(&apart) {
		return Orders{}, errors.Join(apart.Unwrap()...)
	}
	after, err := w.changeBoard(ctx, change)
	switch {
	case err != nil && apart.Store != nil: // what the store has might have made it possible
		return Orders{}, fmt.Errorf("%w; in Redis alone: %v", apart.Store, err)
	case err != nil:
		return Orders{}, err
	}
	return after, apart.orNil()
}

// apply makes a change of a copy of the orders.
func (w *Writer) apply(o *Orders, change func(*Orders) error) error {
	if err := change(o); err != nil {
		return err
	}
	now := w.Now()
	for i := range o.Gone {
		if o.Gone[i].At.IsZero() {
			o.Gone[i].At = now.UTC().Truncate(time.Second)
		}
	}
	o.clean(now)
	return nil
}

// mostAttempts is how often a change of the board begins anew, where others change it at the same time.
const mostAttempts = 10

var errBusy = errors.New("others changed the orders at the same time, ten times in a row: try again")

// changeBoard makes a change on the board alone.
func (w *Writer) changeBoard(ctx context.Context, change func(*Orders) error) (Orders, error) {
	for range mostAttempts {
		b, err := w.bulletin(ctx)
		if err != nil {
			return Orders{}, err
		}
		after := Merge(w.posted(b, nil), Orders{}, w.Now())
		if err := w.apply(&after, change); err != nil {
			return Orders{}, err
		}
		after.Version = NextVersion(b.Orders.Version, w.Now())
		if posted, err := w.Board.Post(ctx, b.Orders.Version, after); err != nil || posted {
			return after, err
		}
	}
	return Orders{}, errBusy
}

// post brings orders to the board, and returns them merged with what is there.
func (w *Writer) post(ctx context.Context, b Bulletin, o Orders) (Orders, error) {
	for range mostAttempts {
		all := Merge(o, w.posted(b, nil), w.Now())
		if b.Orders.Merged && all.Beyond(&b.Orders) == nil {
			return all, nil
		}
		all.Version = max(all.Version, b.Orders.Version+1)
		short, done := context.WithTimeout(ctx, boardWait)
		posted, err := w.Board.Post(short, b.Orders.Version, all)
		done()
		if err != nil || posted {
			return all, err
		}
		if b, err = w.bulletin(ctx); err != nil {
			return all, err
		}
	}
	return o, errBusy
}

// save brings orders to the store, where they were read, and returns what is there then. What has gone there since is not brought back.
func (w *Writer) save(ctx context.Context, stored, o Orders) (Orders, error) {
	if all := Merge(o, stored, w.Now()); stored.settled() && all.Beyond(&stored) == nil {
		return stored, nil
	}
	after, err := w.Store.Change(ctx, func(there *Orders) error {
		all := Merge(o, Rewritten(stored, *there, w.Now()), w.Now())
		if there.settled() && all.Beyond(there) == nil {
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
