package firestore

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	mathrand "math/rand/v2"
	"net/url"
	"slices"
	"sync"
	"time"

	"cloud.google.com/go/firestore"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"example.com/erlmcp/function/internal/entitlement"
	"example.com/erlmcp/function/internal/identity"
)

const (
	tenants = "erlmcp-tenants" // a document for each tenant
	plans   = "erlmcp-plans"   // a document for each edited plan
	keys    = "erlmcp-keys"    // a document for each API key
)

// row is the document of a tenant, a plan or a key, as JSON; kept in: tenants, plans, keys
type row struct {
	Format  int64     `firestore:"format"`
	ID      string    `firestore:"id"`
	Tenant  string    `firestore:"tenant"`  // of a key
	Changed time.Time `firestore:"changed"` // when the server got the change; in milliseconds, and a little before it was committed
	Write   string    `firestore:"write"`   // random, so that a write whose answer was lost is known again
	Text    []byte    `firestore:"text"`
}

// A table is a collection of such documents. The revision of a row is the time of its commit, in microseconds: the database sees
// to it that it grows, and no document is shared by all changes.
type table[T any] struct {
	store    *Store
	rows     *firestore.CollectionRef
	changed  firestore.Query // all, in the order in which they changed
	newest   firestore.Query // the last of them
	revision func(*T) *int64
	tenant   func(*T) string // nil: none

	mu     sync.Mutex
	seen   time.Time // changes before this one are in latest
	latest int64     // the greatest revision known
}

type tables struct {
	tenants *table[entitlement.Tenant]
	plans   *table[entitlement.Plan]
	keys    *table[identity.StoredKey]
}

func newTables(s *Store) tables {
	return tables{
		&table[entitlement.Tenant]{
			store: s, rows: s.control.Collection(tenants), changed: s.control.Collection(tenants).OrderBy("changed", firestore.Asc),
			newest:   s.control.Collection(tenants).OrderBy("changed", firestore.Desc).Limit(1),
			revision: func(t *entitlement.Tenant) *int64 { return &t.Revision },
		},
		&table[entitlement.Plan]{
			store: s, rows: s.control.Collection(plans), changed: s.control.Collection(plans).OrderBy("changed", firestore.Asc),
			newest:   s.control.Collection(plans).OrderBy("changed", firestore.Desc).Limit(1),
			revision: func(p *entitlement.Plan) *int64 { return &p.Revision },
		},
		&table[identity.StoredKey]{
			store: s, rows: s.control.Collection(keys), changed: s.control.Collection(keys).OrderBy("changed", firestore.Asc),
			newest:   s.control.Collection(keys).OrderBy("changed", firestore.Desc).Limit(1),
			revision: func(k *identity.StoredKey) *int64 { return &k.Revision }, tenant: func(k *identity.StoredKey) string { return k.Tenant },
		},
	}
}

// doc is the document of an id. Without the sign at its end an id could be one that Firestore keeps for itself: a dot, or __x__.
func (t *table[T]) doc(id string) *firestore.DocumentRef { return t.rows.Doc(url.PathEscape(id) + "@") }

// read decodes a document; nil where there is none.
func (t *table[T]) read(doc *firestore.DocumentSnapshot) (*T, *row, error) {
	if !doc.Exists() {
		return nil, nil, nil
	}
	r, x := &row{}, new(T)
	if _, err := read(doc, nil)(r, &r.Format); err != nil {
		return nil, nil, err
	}
	if err := json.Unmarshal(r.Text, x); err != nil {
		return nil, r, fmt.Errorf("%s: %w", name(doc.Ref), err)
	}
	*t.revision(x) = doc.UpdateTime.UnixMicro()
	return x, r, nil
}

// get returns the row of an id; nil where there is none.
func (t *table[T]) get(ctx context.Context, id string) (*T, error) {
	docs, err := t.store.control.GetAll(ctx, []*firestore.DocumentRef{t.doc(id)})
	if err != nil {
		return nil, err
	}
	x, _, err := t.read(docs[0])
	return x, err
}

