package receipt

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"hash"
	"maps"
	"slices"
	"time"
)

// VerifyOptions say what to verify against.
type VerifyOptions struct {
	Keys      []ed25519.PublicKey // the operator's, those of before too; without any, who signed is not verified
	Announced []Head              // the last heads that instances announced
	Witnesses []Witness           // roots that were noted where whoever writes to the store can't reach
	// The range of the segments' ends, and of roots; zero is no bound. From must not be before what the store has forgotten.
	From, To time.Time
	Now      time.Time // default time.Now
}

// aliveFor is how old an announcement may be for its instance to be alive, and what it has announced to be on its way.
const aliveFor = 15 * time.Second

// skew is how far clocks may be apart, or step back, without being a fault.
const skew = time.Minute

var endOfTime = time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)

// Verify reads the segments and roots of a store, each once, and reports what is wrong with them. The error is one of reading.
func Verify(ctx context.Context, store Store, o VerifyOptions) (*Report, error) {
	v := newVerifier(o)
	for r, err := range store.Roots(ctx, v.from, v.to) {
		if err != nil {
			return nil, fmt.Errorf("roots can't be read: %w", err)
		}
		v.root(r.Text, 0)
		if h := v.lastRoot; h != nil && (h.Number != r.Number || !h.Time.Equal(r.Time)) {
			v.report.fault(Fault{Kind: Misfiled, Words: fmt.Sprintf("root %d of %s is filed as root %d of %s", h.Number, formatTime(h.Time), r.Number, formatTime(r.Time))})
		}
	}
	if err := v.latestRoot(ctx, store); err != nil {
		return nil, err
	}
	v.expect(o.Announced, "announced")
	for s, err := range store.Between(ctx, v.from, v.to) {
		if err != nil {
			return nil, fmt.Errorf("segments can't be read: %w", err)
		}
		v.segment(&piece{certificate: s.Certificate, header: s.Header, receipts: s.Receipts, stored: s})
	}
	if !o.To.IsZero() {
		for _, t := range v.trails {
			if err := v.follow(ctx, store, t); err != nil {
				return nil, err
			}
		}
		for _, h := range o.Announced {
			if err := v.absent(ctx, store, h); err != nil {
				return nil, err
			}
		}
	}
	return v.finish(), nil
}

func formatTime(t time.Time) string { return t.UTC().Format(timeForm) }

// follow finds out whether the end of the range lacks segments, by the one that comes after it.
func (v *verifier) follow(ctx context.Context, store Store, t *trail) error {
	for s, err := range store.OfChain(ctx, t.chain, t.number+1) {
		if err != nil {
			return fmt.Errorf("segments can't be read: %w", err)
		}
		if h, err := readHeader(s.Header); err == nil && h.Number > t.number+1 && !t.closed {
			t.missing = append(t.missing, gap{t.number + 1, h.Number - 1, t.last + 1, h.First - 1})
		}
		return nil
	}
	return nil
}

// absent finds out whether a chain of which the range has nothing, and which was announced after it, lacks segments from its begin on.
func (v *verifier) absent(ctx context.Context, store Store, h Head) error {
	if v.trails[h.Chain] != nil || h.Stored == 0 || !h.To.After(v.to) {
		return nil // what the range should have of it is looked for without this
	}
	p := &place{v: v, t: &trail{chain: h.Chain, instance: h.Instance}}
	for s, err := range store.OfChain(ctx, h.Chain, 1) {
		if err != nil {
			return fmt.Errorf("segments can't be read: %w", err)
		}
		if s.Number > 1 {
			p.fault(Missing, 0, 0, "", "%s missing", span("segment", 1, s.Number-1)+are(s.Number-1))
		}
		return nil
	}
	p.fault(Tail, 1, h.Stored, "", "%s missing: they were there at %s (announced), and nothing of the chain is stored", span("receipt", 1, h.Stored)+are(h.Stored), formatTime(h.Time))
	return nil
}

// A verifier goes through roots and segments, in the order of each chain.
type verifier struct {
	opts     VerifyOptions
	from, to time.Time
	keys     keyring
	tenant   string // of an export for one
	report   Report

	authorities map[string]*authority // by certificate
	trails      map[string]*trail     // by chain
	expected    map[string][]expectation
	alive       map[string]Head
	lastRoot    *Heads
	lastHash    Hash // of it
	rootLost    bool // the last one could not be read
	anchored    anchored

	// of the segment at hand
	parser  parser
	entries []entry
	tally   []tally
	tallied map[string]int
	calls   []int64
	digest  hash.Hash
	faulty  bool
}

// An authority is a certificate that was looked at.
type authority struct {
	*Certificate
	chain   string
	genesis Hash
}

// An expectation is what a root or an announcement says of a chain.
type expectation struct {
	Head
	by string
}

