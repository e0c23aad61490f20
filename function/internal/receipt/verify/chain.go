package verify

import (
	"fmt"
	"slices"

	"example.com/erlmcp/function/internal/receipt"
)

// unbelieved returns why a statement of the operator's is not to be believed, and which fault that is.
func (v *verifier) unbelieved(s interface{ Verify(receipt.Keyring) error }) (kind FaultKind, why error) {
	return unbelieved(s, v.keys)
}

func unbelieved(s interface{ Verify(receipt.Keyring) error }, keys receipt.Keyring) (kind FaultKind, why error) {
	switch why = s.Verify(keys); why {
	case nil:
		return "", nil
	case receipt.ErrUnsigned:
		return Unsigned, why
	}
	return Forged, why
}

// certificate looks at a certificate, each once.
func (v *verifier) certificate(text []byte) *authority {
	if a, ok := v.authorities[string(text)]; ok {
		return a
	}
	c, err := receipt.ReadCertificate(text)
	if err != nil {
		v.authorities[string(text)] = nil
		v.report.fault(Fault{Kind: Altered, Words: fmt.Sprintf("the certificate of a chain %v: %.200q", err, text)})
		return nil
	}
	a := &authority{c, c.Chain(), c.Hash()}
	v.authorities[string(text)] = a
	kind, err := v.unbelieved(c)
	if kind == Unsigned {
		v.report.Unsigned++
	}
	if err != nil && len(v.keys) > 0 {
		words := fmt.Sprintf("the certificate of chain %s of instance %s %v", a.chain, c.Instance, err)
		if kind == Unsigned {
			words += ": the integrity of the chain alone can be told, not who wrote it"
		}
		v.report.fault(Fault{Kind: kind, Chain: a.chain, Instance: c.Instance, Words: words})
	}
	return a
}

// A piece is a segment as it is read.
type piece struct {
	certificate, header, receipts []byte
	stored                        *receipt.Segment // nil from an export
	line                          int64            // of the first receipt in an export
}

// segment verifies the next segment.
func (v *verifier) segment(in *piece) {
	v.report.Segments++
	var a *authority
	if in.certificate != nil { // it is known to be missing otherwise
		a = v.certificate(in.certificate)
	}
	h, err := receipt.ReadHeader(in.header)
	chain, number := "", int64(0)
	switch {
	case err == nil:
		chain, number = h.Chain, h.Number
	case in.stored != nil:
		chain, number = in.stored.Chain, in.stored.Number
	case a != nil:
		chain = a.chain
	}
	t := v.trails[chain]
	if t == nil {
		t = &trail{chain: chain, tenants: map[string]*earlierVisit{}}
		if a != nil {
			t.instance = a.Instance
			t.authority = a
		}
		t.expected = slices.SortedStableFunc(slices.Values(v.expected[chain]), func(x, y expectation) int { return int(x.Seq - y.Seq) })
		v.trails[chain] = t
		v.report.Chains++
	}
	p := &place{v: v, t: t, number: number, line: in.line}
	v.faulty = false
	if err != nil {
		p.fault(Altered, 0, 0, "the header of segment %d %v", number, err)
		h = nil
	} else {
		v.signature(p, a, h)
		if in.stored != nil && (in.stored.Chain != h.Chain || in.stored.Number != h.Number || !in.stored.From.Equal(h.From) || !in.stored.To.Equal(h.To)) {
			p.fault(Misfiled, h.First, h.Last, "it is filed as segment %d of chain %s, from %s to %s", in.stored.Number, in.stored.Chain, receipt.FormatTime(in.stored.From), receipt.FormatTime(in.stored.To))
		}
	}
	v.lines(p, a, h, in)
	if h == nil {
		t.pass(v, number)
		return
	}
	v.link(p, a, h)
	v.compare(p, h)
	v.anchored.segment(t, h.To)
	if !v.faulty && (len(t.missing) == 0 || v.tenant != "") {
		v.tallies(p, a, h, in.stored)
	}
}

func (v *verifier) signature(p *place, a *authority, h *receipt.Header) {
	switch {
	case a == nil:
	case a.chain != h.Chain:
		p.fault(Foreign, h.First, h.Last, "it carries the certificate of chain %s of instance %s", a.chain, a.Instance)
	case !h.SignedBy(a.Key):
		p.fault(Forged, h.First, h.Last, "the chain's key did not sign it")
	}
}

// pass goes on behind a segment that does not say what it is.
func (t *trail) pass(v *verifier, number int64) {
	if t.begin == 0 {
		t.begin = number
	}
	t.number, t.loose = max(t.number, number), true
	for _, e := range v.entries {
		if e.state == whole && e.seq > t.last {
			t.last, t.head = e.seq, e.hash
		}
	}
}