// An edit is a change of a row.
type edit[T any] struct {
	fresh  func() (*T, error) // to begin with where there is no row
	change func(*T) error
	event  *entitlement.Event // that is remembered with it; nil: none
}

// writeTime bounds a commit. With the time between a change and its commit it bounds how far back changes must be looked for.
const (
	writeTime = 5 * time.Second
	overlap   = 2 * writeTime
)

// change replaces the row of an id. It is one atomic write on the condition that nothing has changed since what was read, and
// begins anew where that does not hold: measured on one contended row, that is five times as fast as the client's transactions,
// which lock what they read.
func (t *table[T]) change(ctx context.Context, id string, e edit[T]) (*T, error) {
	docs := []*firestore.DocumentRef{t.doc(id)}
	seen, err := t.store.seen(e.event)
	if err != nil {
		return nil, err
	}
	if seen != nil {
		docs = append(docs, seen.doc)
	}
	write := rand.Text()
	var fault error // of the last attempt
	for attempt := 0; ; attempt++ {
		got, err := t.store.control.GetAll(ctx, docs)
		if err != nil {
			return nil, err
		}
		x, old, err := t.read(got[0])
		if err != nil {
			return nil, err
		}
		mine := old != nil && old.Write == write
		if seen != nil && !mine {
			if mine, err = seen.check(got[1], write); err != nil {
				return nil, err
			}
		}
		switch {
		case mine: // it was committed, and the answer was lost
			return x, nil
		case fault != nil && !again(fault):
			return nil, fault
		}
		if x == nil {
			if x, err = e.fresh(); err != nil {
				return nil, err
			}
		}
		if err := e.change(x); err != nil {
			return nil, err
		}
		committed, err := t.commit(ctx, got[0], row{ID: id, Write: write}, x, seen)
		if err == nil {
			*t.revision(x) = committed.UnixMicro()
			return clone(x)
		}
		fault = err
		if err := rest(ctx, attempt); err != nil {
			return nil, fmt.Errorf("%w: %w", err, fault)
		}
	}
}

// commit writes a row, with the id and the write of by, over what was read of it.
func (t *table[T]) commit(ctx context.Context, old *firestore.DocumentSnapshot, by row, x *T, seen *seenEvent) (time.Time, error) {
	text, err := json.Marshal(x)
	if err != nil {
		return time.Time{}, err
	}
	of := ""
	if t.tenant != nil {
		of = t.tenant(x)
	}
	fields := []firestore.Update{
		{Path: "format", Value: format}, {Path: "id", Value: by.ID}, {Path: "tenant", Value: of}, {Path: "changed", Value: firestore.ServerTimestamp},
		{Path: "write", Value: by.Write}, {Path: "text", Value: text},
	}
	// A transaction would cost a round trip more, and one after a conflict; it forgets deadlines there.
	//lint:ignore SA1019 a batch is one atomic commit, and each write in it has its condition
	batch := t.store.control.Batch()
	if old.Exists() {
		batch.Update(old.Ref, fields, firestore.LastUpdateTime(old.UpdateTime))
	} else {
		all := map[string]any{}
		for _, f := range fields {
			all[f.Path] = f.Value
		}
		batch.Create(old.Ref, all)
	}
	if seen != nil {
		batch.Create(seen.doc, seen.document(by.Write))
	}
	ctx, cancel := context.WithTimeout(ctx, writeTime)
	defer cancel()
	results, err := batch.Commit(ctx)
	if err != nil {
		return time.Time{}, err
	}
	return results[0].UpdateTime, nil
}

// again tells whether a commit may succeed at another attempt.
func again(err error) bool {
	switch status.Code(err) {
	case codes.Aborted, codes.FailedPrecondition, codes.AlreadyExists, codes.NotFound, codes.Unavailable, codes.DeadlineExceeded, codes.Internal, codes.Unknown, codes.ResourceExhausted:
		return true
	}
	return false
}