// A trail is what was seen of a chain.
type trail struct {
	chain, instance string
	authority       *authority
	begin           int64 // number of the first segment
	number, last    int64 // of the last segment, and seq of its last receipt
	head            Hash
	to              time.Time
	loose           bool // the last segment did not say where it ends
	closed          bool
	lost            int64
	missing         []gap
	expected        []expectation // by seq
	tenants         map[string]*visits
	tallied         int64 // number of the segment that tenants were last counted in
	bare            stretch
}

// A gap is a run of segments that are missing, and their receipts.
type gap struct{ from, to, first, last int64 }

func newVerifier(o VerifyOptions) *verifier {
	if o.Now.IsZero() {
		o.Now = time.Now()
	}
	v := &verifier{
		opts: o, from: o.From, to: o.To, keys: newKeyring(o.Keys), authorities: map[string]*authority{}, trails: map[string]*trail{},
		expected: map[string][]expectation{}, alive: map[string]Head{}, tallied: map[string]int{}, digest: sha256.New(),
	}
	if v.to.IsZero() {
		v.to = endOfTime
	}
	return v
}

// root verifies a root, and expects of the chains what it says.
func (v *verifier) root(text []byte, line int64) {
	v.report.Roots++
	fault := func(kind FaultKind, format string, args ...any) {
		v.report.fault(Fault{Kind: kind, Line: line, Words: fmt.Sprintf(format, args...)})
	}
	h, err := readHeads(text)
	if err != nil {
		fault(Altered, "a root after %s %v", v.rootName(), err)
		v.rootLost = true
		return
	}
	if len(v.keys) > 0 {
		if err := v.keys.verify(forRoot, h.Operator, h.append(nil, false), h.Signature); err == errUnsigned {
			fault(Unsigned, "root %d %v", h.Number, err)
		} else if err != nil {
			fault(Forged, "root %d %v", h.Number, err)
		}
	}
	switch last := v.lastRoot; {
	case last == nil:
		if h.Number > 1 && v.opts.From.IsZero() && !v.rootLost {
			fault(Missing, "%s missing", span("root", 1, h.Number-1)+are(h.Number-1))
		}
	case h.Number <= last.Number:
		fault(Reordered, "root %d comes after root %d", h.Number, last.Number)
		return
	case h.Number > last.Number+1:
		if !v.rootLost || h.Number > last.Number+2 {
			fault(Missing, "%s missing", span("root", last.Number+1, h.Number-1)+are(h.Number-last.Number-1))
		}
	case h.Previous != v.lastHash:
		fault(Replaced, "root %d does not follow root %d as it is: one of the two was replaced", h.Number, last.Number)
	}
	v.lastRoot, v.lastHash, v.rootLost = h, h.hash(), false
	v.witness(h, fault)
	v.anchored.root(h)
	v.expect(h.Heads, fmt.Sprintf("root %d", h.Number))
}

func are(n int64) string {
	if n == 1 {
		return " is"
	}
	return " are"
}

func (v *verifier) rootName() string {
	if v.lastRoot == nil {
		return "the begin"
	}
	return fmt.Sprintf("root %d", v.lastRoot.Number)
}

// expect notes what chains must hold.
func (v *verifier) expect(heads []Head, by string) {
	for _, h := range heads {
		v.expected[h.Chain] = append(v.expected[h.Chain], expectation{h, by})
		if by == "announced" && h.State == "" && v.opts.Now.Sub(h.Time) < aliveFor {
			v.alive[h.Chain] = h
		}
	}
}

// certificate looks at a certificate, each once.
func (v *verifier) certificate(text []byte) *authority {
	if a, ok := v.authorities[string(text)]; ok {
		return a
	}
	c, err := readCertificate(text)
	if err != nil {
		v.authorities[string(text)] = nil
		v.report.fault(Fault{Kind: Altered, Words: fmt.Sprintf("the certificate of a chain %v: %.200q", err, text)})
		return nil
	}
	a := &authority{c, c.Chain(), c.hash()}
	v.authorities[string(text)] = a
	err = v.keys.verify(forCertificate, c.Operator, c.append(nil, false), c.Signature)
	if err == errUnsigned {
		v.report.Unsigned++
	}
	if err != nil && len(v.keys) > 0 {
		f := Fault{Kind: Forged, Chain: a.chain, Instance: c.Instance, Words: fmt.Sprintf("the certificate of chain %s of instance %s %v", a.chain, c.Instance, err)}
		if err == errUnsigned {
			f.Kind = Unsigned
			f.Words += ": the integrity of the chain alone can be told, not who wrote it"
		}
		v.report.fault(f)
	}
	return a
}

// A piece is a segment as it is read.
type piece struct {
	certificate, header, receipts []byte
	stored                        *Segment // nil from an export
	line                          int64    // of the first receipt in an export
}

