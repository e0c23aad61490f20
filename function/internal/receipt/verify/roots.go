package verify

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"example.com/erlmcp/function/internal/receipt"
)

// Roots are what keeps someone who may write to the store from removing whole chains, or the end of everything: what a root names
// must be there. Roots can be removed themselves, and without a trace where nothing after them is left. These are the traces that
// are left: segments that no root follows though instances ran, and roots that were noted elsewhere.

const (
	// firstRoot is how old receipts are when there is a root: one is made each minute.
	firstRoot = time.Minute + 5*time.Second
	// rootless is for how long instances may run without a root: store and key may be away for some minutes.
	rootless = 5 * time.Minute
	// together is how far apart segments of several chains may be, for instances to have run all the time between them.
	together = 2 * time.Minute
)

// root verifies a root, and expects of the chains what it says.
func (v *verifier) root(text []byte, line int64) {
	v.report.Roots++
	fault := func(kind FaultKind, format string, args ...any) {
		v.report.fault(Fault{Kind: kind, Line: line, Words: fmt.Sprintf(format, args...)})
	}
	h, err := receipt.ReadHeads(text)
	if err != nil {
		fault(Altered, "a root after %s %v", v.rootName(), err)
		v.rootLost = true
		return
	}
	if kind, err := v.unvouched(h); err != nil {
		fault(kind, "root %d %v", h.Number, err)
	}
	switch last := v.lastRoot; {
	case last == nil:
		if h.Number > 1 && v.opts.From.IsZero() && !v.rootLost {
			fault(Missing, "%s missing", span("root", 1, h.Number-1)+are(h.Number-1))
		}
	case h.Number <= last.Number:
		fault(Reordered, "root %d comes after root %d", h.Number, last.Number)
		return
	case h.Number > last.Number+1:
		if !v.rootLost || h.Number > last.Number+2 {
			fault(Missing, "%s missing", span("root", last.Number+1, h.Number-1)+are(h.Number-last.Number-1))
		}
	case h.Previous != v.lastHash:
		fault(Replaced, "root %d does not follow root %d as it is: one of the two was replaced", h.Number, last.Number)
	}
	v.lastRoot, v.lastHash, v.rootLost = h, h.Hash(), false
	v.witness(h, fault)
	v.anchored.root(h)
	v.expect(h.Heads, fmt.Sprintf("root %d", h.Number))
}

// unvouched returns why a root is not to be believed, and which fault that is. Whose it must be is decided by its time: and no root is older
// than the one before, so that none can be dated back to when other keys made roots.
func (v *verifier) unvouched(h *receipt.Heads) (kind FaultKind, why error) {
	at, keys := h.Time, v.keys
	if v.lastRoot != nil {
		at = later(at, v.lastRoot.Time)
	}
	apart := v.opts.Roots.Apart(at)
	if apart {
		keys = v.rootKeys
	}
	switch {
	case len(keys) == 0 && apart:
		v.unknown++
		return "", nil
	case len(keys) == 0:
		return "", nil
	case apart && v.keys[h.Operator] != nil:
		return Forged, fmt.Errorf("is signed with the key %s, which vouches for chains, and for no root since %s", h.Operator, receipt.FormatTime(v.opts.Roots.Since))
	case !apart && v.rootKeys[h.Operator] != nil:
		return Forged, fmt.Errorf("is signed with the key %s, which vouches for roots since %s alone", h.Operator, receipt.FormatTime(v.opts.Roots.Since))
	}
	return unbelieved(h, keys)
}

func (v *verifier) rootName() string {
	if v.lastRoot == nil {
		return "the begin"
	}
	return fmt.Sprintf("root %d", v.lastRoot.Number)
}

// expect notes what chains must hold.
func (v *verifier) expect(heads []receipt.Head, by string) {
	for _, h := range heads {
		v.expected[h.Chain] = append(v.expected[h.Chain], expectation{h, by})
		if by == "announced" && h.State == "" && v.opts.Now.Sub(h.Time) < aliveFor {
			v.alive[h.Chain] = h
		}
	}
}

// A stretch is time between two roots in which instances ran.
type stretch struct {
	root        int // number of roots before it
	first, last time.Time
}