// rest waits a random time, longer with each attempt.
func rest(ctx context.Context, attempt int) error {
	timer := time.NewTimer(mathrand.N(min(5*time.Millisecond<<min(attempt, 10), 200*time.Millisecond)))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// clone makes sure that what change got and may have kept is not what is returned.
func clone[T any](x *T) (*T, error) {
	text, err := json.Marshal(x)
	if err != nil {
		return nil, err
	}
	out := new(T)
	return out, json.Unmarshal(text, out)
}

// great is how many rows are asked for at a time.
const great = 500

// list returns at most so many of the rows that a query finds.
func (t *table[T]) list(ctx context.Context, q firestore.Query, most int) ([]*T, error) {
	if most < 1 {
		return nil, ctx.Err()
	}
	var out []*T
	for doc, err := range pages(q, min(great, most), func(q firestore.Query) *firestore.DocumentIterator { return q.Documents(ctx) }) {
		if err != nil {
			return nil, err
		}
		x, _, err := t.read(doc)
		if err != nil {
			return nil, err
		}
		if out = append(out, x); len(out) == most {
			break
		}
	}
	return out, nil
}

// since returns what has changed since a revision, and shortly before, as a transaction sees it, and the greatest revision.
// What can't be decoded is what unread makes of it.
func (t *table[T]) since(tx *firestore.Transaction, revision int64, unread func(*row, error) (*T, error)) (out []*T, version int64, err error) {
	q := t.changed
	if revision > 0 {
		q = q.StartAfter(time.UnixMicro(revision).Add(-overlap))
	}
	for doc, err := range pages(q, great, func(q firestore.Query) *firestore.DocumentIterator { return tx.Documents(q) }) {
		if err != nil {
			return nil, 0, err
		}
		x, r, err := t.read(doc)
		if err != nil && r != nil {
			if x, err = unread(r, err); err == nil {
				*t.revision(x) = doc.UpdateTime.UnixMicro()
			}
		}
		if err != nil {
			return nil, 0, err
		}
		out = append(out, x)
		version = max(version, doc.UpdateTime.UnixMicro())
	}
	slices.SortFunc(out, func(a, b *T) int { return cmp.Compare(*t.revision(a), *t.revision(b)) })
	return out, version, nil
}

// version returns the greatest revision. It reads what has changed since the last time, with an overlap for changes that were
// being committed then.
func (t *table[T]) version(ctx context.Context) (int64, error) {
	t.mu.Lock()
	from := t.seen
	t.mu.Unlock()
	if from.IsZero() {
		last, err := t.newest.Documents(ctx).GetAll()
		if err != nil || len(last) == 0 {
			return 0, err
		}
		at, err := changedAt(last[0])
		if err != nil {
			return 0, err
		}
		from = at.Add(-overlap)
	}
	var latest int64
	var begun time.Time // of the reading, by the server's clock
	seen := from
	for doc, err := range pages(t.changed.StartAfter(from).Select("changed"), great, func(q firestore.Query) *firestore.DocumentIterator { return q.Documents(ctx) }) {
		if err != nil {
			return 0, err
		}
		at, err := changedAt(doc)
		if err != nil {
			return 0, err
		}
		if begun.IsZero() {
			begun = doc.ReadTime
		}
		if seen = at; begun.Sub(at) < overlap {
			seen = at.Add(-overlap)
		}
		latest = max(latest, doc.UpdateTime.UnixMicro())
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.latest = max(t.latest, latest)
	if seen.After(t.seen) {
		t.seen = seen
	}
	return t.latest, nil
}

func changedAt(doc *firestore.DocumentSnapshot) (time.Time, error) {
	v, err := doc.DataAt("changed")
	if err != nil {
		return time.Time{}, fmt.Errorf("%s: %w", name(doc.Ref), err)
	}
	at, ok := v.(time.Time)
	if !ok {
		return time.Time{}, fmt.Errorf("%s: changed is no time", name(doc.Ref))
	}
	return at, nil
}
