// Package backup copies a store to objects and back, record by record.
//
// A backup is a set of objects, each with records of one kind in newline-delimited JSON, compressed with gzip, and a [Manifest] that is
// written last: what has no manifest is no backup. Objects are written once, and nothing in a backup is ever changed.
package backup

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"time"
)

// A Kind is what a record is of.
type Kind string

// The kinds. What expires within a day, such as answers to requests with idempotency keys, is in no backup.
const (
	Directives Kind = "directives" // one record, of the JSON of [directives.Directives]; of a store that has none, none
	Epoch      Kind = "epoch"      // one record, of a number: the epoch of the counters
	Plans      Kind = "plans"
	Tenants    Kind = "tenants"
	Keys       Kind = "keys" // API keys, by their hashes
	Events     Kind = "events"
	Quotas     Kind = "quotas"
	Roots      Kind = "roots"
	Segments   Kind = "segments" // receipts
)

// Kinds are all kinds, in the order in which they are written and restored.
var Kinds = []Kind{Directives, Epoch, Plans, Tenants, Keys, Events, Quotas, Roots, Segments}

// Copied tells whether records of the kind are restored as they were. Directives are merged with what is in force, and the epoch is put
// ahead of all that were given since.
func (k Kind) Copied() bool { return k != Directives && k != Epoch }

// A Record is one entry of a store. Its value is the same in whatever store it is, and has no revision, which is each store's own.
type Record struct {
	ID    string          `json:"id"`
	Value json.RawMessage `json:"value"`
}

// A Store is what can be backed up and restored.
type Store interface {
	// Now returns a time at which the store can be read as it is now, by its own clock.
	Now(context.Context) (time.Time, error)
	// Records yields the records of a kind, as they were at a time where the store knows, else as they are. The sequence ends with
	// the first error.
	Records(ctx context.Context, kind Kind, at time.Time) iter.Seq2[Record, error]
	// Get returns those of some records that are there, by their ids.
	Get(ctx context.Context, kind Kind, ids []string) (map[string]Record, error)
	// Put stores records of a kind where there is none of the id; all or none of them may be stored where it fails. To store the same
	// one again is no error, and another one is [ErrConflict]. There are at most [MaxBatch] records, of [MaxBatchBytes], unless one
	// alone has more. Of [Directives] it stores none.
	Put(ctx context.Context, kind Kind, records []Record) error
}

// What is put at a time: a commit of Firestore may have 10 MiB.
const (
	MaxBatch      = 200
	MaxBatchBytes = 4 << 20
)

// ErrConflict is that another record is stored in this place.
var ErrConflict = errors.New("another record is stored in this place")

// Objects are where backups are kept: a folder, or a bucket of Cloud Storage. What is there is never changed.
type Objects interface {
	// Create writes an object, of at most [MaxObject] bytes, unless there is one of its name. The same one is no error, since the answer
	// may have been lost; another one is [ErrExists].
	Create(ctx context.Context, name string, content []byte) error
	// Read returns an object, or [ErrNotFound].
	Read(ctx context.Context, name string) ([]byte, error)
	// List yields the names of the objects that begin with a prefix, in the order of their bytes, from a name on.
	List(ctx context.Context, prefix, from string) iter.Seq2[string, error]
	// Folders returns the names below a prefix that ends with a slash, up to their next slash, in order.
	Folders(ctx context.Context, prefix string) ([]string, error)
	// String names the place, as commands do.
	String() string
}

// MaxObject bounds an object, so that it is written in one request and read into memory.
const MaxObject = 64 << 20

// What keeps an object from being written or read.
var (
	ErrExists   = errors.New("another object of this name is there, and is never changed")
	ErrNotFound = errors.New("there is no such object")
)