// link holds the segment against the one before it in the chain.
func (v *verifier) link(p *place, a *authority, h *receipt.Header) {
	t := p.t
	next := true
	switch {
	case t.number == 0:
		t.begin = h.Number
		v.begins(p, a, h)
	case h.Number == t.number+1:
		switch {
		case t.closed:
			p.fault(Forged, h.First, h.Last, "it comes after the end of the chain")
		case t.loose:
		case h.Previous != t.head || h.First != t.last+1 || !h.Since.Equal(t.to):
			p.fault(Replaced, h.First, h.Last, "it does not follow segment %d, which ends with receipt %d: one of the two was replaced", t.number, t.last)
		}
	case h.Number > t.number:
		v.skipped(p, h)
	default:
		next = false
		if i := slices.IndexFunc(t.missing, func(g gap) bool { return g.from <= h.Number && h.Number <= g.to }); i >= 0 {
			p.fault(Reordered, h.First, h.Last, "it comes after segment %d", t.number)
			g := t.missing[i]
			t.missing = slices.Replace(t.missing, i, i+1, gap{g.from, h.Number - 1, g.first, h.First - 1}, gap{h.Number + 1, g.to, h.Last + 1, g.last})
			t.missing = slices.DeleteFunc(t.missing, func(g gap) bool { return g.from > g.to })
		} else {
			p.fault(Duplicated, h.First, h.Last, "it is there twice")
		}
	}
	if next {
		t.number, t.last, t.head, t.to, t.loose = h.Number, h.Last, h.Head, h.To, false
		t.closed = t.closed || h.Closed
	}
}

// begins looks at the first segment that is read of a chain.
func (v *verifier) begins(p *place, a *authority, h *receipt.Header) {
	if v.tenant != "" && h.Number > 1 {
		v.skipped(p, h)
		return
	}
	switch {
	case h.Number == 1 && a != nil && a.chain == h.Chain && (h.Previous != a.genesis || h.First != 1 || !h.Since.Equal(a.Opened)):
		p.fault(Replaced, h.First, h.Last, "it does not follow the certificate of the chain")
	case h.Number > 1 && !h.Since.Before(v.from):
		g := gap{1, h.Number - 1, 1, h.First - 1}
		if !v.opts.From.IsZero() { // those before may be older
			g.from, g.first = g.to, g.last
		}
		p.t.missing = append(p.t.missing, g)
	}
}

// skipped looks at what is missing before a segment: in an export for one tenant, whether there was anything of it.
func (v *verifier) skipped(p *place, h *receipt.Header) {
	t := p.t
	if v.tenant == "" {
		t.missing = append(t.missing, gap{t.number + 1, h.Number - 1, t.last + 1, h.First - 1})
		return
	}
	visit := v.visit(p, h)
	switch {
	case visit == nil: // compare says so
	case visit.Before < 0:
		v.report.note("whether chain %s has receipts of the tenant between segments %d and %d is not known: it had too many tenants", t.chain, t.number, h.Number)
	case visit.Before > t.number && !visit.Since.Before(v.from):
		t.missing = append(t.missing, gap{visit.Before, visit.Before, 0, 0})
	case visit.Before < t.number:
		p.fault(Replaced, h.First, h.Last, "it says that the tenant's receipts before it are in segment %d, and segment %d has some", visit.Before, t.number)
	}
}

// visit is what the header says of the export's tenant.
func (v *verifier) visit(p *place, h *receipt.Header) *receipt.Visit {
	if p.t.authority == nil {
		return nil
	}
	m := receipt.Mark(p.t.authority.genesis, v.tenant)
	if i := slices.IndexFunc(h.Tenants, func(x receipt.Visit) bool { return x.Mark == m }); i >= 0 {
		return &h.Tenants[i]
	}
	return nil
}

// compare holds what roots and announcements say against a segment.
func (v *verifier) compare(p *place, h *receipt.Header) {
	t := p.t
	for len(t.expected) > 0 && t.expected[0].Seq <= h.Last {
		x := t.expected[0]
		t.expected = t.expected[1:]
		found := receipt.Hash{}
		switch {
		case x.Seq == h.Last:
			found = h.Head
		case x.Seq == h.First-1:
			found = h.Previous
		case x.Seq >= h.First:
			for _, e := range v.entries {
				if e.seq == x.Seq && e.state != unreadable {
					found = e.hash
				}
			}
		}
		if !found.IsZero() && found != x.Hash {
			p.fault(Replaced, x.Seq, x.Seq, "receipt %d is not the one that %s holds", x.Seq, x.by)
		}
	}
}
