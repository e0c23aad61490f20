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
// beside the orders, by the digest of what it lifted, and so no older copy brings that back. Of overrides on one scope the latest alone
// is kept, and a lift of one lifts the earlier ones too. Merging is commutative, associative and idempotent: whoever merges, in whatever
// order and how often, comes to the same orders.

// A Gone says that an order was lifted, or that another kill switch took its place.
type Gone struct {
	Of    string    `json:"of"` // the digest of the order
	At    time.Time `json:"at,omitzero"`
	Scope string    `json:"scope,omitempty"` // of an override: those on the scope are lifted
	Until time.Time `json:"until,omitzero"`  // that were ordered until then
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
		Merged:  true,
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
	o.Kills = keep(o.Kills, func(k *Kill) bool { return !gone.kill(k) && !k.ended(now.Add(-endedKept)) })
	o.Limits = keep(o.Limits, func(v *Override) bool { return !gone.override(v) })
	o.Gone = keep(o.Gone, func(g *Gone) bool { return g.At.IsZero() || now.Sub(g.At) <= goneKept })
	o.sort()
	for i := len(o.Limits) - 2; i >= 0; i-- { // of overrides the latest
		if o.Limits[i].Scope == o.Limits[i+1].Scope {
			o.Limits = slices.Delete(o.Limits, i, i+1)
		}
	}
	seen := make(map[string]bool, len(o.Gone))
	o.Gone = keep(o.Gone, func(g *Gone) bool { // of two lifts of one order the later is remembered, and of those on one scope the last
		of := g.Of
		if g.Scope != "" {
			if of = "limit " + g.Scope; gone.until[g.Scope].After(g.Until) {
				return false
			}
		}
		again := seen[of]
		seen[of] = true
		return !again
	})
	o.Gone = o.Gone[:min(len(o.Gone), mostGone)]
}

// remembers tells whether it is remembered what was lifted since a time, with a minute for clocks that differ.
func (o *Orders) remembers(since, now time.Time) bool {
	first := now.Add(-goneKept)
	if n := len(o.Gone); n >= mostGone && o.Gone[n-1].At.After(first) {
		first = o.Gone[n-1].At
	}
	return since.After(first.Add(time.Minute))
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
		return cmp.Or(cmp.Compare(x.Scope, y.Scope), earlier(&x, &y))
	})
	slices.SortFunc(o.Gone, func(x, y Gone) int { return cmp.Or(y.At.Compare(x.At), cmp.Compare(x.Of, y.Of)) })
}

// earlier puts the override first that was ordered earlier.
func earlier(v, w *Override) int {
	return cmp.Or(v.At.Compare(w.At), cmp.Compare(v.digest(), w.digest()))
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

// removed is what was lifted: orders by their digests, and overrides by their scopes and times.
type removed struct {
	of    map[string]bool
	until map[string]time.Time
}

func (o *Orders) removed() removed {
	r := removed{make(map[string]bool, len(o.Gone)), map[string]time.Time{}}
	for i := range o.Gone {
		g := &o.Gone[i]
		if r.of[g.Of] = true; g.Scope != "" && g.Until.After(r.until[g.Scope]) {
			r.until[g.Scope] = g.Until
		}
	}
	return r
}

func (r removed) kill(k *Kill) bool { return r.of[k.digest()] }

func (r removed) override(v *Override) bool {
	until, some := r.until[v.Scope]
	return some && !v.At.After(until) || r.of[v.digest()]
}

// lift tells that what another lift says is said here too.
func (r removed) lift(g *Gone) bool {
	if g.Scope == "" {
		return r.of[g.Of]
	}
	return !g.Until.After(r.until[g.Scope])
}

// Lifted is what stands in [Orders.Beyond] for what was lifted.
const Lifted = "what was lifted"

// Beyond names the scopes of what these orders say and the others do not, nil for none.
func (o *Orders) Beyond(others *Orders) []string {
	if len(o.Kills)+len(o.Limits)+len(o.Gone) == 0 {
		return nil
	}
	gone := others.removed()
	kills := make(map[string]bool, len(others.Kills))
	for i := range others.Kills {
		kills[others.Kills[i].digest()] = true
	}
	var out []string
	add := func(scope string) {
		if !slices.Contains(out, scope) {
			out = append(out, scope)
		}
	}
	for i := range o.Kills {
		if k := &o.Kills[i]; !kills[k.digest()] && !gone.kill(k) {
			add(k.Scope)
		}
	}
	for i := range o.Limits {
		v := &o.Limits[i]
		later := func(w Override) bool { return w.Scope == v.Scope && earlier(v, &w) <= 0 }
		if !gone.override(v) && !slices.ContainsFunc(others.Limits, later) {
			add(v.Scope)
		}
	}
	for i := range o.Gone {
		if !gone.lift(&o.Gone[i]) {
			add(Lifted)
		}
	}
	return out
}
