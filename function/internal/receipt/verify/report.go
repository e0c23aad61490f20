package verify

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"example.com/erlmcp/function/internal/receipt"
)

// A Report is what a verification found.
type Report struct {
	Receipts int64 // read and verified
	Withheld int64 // of other tenants: their hashes alone
	Segments int64
	Chains   int64
	Unsigned int64 // chains that no operator's key vouches for: their integrity alone is proved
	Roots    int64
	LastRoot Witness   // of the range; zero without any
	Lost     int64     // receipts that the chains themselves say were lost
	From, To time.Time // of the first and the last receipt
	Faults   []Fault   // by chain and place, at most 1000
	More     int64     // faults beyond those
	Notes    []string  // what is no fault, and should be known
}

// OK tells whether nothing is wrong.
func (r *Report) OK() bool { return len(r.Faults) == 0 }

// A Fault is one thing that is wrong.
type Fault struct {
	Kind      FaultKind
	Chain     string
	Instance  string
	Segment   int64  // number, 0 where it is about none
	Seq, Last int64  // receipts from and to, 0 where it is about none
	ID        string // of the receipt, where it is one and known
	Line      int64  // of an export
	Words     string // a sentence that says all of it
}

// A FaultKind says in which way something is wrong.
type FaultKind string

// The ways.
const (
	Altered    FaultKind = "altered"    // its content does not give its hash, or can't be read
	Replaced   FaultKind = "replaced"   // it is whole, but not what was recorded in this place
	Missing    FaultKind = "missing"    // removed
	Tail       FaultKind = "lost tail"  // announced or anchored, and not there
	Reordered  FaultKind = "reordered"  // in another place than it was
	Duplicated FaultKind = "duplicated" // there twice
	Forged     FaultKind = "forged"     // signed by nobody who may
	Unsigned   FaultKind = "unsigned"   // where there are keys to verify with
	Foreign    FaultKind = "foreign"    // of another chain
	Clock      FaultKind = "clock"      // dated as it can't have happened
	Misfiled   FaultKind = "misfiled"   // found by other names, times or tenants than it has
	Truncated  FaultKind = "truncated"  // an export without its end
	Withheld   FaultKind = "withheld"   // a receipt that should be in full
)

// maxFaults bounds a report.
const maxFaults = 1000

func (r *Report) fault(f Fault) {
	if len(r.Faults) >= maxFaults {
		r.More++
		return
	}
	r.Faults = append(r.Faults, f)
}

// Add puts faults before the others, of which there are at most 1000 together.
func (r *Report) Add(faults []Fault) {
	of := r.Faults
	r.Faults = nil
	for _, f := range append(faults, of...) {
		r.fault(f)
	}
}

func (r *Report) note(format string, args ...any) {
	if len(r.Notes) < maxFaults {
		r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
	}
}

func (r *Report) sort() {
	slices.SortStableFunc(r.Faults, func(a, b Fault) int {
		if c := strings.Compare(a.Chain, b.Chain); c != 0 {
			return c
		}
		if a.Segment != b.Segment {
			return int(a.Segment - b.Segment)
		}
		return int(a.Seq - b.Seq)
	})
}

// String is the report for a reader: the faults first.
func (r *Report) String() string {
	var b strings.Builder
	for _, f := range r.Faults {
		fmt.Fprintf(&b, "%s: %s\n", strings.ToUpper(string(f.Kind)), f.Words)
	}
	if r.More > 0 {
		fmt.Fprintf(&b, "and %d more faults\n", r.More)
	}
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "note: %s\n", n)
	}
	if r.Lost > 0 {
		fmt.Fprintf(&b, "note: the chains say themselves that %d receipts were lost\n", r.Lost)
	}
	if r.LastRoot.Number > 0 {
		fmt.Fprintf(&b, "note: the last root is %s: kept elsewhere, it shows a later verification (-root) that no root up to it was removed\n", r.LastRoot)
	}
	verdict := "nothing is altered or added, and nothing is missing that these or announcements name"
	switch n := int64(len(r.Faults)) + r.More; n {
	case 0:
	case 1:
		verdict = "1 FAULT"
	default:
		verdict = fmt.Sprintf("%d FAULTS", n)
	}
	fmt.Fprintf(&b, "%d receipts in %d segments of %d chains, %d roots", r.Receipts, r.Segments, r.Chains, r.Roots)
	if r.Withheld > 0 {
		fmt.Fprintf(&b, ", %d receipts of others by their hashes", r.Withheld)
	}
	if !r.From.IsZero() {
		fmt.Fprintf(&b, ", from %s to %s", receipt.FormatTime(r.From), receipt.FormatTime(r.To))
	}
	fmt.Fprintf(&b, ": %s\n", verdict)
	return b.String()
}

// span says which receipts, or segments.
func span(what string, from, to int64) string {
	if from >= to {
		return fmt.Sprintf("%s %d", what, from)
	}
	return fmt.Sprintf("%ss %d–%d", what, from, to)
}

func are(n int64) string {
	if n == 1 {
		return " is"
	}
	return " are"
}

// A place is where faults are found.
type place struct {
	v      *verifier
	t      *trail
	number int64
	id     string // of the receipt, where it is one and known
	line   int64
}

// at is the place of an entry.
func (p *place) at(e entry) *place {
	q := *p
	q.id, q.line = e.id, e.line
	return &q
}

func (p *place) fault(kind FaultKind, seq, last int64, format string, args ...any) {
	p.v.faulty = true
	var b bytes.Buffer
	fmt.Fprintf(&b, "chain %s", p.t.chain)
	if p.t.instance != "" {
		fmt.Fprintf(&b, " of instance %s", p.t.instance)
	}
	if p.number > 0 {
		fmt.Fprintf(&b, ", segment %d", p.number)
		if p.id == "" && seq > 0 && kind != Missing {
			fmt.Fprintf(&b, " (%s)", span("receipt", seq, last))
		}
	}
	if p.line > 0 {
		fmt.Fprintf(&b, ", line %d", p.line)
	}
	b.WriteString(": ")
	fmt.Fprintf(&b, format, args...)
	p.v.report.fault(Fault{kind, p.t.chain, p.t.instance, p.number, seq, last, p.id, p.line, b.String()})
}
