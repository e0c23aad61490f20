package receipt

import (
	"context"
)

// A Document is what the operator vouches for beside receipts: what a backup has, and what a drill has found.
type Document string

// The documents. A signature for one is none for another.
const (
	BackupManifest Document = "erlmcp backup: manifest"
	DrillReport    Document = "erlmcp drill: report"
)

// Sign has the operator sign a document in its canonical form, and returns the id of the key too.
func (d Document) Sign(ctx context.Context, operator Signer, canonical []byte) (id string, signature Bytes, err error) {
	signature, err = purpose(d).sign(ctx, operator, canonical)
	return KeyID(operator.Public()), signature, err
}

// Verify returns why a document is not to be believed: [ErrUnsigned], or that none of the keys has signed it.
func (d Document) Verify(keys Keyring, id string, canonical, signature []byte) error {
	return keys.verify(purpose(d), id, canonical, signature)
}
