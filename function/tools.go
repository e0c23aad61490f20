package function

import (
	"context"
	"fmt"
	"time"
	_ "time/tzdata" // the image has no time zones of its own
)

// Tools are the tools of this copy: write a function, name it here, and it is served by the local run, by the container and
// by a deployment from source.
func Tools() []Tool {
	return []Tool{
		NewTool("time_in_zone", "Tells the date, time and UTC offset in an IANA time zone, now or at a given moment.", timeInZone,
			Title("Time in a zone"), ReadOnly(), OpenWorld(false)),
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
