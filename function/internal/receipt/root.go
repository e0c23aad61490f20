package receipt

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A Root is the statement of how far the chains had come at a time, as it is stored. Roots form a chain of their own.
type Root struct {
	Number int64 // from 1, without gaps
	Time   time.Time
	Text   []byte // [Heads] in canonical form
}

// Heads are what a root says.
type Heads struct {
	Format    int64     `json:"format"`
	Heads     []Head    `json:"heads"` // by their chains
	Number    int64     `json:"number"`
	Operator  string    `json:"operator,omitempty"` // id of the key that signed, "" for none
	Previous  Hash      `json:"previous"`           // of the root before, "" for the first
	Signature Bytes     `json:"signature,omitempty"`
	Time      time.Time `json:"time"`
}

func (h *Heads) append(b []byte, signed bool) []byte {
	start := len(b)
	b = appendInt(b, `,"format":`, h.Format)
	b = append(b, `,"heads":[`...)
	for i := range h.Heads {
		if i > 0 {
			b = append(b, ',')
		}
		b = h.Heads[i].append(b)
	}
	b = append(b, ']')
	b = appendInt(b, `,"number":`, h.Number)
	b = appendText(b, `,"operator":`, h.Operator)
	b = appendHash(b, `,"previous":`, &h.Previous)
	if signed {
		b = appendBytes(b, `,"signature":`, h.Signature)
	}
	b = appendTime(append(b, `,"time":`...), h.Time)
	return closeObject(b, start)
}

func (h *Heads) hash() Hash { return sha256.Sum256(h.append(nil, false)) }

func readHeads(text []byte) (*Heads, error) {
	h := &Heads{}
	if err := read(text, h, &h.Format, format); err != nil {
		return nil, err
	}
	if h.Number < 1 {
		return nil, errStatement
	}
	return h, nil
}

const (
	// silence is after how long without a segment and an announcement a chain's instance is taken for gone.
	silence = time.Hour
	// overlap is how far back of the last root chains are looked for whose first segment was stored late.
	overlap = 10 * time.Minute
	// mostHeads keeps a root below 1 MiB.
	mostHeads = 2000
	// mostAnchors is how often another root may come first.
	mostAnchors = 10
)

// Anchor makes the next root: of the heads that instances announce, of the chains that were open at the last root, and of those
// that were opened since. Where nothing has changed it returns the last root, or nil if there is none. Without a signer the root
// is not signed. It may be called by any number of instances, once a minute or so.
func Anchor(ctx context.Context, store Store, signer Signer, announced []Head, now time.Time) (*Heads, error) {
	for range mostAnchors {
		last, err := lastHeads(ctx, store)
		if err != nil {
			return nil, err
		}
		heads, err := advance(ctx, store, last, announced, now)
		if err != nil || len(heads) == 0 {
			return last, err
		}
		next := &Heads{Format: format, Heads: heads, Number: 1, Time: micro(now)}
		if last != nil {
			next.Number, next.Previous = last.Number+1, last.hash()
			if next.Time.Before(last.Time) {
				next.Time = last.Time
			}
		}
		if signer != nil {
			next.Operator = KeyID(signer.Public())
			if next.Signature, err = forRoot.sign(ctx, signer, next.append(nil, false)); err != nil {
				return nil, err
			}
		}
		err = store.PutRoot(ctx, &Root{Number: next.Number, Time: next.Time, Text: next.append(nil, true)})
		switch {
		case err == nil:
			return next, nil
		case !errors.Is(err, ErrConflict):
			return nil, err
		}
	}
	return nil, errors.New("roots of others came first, ten times: call less often")
}

func lastHeads(ctx context.Context, store Store) (*Heads, error) {
	r, err := store.LastRoot(ctx)
	if r == nil || err != nil {
		return nil, err
	}
	h, err := readHeads(r.Text)
	if err != nil {
		return nil, fmt.Errorf("root %d %w", r.Number, err)
	}
	return h, nil
}

// advance returns the heads of the next root, none where they are the same as in the last.
func advance(ctx context.Context, store Store, last *Heads, announced []Head, now time.Time) ([]Head, error) {
	a := advancing{ctx: ctx, store: store, now: now, before: map[string]Head{}, next: map[string]Head{}}
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
	for s, err := range store.Openings(ctx, since, now.Add(Span)) {
		if err != nil {
			return nil, err
		}
		c, err := readCertificate(s.Certificate)
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

// advancing is the way from one root to the next.
type advancing struct {
	ctx          context.Context
	store        Store
	now          time.Time
	before, next map[string]Head
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
		h = Head{Chain: chain, Instance: instance, Time: micro(a.now)}
	}
	if s != nil {
		header, err := readHeader(s.Header)
		if err != nil {
			return fmt.Errorf("segment %d of chain %s %w", s.Number, chain, err)
		}
		if header.Last >= h.Seq {
			h.Seq, h.Hash, h.To = header.Last, header.Head, header.To
			h.Appended, h.Stored = max(h.Appended, h.Seq), h.Seq
		}
		if header.Closed {
			h.State, h.Appended = Ended, h.Seq
		}
	}
	if h.State == "" && a.now.Sub(h.To) > silence {
		h.State = Silent
	}
	a.next[chain] = h
	return nil
}

// heads are those of the next root, none if they are the same as before. Where they are too many, those that stand still are left
// out, the longest first.
func (a *advancing) heads() []Head {
	var heads []Head
	moved := map[string]bool{}
	for chain, h := range a.next {
		old, known := a.before[chain]
		if h.Seq < old.Seq || old.State == Ended { // was announced before the last root, and is heard of now
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
	if len(heads) > mostHeads {
		slices.SortFunc(heads, func(x, y Head) int {
			if moved[x.Chain] != moved[y.Chain] {
				if moved[x.Chain] {
					return -1
				}
				return 1
			}
			return y.To.Compare(x.To)
		})
		heads = heads[:mostHeads]
	}
	slices.SortFunc(heads, func(x, y Head) int { return strings.Compare(x.Chain, y.Chain) })
	return heads
}
