package governor

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// Orders are kept in two places, each of which may be out of reach while the other is changed. So they are not compared by their
// version, but merged: what was ordered in either place is in force until it ends, or until a lift that has seen it. A lift is kept
// beside the orders, by the digest of what it lifted, and so no older copy brings that back. Merging is commutative, associative and
// idempotent: whoever merges, in whatever order and how often, comes to the same orders.

// A Gone says that an order was lifted, or that another took its place.
type Gone struct {
	Of string    `json:"of"` // the digest of the order
	At time.Time `json:"at,omitzero"`
}

const (
	// goneKept is how long it is remembered what was lifted: no copy may come back that is younger than that.
	goneKept = 30 * 24 * time.Hour
	// mostGone bounds how many of them there are, the latest first.
	mostGone = 1000
	// endedKept is how long a kill switch is kept once it has ended, so that a clock that is fast takes none away.
	endedKept = time.Hour
)

// digest tells orders apart by all that they say.
func digest(parts ...string) string {
	var text []byte
	for _, p := range parts {
		text = append(strconv.AppendInt(text, int64(len(p)), 10), ':')
		text = append(text, p...)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

func (k *Kill) digest() string {
	return digest("kill", k.Scope, k.Reason, instant(k.At), instant(k.Until))
}

func (v *Override) digest() string {
	return digest("limit", v.Scope, instant(v.At), value(v.PerSecond), value(v.Burst), value(v.Concurrency), value(v.PerDay), value(v.Shadow))
}

func instant(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return strconv.FormatInt(t.UnixMicro(), 10)
}

func value[T any](p *T) string {
	if p == nil {
		return ""
	}
	return fmt.Sprint(*p)
}

// Merge returns what is in force where both are; neither is changed. Its version is the greater one, or a later one where the orders
// of that version do not say all.
func Merge(a, b Orders, now time.Time) Orders {
	if a.Version < b.Version {
		a, b = b, a
	}
	out := Orders{
		Version: a.Version,
		Kills:   union(a.Kills, b.Kills, (*Kill).digest),
		Limits:  union(a.Limits, b.Limits, (*Override).digest),
		Gone:    slices.Concat(a.Gone, b.Gone),
	}
	out.clean(now)
	if out.Beyond(&a) != nil {
		out.Version++
	}
	return out
}

// union returns the items of both, those of one digest once.
func union[T any](a, b []T, digest func(*T) string) []T {
	var out []T
	seen := make(map[string]bool, len(a)+len(b))
	for _, list := range [][]T{a, b} {
		for i := range list {
			if d := digest(&list[i]); !seen[d] {
				seen[d] = true
				out = append(out, list[i])
			}
		}
	}
	return out
}

// clean leaves out what was lifted, what ended long ago, and what need not be remembered any more, and puts the rest in order.
func (o *Orders) clean(now time.Time) {
	gone := o.removed()
	o.Kills = keep(o.Kills, func(k *Kill) bool { return !gone[k.digest()] && !k.ended(now.Add(-endedKept)) })
	o.Limits = keep(o.Limits, func(v *Override) bool { return !gone[v.digest()] })
	o.Gone = keep(o.Gone, func(g *Gone) bool { return g.At.IsZero() || now.Sub(g.At) <= goneKept })
	o.sort()
	seen := make(map[string]bool, len(o.Gone))
	o.Gone = keep(o.Gone, func(g *Gone) bool { // of two lifts of one order the later is remembered
		again := seen[g.Of]
		seen[g.Of] = true
		return !again
	})
	o.Gone = o.Gone[:min(len(o.Gone), mostGone)]
}

// keep returns those of a list that are to be kept, nil for none; the list is not changed.
func keep[T any](list []T, wanted func(*T) bool) []T {
	var out []T
	for i := range list {
		if wanted(&list[i]) {
			out = append(out, list[i])
		}
	}
	return out
}

// sort puts the orders in the order in which all read them. Of kill switches on one scope the one that lasts longest is the first; of
// overrides the latest is the last, and is in force.
func (o *Orders) sort() {
	slices.SortFunc(o.Kills, func(x, y Kill) int {
		return cmp.Or(cmp.Compare(x.Scope, y.Scope), longer(x.Until, y.Until), y.At.Compare(x.At), cmp.Compare(x.Reason, y.Reason))
	})
	slices.SortFunc(o.Limits, func(x, y Override) int {
		return cmp.Or(cmp.Compare(x.Scope, y.Scope), x.At.Compare(y.At), cmp.Compare(x.digest(), y.digest()))
	})
	slices.SortFunc(o.Gone, func(x, y Gone) int { return cmp.Or(y.At.Compare(x.At), cmp.Compare(x.Of, y.Of)) })
}

// longer puts the later end first; zero is none.
func longer(x, y time.Time) int {
	switch {
	case x.Equal(y):
		return 0
	case x.IsZero():
		return -1
	case y.IsZero():
		return 1
	}
	return y.Compare(x)
}

func (o *Orders) removed() map[string]bool {
	gone := make(map[string]bool, len(o.Gone))
	for i := range o.Gone {
		gone[o.Gone[i].Of] = true
	}
	return gone
}

// Lifted is what stands in [Orders.Beyond] for what was lifted.
const Lifted = "what was lifted"

// Beyond names the scopes of what these orders say and the others do not, nil for none.
func (o *Orders) Beyond(others *Orders) []string {
	if len(o.Kills)+len(o.Limits)+len(o.Gone) == 0 {
		return nil
	}
	there := others.removed()
	for i := range others.Kills {
		there[others.Kills[i].digest()] = true
	}
	for i := range others.Limits {
		there[others.Limits[i].digest()] = true
	}
	var out []string
	add := func(digest, scope string) {
		if !there[digest] && !slices.Contains(out, scope) {
			out = append(out, scope)
		}
	}
	for i := range o.Kills {
		add(o.Kills[i].digest(), o.Kills[i].Scope)
	}
	for i := range o.Limits {
		add(o.Limits[i].digest(), o.Limits[i].Scope)
	}
	there = others.removed()
	for i := range o.Gone {
		add(o.Gone[i].Of, Lifted)
	}
	return out
}
