package firestore

import (
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"example.com/erlmcp/function/internal/backend/firestore/documents"
)

// A kind is a type of arguments: its schema, and the value that one stands for.
type kind struct {
	members map[string]any // of the schema
	says    string         // behind the description
	decode  func(any) (any, error)
}

// Types are those that a [Condition] may have.
var Types = slices.Sorted(maps.Keys(kinds))

// maxValue is how many bytes of a value an index has: https://docs.cloud.google.com/firestore/quotas.
const maxValue = 1500

var kinds = map[string]kind{
	"string":    {map[string]any{"type": "string", "maxLength": maxValue}, "", decodeString},
	"boolean":   {map[string]any{"type": "boolean"}, "", is[bool]},
	"integer":   {map[string]any{"type": "integer"}, "", is[int64]},
	"number":    {map[string]any{"type": "number"}, "", decodeNumber},
	"timestamp": {map[string]any{"type": "string", "format": "date-time"}, " A time such as 2026-11-30T12:00:00Z.", decodeTime},
	"bytes":     {map[string]any{"type": "string", "maxLength": 2 * maxValue}, " In base64.", decodeBytes},
	"reference": {map[string]any{"type": "string", "maxLength": 6 << 10}, " The path of a document, such as orders/17.", decodeReference},
	"point": {map[string]any{"type": "object", "required": []string{"latitude", "longitude"}, "additionalProperties": false, "properties": map[string]any{
		"latitude":  map[string]any{"type": "number", "minimum": -90, "maximum": 90},
		"longitude": map[string]any{"type": "number", "minimum": -180, "maximum": 180}}}, "", decodePoint},
}

func (k kind) schema(description string) map[string]any {
	schema := maps.Clone(k.members)
	schema["description"] = description + k.says
	return schema
}

func is[T any](v any) (any, error) {
	if _, ok := v.(T); !ok {
		return nil, fmt.Errorf("it is not of type %T", *new(T))
	}
	return v, nil
}

func decodeString(v any) (any, error) {
	text, ok := v.(string)
	if !ok || len(text) > maxValue {
		return nil, fmt.Errorf("it is not a text of at most %d bytes", maxValue)
	}
	return text, nil
}

func decodeNumber(v any) (any, error) {
	switch n := v.(type) {
	case int64:
		return n, nil
	case float64:
		if !math.IsNaN(n) && !math.IsInf(n, 0) {
			return n, nil
		}
	}
	return nil, errors.New("it is not a number of 64 bits")
}

func decodeTime(v any) (any, error) {
	text, _ := v.(string)
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil || at.UTC().Year() < 1 || at.UTC().Year() > 9999 {
		return nil, errors.New("it is not a time such as 2026-11-30T12:00:00Z (RFC 3339)")
	}
	return at.UTC().Truncate(time.Microsecond), nil // as the database does
}

func decodeBytes(v any) (any, error) {
	text, _ := v.(string)
	raw, err := base64.StdEncoding.Strict().DecodeString(text)
	if _, isText := v.(string); err != nil || !isText || len(raw) > maxValue {
		return nil, fmt.Errorf("it is not at most %d bytes in base64", maxValue)
	}
	return raw, nil
}

func decodeReference(v any) (any, error) {
	text, _ := v.(string)
	return documents.Reference(text), documents.CheckReference(text)
}

func decodePoint(v any) (any, error) {
	members, _ := v.(map[string]any)
	coordinate := func(name string, most float64) (float64, bool) {
		n, err := decodeNumber(members[name])
		f, ok := n.(float64)
		if whole, isWhole := n.(int64); isWhole {
			f, ok = float64(whole), true
		}
		return f, err == nil && ok && math.Abs(f) <= most
	}
	latitude, ok := coordinate("latitude", 90)
	longitude, ok2 := coordinate("longitude", 180)
	if !ok || !ok2 || len(members) != 2 {
		return nil, errors.New("it is not an object of latitude, from -90 to 90, and longitude, from -180 to 180")
	}
	return documents.Point{Latitude: latitude, Longitude: longitude}, nil
}

// shown returns a value as it stands in JSON: times by RFC 3339, bytes in base64, references as paths, points as objects, vectors as lists. A
// double that JSON has no number for is its name.
func shown(v any) any {
	switch v := v.(type) {
	case float64:
		switch {
		case math.IsNaN(v):
			return "NaN"
		case math.IsInf(v, 1):
			return "Infinity"
		case math.IsInf(v, -1):
			return "-Infinity"
		}
		return v
	case []byte:
		return base64.StdEncoding.EncodeToString(v)
	case time.Time:
		return v.UTC().Format(time.RFC3339Nano)
	case documents.Reference:
		return string(v)
	case documents.Point:
		return map[string]any{"latitude": v.Latitude, "longitude": v.Longitude}
	case documents.Vector:
		list := make([]any, len(v))
		for i, f := range v {
			list[i] = shown(f)
		}
		return list
	case []any:
		list := make([]any, len(v))
		for i, e := range v {
			list[i] = shown(e)
		}
		return list
	case map[string]any:
		members := make(map[string]any, len(v))
		for name, e := range v {
			members[name] = shown(e)
		}
		return members
	}
	return v
}
