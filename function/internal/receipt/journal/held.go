package journal

import (
	"time"

	"example.com/erlmcp/function/internal/receipt"
)

// held are the refusals of the last second: the first of each kind, in which the others are counted, so that a flood of refusals
// is not one of writes.
type held struct {
	receipts []receipt.Receipt
	index    map[refusal]int
	counted  int64
	since    time.Time // when the first of them came, zero without any
}

// A refusal is what must be the same for refusals to be counted as one.
type refusal struct{ tenant, principal, reason, limit string }

// refusalOf is the same for all whose callers are not known: strangers fill no store, whatever they call.
func refusalOf(r *receipt.Receipt) refusal {
	if r.Stranger() {
		return refusal{}
	}
	return refusal{r.Tenant, r.Principal, r.Reason, r.Limit}
}

// count counts a refusal in an earlier one, if there is one like it.
func (h *held) count(r *receipt.Receipt) bool {
	i, ok := h.index[refusalOf(r)]
	if ok {
		h.receipts[i].More += 1 + r.More
		h.counted++
	}
	return ok
}

func (h *held) add(now time.Time, r *receipt.Receipt) {
	if len(h.receipts) == 0 {
		h.since = now
	}
	if h.index == nil {
		h.index = map[refusal]int{}
	}
	h.index[refusalOf(r)] = len(h.receipts)
	h.receipts = append(h.receipts, *r)
}

func (h *held) clear() {
	h.since = time.Time{}
	clear(h.receipts)
	clear(h.index)
	h.receipts = h.receipts[:0]
	if cap(h.receipts) > 4*chunkSize { // of a flood that is over
		h.receipts, h.index = nil, nil
	}
}
