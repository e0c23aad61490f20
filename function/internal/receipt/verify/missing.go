package verify

import (
	"fmt"
	"maps"
	"slices"

	"example.com/erlmcp/function/internal/receipt"
)

// finish reports what is missing, and closes the report.
func (v *verifier) finish() *Report {
	for _, chain := range slices.Sorted(maps.Keys(v.trails)) {
		t := v.trails[chain]
		for _, g := range t.missing {
			p := &place{v: v, t: t, number: g.from}
			if g.first == 0 {
				p.fault(Missing, 0, 0, "segment %d is missing, and has receipts of the tenant", g.from)
			} else {
				p.fault(Missing, g.first, g.last, "%s missing, with %s", span("segment", g.from, g.to)+are(g.to-g.from+1), span("receipt", g.first, g.last))
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
		p.fault(Tail, t.last+1, appended, "%s missing: they were announced up to %d at %s (%s), and %s", span("receipt", t.last+1, appended)+are(appended-t.last), appended, receipt.FormatTime(more.Time), more.by, after)
	case sealed > t.last:
		p.fault(Tail, t.last+1, sealed, "%s missing: they were there at %s (%s), and %s", span("receipt", t.last+1, sealed)+are(sealed-t.last), receipt.FormatTime(by.Time), by.by, after)
	}
	if t.begin == 1 && lost > t.lost {
		p.fault(Tail, 0, 0, "its instance announced that %d receipts were lost for want of room, and the chain tells of %d", lost, t.lost)
	}
}
