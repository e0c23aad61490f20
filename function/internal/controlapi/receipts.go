package controlapi

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"time"

	"example.com/erlmcp/function/internal/receipt"
	"example.com/erlmcp/function/internal/receipt/verify"
)

// lookBack is the range of time that is looked at where none is given.
const lookBack = 24 * time.Hour

// within reads the range of time that is asked for.
func (c *call) within() (from, to time.Time, faults []string) {
	at := func(name string, otherwise time.Time) time.Time {
		text := c.values.Get(name)
		if text == "" {
			return otherwise
		}
		t, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			faults = append(faults, fmt.Sprintf("query: %s: %.40q is not a time such as 2026-11-25T12:00:00Z", name, text))
		}
		return t.UTC()
	}
	to = at("to", c.now.UTC())
	if from = at("from", to.Add(-lookBack)); len(faults) == 0 && from.After(to) {
		faults = append(faults, "query: from is after to")
	}
	if len(c.values.Get("tenant")) > 128 {
		faults = append(faults, "query: tenant is longer than 128 bytes")
	}
	return from, to, faults
}

func (p *Plane) records() (Records, error) {
	if p.opts.Records == nil {
		return nil, off("receipts are not kept", "RECEIPTS=true, with a store,")
	}
	return p.opts.Records, nil
}

// What bounds how much is read for one page, however little of it is asked for.
const (
	maxScanned  = 20000
	scanTimeout = 3 * time.Second
)

// A place is that of a receipt among those that are stored.
type place struct {
	at   int64 // microseconds since 1970
	hash [16]byte
}

func placeOf(r *receipt.Receipt) place { return place{r.Time.UnixMicro(), [16]byte(r.Hash[:16])} }

func (p place) String() string {
	return base64.RawURLEncoding.EncodeToString(append(binary.BigEndian.AppendUint64(nil, uint64(p.at)), p.hash[:]...))
}

func parsePlace(text string) (p place, ok bool) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(raw) != 24 {
		return p, false
	}
	return place{int64(binary.BigEndian.Uint64(raw)), [16]byte(raw[8:])}, true
}

func (p place) time() time.Time { return time.UnixMicro(p.at).UTC() }

// before tells whether it is older than another.
func (p place) before(other place) bool {
	return cmp.Or(cmp.Compare(p.at, other.at), bytes.Compare(p.hash[:], other.hash[:])) < 0
}

// A search is what a page of receipts is looked for by.
type search struct {
	records  Records
	tenant   string
	from, to time.Time
	after    *place // nil: from the begin
}

// newest yields the receipts that are older than the place, the newest first.
func (s *search) newest(ctx context.Context) iter.Seq2[receipt.Receipt, error] {
	to := s.to
	if s.after != nil && s.after.time().Before(to) {
		to = s.after.time()
	}
	return func(yield func(receipt.Receipt, error) bool) {
		for r, err := range s.records.Newest(ctx, s.tenant, s.from, to) {
			if err == nil && s.after != nil && !placeOf(&r).before(*s.after) {
				continue
			}
			if !yield(r, err) || err != nil {
				return
			}
		}
	}
}

// oldest yields the receipts that are stored after the place, as they are stored. Segments come by their ends, and none is longer than
// [receipt.Span]: what comes after a receipt is found from there on, wherever in the range it is. Only where a clock was moved back by
// more than that may later pages lack receipts; a verification names such a chain.
func (s *search) oldest(ctx context.Context) iter.Seq2[receipt.Receipt, error] {
	begin, passed := s.from, s.after == nil
	if !passed {
		if near := s.after.time().Add(-receipt.Span); near.After(begin) {
			begin = near
		}
	}
	return func(yield func(receipt.Receipt, error) bool) {
		for r, err := range s.records.Select(ctx, s.tenant, begin, s.to) {
			if err == nil && !passed {
				passed = placeOf(&r) == *s.after
				continue
			}
			if err == nil && r.Time.Before(s.from) {
				continue
			}
			if !yield(r, err) || err != nil {
				return
			}
		}
		if !passed {
			yield(receipt.Receipt{}, invalid([]string{"query: after is not in this range of time any more: begin anew"}))
		}
	}
}

