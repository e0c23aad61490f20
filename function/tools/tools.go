// Package tools is all that this copy of the repository offers: write functions here, or in files beside this one, and name them
// in [Catalog]. The local run, the container and a deployment from source serve it.
package tools

import (
	"context"
	"fmt"
	"time"

	"example.com/erlmcp/function"
)

// Catalog is what is served, and how the server presents itself.
func Catalog() function.Catalog {
	return function.Catalog{
		Info: function.Info{
			Name: "erlmcp", Title: "erlmcp", // a Version here takes the place of erlmcp's own
			Instructions: "Tools of this server are governed: a refused call says why and when to try again.",
		},
		Tools: []function.Tool{
			function.NewTool("time_in_zone", "Tells the date, time and UTC offset in an IANA time zone, now or at a given moment.", timeInZone,
				function.ToolOptions{Title: "Time in a zone", ReadOnly: true, ClosedWorld: true}),
		},
		Resources: []function.Resource{},
		Prompts:   []function.Prompt{},
	}
}

type zoneQuery struct {
	Zone string    `json:"zone" jsonschema:"IANA name of the time zone, such as Europe/Zurich"`
	At   time.Time `json:"at,omitzero" jsonschema:"moment in RFC 3339; left out: now"`
}

type zoneTime struct {
	Local   string `json:"local" jsonschema:"RFC 3339 with the zone's offset"`
	Weekday string `json:"weekday"`
	Abbrev  string `json:"abbreviation" jsonschema:"of the zone at that moment, such as CEST"`
	DST     bool   `json:"dst" jsonschema:"whether daylight saving time is in force"`
}

func timeInZone(_ context.Context, in zoneQuery) (zoneTime, error) {
	zone, err := time.LoadLocation(in.Zone)
	if err != nil || in.Zone == "" || in.Zone == "Local" {
		return zoneTime{}, fmt.Errorf("there is no time zone %q: use an IANA name such as America/New_York", in.Zone)
	}
	at := in.At
	if at.IsZero() {
		at = time.Now()
	}
	at = at.In(zone)
	abbrev, _ := at.Zone()
	return zoneTime{at.Format(time.RFC3339), at.Weekday().String(), abbrev, at.IsDST()}, nil
}
