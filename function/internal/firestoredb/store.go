// Package firestoredb keeps in Firestore what must outlive the counters in Redis: so far the epoch of the governor's ledger,
// by which a lost ledger is told from a new one.
//
// Documents carry a format version; a newer one than this package knows is refused rather than guessed at.
package firestoredb

import (
	"context"
	"fmt"

	"cloud.google.com/go/firestore"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	collection = "erlmcp"
	ledgerDoc  = "ledger"
	format     = 1
)

// A Store is a Firestore database. It implements governor.Epochs.
type Store struct{ client *firestore.Client }

// Connect opens the default database of a project, or the emulator that FIRESTORE_EMULATOR_HOST names.
func Connect(ctx context.Context, project string) (*Store, error) {
	client, err := firestore.NewClient(ctx, project)
	if err != nil {
		return nil, err
	}
	return &Store{client}, nil
}

// Close ends the connection.
func (s *Store) Close() error { return s.client.Close() }

// ledger is the document of the epoch.
type ledger struct {
	Format int64 `firestore:"format"`
	Epoch  int64 `firestore:"epoch"`
}

// Next returns the epoch after the last one that was recorded, and records it; first tells that none was.
func (s *Store) Next(ctx context.Context) (epoch int64, first bool, err error) {
	doc := s.client.Collection(collection).Doc(ledgerDoc)
	err = s.client.RunTransaction(ctx, func(ctx context.Context, tx *firestore.Transaction) error {
		var l ledger
		snapshot, err := tx.Get(doc)
		switch {
		case status.Code(err) == codes.NotFound:
			first = true
		case err != nil:
			return err
		default:
			first = false
			if err := snapshot.DataTo(&l); err != nil {
				return err
			}
			if l.Format > format {
				return fmt.Errorf("%s/%s has format %d, and this version knows up to %d: deploy the newer version", collection, ledgerDoc, l.Format, format)
			}
		}
		epoch = l.Epoch + 1
		return tx.Set(doc, ledger{format, epoch})
	})
	return epoch, first, err
}
