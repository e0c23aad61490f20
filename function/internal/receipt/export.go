package receipt

import (
	"context"
	"time"
)

// An ExportStart is the first line of an export.
type ExportStart struct {
	Format int64     `json:"format"`
	From   time.Time `json:"from"`
	Hashes []HashKey `json:"hashes,omitempty"` // the tenant's, in format 2
	Made   time.Time `json:"made"`
	Tenant string    `json:"tenant,omitempty"`
	To     time.Time `json:"to"`
}

func (o *ExportStart) append(b []byte, _ bool) []byte {
	start := len(b)
	b = appendInt(b, `,"format":`, o.Format)
	b = appendTime(append(b, `,"from":`...), o.From)
	b = appendKeys(b, `,"hashes":`, o.Hashes)
	b = appendTime(append(b, `,"made":`...), o.Made)
	b = appendText(b, `,"tenant":`, o.Tenant)
	b = appendTime(append(b, `,"to":`...), o.To)
	return closeObject(b, start)
}

// Append appends the canonical form.
func (o *ExportStart) Append(b []byte) []byte { return o.append(b, true) }

// ReadExportStart reads the first line from its canonical form.
func ReadExportStart(line []byte) (*ExportStart, error) {
	o := &ExportStart{}
	if err := read(line, o, &o.Format, formatKeyed); err != nil {
		return nil, err
	}
	if o.Format != FormatOf(len(o.Hashes) > 0) {
		return nil, errStatement
	}
	return o, nil
}

// An ExportEnd is the last line of an export.
type ExportEnd struct {
	Digest    Hash   `json:"digest"` // SHA-256 over all bytes before this line
	Format    int64  `json:"format"`
	Operator  string `json:"operator,omitempty"`
	Receipts  int64  `json:"receipts,omitempty"`
	Segments  int64  `json:"segments,omitempty"`
	Signature Bytes  `json:"signature,omitempty"`
}

func (e *ExportEnd) append(b []byte, signed bool) []byte {
	start := len(b)
	b = appendHash(b, `,"digest":`, &e.Digest)
	b = appendInt(b, `,"format":`, e.Format)
	b = appendText(b, `,"operator":`, e.Operator)
	b = appendInt(b, `,"receipts":`, e.Receipts)
	b = appendInt(b, `,"segments":`, e.Segments)
	if signed {
		b = appendBytes(b, `,"signature":`, e.Signature)
	}
	return closeObject(b, start)
}

// Append appends the canonical form.
func (e *ExportEnd) Append(b []byte) []byte { return e.append(b, true) }

// Sign has the operator sign.
func (e *ExportEnd) Sign(ctx context.Context, operator Signer) (err error) {
	e.Operator = KeyID(operator.Public())
	e.Signature, err = forExport.sign(ctx, operator, e.append(nil, false))
	return err
}

// Verify returns why the line is not to be believed: [ErrUnsigned], or that none of the keys has signed it.
func (e *ExportEnd) Verify(keys Keyring) error {
	return keys.verify(forExport, e.Operator, e.append(nil, false), e.Signature)
}

// ReadExportEnd reads the last line from its canonical form.
func ReadExportEnd(line []byte) (*ExportEnd, error) {
	e := &ExportEnd{}
	if err := read(line, e, &e.Format, Format); err != nil {
		return nil, err
	}
	return e, nil
}
