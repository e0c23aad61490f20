// Package archive keeps older receipts in objects, where they cost less than in the store that instances write to.
//
// A [Writer] copies each day's segments and roots into compressed objects, once the day is over, and looks at the day once more before the
// store begins to forget it. It deletes nothing. A [Store] reads both: the store of instances, and the objects. [Archive.Check] says which
// objects are missing or damaged.
//
// A day's segments are in parts, each an object with the segments and an object with their index. A manifest names the parts, by their
// hashes. Every object is written once, and its name follows from its content, so writers that are interrupted, or run at the same time, do
// no harm.
package archive

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"example.com/erlmcp/function/internal/backup"
	"example.com/erlmcp/function/internal/receipt"
)

const (
	folder    = "archive/"
	manifests = folder + "manifests/" // DAY/READ-HASH.json.gz
	contents  = folder + "contents/"  // DAY/FROM-HASH.gz
	indexes   = folder + "indexes/"   // DAY/FROM-HASH.gz
)

// format is that of manifests and of what they name.
const format = 1

const (
	readFormat = "20060102T150405.000000Z"
	length     = 24 * time.Hour // of a day
)

// A Manifest names what there is of a day: of segments by their To, of roots by their time, both in UTC.
type Manifest struct {
	Format  int64     `json:"format"`
	Day     string    `json:"day"`               // such as 2026-11-24
	Read    time.Time `json:"read"`              // when the store was read
	Forgets time.Time `json:"forgets"`           // when the store begins to forget the day
	Follows []string  `json:"follows,omitempty"` // earlier manifests, which must be there too
	Parts   []Part    `json:"parts,omitempty"`   // of segments, by their begin
	Roots   []Part    `json:"roots,omitempty"`
	// Objects of earlier manifests, of parts that were damaged: what these had is in parts of this one.
	Replaces []string `json:"replaces,omitempty"`
}

// A Part is a run of segments or roots.
type Part struct {
	Content Object    `json:"content"`
	Index   Object    `json:"index,omitzero"` // of segments
	Count   int64     `json:"count"`
	From    time.Time `json:"from"`  // To of the first segment, time of the first root
	To      time.Time `json:"to"`    // of the last
	Calls   [2]int64  `json:"calls"` // first and last second of the ids; 0, 0 for none
	// Number of the last segment of each chain that has one here.
	Chains map[string]int64 `json:"chains,omitempty"`
}

// An Object is one by its name and content.
type Object struct {
	Name   string       `json:"name"`
	Bytes  int64        `json:"bytes"`
	SHA256 receipt.Hash `json:"sha256"`
}

// A Damage is that the archive is not as it was written.
type Damage struct {
	Object  string // its name, or the day for which there is none
	Missing bool   // else it is another one
	Words   string
}

func (d *Damage) Error() string { return d.Words }

// An Archive reads what a [Writer] has written to objects. It is safe for concurrent use.
type Archive struct {
	objects backup.Objects
	keep    time.Duration
	now     func() time.Time
	damaged func(*Damage) // nil: sequences end with it

	mu    sync.Mutex
	known map[string]*Manifest // by their names, which say what is in them
	parts int                  // in them
}

// maxKnown is how many parts and manifests are kept in memory, each of which has some KiB.
const maxKnown = 20000

// Open returns the archive in objects. What is older than keep is not read; 0 is no limit.
func Open(objects backup.Objects, keep time.Duration, now func() time.Time) *Archive {
	if now == nil {
		now = time.Now
	}
	return &Archive{objects: objects, keep: keep, now: now, known: map[string]*Manifest{}}
}

// Tolerant returns an archive that hands damage to a function and reads on without what is damaged.
func (a *Archive) Tolerant(damaged func(*Damage)) *Archive {
	b := Open(a.objects, a.keep, a.now)
	b.damaged = damaged
	return b
}

// String names the place.
func (a *Archive) String() string { return a.objects.String() }

// damage is nil where the reader goes on in spite of it.
func (a *Archive) damage(d *Damage) error {
	if a.damaged == nil {
		return d
	}
	a.damaged(d)
	return nil
}

// dayOf is the day of a time.
func dayOf(at time.Time) string { return at.UTC().Format(time.DateOnly) }

// begin is that of a day.
func begin(day string) (time.Time, error) { return time.Parse(time.DateOnly, day) }

// nameOf is the name of an object of a day.
func nameOf(folder, day, from string, content []byte, kind string) string {
	sum := sha256.Sum256(content)
	return folder + day + "/" + from + "-" + hex.EncodeToString(sum[:16]) + kind
}

const (
	manifestKind = ".json.gz"
	contentKind  = ".gz"
)

// A manifestName is what the name of a manifest says.
type manifestName struct {
	name, day string
	read      time.Time
	hash      string
}

func parseManifestName(name string) (m manifestName, ok bool) {
	m.name = name
	rest, ok1 := strings.CutPrefix(name, manifests)
	rest, ok2 := strings.CutSuffix(rest, manifestKind)
	day, rest, ok3 := strings.Cut(rest, "/")
	read, hash, ok4 := strings.Cut(rest, "-")
	_, err1 := begin(day)
	at, err2 := time.Parse(readFormat, read)
	m.day, m.read, m.hash = day, at, hash
	return m, ok1 && ok2 && ok3 && ok4 && err1 == nil && err2 == nil
}

