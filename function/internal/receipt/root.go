package receipt

import (
	"context"
	"crypto/sha256"
	"strconv"
	"time"
)

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

// Append appends the canonical form.
func (h *Head) Append(b []byte) []byte { return h.append(b, true) }

func (h *Head) append(b []byte, _ bool) []byte {
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

// ReadHead reads a head from its canonical form.
func ReadHead(line []byte) (*Head, error) {
	h := &Head{}
	var version int64
	if err := read(line, h, &version, Format); err != nil {
		return nil, err
	}
	return h, nil
}

// A Root is the statement of how far the chains had come at a time, as it is stored. Roots form a chain of their own.
type Root struct {
	Number int64 // from 1, without gaps
	Time   time.Time
	Text   []byte // [Heads] in canonical form
}

// Heads are what a root says.
type Heads struct {
	Format    int64     `json:"format"`
	Heads     []Head    `json:"heads"` // by their chains
	Number    int64     `json:"number"`
	Operator  string    `json:"operator,omitempty"` // id of the key that signed, "" for none
	Previous  Hash      `json:"previous"`           // of the root before, "" for the first
	Signature Bytes     `json:"signature,omitempty"`
	Time      time.Time `json:"time"`
}

func (h *Heads) append(b []byte, signed bool) []byte {
	start := len(b)
	b = appendInt(b, `,"format":`, h.Format)
	b = append(b, `,"heads":[`...)
	for i := range h.Heads {
		if i > 0 {
			b = append(b, ',')
		}
		b = h.Heads[i].Append(b)
	}
	b = append(b, ']')
	b = appendInt(b, `,"number":`, h.Number)
	b = appendText(b, `,"operator":`, h.Operator)
	b = appendHash(b, `,"previous":`, &h.Previous)
	if signed {
		b = appendBytes(b, `,"signature":`, h.Signature)
	}
	b = appendTime(append(b, `,"time":`...), h.Time)
	return closeObject(b, start)
}

// Append appends the canonical form.
func (h *Heads) Append(b []byte) []byte { return h.append(b, true) }

// Hash is what the next root names this one by. The signature is not in it.
func (h *Heads) Hash() Hash { return sha256.Sum256(h.append(nil, false)) }

// Sign has the operator sign.
func (h *Heads) Sign(ctx context.Context, operator Signer) (err error) {
	h.Operator = KeyID(operator.Public())
	h.Signature, err = forRoot.sign(ctx, operator, h.append(nil, false))
	return err
}

// Verify returns why the root is not to be believed: [ErrUnsigned], or that none of the keys has signed it.
func (h *Heads) Verify(keys Keyring) error {
	return keys.verify(forRoot, h.Operator, h.append(nil, false), h.Signature)
}

// ReadHeads reads what a root says from its canonical form.
func ReadHeads(text []byte) (*Heads, error) {
	h := &Heads{}
	if err := read(text, h, &h.Format, Format); err != nil {
		return nil, err
	}
	if h.Number < 1 {
		return nil, errStatement
	}
	return h, nil
}
