package backup

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
)

// maxLine bounds a record: a document of Firestore has up to 1 MiB, which base64 makes longer.
const maxLine = 4 << 20

// Records yields the records of a kind, each object of them once it is held against the manifest. The sequence ends with the first error.
func (m *Manifest) Records(ctx context.Context, from Objects, kind Kind) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		var found int64
		for i := range m.Objects {
			o := &m.Objects[i]
			if o.Kind != kind {
				continue
			}
			records, err := m.object(ctx, from, o)
			if err != nil {
				yield(Record{}, fmt.Errorf("%s in %s %w", o.Name, from, err))
				return
			}
			found += int64(len(records))
			for _, r := range records {
				if !yield(r, nil) {
					return
				}
			}
		}
		if want := m.Counts[kind]; found != want {
			yield(Record{}, fmt.Errorf("the manifest of backup %s says that there are %d %s, and its objects have %d", m.Name, want, kind, found))
		}
	}
}

// Last returns the last record of a kind, nil where there is none.
func (m *Manifest) Last(ctx context.Context, from Objects, kind Kind) (*Record, error) {
	for i := range slices.Backward(m.Objects) {
		if o := &m.Objects[i]; o.Kind == kind {
			records, err := m.object(ctx, from, o)
			if err != nil {
				return nil, fmt.Errorf("%s in %s %w", o.Name, from, err)
			}
			return &records[len(records)-1], nil
		}
	}
	return nil, nil
}

var errOther = errors.New("is not what the manifest says: it was damaged or replaced; take another backup")

// object reads one object.
func (m *Manifest) object(ctx context.Context, from Objects, o *Object) ([]Record, error) {
	content, err := from.Read(ctx, o.Name)
	switch {
	case errors.Is(err, ErrNotFound):
		return nil, errors.New("is missing, and the manifest names it: take another backup")
	case err != nil:
		return nil, fmt.Errorf("can't be read: %w", err)
	case int64(len(content)) != o.Bytes || sha256.Sum256(content) != o.SHA256:
		return nil, errOther
	}
	zip, err := gzip.NewReader(bytes.NewReader(content))
	if err != nil {
		return nil, errOther
	}
	lines := bufio.NewScanner(zip)
	lines.Buffer(nil, maxLine)
	var records []Record
	for lines.Scan() {
		var r Record
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return nil, errOther
		}
		records = append(records, r)
	}
	if _, err := io.Copy(io.Discard, zip); lines.Err() != nil || err != nil || int64(len(records)) != o.Records || len(records) == 0 {
		return nil, errOther
	}
	return records, nil
}
