package archive

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"example.com/erlmcp/function/internal/receipt"
)

// Check reads every object of the days from one time to another, whatever the store still has of them, and hands to a function what is
// missing or damaged: objects, and days that are not archived though a store that keeps them for so long as recent says is about to forget
// them; 0 is for ever. Its error is one of reading.
func (a *Archive) Check(ctx context.Context, from, to time.Time, recent time.Duration, damaged func(*Damage)) error {
	told := map[string]bool{}
	b := a.Tolerant(func(d *Damage) {
		if !told[d.Object] {
			told[d.Object] = true
			damaged(d)
		}
	})
	if to.IsZero() {
		to = endOfTime
	}
	names, err := b.list(ctx, from, to)
	if err != nil {
		return err
	}
	there := map[string]bool{}
	for _, n := range names {
		there[n.name] = true
	}
	for _, names := range grouped(names) {
		for _, n := range names {
			m, err := b.manifest(ctx, n)
			if err != nil {
				return err
			}
			if m == nil {
				continue
			}
			for _, before := range m.Follows {
				if o, ok := parseManifestName(before); ok && !there[before] && b.within(o.day, from) && o.day <= dayOf(to) {
					b.damage(&Damage{Object: before, Missing: true, Words: fmt.Sprintf("%s is missing in %s, and a later manifest names it", before, b)})
				}
			}
		}
		if err := b.checkDay(ctx, names); err != nil {
			return err
		}
	}
	b.gaps(names, to, recent)
	return nil
}

// within tells whether a day is in the range of a check that begins at a time, and is still kept.
func (a *Archive) within(day string, from time.Time) bool {
	if kept := a.now().Add(-a.keep); a.keep > 0 && from.Before(kept) {
		from = kept
	}
	return day >= dayOf(from)
}

// checkDay reads the objects of a day.
func (a *Archive) checkDay(ctx context.Context, names []manifestName) error {
	d, err := a.day(ctx, names)
	if err != nil {
		return err
	}
	for i := range d.parts {
		p := &d.parts[i]
		segments, err := a.segments(ctx, p)
		if err != nil {
			return err
		}
		entries, err := a.index(ctx, p, &query{to: endOfTime})
		if err != nil {
			return err
		}
		if int64(len(segments)) == p.Count && int64(len(entries)) == p.Count && !slices.EqualFunc(segments, entries, filed) {
			a.broken(p.Index)
		}
	}
	for i := range d.roots {
		if _, err := a.rootsIn(ctx, &d.roots[i]); err != nil {
			return err
		}
	}
	return nil
}

// filed tells whether an index says of a segment what it is.
func filed(s *receipt.Segment, e *located) bool {
	of := entryOf(s)
	return of.byTime(e.entry) == 0 && of.From.Equal(e.From) && hashOf(s) == e.SHA256 && slices.Equal(of.Tenants, e.Tenants) && slices.Equal(of.Calls, e.Calls)
}

// gaps tells of days after the first that have no manifest, and that the store has begun to forget.
func (a *Archive) gaps(names []manifestName, to time.Time, recent time.Duration) {
	if len(names) == 0 || recent <= 0 {
		return
	}
	first, _ := begin(names[0].day)
	end := a.now().Add(-recent + guard(recent)/2)
	if to.Before(end) {
		end = to
	}
	var missing []string
	for at := first; !at.Add(length).After(end); at = at.Add(length) {
		if day := dayOf(at); !slices.ContainsFunc(names, func(n manifestName) bool { return n.day == day }) {
			missing = append(missing, day)
		}
	}
	if len(missing) > 0 {
		a.damage(&Damage{Object: strings.Join(missing, ", "), Missing: true, Words: fmt.Sprintf(
			"receipts of %s are not archived in %s, and leave the store within days if they have not yet: does the daily backup run?", shortened(missing), a)})
	}
}
