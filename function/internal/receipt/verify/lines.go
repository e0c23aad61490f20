package verify

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"

	"example.com/erlmcp/function/internal/receipt"
)

// An entry is one receipt of the segment at hand.
type entry struct {
	seq            int64 // 0 where it is not known
	hash, previous receipt.Hash
	id             string
	line           int64
	state          entryState
	out            bool // in the wrong place
}

type entryState int

const (
	whole      entryState = iota
	altered               // the content does not give the hash that it names
	unreadable            // and so its hash is not known
	bare                  // the hash alone
)

// A tally counts the receipts of a tenant.
type tally struct {
	tenant string
	count  int64
}

// An earlierVisit is where a chain had receipts of a tenant last.
type earlierVisit struct {
	mark string
	last int64 // segment
}

// maxTenants is how many are remembered of a chain. Then all are forgotten.
const maxTenants = 100_000

// lines verifies the receipts of a segment, against its header if that could be read.
func (v *verifier) lines(p *place, a *authority, h *receipt.Header, in *piece) {
	v.entries, v.tally, v.calls = v.entries[:0], v.tally[:0], v.calls[:0]
	clear(v.tallied)
	v.read(p, a, h, in)
	if h == nil {
		for i := range v.entries {
			v.blame(p, &v.entries[i])
		}
		return
	}
	v.arrange(p, h)
	for i := range v.entries {
		v.blame(p, &v.entries[i])
	}
	v.chained(p, h)
	if !v.faulty {
		v.digested(p, h)
	}
}

// read reads the lines.
func (v *verifier) read(p *place, a *authority, h *receipt.Header, in *piece) {
	var said said
	line := in.line
	for rest := in.receipts; len(rest) > 0; line++ {
		var text []byte
		text, rest, _ = bytes.Cut(rest, newline)
		e := entry{line: line}
		if len(text) == 2*len(receipt.Hash{})+2 && text[0] == '"' && e.hash.UnmarshalText(text[1:len(text)-1]) == nil {
			e.state = bare
			v.report.Withheld++
			v.entries = append(v.entries, e)
			continue
		}
		r := &v.parser.Receipt
		switch err := v.parser.Parse(text); err {
		case nil:
			v.report.Receipts++
		case receipt.ErrHash:
			e.state = altered
		default:
			e.state = unreadable
			v.entries = append(v.entries, e)
			continue
		}
		e.seq, e.hash, e.previous, e.id = r.Seq, r.Hash, r.Previous, r.ID
		v.entries = append(v.entries, e)
		if e.state == altered {
			continue
		}
		if a != nil && r.Instance != a.Instance && !said.strange {
			said.strange = true
			p.at(e).fault(Foreign, r.Seq, r.Seq, "receipt %s (%d) was recorded by instance %s", r.ID, r.Seq, r.Instance)
		}
		v.dated(p, e, h, &said)
		if r.Kind == receipt.Lost || r.Kind == receipt.Closed {
			p.t.lost += r.More
			v.report.Lost += r.More
		}
		v.count(r.Tenant)
	}
}

// said is what is said once in a segment.
type said struct{ strange, early, future, beyond bool }

// dated holds the time of the receipt at hand against what is known of it.
func (v *verifier) dated(p *place, e entry, h *receipt.Header, said *said) {
	r := &v.parser.Receipt
	at := receipt.FormatTime
	if h != nil && h.Since.Sub(r.Time) > skew && !said.early {
		said.early = true
		p.at(e).fault(Clock, r.Seq, r.Seq, "receipt %s (%d) is dated %s, and receipts before it %s: the clock was moved back", r.ID, r.Seq, at(r.Time), at(h.Since))
	}
	if r.Time.Sub(v.opts.Now) > skew && !said.future {
		said.future = true
		p.at(e).fault(Clock, r.Seq, r.Seq, "receipt %s (%d) is dated %s, which is yet to come", r.ID, r.Seq, at(r.Time))
	}
	tag, start, err := receipt.Tag(r.ID)
	if err == nil {
		v.calls = append(v.calls, receipt.CallKey(tag, start))
		if start.Sub(r.Time) > skew && !said.early {
			said.early = true
			p.at(e).fault(Clock, r.Seq, r.Seq, "receipt %s (%d) is dated %s, before its request came in, at %s", r.ID, r.Seq, at(r.Time), at(start))
		}
	}
	if h != nil && (r.Time.Before(h.From) || r.Time.After(h.To)) && !said.beyond {
		said.beyond = true
		p.at(e).fault(Replaced, r.Seq, r.Seq, "receipt %s (%d) is dated %s, and the segment goes from %s to %s", r.ID, r.Seq, at(r.Time), at(h.From), at(h.To))
	}
	if v.report.From.IsZero() || r.Time.Before(v.report.From) {
		v.report.From = r.Time
	}
	if r.Time.After(v.report.To) {
		v.report.To = r.Time
	}
}

