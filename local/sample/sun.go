package sample

import (
	"context"
	"fmt"
	"math"
	"time"
)

// What the sun does on a date.
const (
	risesAndSets = "rises and sets"
	polarDay     = "polar day: it stays up"
	polarNight   = "polar night: it stays down"
	risesOnly    = "rises and stays up: polar day begins"
	setsOnly     = "sets after having been up all night: polar day ends"
)

type sunQuery struct {
	City string `json:"city" jsonschema:"name of the city"`
	Date string `json:"date,omitempty" jsonschema:"YYYY-MM-DD; left out: today in the city"`
}

type sunAnswer struct {
	City      string `json:"city"`
	Date      string `json:"date"`
	Zone      string `json:"zone"`
	Sun       string `json:"sun" jsonschema:"what the sun does on this date: rises and sets, or polar day or night"`
	Sunrise   string `json:"sunrise,omitempty" jsonschema:"RFC 3339 in the city's time; far north and south it can fall on the day before; absent if the sun does not rise"`
	SolarNoon string `json:"solarNoon" jsonschema:"when the sun stands highest"`
	Sunset    string `json:"sunset,omitempty" jsonschema:"can fall on the day after; absent if the sun does not set"`
	DayLength string `json:"dayLength" jsonschema:"time with the sun up, such as 16h38m"`
	Minutes   int    `json:"dayLengthMinutes"`
}

func sunTimes(_ context.Context, in sunQuery) (sunAnswer, error) {
	c, err := lookup(in.City)
	if err != nil {
		return sunAnswer{}, err
	}
	day := time.Now().In(c.location)
	if in.Date != "" {
		if day, err = parseDate(in.Date, c.location); err != nil {
			return sunAnswer{}, err
		}
	}
	if err := checkYear(day.Year()); err != nil {
		return sunAnswer{}, err
	}
	s := sunOn(c, day)
	clock := func(t time.Time) string {
		if t.IsZero() {
			return ""
		}
		return t.In(c.location).Round(time.Minute).Format(time.RFC3339)
	}
	minutes := minutesOf(s.length)
	return sunAnswer{
		City: c.Name, Date: day.Format(time.DateOnly), Zone: c.Zone, Sun: s.state,
		Sunrise: clock(s.rise), SolarNoon: clock(s.noon), Sunset: clock(s.set),
		DayLength: hoursAndMinutes(minutes), Minutes: minutes,
	}, nil
}

func minutesOf(d time.Duration) int { return int(d.Round(time.Minute) / time.Minute) }

func hoursAndMinutes(minutes int) string { return fmt.Sprintf("%dh%02dm", minutes/60, minutes%60) }

// parseDate returns noon of the date, which every date has, whatever the clocks do at midnight.
func parseDate(date string, in *time.Location) (time.Time, error) {
	t, err := time.Parse(time.DateOnly, date)
	if err != nil {
		return time.Time{}, fmt.Errorf("the date %q is not of the form YYYY-MM-DD, such as 2026-03-29", date)
	}
	return time.Date(t.Year(), t.Month(), t.Day(), 12, 0, 0, 0, in), nil
}

// checkYear holds a year to those for which the formulas below keep to the minute.
func checkYear(year int) error {
	if year < 1901 || year > 2099 {
		return fmt.Errorf("the sun is computed for the years 1901 to 2099, not for %d", year)
	}
	return nil
}

// A sunDay is the sun's way around one solar noon. Times that do not occur are zero.
type sunDay struct {
	state           string
	rise, noon, set time.Time
	length          time.Duration // with the sun up, from one solar midnight to the next
}

// horizon is the altitude of the sun's centre at sunrise and sunset, in degrees: half its width, and the refraction at the
// horizon.
const horizon = -0.833

