// Package documents is a collection of documents as tools read it: the interface that a database implements, and the values that documents
// are made of. It imports no database and no tool, so that both may import it.
//
// A value is one of
//
//	nil, bool, int64, float64, string, []byte
//	time.Time                        in UTC, to the microsecond
//	Reference, Point, Vector
//	[]any, map[string]any            of such values
//
// as https://docs.cloud.google.com/firestore/native/docs/concepts/data-types describes them, and in the order that it gives.
package documents

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"regexp"
	"strings"
	"unicode/utf8"
)

// A Collection reads the documents of one collection. It never writes.
type Collection interface {
	// Get returns the document of an id that [CheckID] lets through, or nil where there is none.
	Get(ctx context.Context, id string) (*Document, error)
	// Find yields the documents that fit a query, in its order. After an error nothing follows. What is not asked for any more is not read.
	Find(ctx context.Context, q Query) iter.Seq2[*Document, error]
}

var (
	// ErrUnavailable is wrapped by the error of a database that does not answer or fails.
	ErrUnavailable = errors.New("the database is not available")
	// ErrNoIndex is wrapped by the error of a query that the database has no index for.
	ErrNoIndex = errors.New("the database has no index for this query")
)

// A Document is what is kept under an id.
type Document struct {
	ID     string
	Fields map[string]any
}

// A Query asks for documents. Paths of fields are names with dots between them, each of letters, digits and '_'.
type Query struct {
	Equal []Field // a document has each of these values; numbers are equal by their value, and other values of different types never are
	// Order is what the documents are ordered by; a document without one of the fields is not found. Documents that are equal by it are in
	// the order of their ids, in the direction of its last field.
	Order  []Order
	After  *Position // what was read last, or nil
	Limit  int       // at least 1
	Select []string  // the fields that documents have to have; nil for all
}

// A Field is a path and the value there.
type Field struct {
	Path  string
	Value any
}

// An Order is a path, and the direction.
type Order struct {
	Path       string
	Descending bool
}

// A Position is a place between two documents: behind the one of these values, of the fields of an order, and of this id.
type Position struct {
	Values []any
	ID     string
}

// A Reference is the path of a document in the same database, such as orders/17, or the whole name of one in another, which begins with
// projects/.
type Reference string

// A Point is a place on Earth, in degrees.
type Point struct{ Latitude, Longitude float64 }

// A Vector is an embedding.
type Vector []float64

// Lookup returns the value at a path, and whether there is one.
func Lookup(fields map[string]any, path string) (any, bool) {
	first, rest, nested := strings.Cut(path, ".")
	value, ok := fields[first]
	if !nested || !ok {
		return value, ok
	}
	inner, ok := value.(map[string]any)
	if !ok {
		return nil, false
	}
	return Lookup(inner, rest)
}

var (
	validPath = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$`)
	reserved  = regexp.MustCompile(`^__.*__$`)
)

// CheckPath returns why a text is not the path of a field.
func CheckPath(path string) error {
	if !validPath.MatchString(path) || len(path) > 1500 {
		return fmt.Errorf("%.100q is not the path of a field: it has names of letters, digits and '_', with dots between them", path)
	}
	for name := range strings.SplitSeq(path, ".") {
		if reserved.MatchString(name) {
			return fmt.Errorf("%s is a name that the database keeps for itself", name)
		}
	}
	return nil
}

// CheckID returns why a text can't be the id of a document: https://docs.cloud.google.com/firestore/quotas.
func CheckID(id string) error {
	why := ""
	switch {
	case id == "":
		why = "it is empty"
	case len(id) > 1500:
		why = "it has more than 1500 bytes"
	case !utf8.ValidString(id):
		why = "it is not in UTF-8"
	case strings.Contains(id, "/"):
		why = "it has a slash, and an id is the last part of a path alone"
	case id == "." || id == ".." || strings.HasPrefix(id, "__") && strings.HasSuffix(id, "__"): // "__" and "___" too: none is worth a doubt
		why = "it is one that the database keeps for itself"
	default:
		return nil
	}
	return fmt.Errorf("%.100q is not the id of a document: %s", id, why)
}

// CheckReference returns why a text is not the path of a document.
func CheckReference(path string) error {
	parts := strings.Split(path, "/")
	if len(parts)%2 != 0 {
		return fmt.Errorf("%.100q is not the path of a document, such as orders/17", path)
	}
	for _, part := range parts {
		if err := CheckID(part); err != nil {
			return fmt.Errorf("%.100q is not the path of a document: %w", path, err)
		}
	}
	return nil
}
