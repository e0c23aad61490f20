package sample

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// The times are those that almanacs publish for the cities.
func TestSunTimes(t *testing.T) {
	for _, c := range []struct{ city, date, rise, set string }{
		{"London", "2024-06-21", "2024-06-21T04:43:00+01:00", "2024-06-21T21:21:00+01:00"},
		{"London", "2024-12-21", "2024-12-21T08:04:00Z", "2024-12-21T15:53:00Z"},
		{"New York", "2024-06-20", "2024-06-20T05:25:00-04:00", "2024-06-20T20:31:00-04:00"},
		{"New York", "2024-12-21", "2024-12-21T07:17:00-05:00", "2024-12-21T16:32:00-05:00"},
		{"Sydney", "2024-06-21", "2024-06-21T07:00:00+10:00", "2024-06-21T16:54:00+10:00"},
		{"Sydney", "2024-12-21", "2024-12-21T05:41:00+11:00", "2024-12-21T20:05:00+11:00"},
		{"Singapore", "2024-03-20", "2024-03-20T07:09:00+08:00", "2024-03-20T19:15:00+08:00"},
		{"Tokyo", "2024-01-01", "2024-01-01T06:51:00+09:00", "2024-01-01T16:38:00+09:00"},
		{"Reykjavík", "2024-12-21", "2024-12-21T11:22:00Z", "2024-12-21T15:30:00Z"},
		{"Reykjavík", "2024-06-21", "2024-06-21T02:55:00Z", "2024-06-22T00:03:00Z"}, // sets after midnight
	} {
		out, err := sunTimes(context.Background(), sunQuery{c.city, c.date})
		if err != nil {
			t.Fatal(err)
		}
		near(t, c.city+" "+c.date+" sunrise", out.Sunrise, c.rise)
		near(t, c.city+" "+c.date+" sunset", out.Sunset, c.set)
		if out.Sun != risesAndSets || out.Date != c.date {
			t.Errorf("%+v", out)
		}
	}
}

func near(t *testing.T, what, got, want string) {
	t.Helper()
	a, err := time.Parse(time.RFC3339, got)
	b, err2 := time.Parse(time.RFC3339, want)
	if err != nil || err2 != nil || a.Sub(b).Abs() > 2*time.Minute || got[len(got)-6:] != want[len(want)-6:] && !strings.HasSuffix(want, "Z") {
		t.Errorf("%s: %s, want %s", what, got, want)
	}
}

func TestPolarSun(t *testing.T) {
	for _, c := range []struct {
		city, date, sun string
		rises, sets     bool
		least, most     int // minutes
	}{
		{"Tromsø", "2024-06-21", polarDay, false, false, 1440, 1440},
		{"Tromsø", "2024-12-21", polarNight, false, false, 0, 0},
		{"Tromsø", "2024-03-20", risesAndSets, true, true, 720, 745},
		{"Longyearbyen", "2024-04-25", polarDay, false, false, 1440, 1440},
		{"Longyearbyen", "2024-10-27", polarNight, false, false, 0, 0},
		{"Tromsø", "2026-05-18", risesOnly, true, false, 1380, 1439},
		{"Ushuaia", "2024-12-21", risesAndSets, true, true, 1030, 1045},
	} {
		out, err := sunTimes(context.Background(), sunQuery{c.city, c.date})
		if err != nil {
			t.Fatal(err)
		}
		if out.Sun != c.sun || (out.Sunrise != "") != c.rises || (out.Sunset != "") != c.sets || out.Minutes < c.least || out.Minutes > c.most {
			t.Errorf("%s %s: %+v, want %s", c.city, c.date, out, c.sun)
		}
	}
}

func TestSunTimesRefuses(t *testing.T) {
	for _, c := range []struct {
		in   sunQuery
		want string
	}{
		{sunQuery{"Pariss", ""}, "Paris"},
		{sunQuery{"Paris", "21.6.2024"}, "YYYY-MM-DD"},
		{sunQuery{"Paris", "2024-02-30"}, "YYYY-MM-DD"},
		{sunQuery{"Paris", "1850-01-01"}, "1901 to 2099"},
	} {
		if _, err := sunTimes(context.Background(), c.in); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.in, err, c.want)
		}
	}
	synctest.Test(t, func(t *testing.T) { // no midnight comes between
		c, _ := lookup("Apia")
		if out, err := sunTimes(context.Background(), sunQuery{City: "Apia"}); err != nil || out.Date != time.Now().In(c.location).Format(time.DateOnly) {
			t.Errorf("without a date: %+v, %v", out, err)
		}
	})
}

func TestDaylightYear(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		out, err := daylightYear(context.Background(), yearQuery{"Oslo", 2026})
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took != 12*monthPause {
			t.Errorf("took %v", took)
		}
		if len(out.Months) != 12 || out.Months[0].Month != "2026-01" || out.Months[5].Minutes < 18*60 || out.Months[11].Minutes > 6*60+30 {
			t.Errorf("months: %+v", out.Months)
		}
		if !strings.HasPrefix(out.Longest.Date, "2026-06-2") || out.Longest.Length != "18h50m" ||
			!strings.HasPrefix(out.Shortest.Date, "2026-12-2") || out.Shortest.Length != "5h54m" {
			t.Errorf("longest %+v, shortest %+v", out.Longest, out.Shortest)
		}
		if out.PolarDays != 0 || out.PolarNights != 0 {
			t.Errorf("polar days in Oslo: %+v", out)
		}
		// The island skipped 30 December 2011.
		if out, err := daylightYear(context.Background(), yearQuery{"Apia", 2011}); err != nil || len(out.Months) != 12 {
			t.Errorf("Apia 2011: %+v, %v", out, err)
		}
		out, err = daylightYear(context.Background(), yearQuery{"Tromsø", 2024})
		if err != nil || out.PolarDays < 65 || out.PolarDays > 70 || out.PolarNights < 45 || out.PolarNights > 52 || out.Longest.Minutes != 1440 {
			t.Errorf("Tromsø: %+v, %v", out, err)
		}
	})
}

func TestDaylightYearStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(context.Background(), monthPause/2)
		defer cancel()
		began := time.Now()
		if _, err := daylightYear(ctx, yearQuery{City: "Oslo"}); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > monthPause {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}
