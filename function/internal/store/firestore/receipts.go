package firestore

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"time"

	"cloud.google.com/go/firestore"
	"google.golang.org/api/iterator"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"example.com/erlmcp/function/internal/receipt"
)

const (
	segments = "erlmcp-receipts"      // a document for each segment of a chain
	roots    = "erlmcp-receipt-roots" // a document for each root
)

// Receipts implements [receipt.Store].
type Receipts struct {
	client *firestore.Client
	keep   time.Duration
}

// Receipts returns the store of receipts in the database. What is older than keep is cleaned up by TTL policies, within a day or
// so: what is verified must begin later.
func (s *Store) Receipts(keep time.Duration) *Receipts { return &Receipts{s.receipts, keep} }

// segment is the document of a segment; kept in: segments
type segment struct {
	Format      int64     `firestore:"format"`
	Chain       string    `firestore:"chain"`
	Number      int64     `firestore:"number"`
	From        time.Time `firestore:"from"`
	To          time.Time `firestore:"to"`
	Tenants     []string  `firestore:"tenants"`
	Calls       []int64   `firestore:"calls"`
	Certificate []byte    `firestore:"certificate"`
	Header      []byte    `firestore:"header"`
	Receipts    []byte    `firestore:"receipts"`
	Expires     time.Time `firestore:"expires"`
}

// root is the document of a root; kept in: roots
type root struct {
	Format  int64     `firestore:"format"`
	Number  int64     `firestore:"number"`
	Time    time.Time `firestore:"time"`
	Text    []byte    `firestore:"text"`
	Expires time.Time `firestore:"expires"`
}

// PutSegment implements [receipt.Store]. The name of the document follows from its place, so that nothing is stored twice.
func (r *Receipts) PutSegment(ctx context.Context, s *receipt.Segment) error {
	doc := r.client.Collection(segments).Doc(fmt.Sprintf("%s-%012d", s.Chain, s.Number))
	_, err := doc.Create(ctx, segment{
		format, s.Chain, s.Number, s.From, s.To, s.Tenants, s.Calls, s.Certificate, s.Header, s.Receipts, s.To.Add(r.keep),
	})
	if status.Code(err) != codes.AlreadyExists {
		return err
	}
	var old segment
	found, err := read(doc.Get(ctx))(&old, &old.Format)
	switch {
	case err != nil:
		return err
	case found && bytes.Equal(old.Header, s.Header) && bytes.Equal(old.Receipts, s.Receipts) && bytes.Equal(old.Certificate, s.Certificate):
		return nil // its answer was lost
	}
	return fmt.Errorf("segment %d of chain %s: %w", s.Number, s.Chain, receipt.ErrConflict)
}

// OfChain implements [receipt.Store].
func (r *Receipts) OfChain(ctx context.Context, chain string, from int64) iter.Seq2[*receipt.Segment, error] {
	return segmentsOf(ctx, r.client.Collection(segments).Where("chain", "==", chain).Where("number", ">=", from).OrderBy("number", firestore.Asc))
}

// Last implements [receipt.Store].
func (r *Receipts) Last(ctx context.Context, chain string) (*receipt.Segment, error) {
	docs, err := r.client.Collection(segments).Where("chain", "==", chain).OrderBy("number", firestore.Desc).Limit(1).Documents(ctx).GetAll()
	if err != nil || len(docs) == 0 {
		return nil, err
	}
	return readSegment(docs[0])
}

// Between implements [receipt.Store]. Segments of the same time come by their names, which are those of the chain and the number.
func (r *Receipts) Between(ctx context.Context, from, to time.Time) iter.Seq2[*receipt.Segment, error] {
	return segmentsOf(ctx, r.client.Collection(segments).Where("to", ">=", from).Where("to", "<=", to).OrderBy("to", firestore.Asc))
}

// OfTenant implements [receipt.Store].
func (r *Receipts) OfTenant(ctx context.Context, tenant string, from, to time.Time) iter.Seq2[*receipt.Segment, error] {
	return segmentsOf(ctx, r.client.Collection(segments).Where("tenants", "array-contains", tenant).Where("to", ">=", from).Where("to", "<=", to).OrderBy("to", firestore.Asc))
}

// Backwards implements [receipt.Store].
func (r *Receipts) Backwards(ctx context.Context, tenant string, from, to time.Time) iter.Seq2[*receipt.Segment, error] {
	if tenant == "" {
		return segmentsOf(ctx, r.client.Collection(segments).Where("to", ">=", from).Where("to", "<=", to).OrderBy("to", firestore.Desc))
	}
	return segmentsOf(ctx, r.client.Collection(segments).Where("tenants", "array-contains", tenant).Where("to", ">=", from).Where("to", "<=", to).OrderBy("to", firestore.Desc))
}

