package sample

import (
	"cmp"
	"context"
	_ "embed"
	"encoding/csv"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

//go:embed cities.csv
var citiesCSV string

// A city is one row of cities.csv.
type city struct {
	Name       string  `json:"name"`
	Country    string  `json:"country" jsonschema:"ISO 3166-1 alpha-2 code"`
	Latitude   float64 `json:"latitude" jsonschema:"degrees, north is positive"`
	Longitude  float64 `json:"longitude" jsonschema:"degrees, east is positive"`
	Zone       string  `json:"zone" jsonschema:"IANA time zone"`
	Population int     `json:"populationThousands" jsonschema:"of the urban area, in thousands, rounded"`

	key      string // the name as folded by fold
	location *time.Location
}

// cities are all of them, in the order of their names. The rows are part of the program, so a bad one is a panic.
var cities = sync.OnceValue(func() []*city {
	rows, err := csv.NewReader(strings.NewReader(citiesCSV)).ReadAll()
	if err != nil {
		panic(err)
	}
	list := make([]*city, 0, len(rows)-1)
	for _, row := range rows[1:] {
		c, err := parseCity(row)
		if err != nil {
			panic(fmt.Sprintf("cities.csv: %s: %v", row[0], err))
		}
		list = append(list, c)
	}
	return list
})

func parseCity(row []string) (*city, error) {
	c := &city{Name: row[0], Country: row[1], Zone: row[4], key: fold(row[0])}
	var err error
	if c.Latitude, err = strconv.ParseFloat(row[2], 64); err != nil {
		return nil, err
	}
	if c.Longitude, err = strconv.ParseFloat(row[3], 64); err != nil {
		return nil, err
	}
	if c.Population, err = strconv.Atoi(row[5]); err != nil {
		return nil, err
	}
	c.location, err = time.LoadLocation(c.Zone)
	return c, err
}

// plain takes the marks off the letters that occur in the names, and makes a space of what stands between words.
var plain = strings.NewReplacer("á", "a", "ã", "a", "é", "e", "í", "i", "ó", "o", "ö", "o", "ø", "o", "ü", "u",
	"-", " ", "_", " ", ".", " ", "'", "", "’", "")

// fold reduces a name to what people agree on: "são-paulo", "Sao Paulo" and "SÃO PAULO" are one.
func fold(name string) string {
	return strings.Join(strings.Fields(plain.Replace(strings.ToLower(name))), " ")
}

// lookup finds a city by its name. Its error proposes names, so that a model can correct itself.
func lookup(name string) (*city, error) {
	key := fold(name)
	for _, c := range cities() {
		if c.key == key {
			return c, nil
		}
	}
	return nil, fmt.Errorf("there is no city %.60q here; the nearest names are %s; find_cities searches all", name, strings.Join(nearest(name, 3), ", "))
}

// lookupAll finds from least to most cities, each named once.
func lookupAll(names []string, least, most int) ([]*city, error) {
	if len(names) < least || len(names) > most {
		return nil, fmt.Errorf("name %d to %d cities, not %d", least, most, len(names))
	}
	list := make([]*city, 0, len(names))
	for _, name := range names {
		c, err := lookup(name)
		if err != nil {
			return nil, err
		}
		if slices.Contains(list, c) {
			return nil, fmt.Errorf("%s is named twice", c.Name)
		}
		list = append(list, c)
	}
	return list, nil
}

// nearest returns the n names that are most like name: first those that begin alike, then those that fewest edits lead to.
func nearest(name string, n int) []string {
	key := fold(name)
	list := slices.Clone(cities())
	likeness := func(c *city) int {
		if key != "" && (strings.HasPrefix(c.key, key) || strings.HasPrefix(key, c.key)) {
			return -len(c.key)
		}
		return editDistance(key, c.key)
	}
	slices.SortStableFunc(list, func(a, b *city) int { return cmp.Compare(likeness(a), likeness(b)) })
	return namesOf(list[:min(n, len(list))])
}

func namesOf(list []*city) []string {
	names := make([]string, len(list))
	for i, c := range list {
		names[i] = c.Name
	}
	return names
}

// maxCompared bounds what an edit distance costs: no name is nearly as long.
const maxCompared = 64

// editDistance is the Levenshtein distance in bytes, which for folded names are letters.
func editDistance(a, b string) int {
	a = a[:min(len(a), maxCompared)]
	row := make([]int, len(b)+1) // distances from what of a was read to each prefix of b
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

type cityQuery struct {
	Text    string `json:"text,omitempty" jsonschema:"part of the name; case and accents don't matter"`
	Country string `json:"country,omitempty" jsonschema:"ISO 3166-1 alpha-2 code, such as BR"`
	Limit   int    `json:"limit,omitempty" jsonschema:"most cities to return; default 10" minimum:"1" maximum:"50"`
}

type cityList struct {
	Cities     []cityNow `json:"cities"`
	Found      int       `json:"found" jsonschema:"how many match, also beyond the limit"`
	DidYouMean []string  `json:"didYouMean,omitempty" jsonschema:"the nearest names, where nothing matches"`
}

type cityNow struct {
	city
	LocalTime string `json:"localTime" jsonschema:"now, RFC 3339 with the zone's offset"`
	Weekday   string `json:"weekday"`
}

func findCities(_ context.Context, in cityQuery) (cityList, error) {
	if in.Limit == 0 {
		in.Limit = 10
	}
	var countries []string
	var found []*city
	for _, c := range cities() {
		countries = append(countries, c.Country)
		if in.Country != "" && !strings.EqualFold(in.Country, c.Country) || !strings.Contains(c.key, fold(in.Text)) {
			continue
		}
		found = append(found, c)
	}
	slices.Sort(countries)
	if !slices.Contains(countries, strings.ToUpper(in.Country)) && in.Country != "" {
		return cityList{}, fmt.Errorf("there are no cities of a country %.20q here; the countries are %s", in.Country, strings.Join(slices.Compact(countries), " "))
	}
	out := cityList{Cities: []cityNow{}, Found: len(found)}
	if len(found) == 0 {
		out.DidYouMean = nearest(in.Text, 3)
	}
	slices.SortStableFunc(found, func(a, b *city) int { return b.Population - a.Population })
	now := time.Now()
	for _, c := range found[:min(in.Limit, len(found))] {
		local := now.In(c.location)
		out.Cities = append(out.Cities, cityNow{*c, local.Format(time.RFC3339), local.Weekday().String()})
	}
	return out, nil
}
