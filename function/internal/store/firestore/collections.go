package firestore

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"cloud.google.com/go/firestore"
	"google.golang.org/api/iterator"
	"google.golang.org/genproto/googleapis/type/latlng"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	source "example.com/erlmcp/function/internal/backend/firestore/documents"
)

// Collections are those of a database whose documents are an operator's own, and not this server's. They are read alone.
type Collections struct {
	client *firestore.Client
	prefix string // of the names of the database's documents
}

// OpenCollections opens the one database that the options name. It does not wait for an answer.
func OpenCollections(ctx context.Context, o Options) (*Collections, error) {
	if len(o.Databases) != 1 {
		return nil, fmt.Errorf("collections are of one database, and not of %d", len(o.Databases))
	}
	client, err := dial(ctx, o, o.Databases[0])
	if err != nil {
		return nil, fmt.Errorf("database %s: %w", o.Databases[0], err)
	}
	return &Collections{client, strings.TrimSuffix(client.Collection("x").Path, "x")}, nil
}

// Close ends the connection.
func (c *Collections) Close() error { return c.client.Close() }

// Collection returns the one at a path such as orders or shops/main/orders, or nil where the path is not that of a collection.
func (c *Collections) Collection(path string) source.Collection {
	ref := c.client.Collection(path)
	if ref == nil {
		return nil
	}
	return &found{c, ref}
}

// found is a collection at a path.
type found struct {
	*Collections
	ref *firestore.CollectionRef
}

// Get implements [source.Collection].
func (f *found) Get(ctx context.Context, id string) (*source.Document, error) {
	if err := source.CheckID(id); err != nil {
		return nil, err
	}
	snapshot, err := f.ref.Doc(id).Get(ctx)
	switch {
	case status.Code(err) == codes.NotFound && snapshot != nil && !snapshot.Exists():
		return nil, nil
	case err != nil:
		return nil, readFault(err)
	}
	return f.document(snapshot), nil
}

// Find implements [source.Collection].
func (f *found) Find(ctx context.Context, q source.Query) iter.Seq2[*source.Document, error] {
	return func(yield func(*source.Document, error) bool) {
		query := f.ref.Limit(q.Limit)
		if q.Select != nil {
			var paths []firestore.FieldPath
			for _, p := range q.Select {
				paths = append(paths, pathOf(p))
			}
			query = query.SelectPaths(paths...)
		}
		for _, e := range q.Equal {
			query = query.WherePath(pathOf(e.Path), "==", f.stored(e.Value))
		}
		direction := firestore.Asc
		for _, o := range q.Order {
			if direction = firestore.Asc; o.Descending {
				direction = firestore.Desc
			}
			query = query.OrderByPath(pathOf(o.Path), direction)
		}
		query = query.OrderBy(firestore.DocumentID, direction)
		if q.After != nil {
			var values []any
			for _, v := range q.After.Values {
				values = append(values, f.stored(v))
			}
			query = query.StartAfter(append(values, q.After.ID)...)
		}
		all := query.Documents(ctx)
		defer all.Stop()
		for {
			snapshot, err := all.Next()
			if errors.Is(err, iterator.Done) {
				return
			}
			if err != nil {
				yield(nil, readFault(err))
				return
			}
			if !yield(f.document(snapshot), nil) {
				return
			}
		}
	}
}

func pathOf(path string) firestore.FieldPath { return strings.Split(path, ".") }

// readFault wraps what says whether it may be better later.
func readFault(err error) error {
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.ResourceExhausted, codes.Aborted, codes.Internal, codes.Unknown, codes.Unauthenticated:
		return fmt.Errorf("%w: %w", source.ErrUnavailable, err)
	case codes.FailedPrecondition:
		return fmt.Errorf("%w: %w", source.ErrNoIndex, err)
	}
	return err
}

func (c *Collections) document(snapshot *firestore.DocumentSnapshot) *source.Document {
	fields := map[string]any{}
	for name, v := range snapshot.Data() {
		fields[name] = c.value(v)
	}
	return &source.Document{ID: snapshot.Ref.ID, Fields: fields}
}

// value returns what the client has read.
func (c *Collections) value(v any) any {
	switch v := v.(type) {
	case time.Time:
		return v.UTC()
	case *latlng.LatLng:
		return source.Point{Latitude: v.GetLatitude(), Longitude: v.GetLongitude()}
	case *firestore.DocumentRef:
		return source.Reference(strings.TrimPrefix(v.Path, c.prefix))
	case firestore.Vector64:
		return source.Vector(v)
	case firestore.Vector32:
		vector := make(source.Vector, len(v))
		for i, f := range v {
			vector[i] = float64(f)
		}
		return vector
	case []any:
		list := make([]any, len(v))
		for i, e := range v {
			list[i] = c.value(e)
		}
		return list
	case map[string]any:
		members := make(map[string]any, len(v))
		for name, e := range v {
			members[name] = c.value(e)
		}
		return members
	}
	return v
}

// stored returns what the client sends.
func (c *Collections) stored(v any) any {
	switch v := v.(type) {
	case source.Point:
		return &latlng.LatLng{Latitude: v.Latitude, Longitude: v.Longitude}
	case source.Reference:
		if strings.HasPrefix(string(v), "projects/") {
			return &firestore.DocumentRef{Path: string(v)}
		}
		return c.client.Doc(string(v))
	case source.Vector:
		return firestore.Vector64(v)
	case []any:
		list := make([]any, len(v))
		for i, e := range v {
			list[i] = c.stored(e)
		}
		return list
	case map[string]any:
		members := make(map[string]any, len(v))
		for name, e := range v {
			members[name] = c.stored(e)
		}
		return members
	}
	return v
}
