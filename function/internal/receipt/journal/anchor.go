package journal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"example.com/erlmcp/function/internal/receipt"
)

const (
	// silence is after how long without a segment and an announcement a chain's instance is taken for gone.
	silence = time.Hour
	// overlap is how far back of the last root chains are looked for whose first segment was stored late.
	overlap = 10 * time.Minute
	// maxHeads keeps a root below 1 MiB.
	maxHeads = 2000
	// maxAnchors is how often another root may come first.
	maxAnchors = 10
)

// Anchor makes the next root: of the heads that instances announce, of the chains that were open at the last root, and of those
// that were opened since. Where nothing has changed, or this process makes no root of that time, it returns the last root, or nil if there is
// none. It may be called by any number of instances, once a minute or so.
func Anchor(ctx context.Context, store receipt.Store, by RootSigner, announced []receipt.Head, now time.Time) (*receipt.Heads, error) {
	for range maxAnchors {
		last, err := lastHeads(ctx, store)
		if err != nil {
			return nil, err
		}
		heads, err := advance(ctx, store, last, announced, now)
		if err != nil || len(heads) == 0 {
			return last, err
		}
		next := &receipt.Heads{Format: receipt.Format, Heads: heads, Number: 1, Time: receipt.Truncate(now)}
		if last != nil {
			next.Number, next.Previous = last.Number+1, last.Hash()
			if next.Time.Before(last.Time) {
				next.Time = last.Time
			}
		}
		signer, makes := by(next.Time)
		if !makes {
			return last, nil
		}
		if signer != nil {
			if err := next.Sign(ctx, signer); err != nil {
				return nil, err
			}
		}
		err = store.PutRoot(ctx, &receipt.Root{Number: next.Number, Time: next.Time, Text: next.Append(nil)})
		switch {
		case err == nil:
			return next, nil
		case !errors.Is(err, receipt.ErrConflict):
			return nil, err
		}
	}
	return nil, errors.New("roots of others came first, ten times: call less often")
}

// A RootSigner returns who vouches for a root of a time, nil for nobody, and whether this process makes one at all: where roots have a key of their
// own it does with that key alone.
type RootSigner func(at time.Time) (signer receipt.Signer, makes bool)

func lastHeads(ctx context.Context, store receipt.Store) (*receipt.Heads, error) {
	r, err := store.LastRoot(ctx)
	if r == nil || err != nil {
		return nil, err
	}
	h, err := receipt.ReadHeads(r.Text)
	if err != nil {
		return nil, fmt.Errorf("root %d %w", r.Number, err)
	}
	return h, nil
}

// advance returns the heads of the next root, none where they are the same as in the last.
func advance(ctx context.Context, store receipt.Store, last *receipt.Heads, announced []receipt.Head, now time.Time) ([]receipt.Head, error) {
	a := advancing{ctx: ctx, store: store, now: now, before: map[string]receipt.Head{}, next: map[string]receipt.Head{}}
	since := time.Time{}
	if last != nil {
		for _, h := range last.Heads {
			a.before[h.Chain] = h
		}
		since = last.Time.Add(-overlap)
	}
	for _, h := range announced {
		if old := a.next[h.Chain]; h.Seq >= old.Seq && h.Appended >= old.Appended {
			a.next[h.Chain] = h
		}
	}
	for chain, h := range a.before {
		if h.State == "" { // else its end is in the last root
			if err := a.look(chain, h.Instance); err != nil {
				return nil, err
			}
		}
	}
	for s, err := range store.Openings(ctx, since, now.Add(receipt.Span)) {
		if err != nil {
			return nil, err
		}
		c, err := receipt.ReadCertificate(s.Certificate)
		if err != nil {
			return nil, fmt.Errorf("the certificate of chain %s %w", s.Chain, err)
		}
		if h := a.before[s.Chain]; h.State != "" { // stays for as long as it is found here
			a.next[s.Chain] = h
		} else if err := a.look(s.Chain, c.Instance); err != nil {
			return nil, err
		}
	}
	return a.heads(), nil
}

// An advancing is the way from one root to the next.
type advancing struct {
	ctx          context.Context
	store        receipt.Store
	now          time.Time
	before, next map[string]receipt.Head
}

// look finds the head of a chain that is not announced.
func (a *advancing) look(chain, instance string) error {
	if _, ok := a.next[chain]; ok {
		return nil
	}
	s, err := a.store.Last(a.ctx, chain)
	if err != nil {
		return err
	}
	h, known := a.before[chain]
	if !known {
		h = receipt.Head{Chain: chain, Instance: instance, Time: receipt.Truncate(a.now)}
	}
	if s != nil {
		header, err := receipt.ReadHeader(s.Header)
		if err != nil {
			return fmt.Errorf("segment %d of chain %s %w", s.Number, chain, err)
		}
		if header.Last >= h.Seq {
			h.Seq, h.Hash, h.To = header.Last, header.Head, header.To
			h.Appended, h.Stored = max(h.Appended, h.Seq), h.Seq
		}
		if header.Closed {
			h.State, h.Appended = receipt.Ended, h.Seq
		}
	}
	if h.State == "" && a.now.Sub(h.To) > silence {
		h.State = receipt.Silent
	}
	a.next[chain] = h
	return nil
}

// heads are those of the next root, none if they are the same as before. Where they are too many, those that stand still are left
// out, the longest first.
func (a *advancing) heads() []receipt.Head {
	var heads []receipt.Head
	moved := map[string]bool{}
	for chain, h := range a.next {
		old, known := a.before[chain]
		if h.Seq < old.Seq || old.State == receipt.Ended { // was announced before the last root, and is heard of now
			h = old
		}
		if !known || h.Seq != old.Seq || h.Appended != old.Appended || h.State != old.State || h.Lost != old.Lost {
			moved[chain] = true
		}
		heads = append(heads, h)
	}
	if len(moved) == 0 {
		return nil
	}
	if len(heads) > maxHeads {
		slices.SortFunc(heads, func(x, y receipt.Head) int {
			if moved[x.Chain] != moved[y.Chain] {
				if moved[x.Chain] {
					return -1
				}
				return 1
			}
			return y.To.Compare(x.To)
		})
		heads = heads[:maxHeads]
	}
	slices.SortFunc(heads, func(x, y receipt.Head) int { return strings.Compare(x.Chain, y.Chain) })
	return heads
}
