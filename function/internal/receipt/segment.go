package receipt

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// What is written has the version of its form: certificates, roots and exports, and segments and exports whose hashes of arguments,
// results and callers' names have a key. What has a newer one is not guessed at.
const (
	format      = 1
	formatKeyed = 2
)

// A Segment is a run of a chain's receipts as it is stored: written once, never changed.
type Segment struct {
	// By these it is found. They say nothing that the rest does not, and verification holds them against it.
	Chain    string
	Number   int64 // from 1, without gaps in a chain
	From, To time.Time
	Tenants  []string
	Calls    []int64 // tag and second of the ids: see [Call]

	Certificate []byte // of the chain, in canonical form
	Header      []byte // in canonical form
	Receipts    []byte // in canonical form, each ended by a newline
}

// Call is what the segments that may have receipts of an id are found by.
func Call(id string) (int64, error) {
	tag, at, err := Tag(id)
	return callKey(tag, at), err
}

// A Certificate opens a chain: the operator's word that a key signs for an instance.
type Certificate struct {
	Format    int64     `json:"format"`
	Instance  string    `json:"instance"`
	Key       Bytes     `json:"key"` // Ed25519, made for this chain and kept nowhere
	Opened    time.Time `json:"opened"`
	Operator  string    `json:"operator,omitempty"` // id of the key that signed, "" for none
	Signature Bytes     `json:"signature,omitempty"`
	Tag       string    `json:"tag"` // the last 8 digits of the instance's ids
}

func (c *Certificate) append(b []byte, signed bool) []byte {
	start := len(b)
	b = appendInt(b, `,"format":`, c.Format)
	b = appendText(b, `,"instance":`, c.Instance)
	b = appendBytes(b, `,"key":`, c.Key)
	b = appendTime(append(b, `,"opened":`...), c.Opened)
	b = appendText(b, `,"operator":`, c.Operator)
	if signed {
		b = appendBytes(b, `,"signature":`, c.Signature)
	}
	b = appendText(b, `,"tag":`, c.Tag)
	return closeObject(b, start)
}

// Chain names the chain: its tag, and the begin of the hash that the first receipt follows.
func (c *Certificate) Chain() string {
	h := c.hash()
	return c.Tag + "-" + hex.EncodeToString(h[:8])
}

func (c *Certificate) hash() Hash { return sha256.Sum256(c.append(nil, false)) }

// A Header says what is in a segment. The chain's key signs it.
type Header struct {
	Chain     string    `json:"chain"`
	Closed    bool      `json:"closed,omitempty"` // the chain ends here
	Digest    Hash      `json:"digest"`           // SHA-256 over the hashes of the receipts, one after another
	First     int64     `json:"first"`            // seq of the first receipt
	Format    int64     `json:"format"`
	From      time.Time `json:"from"`             // of the earliest receipt
	Hashes    string    `json:"hashes,omitempty"` // id of the secret under which arguments and results are hashed, in format 2; else they are without a key
	Head      Hash      `json:"head"`             // of the last receipt
	Last      int64     `json:"last"`             // seq of the last receipt
	Number    int64     `json:"number"`           // of the segment
	Previous  Hash      `json:"previous"`         // of the receipt before the first, or of the certificate
	Signature Bytes     `json:"signature"`
	Since     time.Time `json:"since"`   // To of the segment before; of the first, when the chain was opened
	Tenants   []Visit   `json:"tenants"` // in the order of their first receipts
	To        time.Time `json:"to"`      // no receipt of the chain up to here is later
}

// A Visit says that a segment has receipts of a tenant, and which one before it has: an export for one tenant can leave nothing
// out unnoticed, and names no other tenant.
type Visit struct {
	Before int64     `json:"before"` // number of that segment; 0 for none, -1 where it is not known any more
	Count  int64     `json:"count"`  // receipts of the tenant in this segment
	Mark   string    `json:"mark"`   // of the tenant in this chain
	Since  time.Time `json:"since"`  // To of that segment, or when the chain was opened
}

