package verify

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"

	"example.com/erlmcp/function/internal/receipt"
)

// Export reads an export, once, and reports what is wrong with it. The range is the export's own. The error is one of reading.
func Export(ctx context.Context, r io.Reader, o Options) (*Report, error) {
	x := &importer{digest: sha256.New(), certificates: map[string][]byte{}}
	x.opts = o
	in := bufio.NewReaderSize(r, 1<<16)
	var long []byte
	for ctx.Err() == nil {
		line, err := in.ReadSlice('\n')
		if err == bufio.ErrBufferFull || len(long) > 0 {
			long = append(long, line...)
			if len(long) > maxLine {
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

// maxLine is longer than any line of an export.
const maxLine = 4 << 20

// maxPiece is longer than any segment.
const maxPiece = 4 << 20

type importer struct {
	*verifier
	opts         Options
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

// start starts the verification, with what the first line says.
func (x *importer) start(o *receipt.ExportStart) {
	if x.verifier != nil {
		return
	}
	if o == nil {
		o = &receipt.ExportStart{}
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
	if !bytes.HasPrefix(text, []byte(lineEnd)) {
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
	case len(x.receipts) > maxPiece:
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
	case lineStart:
		return x.startLine
	case lineRoot:
		return x.rootLine
	case lineAnnouncement:
		return x.announcementLine
	case lineCertificate:
		return x.certificateLine
	case lineHeader:
		return x.headerLine
	case lineEnd:
		return x.endLine
	}
	return nil
}

func (x *importer) startLine(text []byte) {
	switch o, err := receipt.ReadExportStart(text); {
	case err != nil:
		x.bad(Altered, "what the export says it is %v", err)
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

func (x *importer) announcementLine(text []byte) {
	h, err := receipt.ReadHead(text)
	if err != nil {
		x.bad(Altered, "the announced head %v", err)
		return
	}
	x.start(nil)
	x.expect([]receipt.Head{*h}, "announced")
}

func (x *importer) certificateLine(text []byte) {
	x.start(nil)
	if a := x.certificate(text); a != nil {
		x.certificates[a.chain] = bytes.Clone(text)
	}
}

func (x *importer) headerLine(text []byte) {
	h, err := receipt.ReadHeader(text)
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

func (x *importer) endLine(text []byte) {
	x.start(nil)
	x.ended = true
	e, err := receipt.ReadExportEnd(text)
	if err != nil {
		x.bad(Altered, "the end of the export %v", err)
		return
	}
	switch kind, err := x.unbelieved(e); {
	case err == nil || len(x.keys) == 0:
	case kind == Unsigned:
		x.bad(kind, "the end of the export %v: whether something was cut off before it can't be told; export with the operator's key", err)
	default:
		x.bad(kind, "the end of the export %v", err)
	}
	var sum receipt.Hash
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
