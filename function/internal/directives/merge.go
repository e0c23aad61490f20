package directives

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// Directives are not compared by their version, but merged: what was ordered in either place is in force until it ends, or until a lift
// that has seen it. A lift is kept beside the directives, by the digest of what it lifted, and so no older copy brings that back. Of
// overrides on one scope the latest alone is kept, and a lift of one lifts the earlier ones too. Merging is commutative, associative and
// idempotent: whoever merges, in whatever order and how often, comes to the same directives.

// A Gone says that a directive was lifted, or that another kill switch took its place.
type Gone struct {
	Of    string    `json:"of"` // the digest of the directive
	At    time.Time `json:"at,omitzero"`
	Scope string    `json:"scope,omitempty"` // of an override: those on the scope are lifted
	Until time.Time `json:"until,omitzero"`  // that were ordered until then
}

const (
	// goneKept is how long it is remembered what was lifted: no copy may come back that is younger than that.
	goneKept = 30 * 24 * time.Hour
	// maxGone bounds how many of them there are, the latest first.
	maxGone = 1000
	// endedKept is how long a kill switch is kept once it has ended, so that a clock that is fast takes none away.
	endedKept = time.Hour
)

// digest tells directives apart by all that they say.
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
	return digest("limit", v.Scope, instant(v.At), value(v.PerSecond), value(v.Burst), value(v.Concurrency), value(v.PerDay), value(v.DryRun))
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

// Merge returns what is in force where both are; neither is changed. Its version is the greater one, or a later one where the directives
// of that version do not say all.
func Merge(a, b Directives, now time.Time) Directives {
	if a.Version < b.Version {
		a, b = b, a
	}
	out := Directives{
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
func (d *Directives) clean(now time.Time) {
	gone := d.removed()
	d.Kills = keep(d.Kills, func(k *Kill) bool { return !gone.kill(k) && !k.ended(now.Add(-endedKept)) })
	d.Limits = keep(d.Limits, func(v *Override) bool { return !gone.override(v) })
	d.Gone = keep(d.Gone, func(g *Gone) bool { return g.At.IsZero() || now.Sub(g.At) <= goneKept })
	d.sort()
	for i := len(d.Limits) - 2; i >= 0; i-- { // of overrides the latest
		if d.Limits[i].Scope == d.Limits[i+1].Scope {
			d.Limits = slices.Delete(d.Limits, i, i+1)
		}
	}
	seen := make(map[string]bool, len(d.Gone))
	d.Gone = keep(d.Gone, func(g *Gone) bool { // of two lifts of one directive the later is remembered, and of those on one scope the last
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
	d.Gone = d.Gone[:min(len(d.Gone), maxGone)]
}

// Remembers tells whether it is remembered what was lifted since a time, with a minute for clocks that differ.
func (d *Directives) Remembers(since, now time.Time) bool {
	first := now.Add(-goneKept)
	if n := len(d.Gone); n >= maxGone && d.Gone[n-1].At.After(first) {
		first = d.Gone[n-1].At
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

// sort puts the directives in the order in which all read them. Of kill switches on one scope the one that lasts longest is the first; of
// overrides the latest is the last, and is in force.
func (d *Directives) sort() {
	slices.SortFunc(d.Kills, func(x, y Kill) int {
		return cmp.Or(cmp.Compare(x.Scope, y.Scope), longer(x.Until, y.Until), y.At.Compare(x.At), cmp.Compare(x.Reason, y.Reason))
	})
	slices.SortFunc(d.Limits, func(x, y Override) int {
		return cmp.Or(cmp.Compare(x.Scope, y.Scope), earlier(&x, &y))
	})
	slices.SortFunc(d.Gone, func(x, y Gone) int { return cmp.Or(y.At.Compare(x.At), cmp.Compare(x.Of, y.Of)) })
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

// removed is what was lifted: directives by their digests, and overrides by their scopes and times.
type removed struct {
	of    map[string]bool
	until map[string]time.Time
}

func (d *Directives) removed() removed {
	r := removed{make(map[string]bool, len(d.Gone)), map[string]time.Time{}}
	for i := range d.Gone {
		g := &d.Gone[i]
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

// Lifted is what stands in [Directives.Beyond] for what was lifted.
const Lifted = "what was lifted"

// Beyond names the scopes of what these directives say and the others do not, nil for none.
func (d *Directives) Beyond(others *Directives) []string {
	if len(d.Kills)+len(d.Limits)+len(d.Gone) == 0 {
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
	for i := range d.Kills {
		if k := &d.Kills[i]; !kills[k.digest()] && !gone.kill(k) {
			add(k.Scope)
		}
	}
	for i := range d.Limits {
		v := &d.Limits[i]
		later := func(w Override) bool { return w.Scope == v.Scope && earlier(v, &w) <= 0 }
		if !gone.override(v) && !slices.ContainsFunc(others.Limits, later) {
			add(v.Scope)
		}
	}
	for i := range d.Gone {
		if !gone.lift(&d.Gone[i]) {
			add(Lifted)
		}
	}
	return out
}
