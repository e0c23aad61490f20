package sample

import (
	"context"
	"math"
	"strings"
	"testing"
	"time"
)

func TestMeetingTimes(t *testing.T) {
	for _, c := range []struct {
		name        string
		in          meetingQuery
		first, last string // UTC
		note        string
	}{
		{"winter on both sides", meetingQuery{Cities: []string{"London", "New York"}, Date: "2026-02-18"},
			"2026-02-18T14:00:00Z", "2026-02-18T16:00:00Z", ""},
		{"New York has changed, London not yet", meetingQuery{Cities: []string{"London", "New York"}, Date: "2026-03-11"},
			"2026-03-11T13:00:00Z", "2026-03-11T16:00:00Z", "New York go forward by 1h00m on Sunday 8 March"},
		{"both have changed", meetingQuery{Cities: []string{"London", "New York"}, Date: "2026-04-08"},
			"2026-04-08T13:00:00Z", "2026-04-08T15:00:00Z", ""},
		{"London has changed back, New York not yet", meetingQuery{Cities: []string{"London", "New York"}, Date: "2026-10-28"},
			"2026-10-28T13:00:00Z", "2026-10-28T16:00:00Z", "New York go back by 1h00m on Sunday 1 November"},
		{"the day of the change", meetingQuery{Cities: []string{"London", "Lisbon"}, Date: "2026-03-29"},
			"2026-03-29T08:00:00Z", "2026-03-29T15:00:00Z", "In London it is Sunday at 08:00 UTC"},
		{"zones of three quarters and a half", meetingQuery{Cities: []string{"Kathmandu", "Delhi"}, Date: "2026-06-10"},
			"2026-06-10T03:30:00Z", "2026-06-10T10:15:00Z", ""},
		{"another day in the second city", meetingQuery{Cities: []string{"Los Angeles", "Sydney"}, Date: "2026-02-18"},
			"2026-02-18T22:00:00Z", "2026-02-19T00:00:00Z", ""},
		{"own hours and a short meeting", meetingQuery{Cities: []string{"Berlin", "Bengaluru"}, Date: "2026-02-18", From: "07:00", Until: "12:30", Minutes: 30},
			"2026-02-18T06:00:00Z", "2026-02-18T06:30:00Z", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			plan, err := meetingTimes(context.Background(), c.in)
			if err != nil {
				t.Fatal(err)
			}
			if !plan.SuitsAll || len(plan.Slots) != 1 || plan.Slots[0].Start != c.first || plan.Slots[0].LatestStart != c.last || plan.Slots[0].MinutesOutside != 0 {
				t.Errorf("%+v, want %s to %s", plan.Slots, c.first, c.last)
			}
			notes := strings.Join(plan.Notes, "\n")
			if c.note == "" && notes != "" || !strings.Contains(notes, c.note) {
				t.Errorf("notes %q, want %q", notes, c.note)
			}
			if !strings.Contains(plan.Summary, "from "+c.first[11:16]+" to "+c.last[11:16]+" UTC") {
				t.Errorf("summary %q", plan.Summary)
			}
			if len(plan.Hours) != len(c.in.Cities) || len(plan.Slots[0].Local) != len(c.in.Cities) {
				t.Errorf("%+v", plan)
			}
		})
	}
}

func TestMeetingTimesThatHurt(t *testing.T) {
	plan, err := meetingTimes(context.Background(), meetingQuery{Cities: []string{"San Francisco", "London"}, Date: "2026-06-10"})
	if err != nil {
		t.Fatal(err)
	}
	best := plan.Slots[0]
	if plan.SuitsAll || best.Start != "2026-06-10T15:30:00Z" || best.MinutesOutside != 60 {
		t.Errorf("%+v", best)
	}
	for i, want := range []attendance{
		{"San Francisco", "2026-06-10T08:30:00-07:00", "2026-06-10T09:30:00-07:00", "Wednesday", 30, "starts 0h30m before working hours"},
		{"London", "2026-06-10T16:30:00+01:00", "2026-06-10T17:30:00+01:00", "Wednesday", 30, "ends 0h30m after working hours"},
	} {
		if best.Local[i] != want {
			t.Errorf("%+v, want %+v", best.Local[i], want)
		}
	}
	if want := "15:30 UTC hurts least: in San Francisco it starts 0h30m before working hours; in London it ends 0h30m after working hours."; !strings.Contains(plan.Summary, want) {
		t.Errorf("summary %q, want %q", plan.Summary, want)
	}
	if len(plan.Slots) != maxSlots {
		t.Errorf("%d slots", len(plan.Slots))
	}
}