// reach takes a segment in, and returns since when there is none but of this stretch. It begins anew after a root, and after a
// pause that is longer than wanted; zero is any.
func (s *stretch) reach(root int, at time.Time, pause time.Duration) time.Time {
	if s.first.IsZero() || s.root != root || pause > 0 && at.Sub(s.last) > pause {
		s.root, s.first = root, at
	}
	s.last = at
	return s.first
}

// anchored looks at when there were roots, and when segments.
type anchored struct {
	times  []time.Time // of the roots, ascending
	first  time.Time   // To of the first segment
	all    stretch     // of all chains
	gaps   map[int]*stretch
	number int64 // of the first root
	latest int64 // of the last root that the store has, the range's or a later one
}

func (a *anchored) root(h *receipt.Heads) {
	if len(a.times) == 0 {
		a.number = h.Number
	}
	a.times = append(a.times, h.Time)
}

// segment takes note of a segment. One instance that wrote twice was there all the time in between, and so was some instance where
// segments of any follow each other closely. A single segment shows nothing: its instance may have been killed right after it.
func (a *anchored) segment(t *trail, to time.Time) {
	if a.first.IsZero() || to.Before(a.first) {
		a.first = to
	}
	i, _ := slices.BinarySearchFunc(a.times, to, time.Time.Compare)
	since := t.bare.reach(i, to, 0)
	if all := a.all.reach(i, to, together); all.Before(since) {
		since = all
	}
	if to.Sub(since) <= rootless {
		return
	}
	if a.gaps == nil {
		a.gaps = map[int]*stretch{}
	}
	if g := a.gaps[i]; g == nil {
		a.gaps[i] = &stretch{i, since, to}
	} else {
		g.first, g.last = earlier(g.first, since), later(g.last, to)
	}
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// latestRoot asks how far the roots of a store go, where the range does not say.
func (v *verifier) latestRoot(ctx context.Context, store receipt.Store) error {
	if v.lastRoot != nil {
		v.anchored.latest = v.lastRoot.Number
	}
	if v.lastRoot != nil && v.opts.To.IsZero() {
		return nil
	}
	r, err := store.LastRoot(ctx)
	if err != nil {
		return fmt.Errorf("the last root can't be read: %w", err)
	}
	if r != nil {
		v.anchored.latest = max(v.anchored.latest, r.Number)
	}
	return nil
}

// rootless reports the time for which roots are missing that instances must have made.
func (v *verifier) rootless() {
	a := &v.anchored
	if v.unknown > 0 {
		v.report.note("who made %d roots since %s is not verified: the key is not known here that vouches for them", v.unknown, receipt.FormatTime(v.opts.Roots.Since))
	}
	if v.lastRoot != nil {
		v.report.LastRoot = Witness{v.lastRoot.Number, v.lastHash}
	}
	if len(a.times) == 0 {
		end := earlier(v.opts.Now, v.to)
		switch {
		case len(v.keys)+len(v.rootKeys) == 0 || a.first.IsZero() || v.report.Roots > 0: // roots that can't be read are faults already
			return
		case a.latest == 0 && v.opts.From.IsZero() && end.Sub(a.first) >= firstRoot:
			v.report.fault(Fault{Kind: Missing, Words: fmt.Sprintf("there is no root, and there are segments since %s: roots were removed, or never made. Whether chains are missing, and what came last, can't be told without them", receipt.FormatTime(a.first))})
			return
		}
	}
	for _, i := range slices.Sorted(maps.Keys(a.gaps)) {
		after, before := "the begin", "the end"
		if i > 0 {
			after = "the root of " + receipt.FormatTime(a.times[i-1])
		}
		if i < len(a.times) {
			before = "the root of " + receipt.FormatTime(a.times[i])
		}
		g := a.gaps[i]
		v.report.fault(Fault{Kind: Missing, Words: fmt.Sprintf("there is no root between %s and %s, and there are segments from %s to %s: roots were removed, or store or key were out of reach, or instances had no processor time between requests. Whether chains of that time are missing can't be told without them",
			after, before, receipt.FormatTime(g.first), receipt.FormatTime(g.last))})
	}
}
