package sample

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	maxCities = 8
	step      = 15 * time.Minute // between the starts that are tried
	maxSlots  = 3                // proposed where none suits all
	apart     = time.Hour        // at least, between two such
)

type meetingQuery struct {
	Cities  []string `json:"cities" jsonschema:"names of 2 to 8 cities, one for each place where people sit"`
	Date    string   `json:"date" jsonschema:"YYYY-MM-DD, as the calendar of the first city has it"`
	From    string   `json:"workFrom,omitempty" jsonschema:"when working hours begin in each city's own time, HH:MM; default 09:00"`
	Until   string   `json:"workUntil,omitempty" jsonschema:"when working hours end in each city's own time, HH:MM; default 17:00"`
	Minutes int      `json:"minutes,omitempty" jsonschema:"how long the meeting is; default 60" minimum:"5" maximum:"480"`
}

type meetingPlan struct {
	Summary  string         `json:"summary" jsonschema:"the answer in a sentence, to be passed on"`
	SuitsAll bool           `json:"suitsAll" jsonschema:"whether the slots lie within working hours for everyone"`
	Slots    []meetingSlot  `json:"slots" jsonschema:"in UTC; those that suit all in the order of time, or else those that hurt least, the best first"`
	Hours    []workingHours `json:"workingHours" jsonschema:"of each city on the date, to see why"`
	Notes    []string       `json:"notes" jsonschema:"what else to tell the people: weekends, and clocks that change around the date"`
}

type meetingSlot struct {
	Start          string       `json:"start" jsonschema:"RFC 3339 in UTC; pass it to invite"`
	LatestStart    string       `json:"latestStart" jsonschema:"any quarter of an hour from start to here is as good; the same as start where there is no choice"`
	Local          []attendance `json:"local" jsonschema:"the meeting at its start in each city"`
	MinutesOutside int          `json:"minutesOutside" jsonschema:"outside of working hours, over all cities; 0 suits all"`
}

type attendance struct {
	City           string `json:"city"`
	Start          string `json:"start" jsonschema:"RFC 3339 in the city's time"`
	End            string `json:"end"`
	Weekday        string `json:"weekday"`
	MinutesOutside int    `json:"minutesOutside" jsonschema:"how far the meeting reaches out of working hours"`
	Outside        string `json:"outside,omitempty" jsonschema:"that in words, such as: starts 2h00m before working hours"`
}

type workingHours struct {
	City  string `json:"city"`
	Zone  string `json:"zone"`
	From  string `json:"from" jsonschema:"RFC 3339 in the city's time"`
	Until string `json:"until"`
	UTC   string `json:"utc" jsonschema:"the same in UTC, such as 08:00 to 16:00"`
}

func meetingTimes(_ context.Context, in meetingQuery) (meetingPlan, error) {
	m, err := newMeeting(in)
	if err != nil {
		return meetingPlan{}, err
	}
	slots, suits := m.slots()
	plan := meetingPlan{SuitsAll: suits, Notes: m.notes(slots)}
	for _, s := range slots {
		plan.Slots = append(plan.Slots, s.describe(m))
	}
	for _, c := range m.cities {
		from, until := m.hours.on(m.date, c.location)
		plan.Hours = append(plan.Hours, workingHours{
			c.Name, c.Zone, from.Format(time.RFC3339), until.Format(time.RFC3339),
			from.UTC().Format("15:04") + " to " + until.UTC().Format("15:04"),
		})
	}
	plan.Summary = m.summary(slots, suits)
	return plan, nil
}

// A meeting is what is looked for.
type meeting struct {
	cities []*city
	date   time.Time // noon of it in the first city
	hours  officeHours
	length time.Duration
}

