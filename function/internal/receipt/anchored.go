package receipt

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
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

// A Witness is a root that was noted elsewhere: a store that lacks it, or has another in its place, is not what it was.
type Witness struct {
	Number int64
	Hash   Hash
}

// ParseWitness reads NUMBER:HASH.
func ParseWitness(text string) (w Witness, err error) {
	number, hash, _ := strings.Cut(text, ":")
	w.Number, err = strconv.ParseInt(number, 10, 64)
	if err != nil || w.Number < 1 || strconv.FormatInt(w.Number, 10) != number || !readHash(&w.Hash, hash) {
		return w, errors.New("a root is NUMBER:HASH, as a verification ends with, the hash in 64 lower-case hexadecimal digits")
	}
	return w, nil
}

// String implements [fmt.Stringer].
func (w Witness) String() string { return fmt.Sprintf("%d:%s", w.Number, w.Hash) }

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

func (a *anchored) root(h *Heads) {
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
func (v *verifier) latestRoot(ctx context.Context, store Store) error {
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
	if v.lastRoot != nil {
		v.report.LastRoot = Witness{v.lastRoot.Number, v.lastHash}
	}
	if len(a.times) == 0 {
		end := earlier(v.opts.Now, v.to)
		switch {
		case len(v.keys) == 0 || a.first.IsZero() || v.report.Roots > 0: // roots that can't be read are faults already
			return
		case a.latest == 0 && v.opts.From.IsZero() && end.Sub(a.first) >= firstRoot:
			v.report.fault(Fault{Kind: Missing, Words: fmt.Sprintf("there is no root, and there are segments since %s: roots were removed, or never made. Whether chains are missing, and what came last, can't be told without them", formatTime(a.first))})
			return
		}
	}
	for _, i := range slices.Sorted(maps.Keys(a.gaps)) {
		after, before := "the begin", "the end"
		if i > 0 {
			after = "the root of " + formatTime(a.times[i-1])
		}
		if i < len(a.times) {
			before = "the root of " + formatTime(a.times[i])
		}
		g := a.gaps[i]
		v.report.fault(Fault{Kind: Missing, Words: fmt.Sprintf("there is no root between %s and %s, and there are segments from %s to %s: roots were removed, or store or key were out of reach, or instances had no processor time between requests. Whether chains of that time are missing can't be told without them",
			after, before, formatTime(g.first), formatTime(g.last))})
	}
}

// witness holds a root against those that were noted elsewhere.
func (v *verifier) witness(h *Heads, fault func(FaultKind, string, ...any)) {
	for _, w := range v.opts.Witnesses {
		switch {
		case h.Number == w.Number && v.lastHash != w.Hash:
			fault(Replaced, "root %d has the hash %s, and the one that was noted had %s", h.Number, v.lastHash, w.Hash)
		case h.Number == w.Number+1 && h.Previous != w.Hash:
			fault(Replaced, "root %d follows another root %d than the one that was noted, %s", h.Number, w.Number, w.Hash)
		}
	}
}

// unwitnessed reports roots that were noted elsewhere, and are not there any more.
func (v *verifier) unwitnessed() {
	last := v.anchored.latest
	if v.lastRoot != nil {
		last = max(last, v.lastRoot.Number)
	}
	for _, w := range v.opts.Witnesses {
		switch {
		case last == 0:
			v.report.fault(Fault{Kind: Missing, Words: fmt.Sprintf("root %d was noted, and there is none", w.Number)})
		case last < w.Number:
			v.report.fault(Fault{Kind: Missing, Words: fmt.Sprintf("root %d was noted, and the last one is root %d: %s missing", w.Number, last, span("root", last+1, w.Number)+are(w.Number-last))})
		case v.lastRoot == nil || v.lastRoot.Number < w.Number || v.anchored.number > w.Number+1:
			v.report.note("root %d, which was noted, is outside of the range: it is not compared", w.Number)
		}
	}
}
