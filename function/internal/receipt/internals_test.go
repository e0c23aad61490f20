package receipt

import "crypto/ed25519"

// What the tests of package receipt_test forge with.
var (
	ReadHeader      = readHeader
	ReadCertificate = readCertificate
	ReadHeads       = readHeads
)

// Resign signs a header anew, and returns its canonical form.
func (h *Header) Resign(key ed25519.PrivateKey) []byte {
	h.Signature = ed25519.Sign(key, forSegment.statement(h.append(nil, false)))
	return h.append(nil, true)
}

// Resign signs a certificate anew.
func (c *Certificate) Resign(key ed25519.PrivateKey) []byte {
	c.Operator, c.Signature = "", nil
	if key != nil {
		c.Operator = KeyID(key.Public().(ed25519.PublicKey))
		c.Signature = ed25519.Sign(key, forCertificate.statement(c.append(nil, false)))
	}
	return c.append(nil, true)
}

// Resign signs a root anew.
func (h *Heads) Resign(key ed25519.PrivateKey) []byte {
	h.Operator = KeyID(key.Public().(ed25519.PublicKey))
	h.Signature = ed25519.Sign(key, forRoot.statement(h.append(nil, false)))
	return h.append(nil, true)
}

// EndOf is the last line of an export of so many segments and receipts, signed unless the key is nil.
func EndOf(digest Hash, segments, receipts int64, key ed25519.PrivateKey) []byte {
	e := &ending{Format: format, Digest: digest, Segments: segments, Receipts: receipts}
	if key != nil {
		e.Operator = KeyID(key.Public().(ed25519.PublicKey))
		e.Signature = ed25519.Sign(key, forExport.statement(e.append(nil, false)))
	}
	return append(append([]byte(lineEnding), e.append(nil, true)...), '}')
}

// HashOf is what the next root holds of this one.
func (h *Heads) HashOf() Hash { return h.hash() }

// Full tells whether the next receipt would be lost.
func (j *Journal) Full() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.closing || !j.fits(structSize)
}

// Head is how far the chain has come.
func (j *Journal) Head() Head {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.current(j.opts.Now())
}