func (h *Header) append(b []byte, signed bool) []byte {
	start := len(b)
	b = appendText(b, `,"chain":`, h.Chain)
	if h.Closed {
		b = append(b, `,"closed":true`...)
	}
	b = appendHash(b, `,"digest":`, &h.Digest)
	b = appendInt(b, `,"first":`, h.First)
	b = appendInt(b, `,"format":`, h.Format)
	b = appendTime(append(b, `,"from":`...), h.From)
	b = appendText(b, `,"hashes":`, h.Hashes)
	b = appendHash(b, `,"head":`, &h.Head)
	b = appendInt(b, `,"last":`, h.Last)
	b = appendInt(b, `,"number":`, h.Number)
	b = appendHash(b, `,"previous":`, &h.Previous)
	if signed {
		b = appendBytes(b, `,"signature":`, h.Signature)
	}
	b = appendTime(append(b, `,"since":`...), h.Since)
	b = append(b, `,"tenants":[`...)
	for i := range h.Tenants {
		v := &h.Tenants[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(append(b, `{"before":`...), v.Before, 10)
		b = appendInt(b, `,"count":`, v.Count)
		b = appendText(b, `,"mark":`, v.Mark)
		b = append(appendTime(append(b, `,"since":`...), v.Since), '}')
	}
	b = appendTime(append(b, `],"to":`...), h.To)
	return closeObject(b, start)
}

// mark stands for a tenant in the headers of a chain, without its name.
func mark(genesis *Hash, tenant string) string {
	sum := sha256.Sum256(append(append(make([]byte, 0, 64+len(tenant)), genesis[:]...), tenant...))
	return hex.EncodeToString(sum[:8])
}

// A Head is how far a chain has come: what its instance announces, as JSON, and what roots hold.
type Head struct {
	Appended int64     `json:"appended"` // seq that the last receipt has or will have, those that wait to be stored included
	Chain    string    `json:"chain"`
	Hash     Hash      `json:"hash"` // of the receipt Seq, or of the certificate
	Instance string    `json:"instance"`
	Lost     int64     `json:"lost,omitempty"` // receipts for which the queue had no room
	Seq      int64     `json:"seq"`            // of the last receipt in a segment, stored or about to be
	State    State     `json:"state,omitempty"`
	Stored   int64     `json:"stored,omitempty"` // seq of the last receipt that is known to be stored
	Time     time.Time `json:"time"`             // when this was said
	To       time.Time `json:"to"`               // of the segment with Seq, or when the chain was opened
}

// A State says whether more receipts will come; "" is that they may.
type State string

// How a chain ends.
const (
	Ended  State = "ended"  // closed by its instance
	Silent State = "silent" // its instance announces nothing any more
)

func (h *Head) append(b []byte) []byte {
	b = strconv.AppendInt(append(b, `{"appended":`...), h.Appended, 10)
	b = appendText(b, `,"chain":`, h.Chain)
	b = appendHash(b, `,"hash":`, &h.Hash)
	b = appendText(b, `,"instance":`, h.Instance)
	b = appendInt(b, `,"lost":`, h.Lost)
	b = strconv.AppendInt(append(b, `,"seq":`...), h.Seq, 10)
	b = appendText(b, `,"state":`, string(h.State))
	b = appendInt(b, `,"stored":`, h.Stored)
	b = appendTime(append(b, `,"time":`...), h.Time)
	return append(appendTime(append(b, `,"to":`...), h.To), '}')
}

// Bytes are shown in lower-case hexadecimal digits.
type Bytes []byte

// MarshalText implements [encoding.TextMarshaler].
func (b Bytes) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, b), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (b *Bytes) UnmarshalText(text []byte) (err error) {
	*b, err = hex.AppendDecode(nil, text)
	return err
}

func appendBytes(b []byte, name string, bytes []byte) []byte {
	if len(bytes) == 0 {
		return b
	}
	b = append(append(b, name...), '"')
	return append(hex.AppendEncode(b, bytes), '"')
}

// closeObject makes an object of the members from start on, the first of which begins with a comma.
func closeObject(b []byte, start int) []byte {
	if len(b) == start {
		return append(b, "{}"...)
	}
	b[start] = '{'
	return append(b, '}')
}

// A statement is what has a canonical form beside receipts.
type statement interface {
	append(b []byte, signed bool) []byte
}

var errStatement = errors.New("is not in canonical form")

// read reads a statement from its canonical form and from no other, up to a format that is known.
func read[S statement](line []byte, s S, format *int64, known int64) error {
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(s); err != nil {
		var newer struct{ Format int64 }
		if json.Unmarshal(line, &newer) == nil && newer.Format > known {
			return badFormat(newer.Format, known)
		}
		return errStatement
	}
	if *format > known {
		return badFormat(*format, known)
	}
	if !bytes.Equal(s.append(nil, true), line) {
		return errStatement
	}
	return nil
}

func badFormat(version, known int64) error {
	return fmt.Errorf("has format %d, and this version knows up to %d: verify with the newer version", version, known)
}

// readCertificate reads the certificate of a chain; the key in it is one.
func readCertificate(line []byte) (*Certificate, error) {
	c := &Certificate{}
	if err := read(line, c, &c.Format, format); err != nil {
		return nil, err
	}
	if len(c.Key) != ed25519.PublicKeySize {
		return nil, errStatement
	}
	return c, nil
}

func readHeader(line []byte) (*Header, error) {
	h := &Header{}
	if err := read(line, h, &h.Format, formatKeyed); err != nil {
		return nil, err
	}
	if h.Number < 1 || h.First < 1 || h.Last < h.First || h.Format != formatOf(h.Hashes != "") {
		return nil, errStatement
	}
	return h, nil
}

// formatOf is that of a segment or an export.
func formatOf(keyed bool) int64 {
	if keyed {
		return formatKeyed
	}
	return format
}
