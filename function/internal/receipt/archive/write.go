package archive

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"example.com/erlmcp/function/internal/backup"
	"example.com/erlmcp/function/internal/receipt"
)

// A Writer archives what a store keeps for a time only.
type Writer struct {
	Store receipt.Store
	To    backup.Objects
	Keep  time.Duration // for which the store keeps a segment after its To, and a root after its time
	Now   func() time.Time

	part int // bytes of segments in a part; 0: partSize
}

// settling is how long after a day its segments are taken to be stored. What comes later is found by the second look.
const settling = time.Hour

// guard is how long before the store begins to forget a day it is looked at again. What is not archived after half of that is an error.
func guard(keep time.Duration) time.Duration { return keep / 4 }

// A Done says what was archived.
type Done struct {
	Days     int64 // that were read
	Segments int64
	Roots    int64
	Late     int64     // of the segments, those that the second look found
	Until    time.Time // all that ends before this is archived

	damaged []*Damage
}

// An Overdue is that days leave the store soon, or have left it, that were not archived.
type Overdue struct {
	Days  []string // by date
	Place string
	cause error
}

func (o *Overdue) Error() string {
	words := fmt.Sprintf("receipts of %s are not archived in %s, and leave the store within days if they have not yet", shortened(o.Days), o.Place)
	if o.cause != nil {
		words += ": " + o.cause.Error()
	}
	return words
}

func (o *Overdue) Unwrap() error { return o.cause }

func shortened(days []string) string {
	if len(days) > 3 {
		return fmt.Sprintf("%s and %d more days, the last %s", days[0], len(days)-1, days[len(days)-1])
	}
	return strings.Join(days, ", ")
}

// Run archives the days that are over, and looks again at those that the store begins to forget soon. It may be interrupted and repeated, and
// run by several at once. Its error is an [*Overdue] where something will be lost, or was, and a [*Damage] where what was archived is not as it
// was written, or the store has something else; then it is archived again, and the rest is too.
func (w *Writer) Run(ctx context.Context) (*Done, error) {
	now := w.Now()
	done := &Done{}
	a := Open(w.To, 0, w.Now)
	names, err := a.list(ctx, now.Add(-w.Keep-length).Add(-length), now)
	if err != nil {
		return done, err
	}
	known := map[string][]manifestName{}
	for _, n := range names {
		known[n.day] = append(known[n.day], n)
	}
	var failed error
	follows := newest(names)
	begun := len(names) > 0 && names[0].day < dayOf(now.Add(-w.Keep))
	for at := today(now.Add(-w.Keep)); !at.Add(length + settling).After(now); at = at.Add(length) {
		of := known[dayOf(at)]
		if failed == nil && w.due(at, of, now) {
			d := &dayWriter{Writer: w, archive: a, begin: at, known: of, follows: follows, done: done}
			var n *manifestName
			if n, failed = d.run(ctx, now, begun); n != nil {
				of = append(of, *n)
				known[n.day] = of
				follows = []string{n.name}
			}
		}
		if failed == nil {
			done.Until = at.Add(length)
		}
		if len(of) > 0 {
			begun = true
		}
	}
	if late := w.overdue(known, names, now); len(late) > 0 {
		failed = &Overdue{Days: late, Place: w.To.String(), cause: failed}
	}
	if failed == nil && len(done.damaged) > 0 {
		failed = done.damaged[0]
	}
	return done, failed
}

// newest are the manifests of the last day in which some were written: later ones name them, so that none can be taken away unseen. Several
// writers may have worked then that did not know of each other.
func newest(names []manifestName) (all []string) {
	var last time.Time
	for _, n := range names {
		if n.read.After(last) {
			last = n.read
		}
	}
	for _, n := range names {
		if !n.read.Before(last.Add(-length)) {
			all = append(all, n.name)
		}
	}
	return all
}

// looks says when the second look at a day is due.
func (w *Writer) looks(begin time.Time) time.Time { return begin.Add(w.Keep - guard(w.Keep)) }

// due tells whether a day is to be read.
func (w *Writer) due(begin time.Time, known []manifestName, now time.Time) bool {
	if len(known) == 0 {
		return true
	}
	look := w.looks(begin)
	return !now.Before(look) && known[len(known)-1].read.Before(look)
}

// overdue lists the days that are not archived half of the guard before the store begins to forget them, and those that it has forgotten.
// Before the first day of the archive it is not known whether there was anything.
func (w *Writer) overdue(known map[string][]manifestName, before []manifestName, now time.Time) (days []string) {
	if len(before) == 0 {
		return nil
	}
	first, _ := begin(before[0].day)
	for at := first; !at.Add(w.Keep - guard(w.Keep)/2).After(now); at = at.Add(length) {
		if of := known[dayOf(at)]; len(of) == 0 || of[len(of)-1].read.Before(w.looks(at)) {
			days = append(days, dayOf(at))
		}
	}
	return days
}

