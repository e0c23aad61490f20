package sample

import (
	"context"
	"fmt"
	"time"

	"example.com/erlmcp/function"
)

type yearQuery struct {
	City string `json:"city" jsonschema:"name of the city"`
	Year int    `json:"year,omitempty" jsonschema:"left out: this year" minimum:"1901" maximum:"2099"`
}

type yearOfDays struct {
	City        string        `json:"city"`
	Year        int           `json:"year"`
	Months      []monthOfDays `json:"months"`
	Longest     dayOfYear     `json:"longestDay" jsonschema:"the first, if there are several"`
	Shortest    dayOfYear     `json:"shortestDay" jsonschema:"the first, if there are several"`
	PolarDays   int           `json:"polarDays" jsonschema:"dates on which the sun stays up"`
	PolarNights int           `json:"polarNights" jsonschema:"dates on which the sun stays down"`
}

type monthOfDays struct {
	Month   string `json:"month" jsonschema:"YYYY-MM"`
	Average string `json:"averageDayLength" jsonschema:"such as 11h05m"`
	Minutes int    `json:"averageDayLengthMinutes"`
}

type dayOfYear struct {
	Date    string `json:"date"`
	Length  string `json:"dayLength"`
	Minutes int    `json:"dayLengthMinutes"`

	length time.Duration
}

// monthPause stands for what makes real tools slow, so that progress can be watched.
const monthPause = 150 * time.Millisecond

func daylightYear(ctx context.Context, in yearQuery) (yearOfDays, error) {
	c, err := lookup(in.City)
	if err != nil {
		return yearOfDays{}, err
	}
	if in.Year == 0 {
		in.Year = time.Now().In(c.location).Year()
	}
	if err := checkYear(in.Year); err != nil {
		return yearOfDays{}, err
	}
	out := yearOfDays{City: c.Name, Year: in.Year}
	for month := time.January; month <= time.December; month++ {
		var sum time.Duration
		days := time.Date(in.Year, month+1, 0, 0, 0, 0, 0, time.UTC).Day()
		for d := range days {
			day := time.Date(in.Year, month, d+1, 12, 0, 0, 0, c.location)
			s := sunOn(c, day)
			out.count(day, s)
			sum += s.length
		}
		average := minutesOf(sum / time.Duration(days))
		out.Months = append(out.Months, monthOfDays{fmt.Sprintf("%d-%02d", in.Year, month), hoursAndMinutes(average), average})
		select {
		case <-ctx.Done():
			return yearOfDays{}, ctx.Err()
		case <-time.After(monthPause):
		}
		function.Progress(ctx, float64(month), 12, fmt.Sprintf("%s: %s of daylight on average", month, hoursAndMinutes(average)))
	}
	return out, nil
}

func (y *yearOfDays) count(day time.Time, s sunDay) {
	minutes := minutesOf(s.length)
	d := dayOfYear{day.Format(time.DateOnly), hoursAndMinutes(minutes), minutes, s.length}
	if y.Longest.Date == "" || s.length > y.Longest.length {
		y.Longest = d
	}
	if y.Shortest.Date == "" || s.length < y.Shortest.length {
		y.Shortest = d
	}
	switch s.state {
	case polarDay:
		y.PolarDays++
	case polarNight:
		y.PolarNights++
	}
}