// sunOn follows the sun over c around the solar noon of day's date.
//
// The usual formula gives the hour angle of sunrise from the declination, which itself moves, fast enough at the edges of
// the polar day to matter. So the sun's altitude is followed instead: it rises from one midnight to noon and falls to the
// next, and where it crosses the horizon is found by halving.
func sunOn(c *city, day time.Time) sunDay {
	noon := solarNoon(c, day)
	before, after := noon.Add(-12*time.Hour), noon.Add(12*time.Hour)
	up := func(t time.Time) bool { return solarAltitude(c, t) > horizon }
	s := sunDay{noon: noon}
	if !up(noon) {
		s.state = polarNight
		return s
	}
	from, to := before, after
	if !up(before) {
		s.rise = crossing(before, noon, up)
		from = s.rise
	}
	if !up(after) {
		s.set = crossing(after, noon, up)
		to = s.set
	}
	s.length = to.Sub(from)
	switch {
	case s.rise.IsZero() && s.set.IsZero():
		s.state = polarDay
	case s.set.IsZero():
		s.state = risesOnly
	case s.rise.IsZero():
		s.state = setsOnly
	default:
		s.state = risesAndSets
	}
	return s
}

// crossing returns the moment between one with the sun down and one with it up at which that changes, to the second.
func crossing(down, up time.Time, isUp func(time.Time) bool) time.Time {
	for up.Sub(down).Abs() > time.Second {
		middle := down.Add(up.Sub(down) / 2)
		if isUp(middle) {
			up = middle
		} else {
			down = middle
		}
	}
	return up
}

// solarNoon is when the sun crosses the meridian nearest to the noon of the clocks.
func solarNoon(c *city, day time.Time) time.Time {
	y, m, d := day.In(c.location).Date()
	t := time.Date(y, m, d, 12, 0, 0, 0, c.location)
	for range 3 { // the equation of time hardly moves in between
		t = t.Add(-time.Duration(hourAngle(c, t) / 15 * float64(time.Hour)))
	}
	return t
}

// solarAltitude is the height of the sun's centre over the horizon in degrees, without refraction.
func solarAltitude(c *city, t time.Time) float64 {
	φ, δ, h := radians(c.Latitude), radians(sunAt(t).declination), radians(hourAngle(c, t))
	return degrees(math.Asin(math.Sin(φ)*math.Sin(δ) + math.Cos(φ)*math.Cos(δ)*math.Cos(h)))
}

// hourAngle is how far the sun is past the meridian, in degrees from -180 to 180.
func hourAngle(c *city, t time.Time) float64 {
	sinceMidnight := float64(t.UnixMilli()%86_400_000) / 60_000
	solarMinutes := sinceMidnight + sunAt(t).equationOfTime + 4*c.Longitude
	return math.Remainder(solarMinutes/4-180, 360)
}

type sunPosition struct {
	declination    float64 // degrees
	equationOfTime float64 // minutes by which a sundial is ahead of the clock
}

// sunAt is where the sun stands, by J. Meeus, Astronomical Algorithms, chapter 25 (low accuracy, a hundredth of a degree),
// as NOAA's solar calculator has it.
func sunAt(t time.Time) sunPosition {
	T := (float64(t.UnixMilli())/86_400_000 + 2440587.5 - 2451545) / 36525 // Julian centuries since J2000

	meanLongitude := 280.46646 + T*(36000.76983+T*0.0003032)
	anomaly := 357.52911 + T*(35999.05029-T*0.0001537)
	eccentricity := 0.016708634 - T*(0.000042037+T*0.0000001267)
	center := sin(anomaly)*(1.914602-T*(0.004817+T*0.000014)) + sin(2*anomaly)*(0.019993-T*0.000101) + sin(3*anomaly)*0.000289
	node := 125.04 - 1934.136*T
	longitude := meanLongitude + center - 0.00569 - 0.00478*sin(node) // apparent
	obliquity := 23 + (26+(21.448-T*(46.815+T*(0.00059-T*0.001813)))/60)/60 + 0.00256*cos(node)

	y := math.Pow(math.Tan(radians(obliquity/2)), 2)
	equation := y*sin(2*meanLongitude) - 2*eccentricity*sin(anomaly) + 4*eccentricity*y*sin(anomaly)*cos(2*meanLongitude) -
		y*y/2*sin(4*meanLongitude) - 1.25*eccentricity*eccentricity*sin(2*anomaly)
	return sunPosition{
		declination:    degrees(math.Asin(sin(obliquity) * sin(longitude))),
		equationOfTime: 4 * degrees(equation),
	}
}

func radians(deg float64) float64 { return deg * math.Pi / 180 }
func degrees(rad float64) float64 { return rad * 180 / math.Pi }
func sin(deg float64) float64     { return math.Sin(radians(deg)) }
func cos(deg float64) float64     { return math.Cos(radians(deg)) }
