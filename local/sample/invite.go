package sample

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"example.com/erlmcp/function"
	"example.com/erlmcp/function/ask"
)

type inviteQuery struct {
	Title   string    `json:"title" jsonschema:"what the meeting is called, in one line"`
	Cities  []string  `json:"cities" jsonschema:"names of 1 to 8 cities"`
	Start   time.Time `json:"start" jsonschema:"RFC 3339, such as 2026-03-26T14:00:00Z"`
	Minutes int       `json:"minutes,omitempty" jsonschema:"how long the meeting is; default 60" minimum:"5" maximum:"480"`
}

func invite(ctx context.Context, in inviteQuery) ([]function.Content, error) {
	e, err := newEvent(in)
	if err != nil {
		return nil, err
	}
	var sure bool
	if err := ask.Client(ctx, ask.Confirm("confirm", e.question(), &sure)); err != nil {
		return nil, err
	}
	if !sure {
		return nil, ask.ErrDeclined
	}
	return []function.Content{
		function.Text("The invitation is made, not sent: hand the calendar file to the user. " + e.inWords()),
		function.Embed(function.ResourceContents{URI: "urn:invitation:" + e.uid(), MIMEType: "text/calendar", Text: e.calendar(time.Now())}),
	}, nil
}

// An event is a meeting at a fixed time.
type event struct {
	title  string
	cities []*city
	start  time.Time
	length time.Duration
}

func newEvent(in inviteQuery) (*event, error) {
	e := &event{title: strings.TrimSpace(in.Title), start: in.Start, length: time.Duration(cmp.Or(in.Minutes, 60)) * time.Minute}
	if e.title == "" || strings.ContainsFunc(e.title, unicode.IsControl) || utf8.RuneCountInString(e.title) > 200 {
		return nil, errors.New("the title must be one line of 1 to 200 characters")
	}
	if e.start.Year() < 1970 || e.start.Year() > 2099 {
		return nil, fmt.Errorf("the start %s is not between 1970 and 2099", e.start.Format(time.RFC3339))
	}
	var err error
	e.cities, err = lookupAll(in.Cities, 1, maxCities)
	return e, err
}

func (e *event) question() string {
	return fmt.Sprintf("Make the invitation %q? %s", e.title, e.inWords())
}

func (e *event) inWords() string {
	local := make([]string, len(e.cities))
	for i, c := range e.cities {
		local[i] = e.start.In(c.location).Format("Mon 2 Jan 2006 15:04 MST") + " in " + c.Name
	}
	return strings.Join(local, ", ") + "; " + inWords(e.length) + "."
}

// uid names the event. It comes from what the event is, so that a call repeated by the client makes the same event again
// and calendars don't show it twice.
func (e *event) uid() string {
	h := sha256.New()
	fmt.Fprintf(h, "%q %q %d %d", e.title, namesOf(e.cities), e.start.Unix(), e.length)
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// calendar writes the event in iCalendar (RFC 5545). Times are in UTC, which every calendar shows in its owner's zone.
func (e *event) calendar(now time.Time) string {
	const utc = "20060102T150405Z"
	var b strings.Builder
	line := func(text string) { foldLine(&b, text) }
	line("BEGIN:VCALENDAR")
	line("VERSION:2.0")
	line("PRODID:-//erlmcp//sample//EN")
	line("BEGIN:VEVENT")
	line("UID:" + e.uid())
	line("DTSTAMP:" + now.UTC().Format(utc))
	line("DTSTART:" + e.start.UTC().Format(utc))
	line("DTEND:" + e.start.Add(e.length).UTC().Format(utc))
	line("SUMMARY:" + escapeText(e.title))
	line("LOCATION:" + escapeText(strings.Join(namesOf(e.cities), ", ")))
	line("DESCRIPTION:" + escapeText(e.inWords()))
	line("END:VEVENT")
	line("END:VCALENDAR")
	return b.String()
}

var escaper = strings.NewReplacer(`\`, `\\`, `;`, `\;`, `,`, `\,`, "\n", `\n`)

func escapeText(s string) string { return escaper.Replace(s) }

// foldLine writes a content line in pieces of at most 75 octets, none of which splits a character; each but the first
// begins with a space.
func foldLine(b *strings.Builder, text string) {
	const most = 75
	room := most
	for len(text) > room {
		cut := room
		for !utf8.RuneStart(text[cut]) {
			cut--
		}
		b.WriteString(text[:cut])
		b.WriteString("\r\n ")
		text = text[cut:]
		room = most - 1
	}
	b.WriteString(text)
	b.WriteString("\r\n")
}