func newMeeting(in meetingQuery) (*meeting, error) {
	m := &meeting{length: time.Duration(cmp.Or(in.Minutes, 60)) * time.Minute}
	var err error
	if m.cities, err = lookupAll(in.Cities, 2, maxCities); err != nil {
		return nil, err
	}
	if m.date, err = parseDate(in.Date, m.cities[0].location); err != nil {
		return nil, err
	}
	in.From, in.Until = cmp.Or(in.From, "09:00"), cmp.Or(in.Until, "17:00")
	if m.hours.from, err = parseClock(in.From); err != nil {
		return nil, err
	}
	if m.hours.until, err = parseClock(in.Until); err != nil {
		return nil, err
	}
	if office := m.hours.until - m.hours.from; office <= 0 {
		return nil, fmt.Errorf("working hours from %s until %s have no length: they must begin and end on one day", in.From, in.Until)
	} else if office < m.length {
		return nil, fmt.Errorf("a meeting of %s does not fit into working hours of %s", inWords(m.length), inWords(office))
	}
	return m, nil
}

// officeHours are the times of day at which work begins and ends, since midnight.
type officeHours struct{ from, until time.Duration }

func parseClock(text string) (time.Duration, error) {
	t, err := time.Parse("15:04", text)
	if err != nil {
		return 0, fmt.Errorf("the time of day %q is not of the form HH:MM, such as 08:30", text)
	}
	return time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute, nil
}

// on returns the hours on the date of day, taken from the calendar: on a day when the clocks change, 09:00 is not nine
// hours after midnight.
func (o officeHours) on(day time.Time, zone *time.Location) (from, until time.Time) {
	y, m, d := day.Date()
	at := func(clock time.Duration) time.Time {
		return time.Date(y, m, d, int(clock/time.Hour), int(clock/time.Minute)%60, 0, 0, zone)
	}
	return at(o.from), at(o.until)
}

// outside tells how far a meeting reaches out of the working hours that are nearest: before them, or after them.
func (o officeHours) outside(start, end time.Time) (early, late time.Duration) {
	least := time.Duration(-1)
	for day := -1; day <= 1; day++ {
		from, until := o.on(start.AddDate(0, 0, day), start.Location())
		e, l := max(from.Sub(start), 0), max(end.Sub(until), 0)
		if worse := max(e, l); least < 0 || worse < least {
			least, early, late = worse, e, l
		}
	}
	return early, late
}

// A slot is a range of starts that are equally good; where none suits all, a single start.
type slot struct {
	first, last time.Time
	outside     time.Duration // over all cities
	pain        float64
}

// slots returns all ranges of starts that suit everyone, or else the least painful starts.
func (m *meeting) slots() (found []slot, suits bool) {
	y, mo, d := m.date.Date()
	midnight := time.Date(y, mo, d, 0, 0, 0, 0, m.date.Location())
	end := time.Date(y, mo, d+1, 0, 0, 0, 0, m.date.Location())
	var all []slot
	for start := midnight.UTC(); start.Before(end); start = start.Add(step) {
		s := m.at(start)
		all = append(all, s)
		switch n := len(found); {
		case s.outside > 0:
		case n > 0 && found[n-1].last.Add(step).Equal(start):
			found[n-1].last = start
		default:
			found = append(found, s)
		}
	}
	if len(found) > 0 {
		return found, true
	}
	slices.SortStableFunc(all, func(a, b slot) int { return cmp.Compare(a.pain, b.pain) })
	for _, s := range all {
		near := func(other slot) bool { return s.first.Sub(other.first).Abs() < apart }
		if len(found) < maxSlots && !slices.ContainsFunc(found, near) {
			found = append(found, s)
		}
	}
	return found, false
}

// at judges one start. Pain grows with the square of the hours outside: two people an hour early are better off than one
// who is two hours early.
func (m *meeting) at(start time.Time) slot {
	s := slot{first: start, last: start}
	for _, c := range m.cities {
		early, late := m.hours.outside(start.In(c.location), start.Add(m.length).In(c.location))
		s.outside += early + late
		s.pain += (early + late).Hours() * (early + late).Hours()
	}
	return s
}

