package sample

import (
	"context"
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestCities(t *testing.T) {
	list := cities()
	if len(list) < 120 {
		t.Errorf("only %d cities", len(list))
	}
	seen := map[string]bool{}
	for i, c := range list {
		if seen[c.key] {
			t.Errorf("%s is there twice", c.Name)
		}
		seen[c.key] = true
		if i > 0 && list[i-1].key > c.key {
			t.Errorf("%s is out of order", c.Name)
		}
		for _, r := range c.key {
			if (r < 'a' || r > 'z') && r != ' ' {
				t.Errorf("%s folds to %q: fold does not know %q", c.Name, c.key, r)
			}
		}
		if len(c.Country) != 2 || strings.ToUpper(c.Country) != c.Country {
			t.Errorf("%s: country %q", c.Name, c.Country)
		}
		if math.Abs(c.Latitude) > 90 || math.Abs(c.Longitude) > 180 || c.Population <= 0 {
			t.Errorf("%+v", *c)
		}
		if _, err := time.LoadLocation(c.Zone); err != nil || c.location.String() != c.Zone {
			t.Errorf("%s: %v", c.Name, err)
		}
		// A wrong zone or a wrong sign of the longitude shows as clocks far from the sun. Across the date line they are a day
		// apart and agree.
		for _, month := range []time.Month{time.January, time.July} {
			_, offset := time.Date(2026, month, 1, 0, 0, 0, 0, c.location).Zone()
			if off := math.Remainder(float64(offset)/3600-c.Longitude/15, 24); math.Abs(off) > 3.5 {
				t.Errorf("%s: clocks in %s are %.1f hours off the sun", c.Name, month, off)
			}
		}
	}
}

func TestLookup(t *testing.T) {
	for _, c := range []struct{ name, want string }{
		{"London", "London"}, {"  london ", "London"}, {"SÃO PAULO", "São Paulo"}, {"sao-paulo", "São Paulo"}, {"new_york", "New York"},
		{"Tromso", "Tromsø"}, {"st johns", "St. John's"}, {"St. John’s", "St. John's"},
	} {
		if got, err := lookup(c.name); err != nil || got.Name != c.want {
			t.Errorf("%q: %v, %v, want %s", c.name, got, err, c.want)
		}
	}
	for _, c := range []struct{ name, want string }{
		{"Pariss", "Paris"}, {"Paris, France", "Paris"}, {"Lodnon", "London"}, {"San", "San José"}, {"San", "San Francisco"},
		{"Kiev", "Kyiv"}, {"Bangalore", "Bengaluru"}, {"", "the nearest names are"}, {strings.Repeat("x", 1<<20), "the nearest names are"},
	} {
		_, err := lookup(c.name)
		if err == nil || !strings.Contains(err.Error(), c.want) || len(err.Error()) > 300 {
			t.Errorf("%.20q: %v, want %s proposed", c.name, err, c.want)
		}
	}
}

func TestEditDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"paris", "paris", 0}, {"kitten", "sitting", 3}, {"flaw", "lawn", 2}} {
		if got := editDistance(c.a, c.b); got != c.want {
			t.Errorf("%q to %q: %d, want %d", c.a, c.b, got, c.want)
		}
	}
}

func TestFindCities(t *testing.T) {
	for _, c := range []struct {
		name  string
		in    cityQuery
		want  []string
		found int
	}{
		{"by text", cityQuery{Text: "SAN"}, []string{"Santiago", "San Francisco", "San José"}, 3},
		{"by country", cityQuery{Country: "za"}, []string{"Johannesburg", "Cape Town"}, 2},
		{"by both", cityQuery{Text: "san", Country: "CR"}, []string{"San José"}, 1},
		{"limited", cityQuery{Country: "CN", Limit: 1}, []string{"Shanghai"}, 4},
		{"accents", cityQuery{Text: "bogota"}, []string{"Bogotá"}, 1},
		{"nothing", cityQuery{Text: "lodnon"}, nil, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, err := findCities(context.Background(), c.in)
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, found := range out.Cities {
				names = append(names, found.Name)
				at, err := time.Parse(time.RFC3339, found.LocalTime)
				if err != nil || time.Since(at).Abs() > time.Minute {
					t.Errorf("%s: local time %s, %v", found.Name, found.LocalTime, err)
				}
			}
			if !slices.Equal(names, c.want) || out.Found != c.found || out.Cities == nil {
				t.Errorf("%v of %d, want %v of %d", names, out.Found, c.want, c.found)
			}
			if c.found == 0 && !slices.Contains(out.DidYouMean, "London") {
				t.Errorf("proposes %v", out.DidYouMean)
			}
		})
	}
	if out, err := findCities(context.Background(), cityQuery{}); err != nil || len(out.Cities) != 10 || out.Cities[0].Name != "Tokyo" {
		t.Errorf("without a query: %+v, %v", out, err)
	}
	if _, err := findCities(context.Background(), cityQuery{Country: "UK"}); err == nil || !strings.Contains(err.Error(), " GB ") {
		t.Errorf("unknown country: %v", err)
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		from, to      string
		km, tolerance float64
		bearing       float64
		compass       string
	}{
		{"London", "New York", 5570, 20, 288.3, "WNW"},
		{"New York", "London", 5570, 20, 51.2, "NE"},
		{"Paris", "Berlin", 878, 10, 58.4, "ENE"},
		{"Sydney", "Santiago", 11340, 50, 145.3, "SE"},
		{"Tokyo", "San Francisco", 8270, 40, 54.4, "NE"},
		{"Quito", "Nairobi", 12810, 100, 91, "E"},
		{"Auckland", "Apia", 2890, 50, 31, "NNE"}, // across the date line
	} {
		r, err := distance(context.Background(), cityPair{c.from, c.to})
		if err != nil || math.Abs(r.Kilometres-c.km) > c.tolerance || math.Abs(r.Bearing-c.bearing) > 1.5 || r.Compass != c.compass {
			t.Errorf("%s to %s: %+v, %v, want %v km, %v° %s", c.from, c.to, r, err, c.km, c.bearing, c.compass)
		}
	}
	for _, bad := range []cityPair{{"Paris", "paris"}, {"Nowhere", "Paris"}, {"Paris", "Nowhere"}} {
		if _, err := distance(context.Background(), bad); err == nil {
			t.Errorf("%v: no error", bad)
		}
	}
	for bearing, want := range map[float64]string{0: "N", 11: "N", 12: "NNE", 90: "E", 180: "S", 270: "W", 348: "NNW", 349: "N", 359.9: "N"} {
		if got := compass(bearing); got != want {
			t.Errorf("compass(%v) = %s, want %s", bearing, got, want)
		}
	}
}