// Around the world there is no good start. The best one must be the least painful of the whole day, reckoned here by hand
// from the clocks on the walls.
func TestLeastPain(t *testing.T) {
	in := meetingQuery{Cities: []string{"San Francisco", "London", "Kolkata", "Tokyo", "Auckland"}, Date: "2026-07-15"}
	plan, err := meetingTimes(context.Background(), in)
	if err != nil {
		t.Fatal(err)
	}
	hoursOutside := func(name string, start time.Time) float64 {
		c, _ := lookup(name)
		local := start.In(c.location)
		begins := float64(local.Hour()) + float64(local.Minute())/60
		least := math.Inf(1)
		for _, day := range []float64{-24, 0, 24} {
			least = min(least, max(9+day-begins, begins+1-(17+day), 0))
		}
		return least
	}
	pain := func(start time.Time) (sum float64) {
		for _, name := range in.Cities {
			sum += math.Pow(hoursOutside(name, start), 2)
		}
		return sum
	}
	best, err := time.Parse(time.RFC3339, plan.Slots[0].Start)
	if err != nil {
		t.Fatal(err)
	}
	first, _ := time.Parse(time.RFC3339, "2026-07-15T00:00:00-07:00")
	for start := first; start.Before(first.Add(24 * time.Hour)); start = start.Add(15 * time.Minute) {
		if pain(start) < pain(best)-1e-9 {
			t.Errorf("%v has pain %.2f, %v was proposed with %.2f", start.UTC(), pain(start), best, pain(best))
		}
	}
	for _, a := range plan.Slots[0].Local {
		if want := hoursOutside(a.City, best) * 60; math.Abs(float64(a.MinutesOutside)-want) > 0.5 {
			t.Errorf("%s: %d minutes outside, want %.0f", a.City, a.MinutesOutside, want)
		}
	}
}

func TestMeetingTimesRefuses(t *testing.T) {
	nine := []string{"Paris", "Rome", "Oslo", "Bern", "Lima", "Cairo", "Tokyo", "Seoul", "Dubai"}
	two := []string{"Paris", "Rome"}
	for _, c := range []struct {
		in   meetingQuery
		want string
	}{
		{meetingQuery{Cities: []string{"Paris"}, Date: "2026-03-11"}, "2 to 8 cities, not 1"},
		{meetingQuery{Cities: nine, Date: "2026-03-11"}, "2 to 8 cities, not 9"},
		{meetingQuery{Cities: []string{"Paris", "paris"}, Date: "2026-03-11"}, "Paris is named twice"},
		{meetingQuery{Cities: []string{"Paris", "Lodnon"}, Date: "2026-03-11"}, "London"},
		{meetingQuery{Cities: two, Date: "tomorrow"}, "YYYY-MM-DD"},
		{meetingQuery{Cities: two, Date: "2026-03-11", From: "9am"}, "HH:MM"},
		{meetingQuery{Cities: two, Date: "2026-03-11", From: "22:00", Until: "06:00"}, "from 22:00 until 06:00"},
		{meetingQuery{Cities: two, Date: "2026-03-11", From: "18:00"}, "from 18:00 until 17:00"},
		{meetingQuery{Cities: two, Date: "2026-03-11", From: "09:00", Until: "10:00", Minutes: 90}, "1h30m does not fit"},
	} {
		if _, err := meetingTimes(context.Background(), c.in); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.in, err, c.want)
		}
	}
}