func (s slot) describe(m *meeting) meetingSlot {
	out := meetingSlot{
		Start: s.first.Format(time.RFC3339), LatestStart: s.last.Format(time.RFC3339),
		MinutesOutside: minutesOf(s.outside),
	}
	for _, c := range m.cities {
		start, end := s.first.In(c.location), s.first.Add(m.length).In(c.location)
		early, late := m.hours.outside(start, end)
		out.Local = append(out.Local, attendance{
			c.Name, start.Format(time.RFC3339), end.Format(time.RFC3339), start.Weekday().String(),
			minutesOf(early + late), outsideInWords(early, late),
		})
	}
	return out
}

func outsideInWords(early, late time.Duration) string {
	var parts []string
	if early > 0 {
		parts = append(parts, "starts "+inWords(early)+" before working hours")
	}
	if late > 0 {
		parts = append(parts, "ends "+inWords(late)+" after working hours")
	}
	return strings.Join(parts, ", ")
}

func inWords(d time.Duration) string { return hoursAndMinutes(minutesOf(d)) }

func (m *meeting) summary(slots []slot, suits bool) string {
	head := fmt.Sprintf("%s, %s in %s: ", inWords(m.length), m.date.Format("Monday 2 January 2006"), m.cities[0].Name)
	if suits {
		ranges := make([]string, len(slots))
		for i, s := range slots {
			ranges[i] = "at " + s.first.Format("15:04")
			if s.last != s.first {
				ranges[i] = "from " + s.first.Format("15:04") + " to " + s.last.Format("15:04")
			}
		}
		text := head + "a start " + strings.Join(ranges, " or ") + " UTC is within working hours for everyone."
		return strings.Join(append([]string{text}, m.weekends(slots)...), " ")
	}
	best := slots[0].describe(m)
	var hurt []string
	for _, a := range best.Local {
		if a.Outside != "" {
			hurt = append(hurt, fmt.Sprintf("in %s it %s", a.City, a.Outside))
		}
	}
	return head + "no start suits everyone. " + slots[0].first.Format("15:04") + " UTC hurts least: " + strings.Join(hurt, "; ") + "."
}

// notes tell what the numbers don't: weekends, and the clocks that change within a week of the date, which moves a
// meeting that repeats.
func (m *meeting) notes(slots []slot) []string {
	notes := m.weekends(slots)
	for _, c := range m.cities {
		change, by := clockChange(c, m.date)
		if by == 0 {
			continue
		}
		way := "forward"
		if by < 0 {
			way = "back"
		}
		notes = append(notes, fmt.Sprintf("The clocks of %s go %s by %s on %s: a meeting that repeats at one UTC time moves to another local time there.",
			c.Name, way, inWords(by.Abs()), change.Format("Monday 2 January")))
	}
	return notes
}

// weekends tell where the meeting falls on a Saturday or Sunday. Which days people have off differs between countries, so
// this is said, not reckoned with.
func (m *meeting) weekends(slots []slot) []string {
	notes := []string{}
	for _, c := range m.cities {
		for _, day := range []time.Weekday{time.Saturday, time.Sunday} {
			var at []string
			for _, s := range slots {
				if s.first.In(c.location).Weekday() == day {
					at = append(at, s.first.Format("15:04"))
				}
			}
			if len(at) > 0 {
				notes = append(notes, fmt.Sprintf("In %s it is %s at %s UTC.", c.Name, day, strings.Join(at, ", ")))
			}
		}
	}
	return notes
}

// clockChange finds a change of c's offset from UTC within a week before or after the day.
func clockChange(c *city, day time.Time) (at time.Time, by time.Duration) {
	const week = 7 * 24 * time.Hour
	last, next := day.In(c.location).ZoneBounds()
	for _, change := range []time.Time{next, last} {
		if change.IsZero() || change.Sub(day).Abs() > week {
			continue
		}
		_, before := change.Add(-time.Second).Zone()
		_, after := change.Zone()
		if by := time.Duration(after-before) * time.Second; by != 0 {
			return change, by
		}
	}
	return time.Time{}, 0
}
