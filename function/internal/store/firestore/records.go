package firestore

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/url"
	"strings"
	"time"

	"cloud.google.com/go/firestore"
	"google.golang.org/api/iterator"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"example.com/erlmcp/function/internal/backup"
	"example.com/erlmcp/function/internal/receipt"
)

// Records implements [backup.Store]. What is read as it was at a time is within the last hour, or, where the database of what changes
// has point-in-time recovery, at a whole minute of the last seven days: https://docs.cloud.google.com/firestore/native/docs/pitr.
type Records struct {
	store *Store
	keep  time.Duration // of receipts
	kinds map[backup.Kind]documentKind
}

// A documentKind is how records of a kind are documents.
type documentKind struct {
	client     *firestore.Client
	collection string
	fixed      bool // what is written is never changed
	name       func(id string) (document string, err error)
	read       func(*firestore.DocumentSnapshot) (id string, value any, err error)
	write      func(*backup.Record) (fields any, err error)
}

// NewRecords returns those of a database. Receipts that are put are kept for so long after they were made.
func NewRecords(s *Store, keep time.Duration) *Records {
	r := &Records{store: s, keep: keep}
	r.kinds = map[backup.Kind]documentKind{
		backup.Epoch:    {s.usage, collection, false, func(string) (string, error) { return ledgerDoc, nil }, readEpoch, writeEpoch},
		backup.Plans:    rowKind(s.plans, plans),
		backup.Tenants:  rowKind(s.tenants, tenants),
		backup.Keys:     rowKind(s.keys, keys),
		backup.Events:   {s.control, events, false, func(id string) (string, error) { return id, nil }, readEvent, writeEvent},
		backup.Quotas:   {s.usage, quotas, false, quotaName, readQuota, writeQuota},
		backup.Roots:    {s.receipts, roots, true, rootName, readRootRecord, r.writeRoot},
		backup.Segments: {s.receipts, segments, true, segmentName, readSegmentRecord, r.writeSegment},
	}
	return r
}

// Now implements [backup.Store].
func (r *Records) Now(ctx context.Context) (time.Time, error) {
	docs, err := r.store.control.GetAll(ctx, []*firestore.DocumentRef{r.store.control.Collection(collection).Doc(directivesDoc)})
	if err != nil {
		return time.Time{}, err
	}
	return docs[0].ReadTime, nil
}

// Clear deletes every document of the databases, for who restores into them again and again. What is interrupted may be run again.
func (r *Records) Clear(ctx context.Context) error {
	for _, client := range r.store.clients() {
		if err := clearAll(ctx, client); err != nil {
			return err
		}
	}
	return nil
}