// segment verifies the next segment.
func (v *verifier) segment(in *piece) {
	v.report.Segments++
	var a *authority
	if in.certificate != nil { // it is known to be missing otherwise
		a = v.certificate(in.certificate)
	}
	h, err := readHeader(in.header)
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
		t = &trail{chain: chain, tenants: map[string]*visits{}}
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
		p.fault(Altered, 0, 0, "", "the header of segment %d %v", number, err)
		h = nil
	} else {
		v.signature(p, a, h)
		if in.stored != nil && (in.stored.Chain != h.Chain || in.stored.Number != h.Number || !in.stored.From.Equal(h.From) || !in.stored.To.Equal(h.To)) {
			p.fault(Misfiled, h.First, h.Last, "", "it is filed as segment %d of chain %s, from %s to %s", in.stored.Number, in.stored.Chain, formatTime(in.stored.From), formatTime(in.stored.To))
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

func (v *verifier) signature(p *place, a *authority, h *Header) {
	switch {
	case a == nil:
	case a.chain != h.Chain:
		p.fault(Foreign, h.First, h.Last, "", "it carries the certificate of chain %s of instance %s", a.chain, a.Instance)
	case len(h.Signature) != ed25519.SignatureSize || !ed25519.Verify(ed25519.PublicKey(a.Key), forSegment.statement(h.append(nil, false)), h.Signature):
		p.fault(Forged, h.First, h.Last, "", "the chain's key did not sign it")
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
func (v *verifier) link(p *place, a *authority, h *Header) {
	t := p.t
	next := true
	switch {
	case t.number == 0:
		t.begin = h.Number
		v.begins(p, a, h)
	case h.Number == t.number+1:
		switch {
		case t.closed:
			p.fault(Forged, h.First, h.Last, "", "it comes after the end of the chain")
		case t.loose:
		case h.Previous != t.head || h.First != t.last+1 || !h.Since.Equal(t.to):
			p.fault(Replaced, h.First, h.Last, "", "it does not follow segment %d, which ends with receipt %d: one of the two was replaced", t.number, t.last)
		}
	case h.Number > t.number:
		v.skipped(p, h)
	default:
		next = false
		if i := slices.IndexFunc(t.missing, func(g gap) bool { return g.from <= h.Number && h.Number <= g.to }); i >= 0 {
			p.fault(Reordered, h.First, h.Last, "", "it comes after segment %d", t.number)
			g := t.missing[i]
			t.missing = slices.Replace(t.missing, i, i+1, gap{g.from, h.Number - 1, g.first, h.First - 1}, gap{h.Number + 1, g.to, h.Last + 1, g.last})
			t.missing = slices.DeleteFunc(t.missing, func(g gap) bool { return g.from > g.to })
		} else {
			p.fault(Duplicated, h.First, h.Last, "", "it is there twice")
		}
	}
	if next {
		t.number, t.last, t.head, t.to, t.loose = h.Number, h.Last, h.Head, h.To, false
		t.closed = t.closed || h.Closed
	}
}

// begins looks at the first segment that is read of a chain.
func (v *verifier) begins(p *place, a *authority, h *Header) {
	if v.tenant != "" && h.Number > 1 {
		v.skipped(p, h)
		return
	}
	switch {
	case h.Number == 1 && a != nil && a.chain == h.Chain && (h.Previous != a.genesis || h.First != 1 || !h.Since.Equal(a.Opened)):
		p.fault(Replaced, h.First, h.Last, "", "it does not follow the certificate of the chain")
	case h.Number > 1 && !h.Since.Before(v.from):
		g := gap{1, h.Number - 1, 1, h.First - 1}
		if !v.opts.From.IsZero() { // those before may be older
			g.from, g.first = g.to, g.last
		}
		p.t.missing = append(p.t.missing, g)
	}
}

// skipped looks at what is missing before a segment: in an export for one tenant, whether there was anything of it.
func (v *verifier) skipped(p *place, h *Header) {
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
		p.fault(Replaced, h.First, h.Last, "", "it says that the tenant's receipts before it are in segment %d, and segment %d has some", visit.Before, t.number)
	}
}

// visit is what the header says of the export's tenant.
func (v *verifier) visit(p *place, h *Header) *Visit {
	if p.t.authority == nil {
		return nil
	}
	m := mark(&p.t.authority.genesis, v.tenant)
	if i := slices.IndexFunc(h.Tenants, func(x Visit) bool { return x.Mark == m }); i >= 0 {
		return &h.Tenants[i]
	}
	return nil
}

// compare holds what roots and announcements say against a segment.
func (v *verifier) compare(p *place, h *Header) {
	t := p.t
	for len(t.expected) > 0 && t.expected[0].Seq <= h.Last {
		x := t.expected[0]
		t.expected = t.expected[1:]
		found := Hash{}
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
			p.fault(Replaced, x.Seq, x.Seq, "", "receipt %d is not the one that %s holds", x.Seq, x.by)
		}
	}
}

// finish reports what is missing, and closes the report.
func (v *verifier) finish() *Report {
	for _, chain := range slices.Sorted(maps.Keys(v.trails)) {
		t := v.trails[chain]
		for _, g := range t.missing {
			p := &place{v: v, t: t, number: g.from}
			if g.first == 0 {
				p.fault(Missing, 0, 0, "", "segment %d is missing, and has receipts of the tenant", g.from)
			} else {
				p.fault(Missing, g.first, g.last, "", "%s missing, with %s", span("segment", g.from, g.to)+are(g.to-g.from+1), span("receipt", g.first, g.last))
			}
		}
	}
	v.rootless()
	v.unwitnessed()
	if v.tenant == "" {
		for _, chain := range slices.Sorted(maps.Keys(v.expected)) {
			v.tail(chain)
		}
		for _, chain := range slices.Sorted(maps.Keys(v.trails)) {
			if t := v.trails[chain]; !t.closed && v.opts.To.IsZero() && len(v.expected[chain]) == 0 {
				v.report.note("chain %s of instance %s is not closed and was not announced: whether there was more after receipt %d is not known", chain, t.instance, t.last)
			}
		}
	}
	if len(v.keys) == 0 && v.report.Chains > 0 {
		v.report.note("without the operator's public key it is not verified who signed: the integrity of each chain alone is")
	}
	if v.report.Unsigned > 0 {
		v.report.note("%d of the chains are unsigned: integrity only", v.report.Unsigned)
	}
	v.report.sort()
	return &v.report
}

// tail looks for what a chain should hold after its last segment.
func (v *verifier) tail(chain string) {
	t := v.trails[chain]
	if t == nil {
		t = &trail{chain: chain}
	}
	stored, sealed, appended, lost := int64(0), int64(0), int64(0), int64(0)
	var by, more expectation
	for _, x := range v.expected[chain] {
		t.instance = x.Instance
		if x.To.After(v.to) || x.Time.Before(v.from) {
			continue
		}
		if x.To.Before(v.from) { // what it had sealed is out of the range
			if t.number == 0 {
				t.last = max(t.last, x.Seq)
			}
		} else if stored = max(stored, x.Stored); x.Seq > sealed {
			sealed, by = x.Seq, x
		}
		if x.Appended > appended {
			appended, more = x.Appended, x
		}
		lost = max(lost, x.Lost)
	}
	p := &place{v: v, t: t}
	alive, lives := v.alive[chain]
	if lives && stored <= t.last {
		if n := alive.Appended - t.last; n > 0 {
			v.report.note("%d receipts of chain %s of instance %s are on their way to the store", n, chain, t.instance)
		}
		return
	}
	if t.closed {
		appended = 0 // what was given up is in its last receipt
	}
	after := "nothing of the chain is stored"
	if t.last > 0 {
		after = fmt.Sprintf("receipt %d is the last one stored", t.last)
	}
	switch {
	case appended > t.last && appended > sealed:
		p.fault(Tail, t.last+1, appended, "", "%s missing: they were announced up to %d at %s (%s), and %s", span("receipt", t.last+1, appended)+are(appended-t.last), appended, formatTime(more.Time), more.by, after)
	case sealed > t.last:
		p.fault(Tail, t.last+1, sealed, "", "%s missing: they were there at %s (%s), and %s", span("receipt", t.last+1, sealed)+are(sealed-t.last), formatTime(by.Time), by.by, after)
	}
	if t.begin == 1 && lost > t.lost {
		p.fault(Tail, 0, 0, "", "its instance announced that %d receipts were lost for want of room, and the chain tells of %d", lost, t.lost)
	}
}

// A place is where faults are found.
type place struct {
	v      *verifier
	t      *trail
	number int64
	line   int64
}

func (p *place) fault(kind FaultKind, seq, last int64, id string, format string, args ...any) {
	p.v.faulty = true
	var b bytes.Buffer
	fmt.Fprintf(&b, "chain %s", p.t.chain)
	if p.t.instance != "" {
		fmt.Fprintf(&b, " of instance %s", p.t.instance)
	}
	if p.number > 0 {
		fmt.Fprintf(&b, ", segment %d", p.number)
		if id == "" && seq > 0 && kind != Missing {
			fmt.Fprintf(&b, " (%s)", span("receipt", seq, last))
		}
	}
	if p.line > 0 {
		fmt.Fprintf(&b, ", line %d", p.line)
	}
	b.WriteString(": ")
	fmt.Fprintf(&b, format, args...)
	p.v.report.fault(Fault{kind, p.t.chain, p.t.instance, p.number, seq, last, id, p.line, b.String()})
}
