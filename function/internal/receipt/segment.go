package receipt

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"time"
)

// Span is the most time from the first to the last receipt of a segment, so that a range of time can be read by one end.
const Span = time.Minute

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
	return CallKey(tag, at), err
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

// Append appends the canonical form.
func (c *Certificate) Append(b []byte) []byte { return c.append(b, true) }

// Hash is what the first receipt of the chain follows. The signature is not in it.
func (c *Certificate) Hash() Hash { return sha256.Sum256(c.append(nil, false)) }

// Chain names the chain: its tag, and the begin of [Certificate.Hash].
func (c *Certificate) Chain() string {
	h := c.Hash()
	return c.Tag + "-" + hex.EncodeToString(h[:8])
}

// Sign has the operator sign, whom the certificate must name already: a chain has its name before anyone is asked.
func (c *Certificate) Sign(ctx context.Context, operator Signer) (err error) {
	c.Signature, err = forCertificate.sign(ctx, operator, c.append(nil, false))
	return err
}

// Verify returns why the certificate is not to be believed: [ErrUnsigned], or that none of the keys has signed it.
func (c *Certificate) Verify(keys Keyring) error {
	return keys.verify(forCertificate, c.Operator, c.append(nil, false), c.Signature)
}

// ReadCertificate reads a certificate from its canonical form.
func ReadCertificate(line []byte) (*Certificate, error) {
	c := &Certificate{}
	if err := read(line, c, &c.Format, Format); err != nil {
		return nil, err
	}
	if len(c.Key) != ed25519.PublicKeySize {
		return nil, errStatement
	}
	return c, nil
}

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

// AppendSigned signs the header with the chain's key, and appends its canonical form.
func (h *Header) AppendSigned(b []byte, key ed25519.PrivateKey) []byte {
	start := len(b)
	b = h.append(b, false)
	h.Signature = ed25519.Sign(key, forSegment.message(b[start:]))
	return h.append(b[:start], true)
}

// SignedBy tells whether the chain's key has signed the header.
func (h *Header) SignedBy(key Bytes) bool {
	return len(h.Signature) == ed25519.SignatureSize && ed25519.Verify(ed25519.PublicKey(key), forSegment.message(h.append(nil, false)), h.Signature)
}

// ReadHeader reads the header of a segment from its canonical form.
func ReadHeader(line []byte) (*Header, error) {
	h := &Header{}
	if err := read(line, h, &h.Format, formatKeyed); err != nil {
		return nil, err
	}
	if h.Number < 1 || h.First < 1 || h.Last < h.First || h.Format != FormatOf(h.Hashes != "") {
		return nil, errStatement
	}
	return h, nil
}

// Mark stands for a tenant in the headers of the chain whose certificate has this hash, without the tenant's name.
func Mark(genesis Hash, tenant string) string {
	sum := sha256.Sum256(append(append(make([]byte, 0, 64+len(tenant)), genesis[:]...), tenant...))
	return hex.EncodeToString(sum[:8])
}
