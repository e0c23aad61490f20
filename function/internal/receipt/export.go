package receipt

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"time"
)

// An export is JSON Lines. The first line says what it is, the last one how much there was and, signed by the operator, the hash of
// all bytes before it. In between are roots and announced heads, and the segments in the order of their times: the certificate
// of a chain before its first segment, the header of a segment, and its receipts, each in canonical form. In an export for one
// tenant the receipts of others are their hashes alone.

// ExportOptions say what to export.
type ExportOptions struct {
	From, To  time.Time // of the receipts, ends included; zero is no bound
	Tenant    string    // whose receipts; "" is everyone's
	Signer    Signer    // the operator's; without it nobody vouches for the export's end
	Announced []Head    // the last heads that instances announced
	Hasher    *Hasher   // hands over the keys of the tenant's hashes, if there is a tenant
	Now       time.Time // default time.Now
}

// An Exported says how much was exported.
type Exported struct {
	Receipts int64
	Withheld int64 // of other tenants: their hashes alone
	Segments int64
	Roots    int64
}

// opening is the first line of an export.
type opening struct {
	Format int64     `json:"format"`
	From   time.Time `json:"from"`
	Hashes []HashKey `json:"hashes,omitempty"` // the tenant's, in format 2
	Made   time.Time `json:"made"`
	Tenant string    `json:"tenant,omitempty"`
	To     time.Time `json:"to"`
}

func (o *opening) append(b []byte, _ bool) []byte {
	start := len(b)
	b = appendInt(b, `,"format":`, o.Format)
	b = appendTime(append(b, `,"from":`...), o.From)
	b = appendKeys(b, `,"hashes":`, o.Hashes)
	b = appendTime(append(b, `,"made":`...), o.Made)
	b = appendText(b, `,"tenant":`, o.Tenant)
	b = appendTime(append(b, `,"to":`...), o.To)
	return closeObject(b, start)
}

// ending is the last line.
type ending struct {
	Digest    Hash   `json:"digest"` // SHA-256 over all bytes before this line
	Format    int64  `json:"format"`
	Operator  string `json:"operator,omitempty"`
	Receipts  int64  `json:"receipts,omitempty"`
	Segments  int64  `json:"segments,omitempty"`
	Signature Bytes  `json:"signature,omitempty"`
}

