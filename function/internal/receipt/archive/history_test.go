package archive

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/erlmcp/function/internal/backup/backuptest"
	"example.com/erlmcp/function/internal/receipt"
	"example.com/erlmcp/function/internal/receipt/journal"
	"example.com/erlmcp/function/internal/receipt/receipttest"
	"example.com/erlmcp/function/internal/receipt/verify"
	"example.com/erlmcp/function/internal/store/memory"
)

// keepInTests is for how long the store of a history keeps receipts.
const keepInTests = 8 * length

var errKilled = errors.New("the writer was killed")

// A history is what some instances wrote in some weeks, and what was archived of it.
type history struct {
	t       *testing.T
	rand    *rand.Rand
	all     *memory.Receipts // which never forgets
	recent  *forgetful
	objects *backuptest.Objects
	ids     []string
	live    []*instance
	heads   map[string]receipt.Head
	kills   int // of writers
	late    int64
}

type instance struct {
	*journal.Journal
	store *stalling
	since time.Time // when its store went away last
}

// longest is for how long a store is away at most: what is stored after the second look at its day is not archived.
const longest = 3 * length

// A stalling store takes nothing for a while.
type stalling struct {
	receipt.Store
	away atomic.Bool
}

func (s *stalling) PutSegment(ctx context.Context, x *receipt.Segment) error {
	if s.away.Load() {
		return errors.New("the store is away")
	}
	return s.Store.PutSegment(ctx, x)
}

func newHistory(t *testing.T, seed uint64) *history {
	h := &history{t: t, rand: rand.New(rand.NewPCG(seed, 1)), all: memory.NewReceipts(0), objects: backuptest.NewObjects(), heads: map[string]receipt.Head{}}
	// A TTL policy deletes within a day or so, in no order.
	expired := func(at time.Time, name string, number int64) bool {
		return time.Since(at.Add(keepInTests)) > time.Duration(hashed(name, number)%30)*time.Hour
	}
	h.recent = &forgetful{
		h.all, func(s *receipt.Segment) bool { return expired(s.To, s.Chain, s.Number) }, func(r *receipt.Root) bool { return expired(r.Time, "root", r.Number) },
	}
	return h
}

func (h *history) chance(percent int) bool { return h.rand.IntN(100) < percent }

// hour lets some calls come, and an instance start, stop or be killed.
func (h *history) hour(number int) {
	if len(h.live) < 3 && h.chance(30) {
		i := &instance{store: &stalling{Store: h.all}}
		i.Journal = receipttest.Open(h.t, i.store, func(o *journal.Options) { o.Instance, o.Tag = fmt.Sprint("node-", number), h.rand.Uint32() })
		h.live = append(h.live, i)
	}
	for n, i := range slices.Backward(h.live) {
		for range h.rand.IntN(8) {
			r := receipttest.Receipt(i.Journal, receipt.Completed)
			r.Tenant = []string{"acme", "blue", "core"}[h.rand.IntN(3)]
			i.Append(r)
			h.ids = append(h.ids, r.ID)
			if h.chance(30) {
				time.Sleep(2 * time.Second) // in a bubble
			}
		}
		switch {
		case i.store.away.Load() && time.Since(i.since) > longest:
			i.store.away.Store(false)
		case h.chance(3):
			i.store.away.Store(!i.store.away.Load()) // for a day or two
			i.since = time.Now()
		case i.store.away.Load() && h.chance(2):
			i.store.away.Store(false)
		case h.chance(3) && !i.store.away.Load():
			receipttest.Close(h.t, i.Journal)
			h.gone(n)
		}
	}
	time.Sleep(2 * time.Second) // in a bubble
	for _, i := range h.live {
		h.heads[i.Head().Chain] = i.Head()
	}
	if h.chance(70) {
		if _, err := journal.Anchor(h.t.Context(), h.all, receipttest.By(receipttest.Operator), slices.Collect(maps.Values(h.heads)), time.Now()); err != nil {
			h.t.Fatal(err)
		}
	}
}

func (h *history) gone(n int) {
	h.heads[h.live[n].Head().Chain] = h.live[n].Head()
	h.live = slices.Delete(h.live, n, n+1)
}