// OfCall implements [receipt.Store].
func (r *Receipts) OfCall(ctx context.Context, call int64) iter.Seq2[*receipt.Segment, error] {
	return segmentsOf(ctx, r.client.Collection(segments).Where("calls", "array-contains", call))
}

// Openings implements [receipt.Store].
func (r *Receipts) Openings(ctx context.Context, from, to time.Time) iter.Seq2[*receipt.Segment, error] {
	return segmentsOf(ctx, r.client.Collection(segments).Where("number", "==", 1).Where("to", ">=", from).Where("to", "<=", to).OrderBy("to", firestore.Asc))
}

// page is how many documents are asked for at a time: a long query would outlive its deadline at the server.
const page = 40

// pages yields the documents that a query finds, asked for so many at a time.
func pages(q firestore.Query, size int, run func(firestore.Query) *firestore.DocumentIterator) iter.Seq2[*firestore.DocumentSnapshot, error] {
	return func(yield func(*firestore.DocumentSnapshot, error) bool) {
		for next := q; ; {
			docs := run(next.Limit(size))
			var last *firestore.DocumentSnapshot
			n := 0
			for ; ; n++ {
				doc, err := docs.Next()
				if err == iterator.Done {
					break
				}
				if !yield(doc, err) || err != nil {
					docs.Stop()
					return
				}
				last = doc
			}
			if n < size {
				return
			}
			next = q.StartAfter(last)
		}
	}
}

// silence is for how long a reading waits for the next document. As a whole it may take as long as whoever reads needs for what is
// read.
const silence = 4 * time.Second

var errSilent = fmt.Errorf("the store has not said a word for %v", silence)

// documents yields what a query finds, each decoded.
func documents[T any](ctx context.Context, q firestore.Query, decode func(*firestore.DocumentSnapshot) (*T, error)) iter.Seq2[*T, error] {
	return func(yield func(*T, error) bool) {
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		patience := time.AfterFunc(silence, func() { cancel(errSilent) })
		defer patience.Stop()
		for doc, err := range pages(q, page, func(q firestore.Query) *firestore.DocumentIterator { return q.Documents(ctx) }) {
			patience.Stop()
			var x *T
			if err == nil {
				x, err = decode(doc)
			} else if context.Cause(ctx) == errSilent {
				err = errSilent
			}
			if !yield(x, err) || err != nil {
				return
			}
			patience.Reset(silence)
		}
	}
}

func segmentsOf(ctx context.Context, q firestore.Query) iter.Seq2[*receipt.Segment, error] {
	return documents(ctx, q, readSegment)
}

func readSegment(doc *firestore.DocumentSnapshot) (*receipt.Segment, error) {
	var s segment
	if _, err := read(doc, nil)(&s, &s.Format); err != nil {
		return nil, err
	}
	return &receipt.Segment{
		Chain: s.Chain, Number: s.Number, From: s.From, To: s.To, Tenants: orNil(s.Tenants), Calls: orNil(s.Calls),
		Certificate: orNil(s.Certificate), Header: orNil(s.Header), Receipts: orNil(s.Receipts),
	}, nil
}

// PutRoot implements [receipt.Store].
func (r *Receipts) PutRoot(ctx context.Context, put *receipt.Root) error {
	doc := r.client.Collection(roots).Doc(fmt.Sprintf("%012d", put.Number))
	_, err := doc.Create(ctx, root{format, put.Number, put.Time, put.Text, put.Time.Add(r.keep)})
	if status.Code(err) != codes.AlreadyExists {
		return err
	}
	var old root
	found, err := read(doc.Get(ctx))(&old, &old.Format)
	switch {
	case err != nil:
		return err
	case found && bytes.Equal(old.Text, put.Text):
		return nil
	}
	return fmt.Errorf("root %d: %w", put.Number, receipt.ErrConflict)
}

// Roots implements [receipt.Store].
func (r *Receipts) Roots(ctx context.Context, from, to time.Time) iter.Seq2[*receipt.Root, error] {
	return documents(ctx, r.client.Collection(roots).Where("time", ">=", from).Where("time", "<=", to).OrderBy("time", firestore.Asc), readRoot)
}

// LastRoot implements [receipt.Store].
func (r *Receipts) LastRoot(ctx context.Context) (*receipt.Root, error) {
	docs, err := r.client.Collection(roots).OrderBy("number", firestore.Desc).Limit(1).Documents(ctx).GetAll()
	if err != nil || len(docs) == 0 {
		return nil, err
	}
	return readRoot(docs[0])
}

func readRoot(doc *firestore.DocumentSnapshot) (*receipt.Root, error) {
	var r root
	if _, err := read(doc, nil)(&r, &r.Format); err != nil {
		return nil, err
	}
	return &receipt.Root{Number: r.Number, Time: r.Time, Text: orNil(r.Text)}, nil
}
