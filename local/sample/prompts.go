package sample

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"example.com/erlmcp/function"
)

// Prompts has one: plan_call, which leads a model through meeting_times and invite.
func Prompts() []function.Prompt {
	return []function.Prompt{
		function.NewPrompt("plan_call", "Plans a call between people in several cities in a given week.", planCall, function.PromptOptions{
			Title: "Plan a call",
			Arguments: []function.Argument{
				{Name: "cities", Description: "where the people are, separated by commas", Required: true},
				{Name: "week", Description: "ISO week, such as 2026-W13; left out: the next one"},
			},
			Complete: completePlan,
		}),
	}
}

func planCall(_ context.Context, args map[string]string) ([]function.Message, error) {
	list, err := lookupAll(splitList(args["cities"]), 2, maxCities)
	if err != nil {
		return nil, function.BadArgument("cities: %v", err)
	}
	monday := nextMonday(time.Now())
	if week := args["week"]; week != "" {
		if monday, err = parseWeek(week); err != nil {
			return nil, function.BadArgument("week: %v", err)
		}
	}
	names := strings.Join(namesOf(list), ", ")
	return []function.Message{function.UserSays(function.Text(fmt.Sprintf(
		`Plan a call of an hour between people in %s, in the week from %s to %s.

Call meeting_times for each of these days with the cities in this order. Compare the days: prefer one that suits everyone; if none does, share the burden so that no one is far outside of working hours. Mind the notes on weekends and on clocks that change.

Then propose the best start and one alternative in a short table, with the local time in each city, and say plainly who has to give way and by how much. When I have chosen, call invite with the start and a fitting title.`,
		names, monday.Format("Monday 2 January 2006"), monday.AddDate(0, 0, 4).Format("Monday 2 January 2006"))))}, nil
}

// completePlan completes the last of the cities typed so far, or proposes the coming weeks.
func completePlan(ctx context.Context, argument, typed string, known map[string]string) ([]string, error) {
	if argument == "week" {
		return comingWeeks(time.Now(), typed), nil
	}
	done, last := "", typed
	if i := strings.LastIndexByte(typed, ','); i >= 0 {
		done, last = typed[:i]+", ", typed[i+1:]
	}
	names, err := completeCity(ctx, argument, last, known)
	if err != nil {
		return nil, err
	}
	for _, chosen := range splitList(done) {
		names = slices.DeleteFunc(names, func(name string) bool { return fold(name) == fold(chosen) })
	}
	for i := range names {
		names[i] = done + names[i]
	}
	return names, nil
}

func splitList(text string) []string {
	var list []string
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item != "" {
			list = append(list, item)
		}
	}
	return list
}

func comingWeeks(now time.Time, typed string) []string {
	var weeks []string
	for i := range 12 {
		if w := isoWeek(nextMonday(now).AddDate(0, 0, 7*i)); strings.HasPrefix(w, strings.ToUpper(typed)) {
			weeks = append(weeks, w)
		}
	}
	return weeks
}

func nextMonday(now time.Time) time.Time {
	y, m, d := now.UTC().Date()
	return time.Date(y, m, d+7-daysSinceMonday(now.UTC()), 12, 0, 0, 0, time.UTC)
}

func daysSinceMonday(day time.Time) int { return (int(day.Weekday()) + 6) % 7 }

func isoWeek(day time.Time) string {
	year, week := day.ISOWeek()
	return fmt.Sprintf("%d-W%02d", year, week)
}

// parseWeek returns the Monday of an ISO 8601 week, the first of which has 4 January.
func parseWeek(text string) (time.Time, error) {
	var year, week int
	fmt.Sscanf(strings.ToUpper(text), "%4d-W%2d", &year, &week) // what it could not read fails below
	fourth := time.Date(year, 1, 4, 12, 0, 0, 0, time.UTC)
	monday := fourth.AddDate(0, 0, 7*(week-1)-daysSinceMonday(fourth))
	if isoWeek(monday) != strings.ToUpper(text) {
		return time.Time{}, fmt.Errorf("the week %.20q is not an ISO week, such as 2026-W13", text)
	}
	return monday, nil
}
