package archive

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"time"

	"example.com/erlmcp/function/internal/receipt"
)

// partSize is how many bytes of segments are in a part, before they are compressed, give or take a segment.
const partSize = 8 << 20

// An entry is a segment in an index: by what it is found, and its content by its hash. In the object with the contents the same line
// comes before each segment's certificate, header and receipts.
type entry struct {
	Chain   string       `json:"chain"`
	Number  int64        `json:"number"`
	From    time.Time    `json:"from"`
	To      time.Time    `json:"to"`
	Tenants []string     `json:"tenants,omitempty"`
	Calls   []int64      `json:"calls,omitempty"`
	SHA256  receipt.Hash `json:"sha256"`
	Sizes   [3]int       `json:"sizes"` // bytes of certificate, header and receipts
}

// place is where a segment belongs.
type place struct {
	chain  string
	number int64
}

func (e *entry) place() place { return place{e.Chain, e.Number} }

// byTime is the order in which segments are read by their times.
func (e *entry) byTime(o *entry) int {
	return cmp.Or(e.To.Compare(o.To), cmp.Compare(e.Chain, o.Chain), cmp.Compare(e.Number, o.Number))
}

// entryOf is that of a segment, but for its hash.
func entryOf(s *receipt.Segment) *entry {
	return &entry{
		Chain: s.Chain, Number: s.Number, From: s.From.UTC(), To: s.To.UTC(), Tenants: s.Tenants, Calls: s.Calls,
		Sizes: [3]int{len(s.Certificate), len(s.Header), len(s.Receipts)},
	}
}

// hashOf is the hash of what a segment says: two of the same place and hash are the same.
func hashOf(s *receipt.Segment) receipt.Hash {
	h := sha256.New()
	for _, part := range [...][]byte{s.Certificate, s.Header, s.Receipts} {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		h.Write(part)
	}
	return receipt.Hash(h.Sum(nil))
}

// append appends a segment as contents have it.
func (e *entry) append(b []byte, s *receipt.Segment) []byte {
	b = append(append(b, marshal(e)...), '\n')
	return append(append(append(b, s.Certificate...), s.Header...), s.Receipts...)
}

func marshal(x any) []byte {
	text, err := json.Marshal(x)
	if err != nil {
		panic(err) // of numbers, texts and times that were read from JSON or a store
	}
	return text
}

var errForm = errors.New("it does not have the form of an archive")

// readEntries reads an index.
func readEntries(text []byte) (all []*entry, err error) {
	for line := range bytes.Lines(text) {
		e := &entry{}
		if json.Unmarshal(line, e) != nil {
			return nil, errForm
		}
		all = append(all, e)
	}
	return all, nil
}

// readSegments reads contents. What each segment is, is held against its hash.
func readSegments(text []byte) (all []*receipt.Segment, err error) {
	for len(text) > 0 {
		line, rest, _ := bytes.Cut(text, []byte("\n"))
		e := entry{}
		if json.Unmarshal(line, &e) != nil {
			return nil, errForm
		}
		s := &receipt.Segment{Chain: e.Chain, Number: e.Number, From: e.From, To: e.To, Tenants: e.Tenants, Calls: e.Calls}
		for i, into := range []*[]byte{&s.Certificate, &s.Header, &s.Receipts} {
			n := e.Sizes[i]
			if n < 0 || n > len(rest) {
				return nil, errForm
			}
			if n > 0 {
				*into = rest[:n:n]
			}
			rest = rest[n:]
		}
		if hashOf(s) != e.SHA256 {
			return nil, errForm
		}
		all, text = append(all, s), rest
	}
	return all, nil
}

// A rootLine comes before the text of a root.
type rootLine struct {
	Number int64     `json:"number"`
	Time   time.Time `json:"time"`
	Size   int       `json:"size"`
}

func appendRoot(b []byte, r *receipt.Root) []byte {
	b = append(append(b, marshal(rootLine{r.Number, r.Time.UTC(), len(r.Text)})...), '\n')
	return append(b, r.Text...)
}

// readRoots reads contents of roots.
func readRoots(text []byte) (all []*receipt.Root, err error) {
	for len(text) > 0 {
		line, rest, _ := bytes.Cut(text, []byte("\n"))
		l := rootLine{}
		if json.Unmarshal(line, &l) != nil || l.Size < 0 || l.Size > len(rest) {
			return nil, errForm
		}
		r := &receipt.Root{Number: l.Number, Time: l.Time}
		if l.Size > 0 {
			r.Text = rest[:l.Size:l.Size]
		}
		all, text = append(all, r), rest[l.Size:]
	}
	return all, nil
}
