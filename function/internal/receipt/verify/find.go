package verify

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"fmt"
	"iter"
	"time"

	"example.com/erlmcp/function/internal/receipt"
)

// segmentsIn yields the segments that may have receipts of a range of time.
func segmentsIn(ctx context.Context, store receipt.Store, tenant string, from, to time.Time) iter.Seq2[*receipt.Segment, error] {
	end := to.Add(receipt.Span) // a segment that ends after the range may have begun in it
	all := store.Between(ctx, from, end)
	if tenant != "" {
		all = store.OfTenant(ctx, tenant, from, end)
	}
	return func(yield func(*receipt.Segment, error) bool) {
		for s, err := range all {
			if err == nil && s.From.After(to) {
				continue
			}
			if !yield(s, err) || err != nil {
				return
			}
		}
	}
}

// Select yields the receipts of a range of time, ends included, segment by segment, where zero is no bound; of a tenant, unless that is "". A receipt whose
// hash is not that of its content ends the sequence with an error: [Store] says more.
func Select(ctx context.Context, store receipt.Store, tenant string, from, to time.Time) iter.Seq2[receipt.Receipt, error] {
	if to.IsZero() {
		to = endOfTime
	}
	return func(yield func(receipt.Receipt, error) bool) {
		for s, err := range segmentsIn(ctx, store, tenant, from, to) {
			if err != nil {
				yield(receipt.Receipt{}, err)
				return
			}
			for line := range bytes.Lines(s.Receipts) {
				r, err := receipt.Parse(bytes.TrimSuffix(line, newline))
				if err != nil {
					yield(r, fmt.Errorf("a receipt in segment %d of chain %s: %w", s.Number, s.Chain, err))
					return
				}
				if r.Time.Before(from) || r.Time.After(to) || tenant != "" && r.Tenant != tenant {
					continue
				}
				if !yield(r, nil) {
					return
				}
			}
		}
	}
}

// Find returns the receipts of an id, and a report on the segments where they belong, each taken for itself. A refusal that was
// counted in another has no receipt of its own.
func Find(ctx context.Context, store receipt.Store, id string, keys []ed25519.PublicKey) ([]receipt.Receipt, *Report, error) {
	call, err := receipt.Call(id)
	if err != nil {
		return nil, nil, err
	}
	var found []receipt.Receipt
	v := newVerifier(Options{Keys: keys, From: endOfTime}) // a segment need not begin its chain
	for s, err := range store.OfCall(ctx, call) {
		if err != nil {
			return nil, nil, fmt.Errorf("segments can't be read: %w", err)
		}
		for line := range bytes.Lines(s.Receipts) {
			if r, err := receipt.Parse(bytes.TrimSuffix(line, newline)); err == nil && r.ID == id {
				found = append(found, r)
			}
		}
		v.trails = map[string]*trail{} // nor follow another
		v.segment(&piece{certificate: s.Certificate, header: s.Header, receipts: s.Receipts, stored: s})
	}
	v.report.sort()
	return found, &v.report, nil
}

// Segment proves one segment by itself: its receipts, its header and its certificate, and not what comes before or after it.
func Segment(s *receipt.Segment, keys []ed25519.PublicKey) ([]receipt.Receipt, *Report) {
	v := newVerifier(Options{Keys: keys, From: endOfTime}) // it need not begin its chain
	v.segment(&piece{certificate: s.Certificate, header: s.Header, receipts: s.Receipts, stored: s})
	v.report.sort()
	var all []receipt.Receipt
	for line := range bytes.Lines(s.Receipts) {
		if r, err := receipt.Parse(bytes.TrimSuffix(line, newline)); err == nil { // else the report says so
			all = append(all, r)
		}
	}
	return all, &v.report
}
