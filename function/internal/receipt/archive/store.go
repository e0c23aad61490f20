package archive

import (
	"cmp"
	"context"
	"iter"
	"slices"
	"time"

	"example.com/erlmcp/function/internal/receipt"
)

// A Store is a [receipt.Store] of receipts of all ages: those of instances' store, and those of an archive that this has forgotten. It
// writes to the former alone. What is in both is read from the store, and held against the archive's hash.
//
// A sequence of it asks the archive nothing as long as it yields what is of today, since a day is archived once it is over.
type Store struct {
	Recent  receipt.Store
	Archive *Archive
}

// PutSegment implements [receipt.Store].
func (s *Store) PutSegment(ctx context.Context, x *receipt.Segment) error {
	return s.Recent.PutSegment(ctx, x)
}

// PutRoot implements [receipt.Store].
func (s *Store) PutRoot(ctx context.Context, r *receipt.Root) error { return s.Recent.PutRoot(ctx, r) }

// Between implements [receipt.Store].
func (s *Store) Between(ctx context.Context, from, to time.Time) iter.Seq2[*receipt.Segment, error] {
	return s.byTime(ctx, s.Recent.Between(ctx, from, to), query{from: from, to: to})
}

// OfTenant implements [receipt.Store].
func (s *Store) OfTenant(ctx context.Context, tenant string, from, to time.Time) iter.Seq2[*receipt.Segment, error] {
	return s.byTime(ctx, s.Recent.OfTenant(ctx, tenant, from, to), query{from: from, to: to, entry: hasTenant(tenant)})
}

func hasTenant(tenant string) func(*entry) bool {
	return func(e *entry) bool { return slices.Contains(e.Tenants, tenant) }
}

// Backwards implements [receipt.Store].
func (s *Store) Backwards(ctx context.Context, tenant string, from, to time.Time) iter.Seq2[*receipt.Segment, error] {
	q := query{from: from, to: to, backwards: true}
	if tenant != "" {
		q.entry = hasTenant(tenant)
	}
	return s.byTime(ctx, s.Recent.Backwards(ctx, tenant, from, to), q)
}

// Openings implements [receipt.Store].
func (s *Store) Openings(ctx context.Context, from, to time.Time) iter.Seq2[*receipt.Segment, error] {
	return s.byTime(ctx, s.Recent.Openings(ctx, from, to), query{from: from, to: to, entry: func(e *entry) bool { return e.Number == 1 }})
}

// OfChain implements [receipt.Store].
func (s *Store) OfChain(ctx context.Context, chain string, from int64) iter.Seq2[*receipt.Segment, error] {
	return s.join(ctx, s.Recent.OfChain(ctx, chain, from), s.Archive.entries(ctx, ofChain(chain, from)), func(x, y *entry) int { return cmp.Compare(x.Number, y.Number) }, nil)
}

func ofChain(chain string, from int64) query {
	return query{
		to:    endOfTime,
		part:  func(p *Part) bool { last, has := p.Chains[chain]; return has && last >= from },
		entry: func(e *entry) bool { return e.Chain == chain && e.Number >= from },
	}
}

// Last implements [receipt.Store].
func (s *Store) Last(ctx context.Context, chain string) (*receipt.Segment, error) {
	last, err := s.Recent.Last(ctx, chain)
	if err != nil {
		return nil, err
	}
	q := ofChain(chain, 0)
	q.backwards = true
	for e, err := range s.Archive.entries(ctx, q) {
		if err != nil {
			return nil, err
		}
		if last != nil && last.Number >= e.Number {
			break
		}
		return (&loader{archive: s.Archive}).segment(ctx, e)
	}
	return last, nil
}

// OfCall implements [receipt.Store]. The segments come by their times.
func (s *Store) OfCall(ctx context.Context, call int64) iter.Seq2[*receipt.Segment, error] {
	return func(yield func(*receipt.Segment, error) bool) {
		var recent []*receipt.Segment // few: those of a second of a chain
		for x, err := range s.Recent.OfCall(ctx, call) {
			if err != nil {
				yield(nil, err)
				return
			}
			recent = append(recent, x)
		}
		slices.SortFunc(recent, func(x, y *receipt.Segment) int { return entryOf(x).byTime(entryOf(y)) })
		all := func(yield func(*receipt.Segment, error) bool) {
			for _, x := range recent {
				if !yield(x, nil) {
					return
				}
			}
		}
		second := secondOf(call)
		q := query{
			from: time.Unix(second, 0).Add(-skew), to: endOfTime,
			part:  func(p *Part) bool { return p.Calls[0] <= second && second <= p.Calls[1] },
			entry: func(e *entry) bool { return slices.Contains(e.Calls, call) },
		}
		for x, err := range s.join(ctx, all, s.Archive.entries(ctx, q), (*entry).byTime, nil) {
			if !yield(x, err) {
				return
			}
		}
	}
}

// skew is how long before its id a receipt may be, by clocks that differ.
const skew = 24 * time.Hour

