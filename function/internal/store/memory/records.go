package memory

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.com/erlmcp/function/internal/backup"
	"example.com/erlmcp/function/internal/receipt"
)

// Records implements [backup.Store] over the stores of a process. They are read as they are, at whatever time is asked for: a command
// that backs up a file has it for itself.
type Records struct {
	store    *Store
	receipts *Receipts
}

// NewRecords returns those of two stores, which share a file where they have one.
func NewRecords(s *Store, r *Receipts) *Records { return &Records{s, r} }

// Now implements [backup.Store].
func (r *Records) Now(ctx context.Context) (time.Time, error) {
	return r.store.now().UTC().Truncate(time.Microsecond), ctx.Err()
}

// Records implements [backup.Store].
func (r *Records) Records(ctx context.Context, kind backup.Kind, _ time.Time) iter.Seq2[backup.Record, error] {
	return func(yield func(backup.Record, error) bool) {
		all, err := r.all(kind)
		if err != nil {
			yield(backup.Record{}, err)
			return
		}
		for _, id := range slices.Sorted(maps.Keys(all)) {
			err := ctx.Err()
			var text []byte
			if err == nil {
				text, err = json.Marshal(all[id])
			}
			if !yield(backup.Record{ID: id, Value: text}, err) || err != nil {
				return
			}
		}
	}
}

// all returns the values of a kind, none of which is changed later.
func (r *Records) all(kind backup.Kind) (map[string]any, error) {
	if kind == backup.Roots || kind == backup.Segments {
		return r.receipts.all(kind), nil
	}
	s := r.store
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]any{}
	switch kind {
	case backup.Directives:
		if s.directives.Version > 0 {
			out[kindDirectives] = clone(s.directives)
		}
	case backup.Epoch:
		if s.epoch > 0 {
			out[kindEpoch] = s.epoch
		}
	case backup.Plans:
		unversioned(s.plans, out)
	case backup.Tenants:
		unversioned(s.tenants, out)
	case backup.Keys:
		unversioned(s.keys, out)
	case backup.Events:
		for key, e := range s.events.seen {
			out[key] = e
		}
	case backup.Quotas:
		for q, used := range s.used {
			out[q.row(nil).key] = used
		}
	default:
		return nil, fmt.Errorf("there are no records of the kind %q", kind)
	}
	return out, nil
}

func (r *Receipts) all(kind backup.Kind) map[string]any {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := map[string]any{}
	if kind == backup.Roots {
		for _, root := range r.roots {
			out[rootKey(root.Number)] = root
		}
		return out
	}
	for at, s := range r.segments {
		out[at.row(nil).key] = s
	}
	return out
}

func rootKey(number int64) string { return fmt.Sprintf("%020d", number) }

// unversioned puts rows without their revisions, which are this store's own.
func unversioned[T any](t *table[T], into map[string]any) {
	for id, row := range t.rows {
		c := t.clone(row)
		*t.revision(c) = 0
		into[id] = c
	}
}

// Get implements [backup.Store].
func (r *Records) Get(ctx context.Context, kind backup.Kind, ids []string) (map[string]backup.Record, error) {
	var all map[string]any
	var err error
	if kind == backup.Roots || kind == backup.Segments {
		all = r.receipts.these(kind, ids)
	} else {
		all, err = r.all(kind)
	}
	if err := errors.Join(err, ctx.Err()); err != nil {
		return nil, err
	}
	out := map[string]backup.Record{}
	for _, id := range ids {
		if v, ok := all[id]; ok {
			text, err := json.Marshal(v)
			if err != nil {
				return nil, err
			}
			out[id] = backup.Record{ID: id, Value: text}
		}
	}
	return out, nil
}

// these returns those of some ids.
func (r *Receipts) these(kind backup.Kind, ids []string) map[string]any {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := map[string]any{}
	for _, id := range ids {
		chain, text, _ := strings.Cut(id, " ")
		if kind == backup.Roots {
			text = id
		}
		number, _ := strconv.ParseInt(text, 10, 64)
		if kind == backup.Segments {
			if s := r.segments[place{chain, number}]; s != nil {
				out[id] = s
			}
		} else if i, found := slices.BinarySearchFunc(r.roots, number, func(root *receipt.Root, n int64) int { return cmp.Compare(root.Number, n) }); found {
			out[id] = r.roots[i]
		}
	}
	return out
}

// Put implements [backup.Store].
func (r *Records) Put(ctx context.Context, kind backup.Kind, records []backup.Record) error {
	return backup.PutMissing(ctx, r, kind, records, func(missing []backup.Record) error {
		r.store.mu.Lock()
		defer r.store.mu.Unlock()
		r.receipts.mu.Lock()
		defer r.receipts.mu.Unlock()
		var rows []row
		var apply []func()
		for i := range missing {
			one, then, err := r.row(kind, &missing[i])
			if err != nil {
				return fmt.Errorf("%s %.80q: %w", kind, missing[i].ID, err)
			}
			rows, apply = append(rows, one), append(apply, then)
		}
		if err := r.store.file.put(rows...); err != nil {
			return err
		}
		for _, then := range apply {
			then()
		}
		if kind == backup.Events {
			r.store.events.sort()
		}
		return nil
	})
}

// row is what is written of a record, and what is to be done once it is.
func (r *Records) row(kind backup.Kind, one *backup.Record) (row, func(), error) {
	s := r.store
	switch kind {
	case backup.Epoch:
		epoch, err := decoded[int64](one)
		return row{kindEpoch, kindEpoch, epoch}, func() { s.epoch = *epoch }, err
	case backup.Plans:
		return insert(s, s.plans, one)
	case backup.Tenants:
		return insert(s, s.tenants, one)
	case backup.Keys:
		return insert(s, s.keys, one)
	case backup.Events:
		e, err := decoded[event](one)
		e.key = one.ID
		return row{kindEvents, one.ID, e}, func() { s.events.add(e) }, err
	case backup.Quotas:
		day, key, _ := strings.Cut(one.ID, " ")
		used, err := decoded[int64](one)
		return quota{key, day}.row(used), func() { s.used[quota{key, day}] = *used }, err
	case backup.Roots:
		root, err := decoded[receipt.Root](one)
		return row{kindRoots, one.ID, root}, func() { r.receipts.addRoot(root) }, err
	case backup.Segments:
		segment, err := decoded[receipt.Segment](one)
		return row{kindSegments, one.ID, segment}, func() { r.receipts.add(segment) }, err
	}
	return row{}, nil, errors.New("there is no way to put one")
}

func (r *Receipts) addRoot(root *receipt.Root) {
	i, _ := slices.BinarySearchFunc(r.roots, root, func(a, b *receipt.Root) int { return cmp.Compare(a.Number, b.Number) })
	r.roots = slices.Insert(r.roots, i, root)
}

func decoded[T any](one *backup.Record) (*T, error) {
	v := new(T)
	return v, json.Unmarshal(one.Value, v)
}

// insert has a row be a change of now: who watches the store hears of it.
func insert[T any](s *Store, t *table[T], one *backup.Record) (row, func(), error) {
	v, err := decoded[T](one)
	*t.revision(v) = max(*t.version+1, s.now().UnixMicro())
	*t.version = *t.revision(v)
	return row{t.kind, one.ID, v}, func() { t.put(one.ID, v) }, err
}