// archive runs the daily job, or two of them at once, which may be killed between any two steps.
func (h *history) archive() {
	left := int64(-1)
	if h.chance(40) {
		left = h.rand.Int64N(30)
	}
	var steps atomic.Int64
	h.objects.Meddle = func(string, string) error {
		if left >= 0 && steps.Add(1) > left {
			return errKilled
		}
		return nil
	}
	jobs := 1
	if h.chance(20) {
		jobs = 2
	}
	results := make(chan error, jobs)
	for range jobs {
		w := &Writer{Store: h.recent, To: h.objects, Keep: keepInTests, Now: time.Now, part: 64 << 10}
		go func() {
			done, err := w.Run(h.t.Context())
			atomic.AddInt64(&h.late, done.Late)
			results <- err
		}()
	}
	for range jobs {
		err := <-results
		if late := (*Overdue)(nil); err != nil && !errors.Is(err, errKilled) && !(errors.As(err, &late) && errors.Is(late, errKilled)) {
			h.t.Errorf("the writer: %v", err)
		}
		if err != nil {
			h.kills++
		}
	}
	h.objects.Meddle = nil
}

// weeks lets some pass. In the last days writers are not killed, so that what is about to be forgotten is archived.
func (h *history) weeks(days int) {
	for number := range 24 * days {
		h.hour(number)
		time.Sleep(time.Duration(h.rand.IntN(110)) * time.Minute) // in a bubble
		if number%12 == 7 {
			h.archive()
		}
	}
	for _, i := range h.live {
		i.store.away.Store(false)
		receipttest.Close(h.t, i.Journal)
		h.heads[i.Head().Chain] = i.Head()
	}
	h.live = nil
	if _, err := journal.Anchor(h.t.Context(), h.all, receipttest.By(receipttest.Operator), slices.Collect(maps.Values(h.heads)), time.Now()); err != nil {
		h.t.Fatal(err)
	}
}

var whole = flag.Bool("whole", false, "try all seeds, splits and objects")

// TestHistories wants of a store that forgets, and of its archive, that they say together what a store says that has never forgotten, and
// that each object that is taken away or changed is named.
func TestHistories(t *testing.T) {
	seeds, days := uint64(1), 16
	switch {
	case *whole:
		seeds = 6
	case testing.Short():
		days = 13
	}
	for seed := range seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHistory(t, seed)
				h.weeks(days + h.rand.IntN(6))
				h.compare()
				h.spoil()
			})
		})
	}
}

