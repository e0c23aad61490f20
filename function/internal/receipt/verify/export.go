package verify

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"time"

	"example.com/erlmcp/function/internal/receipt"
)

// An export is JSON Lines. The first line says what it is, the last one how much there was and, signed by the operator, the hash of
// all bytes before it. In between are roots and announced heads, and the segments in the order of their times: the certificate
// of a chain before its first segment, the header of a segment, and its receipts, each in canonical form. In an export for one
// tenant the receipts of others are their hashes alone.

// ExportOptions say what to export.
type ExportOptions struct {
	From, To  time.Time       // of the receipts, ends included; zero is no bound
	Tenant    string          // whose receipts; "" is everyone's
	Signer    receipt.Signer  // the operator's; without it nobody vouches for the export's end
	Announced []receipt.Head  // the last heads that instances announced
	Hasher    *receipt.Hasher // hands over the keys of the tenant's hashes, if there is a tenant
	Now       time.Time       // default time.Now
}

// An Exported says how much was exported.
type Exported struct {
	Receipts int64
	Withheld int64 // of other tenants: their hashes alone
	Segments int64
	Roots    int64
}

const (
	lineStart        = `{"export":`
	lineRoot         = `{"root":`
	lineAnnouncement = `{"announced":`
	lineCertificate  = `{"certificate":`
	lineHeader       = `{"segment":`
	lineEnd          = `{"end":`
)

// WriteExport writes whole segments with receipts of a range of time to w, so that they verify offline with the operator's public key
// alone.
func WriteExport(ctx context.Context, store receipt.Store, w io.Writer, o ExportOptions) (Exported, error) {
	if o.Now.IsZero() {
		o.Now = time.Now()
	}
	if o.To.IsZero() {
		o.To = receipt.Truncate(o.Now).Add(skew)
	}
	x := &exporter{w: bufio.NewWriterSize(w, 1<<16), digest: sha256.New(), written: map[string]bool{}, tenant: o.Tenant}
	start := &receipt.ExportStart{From: receipt.Truncate(o.From), Made: receipt.Truncate(o.Now), Tenant: o.Tenant, To: receipt.Truncate(o.To)}
	if o.Tenant != "" {
		start.Hashes = o.Hasher.Keys(o.Tenant)
	}
	start.Format = receipt.FormatOf(len(start.Hashes) > 0)
	x.line(lineStart, start.Append(nil))
	for r, err := range store.Roots(ctx, o.From, o.To) {
		if err != nil {
			return x.Exported, fmt.Errorf("roots can't be read: %w", err)
		}
		x.Roots++
		x.line(lineRoot, r.Text)
	}
	for i := range o.Announced {
		x.line(lineAnnouncement, o.Announced[i].Append(nil))
	}
	for s, err := range segmentsIn(ctx, store, o.Tenant, o.From, o.To) {
		if err != nil {
			return x.Exported, fmt.Errorf("segments can't be read: %w", err)
		}
		x.segment(s)
		if x.err != nil {
			return x.Exported, x.err
		}
	}
	end := &receipt.ExportEnd{Format: receipt.Format, Receipts: x.Receipts, Segments: x.Segments}
	x.digest.Sum(end.Digest[:0])
	if o.Signer != nil {
		if err := end.Sign(ctx, o.Signer); err != nil {
			return x.Exported, err
		}
	}
	x.line(lineEnd, end.Append(nil))
	if x.err == nil {
		x.err = x.w.Flush()
	}
	return x.Exported, x.err
}

type exporter struct {
	Exported
	w       *bufio.Writer
	digest  hash.Hash
	written map[string]bool // certificates
	tenant  string
	parser  receipt.Parser
	err     error
}

func (x *exporter) write(b []byte) {
	x.digest.Write(b)
	if _, err := x.w.Write(b); err != nil && x.err == nil {
		x.err = err
	}
}

// line writes {"kind":text}.
func (x *exporter) line(kind string, text []byte) {
	x.write([]byte(kind))
	x.write(text)
	x.write([]byte("}\n"))
}

func (x *exporter) segment(s *receipt.Segment) {
	x.Segments++
	if key := string(s.Certificate); !x.written[key] {
		x.written[key] = true
		x.line(lineCertificate, s.Certificate)
	}
	x.line(lineHeader, s.Header)
	if x.tenant == "" {
		x.Receipts += int64(bytes.Count(s.Receipts, newline))
		x.write(s.Receipts)
		return
	}
	for line := range bytes.Lines(s.Receipts) {
		// What can't be read is shown: whose it was is not known, and it must be seen.
		if err := x.parser.Parse(bytes.TrimSuffix(line, newline)); err == nil && x.parser.Tenant != x.tenant {
			x.Withheld++
			line = []byte(`"` + x.parser.Hash.String() + "\"\n")
		} else {
			x.Receipts++
		}
		x.write(line)
	}
}