func (e *ending) append(b []byte, signed bool) []byte {
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

// announcement is a line with a head.
type announcement struct{ Head }

func (a *announcement) append(b []byte, _ bool) []byte { return a.Head.append(b) }

const (
	lineOpening      = `{"export":`
	lineRoot         = `{"root":`
	lineAnnouncement = `{"announced":`
	lineCertificate  = `{"certificate":`
	lineHeader       = `{"segment":`
	lineEnding       = `{"end":`
)

// Export writes whole segments with receipts of a range of time to w, so that they verify offline with the operator's public key
// alone.
func Export(ctx context.Context, store Store, w io.Writer, o ExportOptions) (Exported, error) {
	if o.Now.IsZero() {
		o.Now = time.Now()
	}
	if o.To.IsZero() {
		o.To = micro(o.Now).Add(skew)
	}
	x := &exporter{w: bufio.NewWriterSize(w, 1<<16), digest: sha256.New(), written: map[string]bool{}, tenant: o.Tenant}
	begin := &opening{Format: format, From: micro(o.From), Made: micro(o.Now), Tenant: o.Tenant, To: micro(o.To)}
	if o.Tenant != "" && o.Hasher != nil {
		begin.Format, begin.Hashes = formatKeyed, o.Hasher.Keys(o.Tenant)
	}
	x.line(lineOpening, begin.append(nil, true))
	for r, err := range store.Roots(ctx, o.From, o.To) {
		if err != nil {
			return x.Exported, fmt.Errorf("roots can't be read: %w", err)
		}
		x.Roots++
		x.line(lineRoot, r.Text)
	}
	for i := range o.Announced {
		x.line(lineAnnouncement, o.Announced[i].append(nil))
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
	end := &ending{Format: format, Receipts: x.Receipts, Segments: x.Segments}
	x.digest.Sum(end.Digest[:0])
	if o.Signer != nil {
		end.Operator = KeyID(o.Signer.Public())
		signature, err := forExport.sign(ctx, o.Signer, end.append(nil, false))
		if err != nil {
			return x.Exported, err
		}
		end.Signature = signature
	}
	x.line(lineEnding, end.append(nil, true))
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
	parser  parser
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

func (x *exporter) segment(s *Segment) {
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
		if err := x.parser.receipt(bytes.TrimSuffix(line, newline)); err == nil && x.parser.Tenant != x.tenant {
			x.Withheld++
			line = append(appendHash(nil, "", &x.parser.Hash), '\n')
		} else {
			x.Receipts++
		}
		x.write(line)
	}
}

// VerifyExport reads an export, once, and reports what is wrong with it. The range is the export's own. The error is one of
// reading.
func VerifyExport(ctx context.Context, r io.Reader, o VerifyOptions) (*Report, error) {
	x := &importer{digest: sha256.New(), certificates: map[string][]byte{}}
	x.opts = o
	in := bufio.NewReaderSize(r, 1<<16)
	var long []byte
	for ctx.Err() == nil {
		line, err := in.ReadSlice('\n')
		if err == bufio.ErrBufferFull || len(long) > 0 {
			long = append(long, line...)
			if len(long) > mostLine {
				x.number++
				x.bad(Altered, "it is longer than any line of an export")
				break
			}
			if err == bufio.ErrBufferFull {
				continue
			}
			line, long = long, nil
		}
		if err != nil && err != io.EOF {
			return nil, err
		}
		x.number++
		if len(line) > 0 {
			x.line(line)
		}
		if err == io.EOF {
			break
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return x.finish(), nil
}

// mostLine is longer than any line of an export.
const mostLine = 4 << 20

// mostPiece is longer than any segment.
const mostPiece = 4 << 20

type importer struct {
	*verifier
	opts         VerifyOptions
	number       int64 // of the line
	digest       hash.Hash
	certificates map[string][]byte // by chain
	header       []byte            // of the segment whose receipts follow
	chain        string
	receipts     []byte
	first        int64 // line of its first receipt
	astray       int64 // lines that are of no segment
	ended        bool
	after        bool // there is something after the end
}

func (x *importer) bad(kind FaultKind, format string, args ...any) {
	x.start(nil)
	x.report.fault(Fault{Kind: kind, Line: x.number, Words: fmt.Sprintf("line %d: ", x.number) + fmt.Sprintf(format, args...)})
}

// start begins the verification, with what the first line says.
func (x *importer) start(o *opening) {
	if x.verifier != nil {
		return
	}
	if o == nil {
		o = &opening{}
	}
	x.opts.From, x.opts.To = o.From, o.To
	if now := x.opts.Now; !o.Made.IsZero() && (now.IsZero() || o.Made.Before(now)) {
		x.opts.Now = o.Made // what was on its way then is not missing
	}
	x.verifier = newVerifier(x.opts)
	x.tenant = o.Tenant
	x.expect(x.opts.Announced, "announced")
}

func (x *importer) line(line []byte) {
	if x.ended {
		if !x.after {
			x.after = true
			x.bad(Foreign, "it comes after the end of the export")
		}
		return
	}
	text, full := bytes.CutSuffix(line, newline)
	if !bytes.HasPrefix(text, []byte(lineEnding)) {
		x.digest.Write(line)
	}
	kind, inner, _ := bytes.Cut(text, []byte{':'})
	if take := x.taker(string(kind)); take != nil {
		x.flush()
		inner, whole := bytes.CutSuffix(inner, []byte{'}'})
		if !whole || !full {
			x.bad(Altered, "it is cut off")
			return
		}
		take(inner)
		return
	}
	switch {
	case x.number == 1:
		x.bad(Altered, "this is not an export of receipts: its first line says what it is")
	case x.header == nil:
		if x.astray++; x.astray == 1 {
			x.bad(Foreign, "it is of no segment")
		}
	case len(x.receipts) > mostPiece:
		if x.astray++; x.astray == 1 {
			x.bad(Foreign, "there are more receipts than a segment can have")
		}
	default:
		x.receipts = append(append(x.receipts, text...), '\n')
	}
}

// taker is who takes a line that begins so, nil for a receipt.
func (x *importer) taker(begin string) func([]byte) {
	switch begin + ":" {
	case lineOpening:
		return x.opening
	case lineRoot:
		return x.rootLine
	case lineAnnouncement:
		return x.announcement
	case lineCertificate:
		return x.certificateLine
	case lineHeader:
		return x.headerLine
	case lineEnding:
		return x.ending
	}
	return nil
}

func (x *importer) opening(text []byte) {
	o := &opening{}
	switch err := read(text, o, &o.Format, formatKeyed); {
	case err != nil:
		x.bad(Altered, "what the export says it is %v", err)
	case o.Format != formatOf(len(o.Hashes) > 0):
		x.bad(Altered, "what the export says it is %v", errStatement)
	case x.number > 1:
		x.bad(Foreign, "another export begins in the middle of this one")
	default:
		x.start(o)
	}
}

func (x *importer) rootLine(text []byte) {
	x.start(nil)
	x.root(text, x.number)
}

func (x *importer) announcement(text []byte) {
	a := &announcement{}
	var version int64
	if err := read(text, a, &version, format); err != nil {
		x.bad(Altered, "the announced head %v", err)
		return
	}
	x.start(nil)
	x.expect([]Head{a.Head}, "announced")
}

func (x *importer) certificateLine(text []byte) {
	x.start(nil)
	if a := x.certificate(text); a != nil {
		x.certificates[a.chain] = bytes.Clone(text)
	}
}

func (x *importer) headerLine(text []byte) {
	h, err := readHeader(text)
	if err != nil {
		x.bad(Altered, "the header of a segment %v", err)
		return
	}
	x.header, x.chain, x.first = bytes.Clone(text), h.Chain, x.number+1
	if x.certificates[h.Chain] == nil {
		x.bad(Missing, "the certificate of chain %s is missing", h.Chain)
	}
}

// flush verifies the segment that has come to its end.
func (x *importer) flush() {
	if x.header != nil {
		x.segment(&piece{certificate: x.certificates[x.chain], header: x.header, receipts: x.receipts, line: x.first})
	}
	x.header, x.receipts, x.astray = nil, x.receipts[:0], 0
}

func (x *importer) ending(text []byte) {
	x.start(nil)
	x.ended = true
	e := &ending{}
	if err := read(text, e, &e.Format, format); err != nil {
		x.bad(Altered, "the end of the export %v", err)
		return
	}
	if len(x.keys) > 0 {
		if err := x.keys.verify(forExport, e.Operator, e.append(nil, false), e.Signature); err == errUnsigned {
			x.bad(Unsigned, "the end of the export %v: whether something was cut off before it can't be told; export with the operator's key", err)
		} else if err != nil {
			x.bad(Forged, "the end of the export %v", err)
		}
	}
	var sum Hash
	if x.digest.Sum(sum[:0]); sum != e.Digest && x.report.OK() {
		x.bad(Altered, "the export is not as it was written: its bytes give another hash")
	}
	if e.Segments != x.report.Segments {
		x.bad(Missing, "the export had %d segments, and has %d", e.Segments, x.report.Segments)
	}
}

func (x *importer) finish() *Report {
	x.flush()
	if !x.ended {
		x.bad(Truncated, "the export ends without its last line: it was cut off")
	}
	return x.verifier.finish()
}
