package archive

import (
	"container/heap"
	"context"
	"fmt"
	"iter"
	"slices"
	"time"

	"example.com/erlmcp/function/internal/receipt"
)

// A query says which segments are wanted.
type query struct {
	from, to  time.Time         // of their To, ends included
	part      func(*Part) bool  // whether a part may have some; nil: yes
	entry     func(*entry) bool // nil: all
	backwards bool              // the latest first
}

// A located is an entry with the part that it is in.
type located struct {
	*entry
	part *Part
	at   int // in the part
}

// entries yields what a query wants, in the order of To, chain and number, each place of a chain once for each content.
func (a *Archive) entries(ctx context.Context, q query) iter.Seq2[*located, error] {
	return func(yield func(*located, error) bool) {
		names, err := a.list(ctx, q.from, q.to)
		if err != nil {
			yield(nil, err)
			return
		}
		days := grouped(names)
		if q.backwards {
			slices.Reverse(days)
		}
		for _, names := range days {
			d, err := a.day(ctx, names)
			if err != nil {
				yield(nil, err)
				return
			}
			for e, err := range a.ofDay(ctx, d, &q) {
				if !yield(e, err) || err != nil {
					return
				}
			}
		}
	}
}

// ofDay yields those of a day. An index is read when its turn comes, so that few are in memory.
func (a *Archive) ofDay(ctx context.Context, d *day, q *query) iter.Seq2[*located, error] {
	return func(yield func(*located, error) bool) {
		h := &runs{backwards: q.backwards}
		for i := range d.parts {
			p := &d.parts[i]
			if p.From.After(q.to) || p.To.Before(q.from) || q.part != nil && !q.part(p) {
				continue
			}
			edge := p.From
			if q.backwards {
				edge = p.To
			}
			h.all = append(h.all, &run{part: p, edge: edge})
		}
		heap.Init(h)
		var last *located
		for len(h.all) > 0 {
			r := h.all[0]
			if r.entries == nil {
				var err error
				if r.entries, err = a.index(ctx, r.part, q); err != nil {
					yield(nil, err)
					return
				}
				h.settle(len(r.entries) > 0)
				continue
			}
			e := r.entries[0]
			r.entries = r.entries[1:]
			h.settle(len(r.entries) > 0)
			if last != nil && last.place() == e.place() && last.SHA256 == e.SHA256 {
				continue // archived twice
			}
			if last = e; !yield(e, nil) {
				return
			}
		}
	}
}

// index reads the entries of a part that a query wants. It has none where it is damaged and the reader goes on.
func (a *Archive) index(ctx context.Context, p *Part, q *query) ([]*located, error) {
	text, err := a.read(ctx, p.Index)
	if err != nil || text == nil {
		return nil, err
	}
	all, err := readEntries(text)
	if err != nil || int64(len(all)) != p.Count {
		return nil, a.broken(p.Index)
	}
	wanted := make([]*located, 0, len(all))
	for i, e := range all {
		if !e.To.Before(q.from) && !e.To.After(q.to) && (q.entry == nil || q.entry(e)) {
			wanted = append(wanted, &located{e, p, i})
		}
	}
	if q.backwards {
		slices.Reverse(wanted)
	}
	return wanted, nil
}

// A run is what is left of a part. Before its index is read it has its edge alone.
type run struct {
	part    *Part
	edge    time.Time
	entries []*located
}

// runs are a heap of them, the next entry on top.
type runs struct {
	all       []*run
	backwards bool
}

// settle has the top find its place, or leave if nothing is left of it.
func (h *runs) settle(more bool) {
	if more {
		heap.Fix(h, 0)
	} else {
		heap.Pop(h)
	}
}

func (h *runs) Len() int      { return len(h.all) }
func (h *runs) Swap(i, j int) { h.all[i], h.all[j] = h.all[j], h.all[i] }
func (h *runs) Push(x any)    { h.all = append(h.all, x.(*run)) }

func (h *runs) Pop() any {
	last := len(h.all) - 1
	r := h.all[last]
	h.all = h.all[:last]
	return r
}

func (h *runs) Less(i, j int) bool {
	x, y := h.all[i], h.all[j]
	at := func(r *run) time.Time {
		if r.entries == nil {
			return r.edge
		}
		return r.entries[0].To
	}
	c := at(x).Compare(at(y))
	if c == 0 && (x.entries == nil || y.entries == nil) {
		return x.entries == nil && y.entries != nil // may have one that comes before
	}
	if c == 0 {
		c = x.entries[0].byTime(y.entries[0].entry)
	}
	return c != 0 && (c < 0) != h.backwards
}

