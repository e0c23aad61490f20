// Package verify reads the record and proves it: that nothing in it was edited, removed, put in another order or forged.
//
// [Store] proves what a store has, and [Export] what [WriteExport] has written for others, who need the operator's public key alone.
// [Find], [Select] and [Newest] read.
package verify

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"hash"
	"time"

	"example.com/erlmcp/function/internal/receipt"
)

// Options say what to verify against.
type Options struct {
	Keys      []ed25519.PublicKey // the operator's, those of before too; without any, who signed is not verified
	Roots     receipt.RootKeys    // those that vouch for roots alone
	Announced []receipt.Head      // the last heads that instances announced
	Witnesses []Witness           // roots that were noted where whoever writes to the store can't reach
	Kept      Kept                // all roots that were put elsewhere
	// The range of the segments' ends, and of roots; zero is no bound. From must not be before what the store has forgotten.
	From, To time.Time
	Now      time.Time // default time.Now
}

// aliveFor is how old an announcement may be for its instance to be alive, and what it has announced to be on its way.
const aliveFor = 15 * time.Second

// skew is how far clocks may be apart, or step back, without being a fault.
const skew = time.Minute

var endOfTime = time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)

// Store reads the segments and roots of a store, each once, and reports what is wrong with them. The error is one of reading.
func Store(ctx context.Context, store receipt.Store, o Options) (*Report, error) {
	v := newVerifier(o)
	if err := v.readRoots(ctx, store); err != nil {
		return nil, err
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

// follow finds out whether the end of the range lacks segments, by the one that comes after it.
func (v *verifier) follow(ctx context.Context, store receipt.Store, t *trail) error {
	for s, err := range store.OfChain(ctx, t.chain, t.number+1) {
		if err != nil {
			return fmt.Errorf("segments can't be read: %w", err)
		}
		if h, err := receipt.ReadHeader(s.Header); err == nil && h.Number > t.number+1 && !t.closed {
			t.missing = append(t.missing, gap{t.number + 1, h.Number - 1, t.last + 1, h.First - 1})
		}
		return nil
	}
	return nil
}

// absent finds out whether a chain of which the range has nothing, and which was announced after it, lacks segments from its begin on.
func (v *verifier) absent(ctx context.Context, store receipt.Store, h receipt.Head) error {
	if v.trails[h.Chain] != nil || h.Stored == 0 || !h.To.After(v.to) {
		return nil // what the range should have of it is looked for without this
	}
	p := &place{v: v, t: &trail{chain: h.Chain, instance: h.Instance}}
	for s, err := range store.OfChain(ctx, h.Chain, 1) {
		if err != nil {
			return fmt.Errorf("segments can't be read: %w", err)
		}
		if s.Number > 1 {
			p.fault(Missing, 0, 0, "%s missing", span("segment", 1, s.Number-1)+are(s.Number-1))
		}
		return nil
	}
	p.fault(Tail, 1, h.Stored, "%s missing: they were there at %s (announced), and nothing of the chain is stored", span("receipt", 1, h.Stored)+are(h.Stored), receipt.FormatTime(h.Time))
	return nil
}

// A verifier goes through roots and segments, in the order of each chain.
type verifier struct {
	opts     Options
	from, to time.Time
	keys     receipt.Keyring
	rootKeys receipt.Keyring // of those alone
	tenant   string          // of an export for one
	report   Report

	authorities map[string]*authority // by certificate
	trails      map[string]*trail     // by chain
	expected    map[string][]expectation
	alive       map[string]receipt.Head
	lastRoot    *receipt.Heads
	lastHash    receipt.Hash // of it
	rootLost    bool         // the last one could not be read
	unknown     int64        // roots whose key is not known here
	anchored    anchored

	// of the segment at hand
	parser  receipt.Parser
	entries []entry
	tally   []tally
	tallied map[string]int
	calls   []int64
	digest  hash.Hash
	faulty  bool
}

// An authority is a certificate that was looked at.
type authority struct {
	*receipt.Certificate
	chain   string
	genesis receipt.Hash
}

// An expectation is what a root or an announcement says of a chain.
type expectation struct {
	receipt.Head
	by string
}

// A trail is what was seen of a chain.
type trail struct {
	chain, instance string
	authority       *authority
	begin           int64 // number of the first segment
	number, last    int64 // of the last segment, and seq of its last receipt
	head            receipt.Hash
	to              time.Time
	loose           bool // the last segment did not say where it ends
	closed          bool
	lost            int64
	missing         []gap
	expected        []expectation // by seq
	tenants         map[string]*earlierVisit
	tallied         int64 // number of the segment that tenants were last counted in
	bare            stretch
}

// A gap is a run of segments that are missing, and their receipts.
type gap struct{ from, to, first, last int64 }

func newVerifier(o Options) *verifier {
	if o.Now.IsZero() {
		o.Now = time.Now()
	}
	v := &verifier{
		opts: o, from: o.From, to: o.To, keys: receipt.NewKeyring(o.Keys), rootKeys: receipt.NewKeyring(o.Roots.Keys), authorities: map[string]*authority{}, trails: map[string]*trail{},
		expected: map[string][]expectation{}, alive: map[string]receipt.Head{}, tallied: map[string]int{}, digest: sha256.New(),
	}
	if v.to.IsZero() {
		v.to = endOfTime
	}
	return v
}
