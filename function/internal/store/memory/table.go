package memory

import (
	"cmp"
	"context"
	"maps"
	"slices"
)

// A table is what is kept of one kind, by id. What is in it is never changed, only replaced.
type table[T any] struct {
	kind     string
	rows     map[string]*T
	version  *int64 // the greatest revision given
	clone    func(*T) *T
	revision func(*T) *int64
}

func newTable[T any](kind string, version *int64, clone func(*T) *T, revision func(*T) *int64) *table[T] {
	return &table[T]{kind, map[string]*T{}, version, clone, revision}
}

// An edit is a change of a row.
type edit[T any] struct {
	fresh  func() (*T, error) // to begin with where there is no row
	change func(*T) error
	event  *event // that is remembered with it; nil: none
}

// do replaces the row of an id. The change runs without the lock, so that it may take its time, and again where another came
// first.
func (t *table[T]) do(ctx context.Context, s *Store, id string, e edit[T]) (*T, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		s.mu.Lock()
		old := t.rows[id]
		err := s.events.check(e.event)
		s.mu.Unlock()
		if err != nil {
			return nil, err
		}
		var fresh *T
		if old != nil {
			fresh = t.clone(old)
		} else if fresh, err = e.fresh(); err != nil {
			return nil, err
		}
		if err := e.change(fresh); err != nil {
			return nil, err
		}
		fresh = t.clone(fresh)
		s.mu.Lock()
		if t.rows[id] == old && s.events.check(e.event) == nil {
			defer s.mu.Unlock()
			now := s.now()
			*t.revision(fresh) = max(*t.version+1, now.UnixMicro())
			if err := s.file.put(append(s.events.next(e.event, now), row{t.kind, id, fresh})...); err != nil {
				return nil, err
			}
			t.put(id, fresh)
			s.events.add(e.event)
			return t.clone(fresh), nil
		}
		s.mu.Unlock()
	}
}

// put puts a row that may have the greatest revision.
func (t *table[T]) put(id string, row *T) {
	t.rows[id] = row
	*t.version = max(*t.version, *t.revision(row))
}

// since returns copies of what has changed since a revision.
func (t *table[T]) since(revision int64) []*T {
	var out []*T
	for _, row := range t.rows {
		if *t.revision(row) > revision {
			out = append(out, t.clone(row))
		}
	}
	slices.SortFunc(out, func(a, b *T) int { return cmp.Compare(*t.revision(a), *t.revision(b)) })
	return out
}

// page returns copies of at most so many rows after an id that are wanted.
func (t *table[T]) page(after string, most int, want func(*T) bool) []*T {
	var out []*T
	for _, id := range slices.Sorted(maps.Keys(t.rows)) {
		if len(out) >= most {
			break
		}
		if row := t.rows[id]; id > after && want(row) {
			out = append(out, t.clone(row))
		}
	}
	return out
}