var newline = []byte{'\n'}

func (v *verifier) count(tenant string) {
	if tenant == "" {
		return
	}
	if n := len(v.tally); n > 0 && v.tally[n-1].tenant == tenant {
		v.tally[n-1].count++
		return
	}
	i, ok := v.tallied[tenant]
	if !ok {
		i = len(v.tally)
		v.tallied[tenant] = i
		v.tally = append(v.tally, tally{tenant: tenant})
	}
	v.tally[i].count++
}

// numbered tells whether the entries are as many as they should be, in order, and gives a number to those without one if so.
func (v *verifier) numbered(h *receipt.Header) bool {
	if int64(len(v.entries)) != h.Last-h.First+1 {
		return false
	}
	for i := range v.entries {
		if e := &v.entries[i]; e.seq != 0 && e.seq != h.First+int64(i) {
			return false
		}
	}
	for i := range v.entries {
		v.entries[i].seq = h.First + int64(i)
	}
	return true
}

// arrange gives each entry its place, and finds what is missing, there twice or out of order.
func (v *verifier) arrange(p *place, h *receipt.Header) {
	if v.numbered(h) {
		return
	}
	seen := map[int64]bool{}
	high := h.First - 1
	var stray *entry
	strays := 0
	for i := range v.entries {
		e := &v.entries[i]
		if e.seq == 0 {
			e.seq = high + 1
		}
		switch {
		case e.seq < h.First || e.seq > h.Last:
			e.out = true
			if strays++; stray == nil {
				stray = e
			}
		case seen[e.seq]:
			e.out = true
			p.at(*e).fault(Duplicated, e.seq, e.seq, "receipt %s (%d) is there twice", e.id, e.seq)
		case e.seq < high:
			seen[e.seq] = true
			p.at(*e).fault(Reordered, e.seq, e.seq, "receipt %s (%d) comes after receipt %d", e.id, e.seq, high)
		default:
			seen[e.seq] = true
			high = e.seq
		}
	}
	if stray != nil {
		more := "is"
		if strays > 1 {
			more = fmt.Sprintf("and %d more are", strays-1)
		}
		p.at(*stray).fault(Foreign, stray.seq, stray.seq, "receipt %s (%d) %s not of this segment, which has %s", stray.id, stray.seq, more, span("receipt", h.First, h.Last))
	}
	v.entries = slices.DeleteFunc(v.entries, func(e entry) bool { return e.out })
	slices.SortStableFunc(v.entries, func(x, y entry) int { return cmp.Compare(x.seq, y.seq) })
	next := h.First
	missing := func(until int64) {
		if next < until {
			p.fault(Missing, next, until-1, "%s missing", span("receipt", next, until-1)+are(until-next))
		}
	}
	for i := range v.entries {
		missing(v.entries[i].seq)
		next = v.entries[i].seq + 1
	}
	missing(h.Last + 1)
}

// blame reports an entry that is not whole.
func (v *verifier) blame(p *place, e *entry) {
	switch {
	case e.state == altered:
		p.at(*e).fault(Altered, e.seq, e.seq, "receipt %s (%d) was altered after it was recorded: its content does not give its hash", e.id, e.seq)
	case e.state == unreadable:
		p.at(*e).fault(Altered, e.seq, e.seq, "the receipt is not in canonical form: it was altered after it was recorded")
	case e.state == bare && v.tenant == "":
		p.at(*e).fault(Withheld, e.seq, e.seq, "of the receipt there is the hash alone")
	}
}

