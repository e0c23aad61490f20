package receipt

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"strings"
	"testing"
	"time"
)

// signed is a statement that the operator signs.
type signed interface {
	Append([]byte) []byte
	Sign(context.Context, Signer) error
	Verify(Keyring) error
}

// TestStatements wants of each kind of statement that it is read from its canonical form and from no other.
func TestStatements(t *testing.T) {
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	later := noon.Add(time.Second)
	certificate := &Certificate{Format: Format, Instance: "node-1", Key: Bytes(key.Public().(ed25519.PublicKey)), Opened: noon, Tag: "00000007"}
	header := &Header{Chain: certificate.Chain(), Closed: true, Digest: HashOf(nil), First: 1, Format: FormatOf(true), From: noon, Hashes: "0437509b", Head: HashOf(nil), Last: 3, Number: 1,
		Previous: certificate.Hash(), Since: noon, Tenants: []Visit{{Count: 2, Mark: Mark(certificate.Hash(), "acme"), Since: noon}, {Before: -1, Count: 1, Mark: "b", Since: later}}, To: later}
	head := Head{Appended: 9, Chain: "c", Hash: HashOf(nil), Instance: "node-1", Lost: 2, Seq: 5, State: Silent, Stored: 4, Time: later, To: noon}
	reads := func(append func([]byte) []byte, err error) ([]byte, error) {
		if err != nil {
			return nil, err
		}
		return append(nil), nil
	}
	for _, c := range []struct {
		name string
		text []byte
		read func([]byte) ([]byte, error)
	}{
		{"certificate", certificate.Append(nil), func(b []byte) ([]byte, error) { c, err := ReadCertificate(b); return reads(c.Append, err) }},
		{"header", header.AppendSigned(nil, key), func(b []byte) ([]byte, error) {
			h, err := ReadHeader(b)
			return reads(func(out []byte) []byte { return h.append(out, true) }, err)
		}},
		{"head", head.Append(nil), func(b []byte) ([]byte, error) { h, err := ReadHead(b); return reads(h.Append, err) }},
		{"root", (&Heads{Format: Format, Heads: []Head{head, head}, Number: 2, Previous: HashOf(nil), Time: noon}).Append(nil), func(b []byte) ([]byte, error) {
			h, err := ReadHeads(b)
			return reads(h.Append, err)
		}},
		{"start", (&ExportStart{Format: FormatOf(true), Hashes: []HashKey{{"a", Bytes{1}}, {"b", Bytes{2}}}, Made: noon, Tenant: "acme", To: later}).Append(nil), func(b []byte) ([]byte, error) {
			s, err := ReadExportStart(b)
			return reads(s.Append, err)
		}},
		{"end", (&ExportEnd{Digest: HashOf(nil), Format: Format, Receipts: 3, Segments: 1}).Append(nil), func(b []byte) ([]byte, error) {
			e, err := ReadExportEnd(b)
			return reads(e.Append, err)
		}},
	} {
		if back, err := c.read(c.text); err != nil || !bytes.Equal(back, c.text) {
			t.Errorf("%s: %v\nread %s\nback %s", c.name, err, c.text, back)
		}
		for _, other := range []string{"", "{}x", "[" + string(c.text) + "]", " " + string(c.text), strings.Replace(string(c.text), "{", `{"more":1,`, 1), strings.Replace(string(c.text), "2026", "2O26", 1)} {
			if back, err := c.read([]byte(other)); err == nil && other != string(c.text) {
				t.Errorf("%s: %s is read as %s", c.name, other, back)
			}
		}
		newer := strings.NewReplacer(`"format":1`, `"format":9`, `"format":2`, `"format":9`).Replace(string(c.text))
		if _, err := c.read([]byte(newer)); newer != string(c.text) && (err == nil || !strings.HasPrefix(err.Error(), "has format 9")) {
			t.Errorf("%s of a later version: %v", c.name, err)
		}
	}
	if !header.SignedBy(certificate.Key) || header.SignedBy(bytes.Repeat([]byte{1}, ed25519.PublicKeySize)) {
		t.Error("whose the header's signature is can't be told")
	}
	if header.Last++; header.SignedBy(certificate.Key) {
		t.Error("the signature is one for another header too")
	}
}

// TestSigned wants that a signature counts for its statement, from one whose key is known.
func TestSigned(t *testing.T) {
	operator, other := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)), ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, ed25519.SeedSize))
	ours, theirs := NewKeyring([]ed25519.PublicKey{operator.Public().(ed25519.PublicKey)}), NewKeyring([]ed25519.PublicKey{other.Public().(ed25519.PublicKey)})
	certificate, root, end := &Certificate{Format: Format}, &Heads{Format: Format, Number: 1}, &ExportEnd{Format: Format}
	for _, c := range []struct {
		name   string
		s      signed
		change func()
	}{
		{"certificate", certificate, func() { certificate.Tag = "x" }},
		{"root", root, func() { root.Number++ }},
		{"end", end, func() { end.Segments++ }},
	} {
		if err := c.s.Verify(ours); err != ErrUnsigned {
			t.Errorf("%s, unsigned: %v", c.name, err)
		}
		certificate.Operator = KeyID(operator.Public().(ed25519.PublicKey))
		if err := c.s.Sign(t.Context(), NewSigner(operator)); err != nil {
			t.Fatal(err)
		}
		if err := c.s.Verify(ours); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if err := c.s.Verify(theirs); err == nil || !strings.Contains(err.Error(), "not one of yours") {
			t.Errorf("%s, by another's keys: %v", c.name, err)
		}
		c.change()
		if err := c.s.Verify(ours); err == nil || !strings.Contains(err.Error(), "did not make") {
			t.Errorf("%s, changed: %v", c.name, err)
		}
	}
}
