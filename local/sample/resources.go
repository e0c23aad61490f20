package sample

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"example.com/erlmcp/function"
)

// Resources are the table of all cities, and each city.
func Resources() []function.Resource {
	return []function.Resource{
		function.NewResource("cities://all", "cities", readCities, function.ResourceOptions{
			Title:       "All cities",
			Description: "World cities with country, coordinates, time zone and population in thousands.",
			MIMEType:    "text/csv", TTL: time.Hour, Public: true,
		}),
		function.NewTemplate("city://{name}", "city", readCity, function.ResourceOptions{
			Title:       "One city",
			Description: "A city by its name: country, coordinates, time zone and population.",
			MIMEType:    "application/json", TTL: time.Hour, Public: true,
			Complete: completeCity,
		}),
	}
}

func readCities(_ context.Context, uri string, _ map[string]string) ([]function.ResourceContents, error) {
	return []function.ResourceContents{{URI: uri, MIMEType: "text/csv", Text: citiesCSV}}, nil
}

func readCity(_ context.Context, uri string, vars map[string]string) ([]function.ResourceContents, error) {
	c, err := lookup(vars["name"])
	if err != nil {
		return nil, function.ErrNotFound
	}
	text, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	return []function.ResourceContents{{URI: uri, MIMEType: "application/json", Text: string(text)}}, nil
}

// completeCity proposes names that begin with what was typed, whatever the case and the accents.
func completeCity(_ context.Context, _, typed string, _ map[string]string) ([]string, error) {
	var names []string
	for _, c := range cities() {
		if strings.HasPrefix(c.key, fold(typed)) {
			names = append(names, c.Name)
		}
	}
	return names, nil
}
