// Package receipt is the form of the record: receipts of decisions, the hash chains that they are in, and the roots over these, each in
// canonical form, hashed and signed so that they can be proved later.
//
// Each instance has a chain of its own, in signed segments, in a [Store]. Roots, signed by the operator, hold the heads of the chains.
// Package journal writes them, and package verify reads and proves them. [Changes] has the control plane change nothing unrecorded.
package receipt

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"time"
	"unicode/utf8"
)

// A Receipt is the record of one decision. What is zero is left out of its canonical form. Text is cut at 256 bytes, Detail at
// 8 KiB.
type Receipt struct {
	ID        string    // of the request: see [NewID]; the receipts of one call share it
	Time      time.Time // to the microsecond; the journal's clock where it is zero
	Kind      Kind
	Tenant    string
	Principal string // [Fingerprint] of the caller's name
	Method    string // such as tools/call
	Tool      string
	Decision  Decision
	Reason    string
	Limit     string
	Era       string        // protocol version or family
	Duration  time.Duration // to the microsecond; of what was lost, between the first and the last
	Arguments Hash          // by [Hasher.Hash], as the result
	Result    Hash
	Catalog   string // version of it
	Policy    string // version of it
	Trace     string // W3C trace id
	Detail    string // of a change: what was ordered, by whom; of a call that a kill switch refused: the operator's reason
	// More is how many further refusals are counted in this one; of [Lost], how many receipts were lost; of [Closed], how many
	// were not flushed.
	More int64

	// The journal sets these.
	Instance string
	Seq      int64 // from 1, without gaps in a chain
	Previous Hash  // of the receipt before in the chain; of the first, the hash of the chain's certificate
	Hash     Hash  // SHA-256 over the canonical form without the member hash
}

// Stranger tells whether it is a refusal whose caller is not known. Of these a journal counts all of a second in the first.
func (r *Receipt) Stranger() bool { return r.Kind == Refused && r.Tenant == "" && r.Principal == "" }

// From is the detail of a refusal whose caller is not known: where it called from, hashed.
func From(address Hash) string { return `{"address":"` + address.String()[:16] + `"}` }

// A Kind says what is recorded.
type Kind string

// What is recorded of calls, of the control plane, and of the chain itself.
const (
	Admitted  Kind = "admitted" // of a strict tool, the intent
	Refused   Kind = "refused"
	Failed    Kind = "failed"
	Completed Kind = "completed"

	Changed  Kind = "changed"  // by the control plane: limits, tools, keys
	Killed   Kind = "killed"   // a kill switch was set or lifted
	Entitled Kind = "entitled" // an entitlement came, changed or went

	Lost   Kind = "lost"   // the queue was full: More receipts are missing here
	Closed Kind = "closed" // the last receipt of a chain
)

// A Decision is what was decided.
type Decision string

// What can be decided.
const (
	Allow  Decision = "allow"
	Refuse Decision = "refuse"
	Shadow Decision = "shadow" // allowed, though a limit or rule in shadow mode would have refused
)

// A Hash is a SHA-256. Its zero value is none.
type Hash [sha256.Size]byte

// HashOf hashes without a key.
func HashOf(raw []byte) Hash { return sha256.Sum256(raw) }

// IsZero tells whether there is no hash.
func (h Hash) IsZero() bool { return h == Hash{} }

// String is the hash in lower-case hexadecimal digits, "" of none.
func (h Hash) String() string {
	if h.IsZero() {
		return ""
	}
	return hex.EncodeToString(h[:])
}

// MarshalText implements [encoding.TextMarshaler].
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (h *Hash) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*h = Hash{}
		return nil
	}
	if !readHash(h, string(text)) {
		return errors.New("a hash is 64 lower-case hexadecimal digits")
	}
	return nil
}

const (
	maxText   = 256
	maxDetail = 8 << 10
	maxInt    = 1<<53 - 1 // RFC 8785: greater integers lose digits in a double
)

// Clip bounds what a caller can make a receipt carry.
func (r *Receipt) Clip() {
	for _, s := range [...]*string{&r.ID, &r.Tenant, &r.Principal, &r.Method, &r.Tool, &r.Reason, &r.Limit, &r.Era, &r.Catalog, &r.Policy, &r.Trace} {
		if len(*s) > maxText {
			*s = clipped(*s, maxText)
		}
	}
	if len(r.Detail) > maxDetail {
		r.Detail = clipped(r.Detail, maxDetail)
	}
	r.More = max(0, min(r.More, maxInt))
	r.Duration = max(0, min(r.Duration, maxInt*time.Microsecond))
}

func clipped(s string, length int) string {
	const mark = "…"
	length -= len(mark)
	for length > 0 && !utf8.RuneStart(s[length]) {
		length--
	}
	return strings.Clone(s[:length]) + mark
}