// A loader reads segments, and keeps the parts in memory that it has read last.
type loader struct {
	archive *Archive
	parts   []loaded
}

type loaded struct {
	part     *Part
	segments []*receipt.Segment
}

// maxLoaded is how many: parts overlap where segments were stored late.
const maxLoaded = 2

// segment returns one. It is nil where it is damaged and the reader goes on.
func (l *loader) segment(ctx context.Context, e *located) (*receipt.Segment, error) {
	i := slices.IndexFunc(l.parts, func(p loaded) bool { return p.part == e.part })
	if i < 0 {
		segments, err := l.archive.segments(ctx, e.part)
		if err != nil {
			return nil, err
		}
		if len(l.parts) == maxLoaded {
			l.parts = slices.Delete(l.parts, 0, 1)
		}
		l.parts, i = append(l.parts, loaded{e.part, segments}), len(l.parts)
	}
	if segments := l.parts[i].segments; e.at < len(segments) {
		if s := segments[e.at]; s.Chain == e.Chain && s.Number == e.Number && hashOf(s) == e.SHA256 {
			return s, nil
		}
		return nil, l.archive.broken(e.part.Index)
	}
	return nil, nil // of a part that was said to be damaged
}

// segments reads the contents of a part, none where it is damaged and the reader goes on.
func (a *Archive) segments(ctx context.Context, p *Part) ([]*receipt.Segment, error) {
	text, err := a.read(ctx, p.Content)
	if err != nil || text == nil {
		return nil, err
	}
	segments, err := readSegments(text)
	if err != nil || int64(len(segments)) != p.Count {
		return nil, a.broken(p.Content)
	}
	return segments, nil
}

// roots yields the roots of a range of time, by number, each once for each text.
func (a *Archive) roots(ctx context.Context, from, to time.Time) iter.Seq2[*receipt.Root, error] {
	return func(yield func(*receipt.Root, error) bool) {
		names, err := a.list(ctx, from, to)
		if err != nil {
			yield(nil, err)
			return
		}
		for _, names := range grouped(names) {
			all, err := a.rootsOfDay(ctx, names)
			if err != nil {
				yield(nil, err)
				return
			}
			for _, r := range all {
				if !r.Time.Before(from) && !r.Time.After(to) && !yield(r, nil) {
					return
				}
			}
		}
	}
}

// rootsOfDay reads those of a day, of which there are some thousand at most.
func (a *Archive) rootsOfDay(ctx context.Context, names []manifestName) (all []*receipt.Root, err error) {
	d, err := a.day(ctx, names)
	if err != nil {
		return nil, err
	}
	for i := range d.roots {
		roots, err := a.rootsIn(ctx, &d.roots[i])
		if err != nil {
			return nil, err
		}
		all = append(all, roots...)
	}
	slices.SortFunc(all, func(x, y *receipt.Root) int {
		if x.Number != y.Number {
			return int(x.Number - y.Number)
		}
		return slices.Compare(x.Text, y.Text)
	})
	return slices.CompactFunc(all, func(x, y *receipt.Root) bool { return x.Number == y.Number && string(x.Text) == string(y.Text) }), nil
}

// rootsIn reads the roots of a part, none where it is damaged and the reader goes on.
func (a *Archive) rootsIn(ctx context.Context, p *Part) ([]*receipt.Root, error) {
	text, err := a.read(ctx, p.Content)
	if err != nil || text == nil {
		return nil, err
	}
	roots, err := readRoots(text)
	if err != nil || int64(len(roots)) != p.Count {
		return nil, a.broken(p.Content)
	}
	return roots, nil
}

// lastRoot returns the newest root, nil where there is none.
func (a *Archive) lastRoot(ctx context.Context) (*receipt.Root, error) {
	names, err := a.list(ctx, time.Time{}, endOfTime)
	if err != nil {
		return nil, err
	}
	for _, names := range slices.Backward(grouped(names)) {
		all, err := a.rootsOfDay(ctx, names)
		if err != nil {
			return nil, err
		}
		if len(all) > 0 {
			return all[len(all)-1], nil
		}
	}
	return nil, nil
}

var endOfTime = time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)

// conflict is that a store has another segment than the archive.
func conflict(e *entry) *Damage {
	return other(fmt.Sprintf("segment %d of chain %s", e.Number, e.Chain))
}

func conflictOfRoot(r *receipt.Root) *Damage { return other(fmt.Sprintf("root %d", r.Number)) }

func other(what string) *Damage {
	return &Damage{Object: what, Words: what + " is another one in the store than in the archive: one of the two was replaced"}
}