func (h *history) compare() {
	t, ctx := h.t, h.t.Context()
	archive := Open(h.objects, 0, nil)
	both := &Store{h.recent, archive}
	var heads []receipt.Head
	for _, head := range h.heads {
		heads = append(heads, head)
	}
	report := func(store receipt.Store, from, to time.Time) *verify.Report {
		r, err := verify.Store(ctx, store, verify.Options{Keys: receipttest.Keys, Announced: heads, Now: time.Now(), From: from, To: to})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	want := report(h.all, time.Time{}, time.Time{})
	if got := report(both, time.Time{}, time.Time{}); !reflect.DeepEqual(got, want) {
		t.Errorf("a store that never forgot says\n%v\nand both say\n%v", want, got)
	}
	if forgot := report(h.recent, time.Time{}, time.Time{}); want.Segments < 100 || forgot.Segments > want.Segments*4/5 {
		t.Errorf("the store has %d of %d segments yet: there is nothing to be seen", forgot.Segments, want.Segments)
	}
	for range 5 { // ranges of which begin or end is archived
		from := want.From.Add(time.Duration(h.rand.Int64N(int64(want.To.Sub(want.From)))))
		to := from.Add(time.Duration(h.rand.Int64N(int64(10 * length))))
		if a, b := report(h.all, from, to), report(both, from, to); !reflect.DeepEqual(a, b) {
			t.Errorf("from %v to %v a store that never forgot says\n%v\nand both say\n%v", from, to, a, b)
		}
		a, b := texts(t, verify.Select(ctx, h.all, "blue", from, to)), texts(t, verify.Select(ctx, both, "blue", from, to))
		if !slices.Equal(a, b) {
			t.Errorf("%d receipts of a tenant, and %d", len(a), len(b))
		}
		a, b = texts(t, verify.Newest(ctx, h.all, "", from, to)), texts(t, verify.Newest(ctx, both, "", from, to))
		if !slices.Equal(a, b) {
			t.Errorf("of the newest %d receipts, and %d", len(a), len(b))
		}
	}
	export := func(store receipt.Store) string {
		var b bytes.Buffer
		if _, err := verify.WriteExport(ctx, store, &b, verify.ExportOptions{Tenant: "acme", Signer: receipttest.Operator, Announced: heads}); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	if export(h.all) != export(both) {
		t.Error("the exports for a tenant differ")
	}
	for range 20 {
		id := h.ids[h.rand.IntN(len(h.ids))]
		a, _, err1 := verify.Find(ctx, h.all, id, receipttest.Keys)
		b, _, err2 := verify.Find(ctx, both, id, receipttest.Keys)
		if err := errors.Join(err1, err2); err != nil || !reflect.DeepEqual(a, b) {
			t.Errorf("of %s there is %v, and both have %v (%v)", id, a, b, err)
		}
	}
	t.Logf("%d receipts in %d segments of %d chains, %d roots; %d objects; writers were killed %d times, and found %d segments late",
		want.Receipts, want.Segments, want.Chains, want.Roots, len(h.objects.All()), h.kills, h.late)
}

func texts(t *testing.T, all func(func(receipt.Receipt, error) bool)) (out []string) {
	for r, err := range all {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, r.Hash.String())
	}
	return out
}

// spoil takes each object away, and changes a byte in it, and wants that the check names it, and that reading goes on without it where that is
// wanted, and else ends with an error.
func (h *history) spoil() {
	t, ctx := h.t, h.t.Context()
	check := func() (named []string) {
		if err := Open(h.objects, 0, nil).Check(ctx, time.Time{}, time.Time{}, keepInTests, func(d *Damage) { named = append(named, d.Object) }); err != nil {
			t.Error(err)
		}
		return named
	}
	if named := check(); len(named) > 0 {
		t.Fatalf("nothing is spoilt, and %q are said to be", named)
	}
	used := h.used()
	all := h.objects.All()
	names := slices.Sorted(maps.Keys(all))
	h.rand.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	tried, most := 0, 3
	if *whole {
		most = 25
	}
	for _, name := range names {
		if !used[name] {
			continue // a writer was killed before it named this in a manifest
		}
		if tried++; tried > most { // each is looked for in all that there is
			break
		}
		content := all[name]
		spoilt := bytes.Clone(content)
		spoilt[h.rand.IntN(len(spoilt))] ^= 1 << h.rand.IntN(8)
		for what, with := range map[string][]byte{"missing": nil, "another": spoilt, "cut": content[:h.rand.IntN(len(content))]} {
			h.objects.Replace(name, with)
			named := check()
			if manifest, ok := parseManifestName(name); ok && what == "missing" && h.newest(manifest) {
				continue // nothing names the last one: the day is archived anew, or its gap is told once it matters
			}
			if !slices.Contains(named, name) {
				t.Errorf("%s is %s, and %q are named", name, what, named)
			}
		}
		var read int
		store := &Store{h.recent, Open(h.objects, 0, nil).Tolerant(func(*Damage) { read++ })}
		if _, err := verify.Store(ctx, store, verify.Options{}); err != nil {
			t.Errorf("%s is cut: %v", name, err)
		}
		h.objects.Replace(name, content)
	}
}

// newest tells whether a manifest is the last one that was written.
func (h *history) newest(m manifestName) bool {
	for name := range h.objects.All() {
		if o, ok := parseManifestName(name); ok && (o.read.After(m.read) || o.read.Equal(m.read) && o.day > m.day) {
			return false
		}
	}
	return true
}

// used are the objects that manifests name, and the manifests.
func (h *history) used() map[string]bool {
	used := map[string]bool{}
	a := Open(h.objects, 0, nil)
	names, err := a.list(h.t.Context(), time.Time{}, endOfTime)
	if err != nil {
		h.t.Fatal(err)
	}
	for _, n := range names {
		m, err := a.manifest(h.t.Context(), n)
		if err != nil {
			h.t.Fatal(err)
		}
		used[n.name] = true
		for _, p := range slices.Concat(m.Parts, m.Roots) {
			used[p.Content.Name] = true
			if p.Index.Name != "" {
				used[p.Index.Name] = true
			}
		}
	}
	return used
}