func clearAll(ctx context.Context, client *firestore.Client) error {
	for all := client.Collections(ctx); ; {
		c, err := all.Next()
		if errors.Is(err, iterator.Done) {
			return nil
		} else if err != nil {
			return err
		}
		most := recordPage
		if c.ID == segments {
			most = page // what is deleted counts by its size
		}
		for {
			docs, err := c.Select().Limit(most).Documents(ctx).GetAll() // their names alone
			if err != nil {
				return err
			}
			if len(docs) == 0 {
				break
			}
			err = client.RunTransaction(ctx, func(_ context.Context, tx *firestore.Transaction) error {
				for _, doc := range docs {
					if err := tx.Delete(doc.Ref); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
	}
}

// recordPage is how many documents are asked for at a time: of receipts few, which are great.
const recordPage = 300

// Records implements [backup.Store]. Documents come by their names.
func (r *Records) Records(ctx context.Context, kind backup.Kind, at time.Time) iter.Seq2[backup.Record, error] {
	switch kind {
	case backup.Directives:
		return r.one(func() (string, any, bool, error) {
			d, err := r.store.inForce(func(doc *firestore.DocumentRef) (*firestore.DocumentSnapshot, error) { return asOf(doc, at).Get(ctx) })
			return string(kind), d, d.Version > 0, err
		})
	case backup.Epoch:
		return r.one(func() (string, any, bool, error) {
			var l ledger
			found, err := read(asOf(r.store.usage.Collection(collection).Doc(ledgerDoc), at).Get(ctx))(&l, &l.Format)
			return string(kind), l.Epoch, found, err
		})
	}
	k, size := r.kinds[kind], recordPage
	if kind == backup.Segments {
		size = page
	}
	q := k.client.Collection(k.collection).Query // which is in the order of names
	return func(yield func(backup.Record, error) bool) {
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		patience := time.AfterFunc(silence, func() { cancel(errSilent) })
		defer patience.Stop()
		for doc, err := range pages(q, size, func(q firestore.Query) *firestore.DocumentIterator {
			if !at.IsZero() && !k.fixed {
				q = *q.WithReadOptions(firestore.ReadTime(at))
			}
			return q.Documents(ctx)
		}) {
			patience.Stop()
			if err == nil && k.fixed && !at.IsZero() && doc.CreateTime.After(at) {
				patience.Reset(silence)
				continue // that is how what is never changed was at a time, whatever history the database keeps
			}
			var one backup.Record
			if err == nil {
				one, err = k.record(doc)
			} else if context.Cause(ctx) == errSilent {
				err = errSilent
			}
			if !yield(one, err) || err != nil {
				return
			}
			patience.Reset(silence)
		}
	}
}

func (k *documentKind) record(doc *firestore.DocumentSnapshot) (backup.Record, error) {
	id, value, err := k.read(doc)
	if err != nil {
		return backup.Record{}, err
	}
	text, err := json.Marshal(value)
	return backup.Record{ID: id, Value: text}, err
}

// asOf is a document as it was at a time, zero for now.
func asOf(doc *firestore.DocumentRef, at time.Time) *firestore.DocumentRef {
	if at.IsZero() {
		return doc
	}
	return doc.WithReadOptions(firestore.ReadTime(at))
}

// one yields a record, where it is found.
func (r *Records) one(read func() (id string, value any, found bool, err error)) iter.Seq2[backup.Record, error] {
	return func(yield func(backup.Record, error) bool) {
		id, value, found, err := read()
		if err == nil && !found {
			return
		}
		text, fault := json.Marshal(value)
		yield(backup.Record{ID: id, Value: text}, errors.Join(err, fault))
	}
}

// Get implements [backup.Store].
func (r *Records) Get(ctx context.Context, kind backup.Kind, ids []string) (map[string]backup.Record, error) {
	k, err := r.kind(kind)
	if err != nil {
		return nil, err
	}
	docs := make([]*firestore.DocumentRef, len(ids))
	for i, id := range ids {
		if docs[i], err = r.doc(k, id); err != nil {
			return nil, err
		}
	}
	out := map[string]backup.Record{}
	got, err := k.client.GetAll(ctx, docs)
	if err != nil {
		return nil, err
	}
	for _, doc := range got {
		if !doc.Exists() {
			continue
		}
		one, err := k.record(doc)
		if err != nil {
			return nil, err
		}
		out[one.ID] = one
	}
	return out, nil
}

func (r *Records) kind(kind backup.Kind) (*documentKind, error) {
	k, ok := r.kinds[kind]
	if !ok {
		return nil, fmt.Errorf("there are no documents of the kind %q", kind)
	}
	return &k, nil
}

func (r *Records) doc(k *documentKind, id string) (*firestore.DocumentRef, error) {
	name, err := k.name(id)
	if err != nil {
		return nil, err
	}
	return k.client.Collection(k.collection).Doc(name), nil
}

// maxPuts is how often a commit begins anew, whose answer was lost or which the database did not take.
const maxPuts = 10

// Put implements [backup.Store]. It is one commit, of what is not there.
func (r *Records) Put(ctx context.Context, kind backup.Kind, records []backup.Record) error {
	k, err := r.kind(kind)
	if err != nil {
		return err
	}
	put := func(some []backup.Record) error { return r.commit(ctx, k, some) }
	err = put(records)
	for attempt := 0; err != nil && again(err) && attempt < maxPuts; attempt++ {
		if status.Code(err) != codes.AlreadyExists {
			if stop := rest(ctx, attempt); stop != nil {
				return fmt.Errorf("%w: %w", stop, err)
			}
		}
		err = backup.PutMissing(ctx, r, kind, records, put)
	}
	return err
}

func (r *Records) commit(ctx context.Context, k *documentKind, records []backup.Record) error {
	//lint:ignore SA1019 a batch is one atomic commit, and each write in it has its condition
	batch := k.client.Batch()
	for i := range records {
		doc, err := r.doc(k, records[i].ID)
		if err != nil {
			return err
		}
		fields, err := k.write(&records[i])
		if err != nil {
			return fmt.Errorf("%.80q: %w", records[i].ID, err)
		}
		batch.Create(doc, fields)
	}
	ctx, cancel := context.WithTimeout(ctx, 6*writeTime)
	defer cancel()
	_, err := batch.Commit(ctx)
	return err
}

// rowKind is that of a table. A row that is put is a change of now: who watches the table hears of it.
func rowKind[T any](t *table[T], name string) documentKind {
	return documentKind{
		client:     t.store.control,
		collection: name,
		name:       func(id string) (string, error) { return t.doc(id).ID, nil },
		read: func(doc *firestore.DocumentSnapshot) (string, any, error) {
			x, r, err := t.read(doc)
			if err != nil {
				return "", nil, err
			}
			*t.revision(x) = 0
			return r.ID, x, nil
		},
		write: func(one *backup.Record) (any, error) {
			x := new(T)
			if err := json.Unmarshal(one.Value, x); err != nil {
				return nil, err
			}
			of := ""
			if t.tenant != nil {
				of = t.tenant(x)
			}
			return map[string]any{
				"format": format, "id": one.ID, "tenant": of, "changed": firestore.ServerTimestamp, "write": rand.Text(), "text": []byte(one.Value),
			}, nil
		},
	}
}

func readEpoch(doc *firestore.DocumentSnapshot) (string, any, error) {
	var l ledger
	_, err := read(doc, nil)(&l, &l.Format)
	return string(backup.Epoch), l.Epoch, err
}

func writeEpoch(one *backup.Record) (any, error) {
	l := ledger{Format: format}
	err := json.Unmarshal(one.Value, &l.Epoch)
	return l, err
}

// seenRecord is what is remembered of an event.
type seenRecord struct {
	Digest string    `json:"digest"`
	At     time.Time `json:"at"`
}

func readEvent(doc *firestore.DocumentSnapshot) (string, any, error) {
	var a applied
	_, err := read(doc, nil)(&a, &a.Format)
	return doc.Ref.ID, seenRecord{a.Digest, a.Expires.Add(-remembered)}, err
}

func writeEvent(one *backup.Record) (any, error) {
	var e seenRecord
	err := json.Unmarshal(one.Value, &e)
	return applied{format, e.Digest, rand.Text(), e.At.Add(remembered)}, err
}

// The id of a quota is its day, a space and its key.

func quotaName(id string) (string, error) {
	day, key, ok := strings.Cut(id, " ")
	if !ok {
		return "", fmt.Errorf("%.80q is not the day and the key of a quota", id)
	}
	return url.PathEscape(key) + "@" + day, nil
}

func readQuota(doc *firestore.DocumentSnapshot) (string, any, error) {
	var q quota
	if _, err := read(doc, nil)(&q, &q.Format); err != nil {
		return "", nil, err
	}
	i := strings.LastIndexByte(doc.Ref.ID, '@')
	key, err := url.PathUnescape(doc.Ref.ID[:max(i, 0)])
	return doc.Ref.ID[i+1:] + " " + key, q.Used, err
}

func writeQuota(one *backup.Record) (any, error) {
	q := quota{Format: format}
	day, _, _ := strings.Cut(one.ID, " ")
	begins, err := time.Parse(time.DateOnly, day)
	q.Expires = begins.Add(24*time.Hour + kept)
	return q, cmp.Or(err, json.Unmarshal(one.Value, &q.Used))
}

func rootName(id string) (string, error) {
	var number int64
	_, err := fmt.Sscanf(id, "%020d", &number)
	return fmt.Sprintf("%012d", number), err
}

func readRootRecord(doc *firestore.DocumentSnapshot) (string, any, error) {
	root, err := readRoot(doc)
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("%020d", root.Number), root, nil
}

func (r *Records) writeRoot(one *backup.Record) (any, error) {
	var x receipt.Root
	err := json.Unmarshal(one.Value, &x)
	return root{format, x.Number, x.Time, x.Text, x.Time.Add(r.keep)}, err
}

// The id of a segment is its chain, a space and its number.

func segmentName(id string) (string, error) {
	chain, text, _ := strings.Cut(id, " ")
	var number int64
	_, err := fmt.Sscanf(text, "%020d", &number)
	return fmt.Sprintf("%s-%012d", chain, number), err
}

func readSegmentRecord(doc *firestore.DocumentSnapshot) (string, any, error) {
	s, err := readSegment(doc)
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("%s %020d", s.Chain, s.Number), s, nil
}

func (r *Records) writeSegment(one *backup.Record) (any, error) {
	var s receipt.Segment
	err := json.Unmarshal(one.Value, &s)
	return segment{format, s.Chain, s.Number, s.From, s.To, s.Tenants, s.Calls, s.Certificate, s.Header, s.Receipts, s.To.Add(r.keep)}, err
}