// secondOf is the second of the ids that a key stands for.
func secondOf(call int64) int64 { return int64(uint32(call)) }

// byTime joins two sequences that are in the order of time. Those that go backwards have the archive asked once what is of today is read.
func (s *Store) byTime(ctx context.Context, recent iter.Seq2[*receipt.Segment, error], q query) iter.Seq2[*receipt.Segment, error] {
	if !q.backwards {
		return s.join(ctx, recent, s.Archive.entries(ctx, q), (*entry).byTime, nil)
	}
	midnight := today(s.Archive.now())
	return s.join(ctx, recent, s.Archive.entries(ctx, q), func(x, y *entry) int { return y.byTime(x) }, func(e *entry) bool { return !e.To.Before(midnight) })
}

// join yields two sequences in one, both in the same order, and what is in both once. What is early comes before all that is archived.
func (s *Store) join(ctx context.Context, recent iter.Seq2[*receipt.Segment, error], archived iter.Seq2[*located, error], order func(x, y *entry) int, early func(*entry) bool) iter.Seq2[*receipt.Segment, error] {
	return func(yield func(*receipt.Segment, error) bool) {
		next, stop := iter.Pull2(archived)
		defer stop()
		j := &joining{Store: s, loader: &loader{archive: s.Archive}, next: next, yield: yield}
		for x, err := range recent {
			if err != nil {
				yield(nil, err)
				return
			}
			of := entryOf(x)
			if early == nil || !early(of) {
				j.begin()
			}
			for !j.over && j.e != nil && order(j.e.entry, of) < 0 {
				j.load(ctx)
			}
			for !j.over && j.e != nil && order(j.e.entry, of) == 0 {
				j.same(x)
			}
			if j.over || !yield(x, nil) {
				return
			}
		}
		for j.begin(); !j.over && j.e != nil; {
			j.load(ctx)
		}
	}
}

// A joining is where a join is in what is archived.
type joining struct {
	*Store
	loader *loader
	next   func() (*located, error, bool)
	yield  func(*receipt.Segment, error) bool
	begun  bool
	e      *located // the next one, nil at the end
	over   bool     // an error was yielded, or no more is wanted
}

// begin asks for the first that is archived, once.
func (j *joining) begin() {
	if !j.begun {
		j.begun = true
		j.advance(nil)
	}
}

// advance asks for the next that is archived. An error of what was done with the last ends the join.
func (j *joining) advance(err error) {
	if err == nil {
		var more bool
		if j.e, err, more = j.next(); !more {
			j.e = nil
		}
	}
	if err != nil {
		j.over = true
		j.yield(nil, err)
	}
}

// load yields what is archived next, unless it is damaged, which was said.
func (j *joining) load(ctx context.Context) {
	x, err := j.loader.segment(ctx, j.e)
	if err == nil && x != nil && !j.yield(x, nil) {
		j.over = true
		return
	}
	j.advance(err)
}

// same holds what the store has against what is archived of it.
func (j *joining) same(x *receipt.Segment) { j.advance(j.Store.same(x, j.e.entry)) }

// same holds a segment of the store against the archive's of the same place.
func (s *Store) same(recent *receipt.Segment, archived *entry) error {
	if hashOf(recent) == archived.SHA256 {
		return nil
	}
	return s.Archive.damage(conflict(archived))
}

// Roots implements [receipt.Store].
func (s *Store) Roots(ctx context.Context, from, to time.Time) iter.Seq2[*receipt.Root, error] {
	return func(yield func(*receipt.Root, error) bool) {
		next, stop := iter.Pull2(s.Archive.roots(ctx, from, to))
		defer stop()
		archived, err, more := next()
		for recent, fault := range s.Recent.Roots(ctx, from, to) {
			if fault != nil {
				yield(nil, fault)
				return
			}
			for more && err == nil && archived.Number < recent.Number {
				if !yield(archived, nil) {
					return
				}
				archived, err, more = next()
			}
			for more && err == nil && archived.Number == recent.Number {
				if string(archived.Text) != string(recent.Text) {
					if err := s.Archive.damage(conflictOfRoot(recent)); err != nil {
						yield(nil, err)
						return
					}
				}
				archived, err, more = next()
			}
			if err != nil {
				break
			}
			if !yield(recent, nil) {
				return
			}
		}
		for more && err == nil {
			if !yield(archived, nil) {
				return
			}
			archived, err, more = next()
		}
		if err != nil {
			yield(nil, err)
		}
	}
}

// LastRoot implements [receipt.Store].
func (s *Store) LastRoot(ctx context.Context) (*receipt.Root, error) {
	last, err := s.Recent.LastRoot(ctx)
	if err != nil || last != nil && !last.Time.Before(today(s.Archive.now())) {
		return last, err
	}
	archived, err := s.Archive.lastRoot(ctx)
	if err != nil || archived == nil || last != nil && last.Number >= archived.Number {
		return last, err
	}
	return archived, nil
}
