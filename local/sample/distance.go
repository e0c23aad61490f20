package sample

import (
	"context"
	"fmt"
	"math"
)

type cityPair struct {
	From string `json:"from" jsonschema:"name of the city to start from"`
	To   string `json:"to" jsonschema:"name of the city to go to"`
}

type route struct {
	From       string  `json:"from"`
	To         string  `json:"to"`
	Kilometres float64 `json:"kilometres" jsonschema:"along the great circle, on a spherical Earth"`
	Bearing    float64 `json:"initialBearing" jsonschema:"degrees clockwise from north at the start; it changes on the way"`
	Compass    string  `json:"compass" jsonschema:"the bearing as one of 16 points, such as WNW"`
}

func distance(_ context.Context, in cityPair) (route, error) {
	from, err := lookup(in.From)
	if err != nil {
		return route{}, err
	}
	to, err := lookup(in.To)
	if err != nil {
		return route{}, err
	}
	if from == to {
		return route{}, fmt.Errorf("both cities are %s: name two", from.Name)
	}
	km, bearing := greatCircle(from, to)
	return route{from.Name, to.Name, math.Round(km), math.Mod(math.Round(bearing*10)/10, 360), compass(bearing)}, nil
}

const earthRadius = 6371.0088 // kilometres, the mean of the ellipsoid

// greatCircle returns the distance in kilometres, by the haversine formula, and the bearing at the start in degrees.
func greatCircle(from, to *city) (km, bearing float64) {
	φ1, φ2 := radians(from.Latitude), radians(to.Latitude)
	Δλ := radians(to.Longitude - from.Longitude)
	h := haversine(φ2-φ1) + math.Cos(φ1)*math.Cos(φ2)*haversine(Δλ)
	km = 2 * earthRadius * math.Asin(math.Sqrt(min(h, 1)))
	east := math.Sin(Δλ) * math.Cos(φ2)
	north := math.Cos(φ1)*math.Sin(φ2) - math.Sin(φ1)*math.Cos(φ2)*math.Cos(Δλ)
	return km, math.Mod(degrees(math.Atan2(east, north))+360, 360)
}

func haversine(angle float64) float64 {
	s := math.Sin(angle / 2)
	return s * s
}

var points = [...]string{"N", "NNE", "NE", "ENE", "E", "ESE", "SE", "SSE", "S", "SSW", "SW", "WSW", "W", "WNW", "NW", "NNW"}

func compass(bearing float64) string { return points[int(math.Round(bearing/22.5))%len(points)] }
