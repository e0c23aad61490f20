package verify

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"example.com/erlmcp/function/internal/receipt"
)

// A Witness is a root that was noted elsewhere: a store that lacks it, or has another in its place, is not what it was.
type Witness struct {
	Number int64
	Hash   receipt.Hash
}

// ParseWitness reads NUMBER:HASH.
func ParseWitness(text string) (w Witness, err error) {
	number, hash, _ := strings.Cut(text, ":")
	w.Number, err = strconv.ParseInt(number, 10, 64)
	if err != nil || w.Number < 1 || strconv.FormatInt(w.Number, 10) != number || hash == "" || w.Hash.UnmarshalText([]byte(hash)) != nil {
		return w, errors.New("a root is NUMBER:HASH, as a verification ends with, the hash in 64 lower-case hexadecimal digits")
	}
	return w, nil
}

// String implements [fmt.Stringer].
func (w Witness) String() string { return fmt.Sprintf("%d:%s", w.Number, w.Hash) }

// witness holds a root against those that were noted elsewhere.
func (v *verifier) witness(h *receipt.Heads, fault func(FaultKind, string, ...any)) {
	for _, w := range v.opts.Witnesses {
		switch {
		case h.Number == w.Number && v.lastHash != w.Hash:
			fault(Replaced, "root %d has the hash %s, and the one that was noted had %s", h.Number, v.lastHash, w.Hash)
		case h.Number == w.Number+1 && h.Previous != w.Hash:
			fault(Replaced, "root %d follows another root %d than the one that was noted, %s", h.Number, w.Number, w.Hash)
		}
	}
}

// unwitnessed reports roots that were noted elsewhere, and are not there any more.
func (v *verifier) unwitnessed() {
	last := v.anchored.latest
	if v.lastRoot != nil {
		last = max(last, v.lastRoot.Number)
	}
	for _, w := range v.opts.Witnesses {
		switch {
		case last == 0:
			v.report.fault(Fault{Kind: Missing, Words: fmt.Sprintf("root %d was noted, and there is none", w.Number)})
		case last < w.Number:
			v.report.fault(Fault{Kind: Missing, Words: fmt.Sprintf("root %d was noted, and the last one is root %d: %s missing", w.Number, last, span("root", last+1, w.Number)+are(w.Number-last))})
		case v.lastRoot == nil || v.lastRoot.Number < w.Number || v.anchored.number > w.Number+1:
			v.report.note("root %d, which was noted, is outside of the range: it is not compared", w.Number)
		}
	}
}