// listReceipts answers with a page of receipts.
func (p *Plane) listReceipts(c *call) (*answer, error) {
	ctx, stop := c.reading()
	defer stop()
	records, err := p.records()
	if err != nil {
		return nil, err
	}
	after, limit, faults := c.page()
	from, to, more := c.within()
	faults = append(faults, more...)
	s := search{records: records, tenant: c.values.Get("tenant"), from: from, to: to}
	last, ok := parsePlace(after)
	switch {
	case ok:
		begin := last
		s.after = &begin
	case after != "":
		faults = append(faults, "query: after is not what next said")
	}
	all := s.newest(ctx)
	switch order := c.values.Get("order"); order {
	case "", "newest":
	case "oldest":
		all = s.oldest(ctx)
	default:
		faults = append(faults, fmt.Sprintf("query: order: %.20q is neither newest nor oldest", order))
	}
	if err := invalid(faults); err != nil {
		return nil, err
	}
	kind, tool, reason := receipt.Kind(c.values.Get("kind")), c.values.Get("tool"), c.values.Get("reason")
	found, next := []json.RawMessage{}, ""
	scanned := 0
	for r, err := range all {
		if err != nil {
			return nil, err
		}
		scanned++
		if (kind == "" || r.Kind == kind) && (tool == "" || r.Tool == tool) && (reason == "" || r.Reason == reason) {
			if len(found) == limit {
				next = last.String()
				break
			}
			found = append(found, r.Append(nil))
		}
		last = placeOf(&r)
		if scanned >= maxScanned || p.opts.Now().Sub(c.now) > scanTimeout {
			next = last.String()
			break
		}
	}
	return &answer{body: struct {
		Receipts []json.RawMessage `json:"receipts"`
		Next     string            `json:"next,omitempty"`
	}{found, next}}, nil
}

// A reportView is what a verification found.
type reportView struct {
	OK       bool            `json:"ok"`
	Words    string          `json:"words"`
	Receipts int64           `json:"receipts"`
	Withheld int64           `json:"withheld"` // of other tenants: their hashes alone
	Segments int64           `json:"segments"`
	Chains   int64           `json:"chains"`
	Unsigned int64           `json:"unsigned"` // chains that no operator's key vouches for
	Roots    int64           `json:"roots"`
	Lost     int64           `json:"lost"` // as the chains themselves say
	From     time.Time       `json:"from,omitzero"`
	To       time.Time       `json:"to,omitzero"`
	Faults   []receiptsFault `json:"faults"`
	More     int64           `json:"more"` // faults beyond those
	Notes    []string        `json:"notes"`
}

type receiptsFault struct {
	Kind     verify.FaultKind `json:"kind"`
	Chain    string           `json:"chain,omitempty"`
	Instance string           `json:"instance,omitempty"`
	Segment  int64            `json:"segment,omitempty"`
	Seq      int64            `json:"seq,omitempty"`
	Last     int64            `json:"last,omitempty"`
	ID       string           `json:"id,omitempty"`
	Words    string           `json:"words"`
}

func viewReport(r *verify.Report) *reportView {
	v := &reportView{
		OK: r.OK(), Words: r.String(), Receipts: r.Receipts, Withheld: r.Withheld, Segments: r.Segments, Chains: r.Chains, Unsigned: r.Unsigned,
		Roots: r.Roots, Lost: r.Lost, From: r.From, To: r.To, Faults: []receiptsFault{}, More: r.More, Notes: append([]string{}, r.Notes...),
	}
	for _, f := range r.Faults {
		v.Faults = append(v.Faults, receiptsFault{f.Kind, f.Chain, f.Instance, f.Segment, f.Seq, f.Last, f.ID, f.Words})
	}
	return v
}

