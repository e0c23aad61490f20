package backup

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"time"

	"example.com/erlmcp/function/internal/receipt"
)

// Options say how a backup is made.
type Options struct {
	At       time.Time      // at which the store is read; zero: now
	Version  string         // of the product
	Signer   receipt.Signer // the operator's; nil: nobody vouches for the manifest
	Progress func(kind Kind, records int64)
	Now      func() time.Time // default time.Now
}

// objectSize is how many bytes of records are in an object, before they are compressed, give or take a record.
const objectSize = 8 << 20

// Write makes a backup and returns its manifest. The store is read as it was at one time; no more than one object is in memory.
func Write(ctx context.Context, store Store, to Objects, o Options) (*Manifest, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	at := o.At
	if at.IsZero() {
		var err error
		if at, err = store.Now(ctx); err != nil {
			return nil, fmt.Errorf("the store can't be read: %w", err)
		}
	}
	at = at.UTC().Truncate(time.Microsecond)
	w := &writer{to: to, opts: o, manifest: &Manifest{Format: format, Name: NameOf(at), Version: o.Version, Time: at, Counts: map[Kind]int64{}}}
	for _, kind := range Kinds {
		if err := w.kind(ctx, store, kind); err != nil {
			return nil, err
		}
	}
	m := w.manifest
	m.Made = o.Now().UTC().Truncate(time.Microsecond)
	if o.Signer != nil {
		if err := m.Sign(ctx, o.Signer); err != nil {
			return nil, err
		}
	}
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return nil, err
	}
	if err := to.Create(ctx, folder+m.Name+"/"+manifestName, append(text, '\n')); err != nil {
		return nil, fmt.Errorf("the manifest can't be written to %s: %w", to, err)
	}
	return m, nil
}

// A writer fills one object after another.
type writer struct {
	to       Objects
	opts     Options
	manifest *Manifest

	lines   bytes.Buffer // compressed
	zip     *gzip.Writer
	size    int   // of the records in it
	records int64 // in it
}

func (w *writer) kind(ctx context.Context, store Store, kind Kind) error {
	number := 0
	w.manifest.Counts[kind] = 0
	for r, err := range store.Records(ctx, kind, w.manifest.Time) {
		if err != nil {
			return fmt.Errorf("%s can't be read: %w", kind, err)
		}
		if err := w.add(&r); err != nil {
			return err
		}
		w.manifest.Counts[kind]++
		if kind == Roots {
			if err := w.root(&r); err != nil {
				return err
			}
		}
		if w.size >= objectSize {
			number++
			if err := w.flush(ctx, kind, number); err != nil {
				return err
			}
		}
	}
	if w.records > 0 {
		number++
		return w.flush(ctx, kind, number)
	}
	return nil
}

func (w *writer) add(r *Record) error {
	if w.zip == nil {
		w.zip = gzip.NewWriter(&w.lines)
	}
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	w.size += len(line) + 1
	w.records++
	_, err = w.zip.Write(append(line, '\n'))
	return err
}

// root notes the last of the roots.
func (w *writer) root(r *Record) error {
	stored := receipt.Root{}
	if err := json.Unmarshal(r.Value, &stored); err != nil {
		return fmt.Errorf("root %s: %w", r.ID, err)
	}
	h, err := receipt.ReadHeads(stored.Text)
	if err != nil {
		return nil // is for verify to tell, and is backed up as it is
	}
	if last := w.manifest.Root; last == nil || last.Number < h.Number {
		w.manifest.Root = &Root{h.Number, h.Hash(), h.Time}
	}
	return nil
}

func (w *writer) flush(ctx context.Context, kind Kind, number int) error {
	if err := w.zip.Close(); err != nil {
		return err
	}
	content := w.lines.Bytes()
	o := Object{
		Name: fmt.Sprintf("%s%s/%s-%06d.ndjson.gz", folder, w.manifest.Name, kind, number), Kind: kind, Records: w.records,
		Bytes: int64(len(content)), SHA256: sha256.Sum256(content),
	}
	if err := w.to.Create(ctx, o.Name, content); err != nil {
		return fmt.Errorf("%s can't be written to %s: %w", o.Name, w.to, err)
	}
	w.manifest.Objects = append(w.manifest.Objects, o)
	w.lines.Reset()
	w.zip, w.size, w.records = nil, 0, 0
	if w.opts.Progress != nil {
		w.opts.Progress(kind, w.manifest.Counts[kind])
	}
	return nil
}
