// Package sample is a catalog to try things out with: world cities, their clocks, the sun above them, and meetings between
// them. Its data lies in the package (cities.csv), so that it needs no network.
//
// It shows each thing that a tool can do once, in functions small enough to copy: typed arguments with descriptions, errors
// that tell the model how to go on, hints, limits, progress of a slow call, a question to the person, a calendar file as
// content, a resource, a template with completion, and a prompt.
package sample

import (
	"time"

	"example.com/erlmcp/function"
)

// Catalog is all of it, and how to use it.
func Catalog() function.Catalog {
	return function.Catalog{
		Tools: Tools(), Resources: Resources(), Prompts: Prompts(),
		Info: function.Info{Instructions: "The sample catalog knows world cities: find_cities to look them up, sun_times and daylight_year for the sun, " +
			"distance between two, meeting_times to find when people in several cities can meet, then invite to make a calendar file, " +
			"which asks the user first. Cities go by their names; an unknown one is answered with the nearest names. " +
			"The resource cities://all is the whole table, city://{name} one of them."},
	}
}

// Tools are the tools on cities.
func Tools() []function.Tool {
	return []function.Tool{
		function.NewTool("find_cities",
			"Finds world cities by text in the name, by country, or both, the largest first, with coordinates, time zone and the time there now.",
			findCities,
			function.ToolOptions{Title: "Find cities", ReadOnly: true, ClosedWorld: true}),
		function.NewTool("sun_times",
			"Tells sunrise, sunset, solar noon and the length of the day in a city on a date, in the city's own time.",
			sunTimes,
			function.ToolOptions{Title: "Sunrise and sunset", ReadOnly: true, ClosedWorld: true}),
		function.NewTool("distance",
			"Measures the great-circle distance between two cities and the direction to set out in.",
			distance,
			function.ToolOptions{Title: "Distance between cities", ReadOnly: true, ClosedWorld: true}),
		function.NewTool("meeting_times",
			"Finds when people in 2 to 8 cities can meet on a date: the starts that lie within working hours for all, or where there are none, "+
				"those that hurt least, with who is outside of hours and by how much. Daylight saving time is taken into account.",
			meetingTimes,
			function.ToolOptions{Title: "Meeting times", ReadOnly: true, ClosedWorld: true}),
		function.NewTool("invite",
			"Makes a calendar invitation (iCalendar) for people in up to 8 cities, after the user has confirmed it. It sends nothing. "+
				"Use meeting_times to find the start.",
			invite,
			function.ToolOptions{Title: "Calendar invitation", ReadOnly: true, ClosedWorld: true}),
		// Slow on purpose, so it is the one with limits: what it may cost is bounded over the whole fleet.
		function.NewTool("daylight_year",
			"Follows the length of the day in a city through a year: the average of each month, the longest and the shortest day. "+
				"Takes about two seconds and reports progress.",
			daylightYear,
			function.ToolOptions{Title: "Daylight through the year", ReadOnly: true, ClosedWorld: true, PerSecond: 2, Burst: 4, MaxConcurrent: 4, Timeout: 15 * time.Second}),
	}
}
