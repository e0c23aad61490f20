package journal

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"hash"
	"slices"
	"time"

	"example.com/erlmcp/function/internal/receipt"
)

const (
	// maxSegment keeps a document below Firestore's 1 MiB, with room for its names and numbers.
	maxSegment = 900 << 10
	// maxTenants is how many tenants' last segments are remembered. Then all are forgotten.
	maxTenants = 10000
)

// A chain makes segments of receipts. It is not safe for concurrent use.
type chain struct {
	certificate receipt.Certificate
	opened      []byte // the certificate in canonical form, once it is signed
	key         ed25519.PrivateKey
	genesis     receipt.Hash
	name        string
	hashes      string // id of the secret of hashes, "" for none

	number, seq int64
	head        receipt.Hash
	to          time.Time
	tenants     map[string]*visits
	forgotten   bool // tenants were

	// of the segment that is being made, and used again for the next
	segment receipt.Segment
	header  receipt.Header
	latest  time.Time
	room    int
	digest  hash.Hash
}

type visits struct {
	mark  string
	last  int64 // segment
	place int   // in its header
	to    time.Time
}

func newChain(instance string, tag uint32, operator, hashes string, now time.Time) (*chain, error) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, err
	}
	c := &chain{key: private, hashes: hashes, tenants: map[string]*visits{}, digest: sha256.New()}
	c.certificate = receipt.Certificate{Format: receipt.Format, Instance: instance, Key: receipt.Bytes(public), Opened: receipt.Truncate(now), Operator: operator, Tag: fmt.Sprintf("%08x", tag)}
	c.genesis, c.name = c.certificate.Hash(), c.certificate.Chain()
	c.head, c.to = c.genesis, c.certificate.Opened
	return c, nil
}

// open has the operator sign the certificate, if there is one.
func (c *chain) open(ctx context.Context, operator receipt.Signer) error {
	if c.opened != nil {
		return nil
	}
	if operator != nil {
		if err := c.certificate.Sign(ctx, operator); err != nil {
			return err
		}
	}
	c.opened = c.certificate.Append(nil)
	return nil
}

// seal makes the next segment of as many receipts as fit, at least one, and of the closing receipt, if there is one and all fit.
// The segment is valid until the next one is made. The receipts are numbered as a side effect.
func (c *chain) seal(receipts *queue, closing *receipt.Receipt) (s *receipt.Segment, taken int) {
	s, h := &c.segment, &c.header
	*s = receipt.Segment{Chain: c.name, Certificate: c.opened, Receipts: s.Receipts[:0], Header: s.Header[:0], Tenants: s.Tenants[:0], Calls: s.Calls[:0]}
	*h = receipt.Header{Chain: c.name, Format: receipt.FormatOf(c.hashes != ""), Hashes: c.hashes, Number: c.number + 1, First: c.seq + 1, Previous: c.head, Since: c.to, Tenants: h.Tenants[:0]}
	c.digest.Reset()
	c.room = maxSegment
	for r := range receipts.all() {
		if !c.add(r) {
			break
		}
		taken++
	}
	if closing != nil && taken == receipts.n && c.add(closing) {
		h.Closed = true
	}
	c.number++
	if c.latest.After(c.to) {
		c.to = c.latest
	}
	h.Last, h.Head, h.To = c.seq, c.head, c.to
	c.digest.Sum(h.Digest[:0])
	for _, tenant := range s.Tenants {
		v := c.tenants[tenant]
		v.last, v.to = c.number, c.to
	}
	if len(c.tenants) > maxTenants {
		clear(c.tenants)
		c.forgotten = true
	}
	s.Header = h.AppendSigned(s.Header, c.key)
	s.Number, s.From, s.To = h.Number, h.From, h.To
	slices.Sort(s.Calls)
	s.Calls = slices.Compact(s.Calls)
	return s, taken
}

// add appends a receipt to the segment unless it is full.
func (c *chain) add(r *receipt.Receipt) bool {
	s, h := &c.segment, &c.header
	r.Time = receipt.Truncate(r.Time)
	from, latest := r.Time, r.Time
	first := len(s.Receipts) == 0
	if !first {
		if h.From.Before(from) {
			from = h.From
		}
		if c.latest.After(latest) {
			latest = c.latest
		}
		if latest.Sub(from) > receipt.Span {
			return false
		}
	}
	start := len(s.Receipts)
	r.Seq, r.Previous, r.Instance = c.seq+1, c.head, c.certificate.Instance
	lines := append(r.Append(s.Receipts), '\n')
	size := len(lines) - start + c.visitSize(r.Tenant)
	if !first && size > c.room {
		s.Receipts = lines[:start]
		return false
	}
	c.room -= size
	s.Receipts = lines
	c.visit(r.Tenant)
	c.seq, c.head = r.Seq, r.Hash
	c.digest.Write(r.Hash[:])
	h.From, c.latest = from, latest
	if key, err := receipt.Call(r.ID); err == nil && (len(s.Calls) == 0 || s.Calls[len(s.Calls)-1] != key) {
		s.Calls = append(s.Calls, key)
	}
	return true
}

// visitSize is what a tenant's first receipt in a segment adds to it.
func (c *chain) visitSize(tenant string) int {
	if v := c.tenants[tenant]; tenant == "" || v != nil && v.last == c.number+1 {
		return 0
	}
	return len(tenant) + 110
}

// visit notes that the segment has a receipt of the tenant.
func (c *chain) visit(tenant string) {
	if tenant == "" {
		return
	}
	v := c.tenants[tenant]
	if v == nil {
		v = &visits{mark: receipt.Mark(c.genesis, tenant), to: c.certificate.Opened}
		if c.forgotten {
			v.last = -1
		}
		c.tenants[tenant] = v
	}
	if n := c.number + 1; v.last != n {
		c.header.Tenants = append(c.header.Tenants, receipt.Visit{Before: v.last, Mark: v.mark, Since: v.to})
		c.segment.Tenants = append(c.segment.Tenants, tenant)
		v.last, v.place = n, len(c.header.Tenants)-1
	}
	c.header.Tenants[v.place].Count++
}
