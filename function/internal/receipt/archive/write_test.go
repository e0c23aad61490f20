package archive

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/erlmcp/function/internal/backup/backuptest"
	"example.com/erlmcp/function/internal/receipt"
	"example.com/erlmcp/function/internal/store/memory"
)

// A schedule runs a writer at times of its own.
type schedule struct {
	t     *testing.T
	store *memory.Receipts
	to    *backuptest.Objects
	now   time.Time
}

const monthInTests = 32 * length // the second look is 24 days after the begin of a day, and the alarm after 28

func newSchedule(t *testing.T) *schedule {
	return &schedule{t: t, store: memory.NewReceipts(0), to: backuptest.NewObjects()}
}

func (s *schedule) put(number int64, at time.Time) {
	s.t.Helper()
	if err := s.store.PutSegment(s.t.Context(), &receipt.Segment{Chain: "a", Number: number, From: at, To: at, Receipts: []byte("one\n")}); err != nil {
		s.t.Fatal(err)
	}
}

func (s *schedule) run(at time.Time) (*Done, error) {
	s.now = at
	w := &Writer{Store: s.store, To: s.to, Keep: monthInTests, Now: func() time.Time { return at }}
	return w.Run(s.t.Context())
}

func (s *schedule) runs(at time.Time, segments, late int64) {
	s.t.Helper()
	done, err := s.run(at)
	if err != nil || done.Segments != segments || done.Late != late {
		s.t.Errorf("at %v: %+v (%v), want %d segments, %d of them late", at, done, err, segments, late)
	}
}

func (s *schedule) archived() (numbers []int64) {
	a := Open(s.to, 0, func() time.Time { return s.now })
	for e, err := range a.entries(s.t.Context(), query{to: endOfTime}) {
		if err != nil {
			s.t.Fatal(err)
		}
		numbers = append(numbers, e.Number)
	}
	return numbers
}

// TestLooks wants each day to be read twice, so that what was stored late is found by the second look.
func TestLooks(t *testing.T) {
	s := newSchedule(t)
	day := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	s.put(1, day)
	s.put(2, day.Add(length-time.Microsecond))
	s.put(3, day.Add(length))
	s.runs(day.Add(length+settling-time.Second), 0, 0) // the day may not be whole yet
	s.runs(day.Add(length+settling), 2, 0)
	s.put(4, day.Add(time.Hour)) // late
	s.runs(day.Add(5*length), 1, 0)
	s.runs(day.Add(24*length-time.Second), 0, 0)
	if got := s.archived(); !slices.Equal(got, []int64{1, 2, 3}) {
		t.Errorf("before the second look %v are archived", got)
	}
	s.runs(day.Add(24*length), 1, 1)
	s.runs(day.Add(25*length), 0, 0)
	if got := s.archived(); !slices.Equal(got, []int64{1, 4, 2, 3}) {
		t.Errorf("after the second look %v are archived", got)
	}
}

// TestOverdue wants to be told of days that leave the store within days and were not looked at again, and of those that have left it.
func TestOverdue(t *testing.T) {
	day := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name string
		at   time.Time // of the run after the first; the place is away
		days int
	}{
		{"in time", day.Add(28*length - time.Second), 0},
		{"too late for one", day.Add(28 * length), 1},
		{"too late for two", day.Add(29 * length), 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSchedule(t)
			for n := range int64(20) {
				s.put(n+1, day.Add(time.Duration(n)*length))
			}
			s.runs(day.Add(20*length+settling), 20, 0)
			s.to.Meddle = func(operation, _ string) error {
				if operation == "create" {
					return errors.New("the place is away")
				}
				return nil
			}
			_, err := s.run(c.at)
			late := (*Overdue)(nil)
			if errors.As(err, &late) != (c.days > 0) || c.days > 0 && len(late.Days) != c.days || err == nil {
				t.Errorf("%v, want %d days", err, c.days)
			}
			var told []*Damage
			a := Open(s.to, 0, func() time.Time { return c.at })
			if err := a.Check(t.Context(), time.Time{}, time.Time{}, monthInTests, func(d *Damage) { told = append(told, d) }); err != nil || len(told) > 0 {
				t.Errorf("all days are archived, and %v are told of (%v)", told, err)
			}
		})
	}
	// No job has run for weeks: the next one says what may be lost, and so does a check.
	s := newSchedule(t)
	s.put(1, day)
	s.runs(day.Add(length+settling), 1, 0)
	at := day.Add(35 * length)
	var told []*Damage
	if err := Open(s.to, 0, func() time.Time { return at }).Check(t.Context(), time.Time{}, time.Time{}, monthInTests, func(d *Damage) { told = append(told, d) }); err != nil {
		t.Fatal(err)
	}
	if len(told) != 1 || !told[0].Missing || told[0].Object[:10] != "2026-11-02" {
		t.Errorf("told: %v", told)
	}
}