func (p *Plane) getReceipt(c *call) (*answer, error) {
	ctx, stop := c.reading()
	defer stop()
	records, err := p.records()
	if err != nil {
		return nil, err
	}
	id := c.r.PathValue("id")
	if _, _, err := receipt.Tag(id); err != nil {
		return nil, invalid([]string{"id: " + err.Error()})
	}
	found, report, err := records.Find(ctx, id)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, notFound("there is no receipt of %s: it may be counted in that of another refusal, wait to be stored, or be older than what is kept", id)
	}
	texts := make([]json.RawMessage, len(found))
	for i := range found {
		texts[i] = found[i].Append(nil)
	}
	return &answer{body: struct {
		Receipts []json.RawMessage `json:"receipts"`
		Report   *reportView       `json:"report"`
	}{texts, viewReport(report)}}, nil
}

// alone lets a few at a time do what reads much.
func (p *Plane) alone() (done func(), err error) {
	select {
	case p.heavy <- struct{}{}:
		return func() { <-p.heavy }, nil
	default:
		fault := problem(http.StatusServiceUnavailable, "busy", "%d exports and verifications run here already: try again in 10s", maxHeavy)
		fault.wait = 10 * time.Second
		return nil, fault
	}
}

func (p *Plane) verifyReceipts(c *call) (*answer, error) {
	records, err := p.records()
	if err != nil {
		return nil, err
	}
	from, to, faults := c.within()
	if err := invalid(faults); err != nil {
		return nil, err
	}
	done, err := p.alone()
	if err != nil {
		return nil, err
	}
	defer done()
	report, err := records.Verify(c.r.Context(), c.values.Get("tenant"), from, to)
	if err != nil {
		return nil, err
	}
	return &answer{body: viewReport(report)}, nil
}

// publicKeys are those by which anyone can prove an export.
func (p *Plane) publicKeys(c *call) (*answer, error) {
	records, err := p.records()
	if err != nil {
		return nil, err
	}
	keys, err := records.Keys(c.r.Context())
	if err != nil {
		return nil, unavailable(err, "the operator's public keys can't be had")
	}
	type view struct {
		ID  string `json:"id"`
		PEM string `json:"pem"`
	}
	all := []view{}
	show := func(key ed25519.PublicKey, text []byte, err error) error {
		all = append(all, view{receipt.KeyID(key), string(text)})
		return err
	}
	for _, key := range keys.Keys {
		text, fault := receipt.FormatKey(key)
		err = errors.Join(err, show(key, text, fault))
	}
	for _, key := range keys.Roots.Keys {
		text, fault := receipt.FormatRootKey(key, keys.Roots.Since)
		err = errors.Join(err, show(key, text, fault))
	}
	if err != nil {
		return nil, err
	}
	return &answer{body: map[string]any{"keys": all}}, nil
}

// anchor makes a root of receipts if one is due, for the account that pushes messages: it is no change, and nobody reads anything by it.
func (p *Plane) anchor(c *call) (*answer, error) {
	if p.opts.Push == nil {
		return nil, off("nobody may ask for roots of receipts", "PUBSUB_SERVICE_ACCOUNT")
	}
	who, err := p.authenticate(c, p.opts.Push)
	if err != nil {
		return nil, err
	}
	if p.opts.PushCaller(who) == nil {
		return nil, problem(http.StatusForbidden, "account", "this is not an account that may ask for roots of receipts here")
	}
	p.known(c, who.String())
	if err := p.opts.Anchor(c.r.Context()); err != nil {
		return nil, unavailable(err, "the receipts can't be anchored, or their roots not be kept, at the moment")
	}
	return &answer{status: http.StatusNoContent}, nil
}

func (p *Plane) exportReceipts(c *call) (*answer, error) {
	records, err := p.records()
	if err != nil {
		return nil, err
	}
	from, to, faults := c.within()
	if err := invalid(faults); err != nil {
		return nil, err
	}
	name := fmt.Sprintf("receipts-%s-%s.jsonl", from.Format("20060102T150405Z"), to.Format("20060102T150405Z"))
	return &answer{filename: name, stream: func(w io.Writer) error {
		done, err := p.alone()
		if err != nil {
			return err
		}
		defer done()
		_, err = records.Export(c.r.Context(), w, c.values.Get("tenant"), from, to)
		return err
	}}, nil
}
