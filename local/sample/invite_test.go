package sample

import (
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestCalendar(t *testing.T) {
	title := `Review; plans, "Q3" \ ` + strings.Repeat("größer und schöner ", 7)
	in := inviteQuery{Title: title, Cities: []string{"Zurich", "São Paulo"}, Start: time.Date(2026, 3, 26, 15, 0, 0, 0, time.FixedZone("", 3600)), Minutes: 45}
	e, err := newEvent(in)
	if err != nil {
		t.Fatal(err)
	}
	text := e.calendar(time.Date(2026, 3, 1, 8, 30, 0, 0, time.UTC))
	for line := range strings.SplitSeq(strings.TrimSuffix(text, "\r\n"), "\r\n") {
		if len(line) > 75 || !utf8.ValidString(line) || strings.ContainsAny(line, "\r\n") || line == "" {
			t.Errorf("line of %d octets: %q", len(line), line)
		}
	}
	unfolded := strings.Split(strings.ReplaceAll(text, "\r\n ", ""), "\r\n")
	want := []string{
		"BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//erlmcp//sample//EN", "BEGIN:VEVENT", "UID:" + e.uid(),
		"DTSTAMP:20260301T083000Z", "DTSTART:20260326T140000Z", "DTEND:20260326T144500Z",
		`SUMMARY:Review\; plans\, "Q3" \\ ` + strings.TrimSpace(strings.Repeat("größer und schöner ", 7)),
		`LOCATION:Zurich\, São Paulo`,
		`DESCRIPTION:Thu 26 Mar 2026 15:00 CET in Zurich\, Thu 26 Mar 2026 11:00 -03 in São Paulo\; 0h45m.`,
		"END:VEVENT", "END:VCALENDAR", "",
	}
	if got := strings.Join(unfolded, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
	if !regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(e.uid()) {
		t.Errorf("UID %q", e.uid())
	}
	again, _ := newEvent(in)
	in.Minutes = 60
	other, _ := newEvent(in)
	if again.uid() != e.uid() || other.uid() == e.uid() {
		t.Error("the UID must be that of the event, and of no other")
	}
}

func TestNewEventRefuses(t *testing.T) {
	start := time.Date(2026, 3, 26, 15, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		in   inviteQuery
		want string
	}{
		{inviteQuery{Title: " ", Cities: []string{"Paris"}, Start: start}, "title"},
		{inviteQuery{Title: "a\nATTENDEE:x", Cities: []string{"Paris"}, Start: start}, "title"},
		{inviteQuery{Title: strings.Repeat("x", 201), Cities: []string{"Paris"}, Start: start}, "title"},
		{inviteQuery{Title: "x", Start: start}, "1 to 8 cities, not 0"},
		{inviteQuery{Title: "x", Cities: []string{"Pariss"}, Start: start}, "Paris"},
		{inviteQuery{Title: "x", Cities: []string{"Paris"}}, "between 1970 and 2099"},
	} {
		if _, err := newEvent(c.in); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.in, err, c.want)
		}
	}
}

func TestPlanCall(t *testing.T) {
	for text, want := range map[string]string{
		"2026-W01": "2025-12-29", "2026-W13": "2026-03-23", "2026-w53": "2026-12-28", "2027-W01": "2027-01-04",
		"2025-W53": "", "2026-W00": "", "2026-13": "", "2026-W13x": "", "next": "",
	} {
		monday, err := parseWeek(text)
		if got := monday.Format(time.DateOnly); (err != nil) != (want == "") || want != "" && got != want {
			t.Errorf("%s: %s, %v, want %q", text, got, err, want)
		}
	}
	for day, want := range map[string]string{"2026-03-22": "2026-03-23", "2026-03-23": "2026-03-30", "2026-03-28": "2026-03-30"} {
		now, _ := time.Parse(time.DateOnly, day)
		if got := nextMonday(now).Format(time.DateOnly); got != want {
			t.Errorf("the Monday after %s: %s, want %s", day, got, want)
		}
	}
}