// TestDamagedPart wants a part that can't be read back at the second look to be written again, and to be told of.
func TestDamagedPart(t *testing.T) {
	s := newSchedule(t)
	day := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	s.put(1, day)
	s.runs(day.Add(2*length), 1, 0)
	for name := range s.to.All() {
		if name[:len(contents)] == contents {
			s.to.Replace(name, nil)
		}
	}
	_, err := s.run(day.Add(24 * length))
	if damage := (*Damage)(nil); !errors.As(err, &damage) || !damage.Missing {
		t.Errorf("a part is missing: %v", err)
	}
	s.runs(day.Add(25*length), 0, 0)
	if err := Open(s.to, 0, func() time.Time { return day.Add(25 * length) }).Check(t.Context(), time.Time{}, time.Time{}, 0, func(d *Damage) { t.Error(d) }); err != nil {
		t.Error(err)
	}
}

// TestDamagedContent damages objects in place: contents, indexes, roots, and what was written again in their place. The next look writes the
// same beside them, and from then on all is there and nobody minds the damage.
func TestDamagedContent(t *testing.T) {
	day := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	for what, folder := range map[string]string{"contents": contents, "indexes": indexes} {
		for _, late := range []bool{false, true} { // with one more segment it is another part
			t.Run(fmt.Sprintf("%s, late %t", what, late), func(t *testing.T) {
				s := newSchedule(t)
				s.put(1, day)
				s.put(2, day.Add(time.Hour))
				if err := s.store.PutRoot(t.Context(), &receipt.Root{Number: 1, Time: day.Add(time.Minute), Text: []byte("root")}); err != nil {
					t.Fatal(err)
				}
				s.runs(day.Add(2*length), 2, 0)
				damaged := 0
				for name, content := range s.to.All() {
					if strings.HasPrefix(name, folder) {
						s.to.Replace(name, append([]byte("x"), content...))
						damaged++
					}
				}
				want := []int64{1, 2}
				if late {
					s.put(3, day.Add(time.Minute))
					want = []int64{1, 3, 2}
				}
				at := day.Add(24 * length)
				_, err := s.run(at)
				if damage := (*Damage)(nil); !errors.As(err, &damage) || damage.Missing || damaged == 0 {
					t.Fatalf("the look at %d damaged objects: %v", damaged, err)
				}
				s.runs(day.Add(25*length), 0, 0)
				if got := s.archived(); !slices.Equal(got, want) {
					t.Errorf("%v are archived, want %v", got, want)
				}
				a := Open(s.to, 0, func() time.Time { return s.now })
				if r, err := a.lastRoot(t.Context()); err != nil || r == nil || r.Number != 1 {
					t.Errorf("the last root is %v (%v)", r, err)
				}
				if err := a.Check(t.Context(), time.Time{}, time.Time{}, 0, func(d *Damage) { t.Error(d) }); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// TestConflict wants a segment of the store that is another one than was archived to be told of by every reader.
func TestConflict(t *testing.T) {
	s := newSchedule(t)
	day := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	s.put(1, day)
	s.runs(day.Add(2*length), 1, 0)
	other := memory.NewReceipts(0)
	if err := other.PutSegment(t.Context(), &receipt.Segment{Chain: "a", Number: 1, From: day, To: day, Receipts: []byte("two\n")}); err != nil {
		t.Fatal(err)
	}
	store := &Store{other, Open(s.to, 0, func() time.Time { return s.now })}
	for _, err := range store.Between(t.Context(), time.Time{}, endOfTime) {
		if damage := (*Damage)(nil); !errors.As(err, &damage) {
			t.Errorf("what is read has %v", err)
		}
	}
	w := &Writer{Store: other, To: s.to, Keep: monthInTests, Now: func() time.Time { return day.Add(24 * length) }}
	if _, err := w.Run(t.Context()); err == nil {
		t.Error("the writer says nothing")
	}
}