// chained follows the hashes from receipt to receipt. Link i leads to entry i, the last one to the head that the header names.
func (v *verifier) chained(p *place, h *receipt.Header) {
	es := v.entries
	broken := func(i int) bool {
		to, from := h.Head, h.Previous
		if i < len(es) {
			if e := &es[i]; e.state == bare || e.state == unreadable || i == 0 && e.seq != h.First {
				return false
			}
			to = es[i].previous
		} else if len(es) > 0 && es[i-1].seq != h.Last {
			return false
		}
		if i > 0 {
			if e := &es[i-1]; e.state == unreadable || i < len(es) && es[i].seq != e.seq+1 {
				return false
			}
			from = es[i-1].hash
		}
		return from != to
	}
	for i := 0; i <= len(es) && len(es) > 0; i++ {
		if !broken(i) {
			continue
		}
		if i < len(es) && broken(i+1) {
			e := &es[i]
			p.at(*e).fault(Replaced, e.seq, e.seq, "receipt %s (%d) was put in the place of another: neither the one before nor the one after belongs to it", e.id, e.seq)
			i++
			continue
		}
		switch {
		case i == 0:
			p.fault(Replaced, h.First, h.Last, "the receipts do not follow the one before the segment")
		case i == len(es):
			p.fault(Replaced, h.First, h.Last, "the receipts end in another hash than was signed: one or more were replaced, and the hashes after them made anew")
		default:
			e := &es[i-1]
			p.at(*e).fault(Replaced, e.seq, e.seq, "receipt %s (%d) was put in the place of another: the one after it belongs to another", e.id, e.seq)
		}
	}
}

// digested compares the hashes with the digest that was signed.
func (v *verifier) digested(p *place, h *receipt.Header) {
	v.digest.Reset()
	for i := range v.entries {
		v.digest.Write(v.entries[i].hash[:])
	}
	var sum receipt.Hash
	if v.digest.Sum(sum[:0]); sum != h.Digest {
		p.fault(Replaced, h.First, h.Last, "the receipts are not those that were signed: one or more were replaced")
	}
}

// tallies compares the tenants that the receipts have with those that header and store say.
func (v *verifier) tallies(p *place, a *authority, h *receipt.Header, stored *receipt.Segment) {
	if a == nil {
		return
	}
	if v.tenant != "" {
		visit := v.visit(p, h)
		switch i, ok := v.tallied[v.tenant]; {
		case visit == nil:
			p.fault(Foreign, h.First, h.Last, "it has no receipts of the tenant")
		case !ok || v.tally[i].count < visit.Count:
			p.fault(Withheld, h.First, h.Last, "it has %d receipts of the tenant, and not all are here", visit.Count)
		}
		return
	}
	if p.t.tallied != h.Number-1 {
		clear(p.t.tenants) // which segments they have had is not known
	}
	p.t.tallied = h.Number
	wrong := len(v.tally) != len(h.Tenants)
	for i := 0; i < len(v.tally) && !wrong; i++ {
		c, x := v.tally[i], h.Tenants[i]
		seen := p.t.tenants[c.tenant]
		if seen == nil {
			if len(p.t.tenants) > maxTenants {
				clear(p.t.tenants)
			}
			seen = &earlierVisit{mark: receipt.Mark(a.genesis, c.tenant), last: -1}
			p.t.tenants[c.tenant] = seen
		}
		wrong = x.Mark != seen.mark || x.Count != c.count || x.Before >= 0 && seen.last > 0 && x.Before != seen.last
		seen.last = h.Number
	}
	if wrong {
		p.fault(Misfiled, h.First, h.Last, "its header names other tenants than its receipts have")
	}
	if stored == nil {
		return
	}
	if !slices.EqualFunc(v.tally, stored.Tenants, func(t tally, name string) bool { return t.tenant == name }) {
		p.fault(Misfiled, h.First, h.Last, "it is filed under other tenants than its receipts have")
	}
	slices.Sort(v.calls)
	if !slices.Equal(slices.Compact(v.calls), stored.Calls) {
		p.fault(Misfiled, h.First, h.Last, "it is filed under other ids than its receipts have")
	}
}