// A dayWriter archives one day.
type dayWriter struct {
	*Writer
	archive *Archive
	begin   time.Time
	known   []manifestName
	follows []string
	done    *Done

	manifest *Manifest
	fresh    []Part // of segments, that are not in the manifest yet
	broken   []Part // of earlier manifests, that can't be read back

	text, index []byte // of the part at hand
	current     Part
}

// run reads the day, and writes what is not archived of it and a manifest. A day with nothing in it has one too, unless none came before.
func (w *dayWriter) run(ctx context.Context, now time.Time, begun bool) (*manifestName, error) {
	name := dayOf(w.begin)
	w.manifest = &Manifest{Format: format, Day: name, Read: now.UTC().Truncate(time.Microsecond), Forgets: w.begin.Add(w.Keep), Follows: w.follows}
	reader := w.archive.Tolerant(func(d *Damage) { w.done.damaged = append(w.done.damaged, d) }) // what is damaged is archived again
	old := &day{}
	if len(w.known) > 0 {
		var err error
		if old, err = reader.day(ctx, w.known); err == nil {
			w.broken, err = old.whole(ctx, reader)
		}
		if err != nil {
			return nil, err
		}
		for _, n := range w.known {
			if !slices.Contains(w.follows, n.name) {
				w.manifest.Follows = append(slices.Clip(w.manifest.Follows), n.name)
			}
		}
	}
	w.manifest.Parts, w.manifest.Roots = old.parts, old.roots
	end := w.begin.Add(length - time.Microsecond)
	if err := w.segments(ctx, reader.ofDay(ctx, old, &query{from: w.begin, to: end}), end); err != nil {
		return nil, err
	}
	if err := w.roots(ctx, reader, old, end); err != nil {
		return nil, err
	}
	w.replace()
	w.done.Days++
	if !begun && len(w.manifest.Parts) == 0 && len(w.manifest.Roots) == 0 {
		return nil, nil
	}
	content := zipped(marshal(w.manifest))
	object := nameOf(manifests, name, w.manifest.Read.Format(readFormat), content, manifestKind)
	if err := w.put(ctx, object, content); err != nil {
		return nil, err
	}
	n, _ := parseManifestName(object)
	return &n, nil
}

// replace has the manifest say which objects of broken parts are not to be read any more: those that it does not name itself. What was missing
// may be there again, under its name.
func (w *dayWriter) replace() {
	named := map[string]bool{"": true}
	for _, p := range slices.Concat(w.manifest.Parts, w.manifest.Roots) {
		named[p.Content.Name], named[p.Index.Name] = true, true
	}
	for _, p := range w.broken {
		for _, name := range []string{p.Content.Name, p.Index.Name} {
			if !named[name] {
				w.manifest.Replaces = append(w.manifest.Replaces, name)
			}
		}
	}
}

// whole leaves those parts in a day that can be read back, and returns the others.
func (d *day) whole(ctx context.Context, reader *Archive) (broken []Part, failed error) {
	lost := func(found int, of *Part, err error) bool {
		failed = cmp.Or(failed, err)
		if err != nil || int64(found) == of.Count {
			return false
		}
		broken = append(broken, *of)
		return true
	}
	d.parts = slices.DeleteFunc(d.parts, func(p Part) bool {
		segments, err := reader.segments(ctx, &p)
		if lost(len(segments), &p, err) || failed != nil {
			return true
		}
		entries, err := reader.index(ctx, &p, &query{to: endOfTime})
		return lost(len(entries), &p, err)
	})
	d.roots = slices.DeleteFunc(d.roots, func(p Part) bool {
		roots, err := reader.rootsIn(ctx, &p)
		return lost(len(roots), &p, err)
	})
	return broken, failed
}

