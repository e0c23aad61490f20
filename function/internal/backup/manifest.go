package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"example.com/erlmcp/function/internal/receipt"
)

// format is that of manifests and records.
const format = 1

// A Manifest says what is in a backup.
type Manifest struct {
	Format    int64          `json:"format"`
	Name      string         `json:"name"`
	Version   string         `json:"version"` // of the product
	Time      time.Time      `json:"time"`    // at which the store was read
	Made      time.Time      `json:"made"`    // when the last object was written
	Counts    map[Kind]int64 `json:"records"` // how many there are of each kind
	Objects   []Object       `json:"objects"`
	Root      *Root          `json:"root,omitempty"` // the last of the receipts' roots
	Operator  string         `json:"operator,omitempty"`
	Signature receipt.Bytes  `json:"signature,omitempty"`
}

// An Object is one of a backup.
type Object struct {
	Name    string       `json:"name"`
	Kind    Kind         `json:"kind"`
	Records int64        `json:"records"`
	Bytes   int64        `json:"bytes"` // as it is stored, compressed
	SHA256  receipt.Hash `json:"sha256"`
}

// A Root is one of the receipts' roots.
type Root struct {
	Number int64        `json:"number"`
	Hash   receipt.Hash `json:"hash"`
	Time   time.Time    `json:"time"`
}

// folder has the backups, each in a folder of its name.
const folder = "backups/"

const manifestName = "manifest.json"

const nameFormat = "20060102T150405.000000Z"

// NameOf is the name of a backup of a time: they sort as their times do.
func NameOf(at time.Time) string { return at.UTC().Format(nameFormat) }

// TimeOf is the time of a backup of a name.
func TimeOf(name string) (time.Time, error) { return time.Parse(nameFormat, name) }

// canonical is what is signed.
func (m *Manifest) canonical() []byte {
	unsigned := *m
	unsigned.Signature = nil
	return receipt.Canonical(receipt.Plain(&unsigned))
}

// Sign has the operator sign.
func (m *Manifest) Sign(ctx context.Context, operator receipt.Signer) (err error) {
	m.Operator = receipt.KeyID(operator.Public())
	_, m.Signature, err = receipt.BackupManifest.Sign(ctx, operator, m.canonical())
	return err
}

// Verify returns why the manifest is not to be believed: [receipt.ErrUnsigned], or that none of the keys has signed it.
func (m *Manifest) Verify(keys receipt.Keyring) error {
	return receipt.BackupManifest.Verify(keys, m.Operator, m.canonical(), m.Signature)
}

// ErrNoBackup is that there is no backup in a place.
var ErrNoBackup = errors.New("there is no backup")

// Find returns the manifest of a backup, of the newest one for "". An interrupted backup has none, and is passed over.
func Find(ctx context.Context, from Objects, name string) (*Manifest, error) {
	if name != "" {
		m, err := readManifest(ctx, from, name)
		if errors.Is(err, ErrNotFound) {
			return nil, fmt.Errorf("%w %s in %s: erlmcp backup -list shows those that there are", ErrNoBackup, name, from)
		}
		return m, err
	}
	names, err := from.Folders(ctx, folder)
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Backward(names) {
		m, err := readManifest(ctx, from, name)
		if !errors.Is(err, ErrNotFound) {
			return m, err
		}
	}
	return nil, fmt.Errorf("%w in %s", ErrNoBackup, from)
}

// List returns the manifests of the last backups, at most so many, the newest first, and the names of folders between them that have none.
func List(ctx context.Context, from Objects, most int) (all []*Manifest, unfinished []string, err error) {
	names, err := from.Folders(ctx, folder)
	if err != nil {
		return nil, nil, err
	}
	for _, name := range slices.Backward(names) {
		m, err := readManifest(ctx, from, name)
		switch {
		case errors.Is(err, ErrNotFound):
			unfinished = append(unfinished, name)
			continue
		case err != nil:
			return nil, nil, err
		}
		if all = append(all, m); len(all) == most {
			break
		}
	}
	return all, unfinished, nil
}

func readManifest(ctx context.Context, from Objects, name string) (*Manifest, error) {
	if strings.Contains(name, "/") {
		return nil, fmt.Errorf("%q is not the name of a backup", name)
	}
	at := folder + name + "/" + manifestName
	text, err := from.Read(ctx, at)
	if err != nil {
		return nil, err
	}
	m := &Manifest{}
	err = json.Unmarshal(text, m)
	switch {
	case m.Format > format:
		return nil, fmt.Errorf("%s in %s has format %d, and this version knows up to %d: restore with the newer version", at, from, m.Format, format)
	case err != nil || m.Format != format || m.Name != name:
		return nil, fmt.Errorf("%s in %s is no manifest of backup %s: it is damaged; take another backup", at, from, name)
	}
	return m, nil
}