// list returns the manifests of the days from one to another, ends included, by day and then by when they were read; of those that are
// still kept.
func (a *Archive) list(ctx context.Context, from, to time.Time) (all []manifestName, err error) {
	now := a.now()
	if a.keep > 0 && from.Before(now.Add(-a.keep)) {
		from = now.Add(-a.keep)
	}
	if to.Before(from) || !from.Before(today(now)) {
		return nil, nil // a day is archived once it is over
	}
	start := ""
	if from.Year() > 1 {
		start = manifests + dayOf(from)
	}
	last := dayOf(to)
	for name, err := range a.objects.List(ctx, manifests, start) {
		if err != nil {
			return nil, fmt.Errorf("the archive in %s can't be listed: %w", a, err)
		}
		m, ok := parseManifestName(name)
		switch {
		case !ok:
			if err := a.damage(&Damage{Object: name, Words: fmt.Sprintf("%s in %s is not the name of a manifest: somebody else put it there", name, a)}); err != nil {
				return nil, err
			}
			continue
		case m.day > last:
			return all, nil
		}
		all = append(all, m)
	}
	return all, nil
}

// today is the begin of the day of a time.
func today(now time.Time) time.Time { return now.UTC().Truncate(length) }

// manifest reads one. It is nil where it is damaged and the reader goes on.
func (a *Archive) manifest(ctx context.Context, n manifestName) (*Manifest, error) {
	a.mu.Lock()
	m := a.known[n.name]
	a.mu.Unlock()
	if m != nil {
		return m, nil
	}
	content, err := a.objects.Read(ctx, n.name)
	if errors.Is(err, backup.ErrNotFound) {
		return nil, a.damage(&Damage{Object: n.name, Missing: true, Words: fmt.Sprintf("%s is missing in %s", n.name, a)})
	} else if err != nil {
		return nil, fmt.Errorf("%s can't be read: %w", n.name, err)
	}
	m = &Manifest{}
	text, fault := unzip(content)
	if fault == nil {
		fault = json.Unmarshal(text, m)
	}
	switch sum := sha256.Sum256(content); {
	case hex.EncodeToString(sum[:16]) != n.hash || fault != nil || m.Day != n.day:
		return nil, a.damage(&Damage{Object: n.name, Words: fmt.Sprintf("%s in %s is not what was written there: it was damaged or replaced", n.name, a)})
	case m.Format > format:
		return nil, fmt.Errorf("%s in %s has format %d, and this version knows up to %d: use the newer version", n.name, a, m.Format, format)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.parts += 1 + len(m.Parts); a.parts > maxKnown {
		clear(a.known)
		a.parts = 1 + len(m.Parts)
	}
	a.known[n.name] = m
	return m, nil
}

// A day is what the manifests of a day name together.
type day struct {
	name         string
	begin        time.Time
	parts, roots []Part
	replaced     map[string]bool // objects of parts that were archived again
}

// merge adds the parts of a manifest that are not known yet.
func (d *day) merge(m *Manifest) {
	add := func(to *[]Part, parts []Part) {
		for _, p := range parts {
			if !slices.ContainsFunc(*to, func(q Part) bool { return q.Content == p.Content && q.Index == p.Index }) {
				*to = append(*to, p)
			}
		}
	}
	add(&d.parts, m.Parts)
	add(&d.roots, m.Roots)
	for _, name := range m.Replaces {
		if d.replaced == nil {
			d.replaced = map[string]bool{}
		}
		d.replaced[name] = true
	}
}

// mended leaves out what was archived again.
func (d *day) mended() {
	gone := func(p Part) bool { return d.replaced[p.Content.Name] || d.replaced[p.Index.Name] }
	d.parts, d.roots = slices.DeleteFunc(d.parts, gone), slices.DeleteFunc(d.roots, gone)
}

// grouped yields the names of each day.
func grouped(all []manifestName) (days [][]manifestName) {
	for _, n := range all {
		if last := len(days) - 1; last >= 0 && days[last][0].day == n.day {
			days[last] = append(days[last], n)
		} else {
			days = append(days, []manifestName{n})
		}
	}
	return days
}

// day reads the manifests of a day.
func (a *Archive) day(ctx context.Context, names []manifestName) (*day, error) {
	d := &day{name: names[0].day}
	d.begin, _ = begin(d.name) // was parsed with the name
	for _, n := range names {
		m, err := a.manifest(ctx, n)
		if err != nil {
			return nil, err
		}
		if m != nil {
			d.merge(m)
		}
	}
	d.mended()
	return d, nil
}

// read returns the content of an object, unzipped. It is nil where it is damaged and the reader goes on.
func (a *Archive) read(ctx context.Context, o Object) ([]byte, error) {
	content, err := a.objects.Read(ctx, o.Name)
	switch {
	case errors.Is(err, backup.ErrNotFound):
		return nil, a.damage(&Damage{Object: o.Name, Missing: true, Words: fmt.Sprintf("%s is missing in %s, and a manifest names it", o.Name, a)})
	case err != nil:
		return nil, fmt.Errorf("%s can't be read: %w", o.Name, err)
	}
	if int64(len(content)) == o.Bytes && sha256.Sum256(content) == o.SHA256 {
		if text, err := unzip(content); err == nil {
			return text, nil
		}
	}
	return nil, a.broken(o)
}

// broken is that an object is another one.
func (a *Archive) broken(o Object) error {
	return a.damage(&Damage{Object: o.Name, Words: fmt.Sprintf("%s in %s is not what its manifest says: it was damaged or replaced", o.Name, a)})
}

// maxText bounds what is unzipped: some times what a part has.
const maxText = 16 * partSize

func unzip(content []byte) ([]byte, error) {
	zip, err := gzip.NewReader(bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(zip, maxText+1))
	if err == nil && len(text) > maxText {
		err = errors.New("it is too long")
	}
	return text, err
}

func zipped(text []byte) []byte {
	var b bytes.Buffer
	zip := gzip.NewWriter(&b)
	zip.Write(text) // into memory
	zip.Close()
	return b.Bytes()
}