// segments writes those of the day that are not archived.
func (w *dayWriter) segments(ctx context.Context, archived iter.Seq2[*located, error], end time.Time) error {
	next, stop := iter.Pull2(archived)
	defer stop()
	e, err, more := next()
	for s, fault := range w.Store.Between(ctx, w.begin, end) {
		if fault != nil {
			return fmt.Errorf("segments of %s can't be read: %w", w.manifest.Day, fault)
		}
		of := entryOf(s)
		for more && err == nil && e.byTime(of) < 0 {
			e, err, more = next()
		}
		if err != nil {
			return err
		}
		if more && e.place() == of.place() && e.To.Equal(of.To) {
			if e.SHA256 != hashOf(s) {
				w.done.damaged = append(w.done.damaged, conflict(of))
			}
			continue
		}
		of.SHA256 = hashOf(s)
		w.add(of, s)
		if len(w.known) > 0 {
			w.done.Late++
		}
		if w.done.Segments++; len(w.text) >= cmp.Or(w.Writer.part, partSize) {
			if err := w.flush(ctx); err != nil {
				return err
			}
		}
	}
	if err != nil {
		return err
	}
	if err := w.flush(ctx); err != nil {
		return err
	}
	w.manifest.Parts = append(slices.Clip(w.manifest.Parts), w.fresh...)
	return nil
}

// add puts a segment into the part at hand.
func (w *dayWriter) add(e *entry, s *receipt.Segment) {
	w.text = e.append(w.text, s)
	w.index = append(append(w.index, marshal(e)...), '\n')
	p := &w.current
	if p.Count++; p.Count == 1 {
		p.From = e.To
	}
	p.To = e.To
	for _, call := range e.Calls {
		second := secondOf(call)
		if p.Calls == ([2]int64{}) {
			p.Calls = [2]int64{second, second}
		}
		p.Calls = [2]int64{min(p.Calls[0], second), max(p.Calls[1], second)}
	}
	if p.Chains == nil {
		p.Chains = map[string]int64{}
	}
	p.Chains[e.Chain] = max(p.Chains[e.Chain], e.Number)
}

// flush writes the part at hand.
func (w *dayWriter) flush(ctx context.Context) (err error) {
	if w.current.Count == 0 {
		return nil
	}
	if w.current.Content, err = w.object(ctx, contents, w.current.From, w.text); err != nil {
		return err
	}
	if w.current.Index, err = w.object(ctx, indexes, w.current.From, w.index); err != nil {
		return err
	}
	w.fresh = append(w.fresh, w.current)
	w.current, w.text, w.index = Part{}, w.text[:0], w.index[:0]
	return nil
}

// roots writes those of the day that are not archived.
func (w *dayWriter) roots(ctx context.Context, reader *Archive, old *day, end time.Time) error {
	known := map[int64]string{}
	for i := range old.roots {
		all, err := reader.rootsIn(ctx, &old.roots[i])
		if err != nil {
			return err
		}
		for _, r := range all {
			known[r.Number] = string(r.Text)
		}
	}
	var p Part
	var text []byte
	for r, err := range w.Store.Roots(ctx, w.begin, end) {
		if err != nil {
			return fmt.Errorf("roots of %s can't be read: %w", w.manifest.Day, err)
		}
		if text, found := known[r.Number]; found {
			if text != string(r.Text) {
				w.done.damaged = append(w.done.damaged, conflictOfRoot(r))
			}
			continue
		}
		if p.Count++; p.Count == 1 {
			p.From = r.Time.UTC()
		}
		p.To = r.Time.UTC()
		text = appendRoot(text, r)
	}
	if p.Count == 0 {
		return nil
	}
	var err error
	p.Content, err = w.object(ctx, contents, p.From, text)
	w.manifest.Roots = append(slices.Clip(w.manifest.Roots), p)
	w.done.Roots += p.Count
	return err
}

// object writes text as an object of the day.
func (w *dayWriter) object(ctx context.Context, folder string, from time.Time, text []byte) (Object, error) {
	content := zipped(text)
	o := Object{Bytes: int64(len(content)), SHA256: sha256.Sum256(content)}
	var err error
	for again := range maxAgain {
		kind := contentKind
		if again > 0 {
			kind = fmt.Sprintf("-%d%s", again+1, contentKind)
		}
		o.Name = nameOf(folder, w.manifest.Day, from.Format("150405.000000"), content, kind)
		// What has its name and is another one was damaged, and is never changed: it is written beside that.
		if err = w.put(ctx, o.Name, content); !errors.Is(err, backup.ErrExists) {
			break
		}
	}
	return o, err
}

// maxAgain is how many objects of the same content there may be, of which all but the last are damaged.
const maxAgain = 10

// put writes an object and reads it back.
func (w *dayWriter) put(ctx context.Context, name string, content []byte) error {
	if err := w.To.Create(ctx, name, content); err != nil {
		return fmt.Errorf("%s can't be written to %s: %w", name, w.To, err)
	}
	back, err := w.To.Read(ctx, name)
	if err == nil && !bytes.Equal(back, content) {
		err = errors.New("it is not what was written")
	}
	if err != nil {
		return fmt.Errorf("%s can't be read back from %s: %w", name, w.To, err)
	}
	return nil
}
