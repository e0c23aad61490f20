package firestore

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"example.com/erlmcp/function/internal/backend/firestore/documents"
)

// maxCursor bounds a cursor, in bytes.
const maxCursor = 8 << 10

// A cursor is a position in what a query finds, as a caller keeps it. It holds nothing but what the caller was shown, and says nothing of
// what may be read: the condition on the caller is put into the query again. So nothing protects it, and one that is forged begins elsewhere.
type cursor struct {
	Query  string `json:"q"` // a digest of all but the position and the limit
	Values []any  `json:"v"`
	ID     string `json:"i"`
}

// digest tells queries apart.
func (t *tool) digest(q *documents.Query) string {
	var fields []any
	for _, f := range q.Equal {
		fields = append(fields, f.Path, packed(f.Value))
	}
	text, err := json.Marshal([]any{t.name(), t.Collection, t.Database, fields, q.Order})
	if err != nil {
		panic(err) // packed values are JSON
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

// cursor returns that behind a document, or "" where it would be longer than a caller may send.
func (t *tool) cursor(q *documents.Query, last *documents.Document) string {
	c := cursor{Query: t.digest(q), Values: []any{}, ID: last.ID}
	for _, o := range q.Order {
		v, _ := documents.Lookup(last.Fields, o.Path)
		c.Values = append(c.Values, packed(v))
	}
	text, err := json.Marshal(c)
	if err != nil {
		panic(err) // packed values are JSON
	}
	if base64.RawURLEncoding.EncodedLen(len(text)) > maxCursor {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

// position reads a cursor of the same query.
func (t *tool) position(q *documents.Query, text string) (*documents.Position, error) {
	var c cursor
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil {
		err = json.Unmarshal(raw, &c)
	}
	p := &documents.Position{ID: c.ID}
	for _, v := range c.Values {
		var value any
		if err == nil {
			value, err = unpacked(v)
			p.Values = append(p.Values, value)
		}
	}
	switch {
	case len(text) > maxCursor || err != nil || documents.CheckID(c.ID) != nil:
		return nil, errors.New("cursor: it is not one of this tool's: give the one of its last answer as it is, or none to begin anew")
	case c.Query != t.digest(q) || len(p.Values) != len(q.Order):
		return nil, errors.New("cursor: it is of another query: give the same other arguments as in the call whose answer it is of, or no cursor to begin anew")
	}
	return p, nil
}

// packed returns JSON of a value from which [unpacked] makes the same value, of the same type.
func packed(v any) any {
	tagged := func(tag string, v any) any { return map[string]any{tag: v} }
	switch v := v.(type) {
	case int64:
		return tagged("i", strconv.FormatInt(v, 10))
	case float64:
		return tagged("d", strconv.FormatFloat(v, 'g', -1, 64)) // also NaN and infinite ones
	case []byte:
		return tagged("b", base64.StdEncoding.EncodeToString(v))
	case time.Time:
		return tagged("t", v.UTC().Format(time.RFC3339Nano))
	case documents.Reference:
		return tagged("r", string(v))
	case documents.Point:
		return tagged("p", []any{packed(v.Latitude), packed(v.Longitude)})
	case documents.Vector:
		list := make([]any, len(v))
		for i, f := range v {
			list[i] = packed(f)
		}
		return tagged("v", list)
	case []any:
		list := make([]any, len(v))
		for i, e := range v {
			list[i] = packed(e)
		}
		return tagged("a", list)
	case map[string]any:
		members := make(map[string]any, len(v))
		for name, e := range v {
			members[name] = packed(e)
		}
		return tagged("m", members)
	}
	return v
}

var errPacked = errors.New("not a packed value")

func unpacked(v any) (any, error) {
	object, tagged := v.(map[string]any)
	if !tagged {
		switch v.(type) {
		case nil, bool, string:
			return v, nil
		}
		return nil, errPacked
	}
	if len(object) != 1 {
		return nil, errPacked
	}
	for tag, inner := range object {
		switch inner := inner.(type) {
		case string:
			return unpackedText(tag, inner)
		case []any:
			return unpackedList(tag, inner)
		case map[string]any:
			members := make(map[string]any, len(inner))
			for name, e := range inner {
				var err error
				if members[name], err = unpacked(e); err != nil || tag != "m" {
					return nil, errPacked
				}
			}
			return members, nil
		}
	}
	return nil, errPacked
}

func unpackedText(tag, text string) (any, error) {
	switch tag {
	case "i":
		return strconv.ParseInt(text, 10, 64)
	case "d":
		return strconv.ParseFloat(text, 64)
	case "b":
		return base64.StdEncoding.DecodeString(text)
	case "t":
		return decodeTime(text)
	case "r":
		return documents.Reference(text), documents.CheckReference(text)
	}
	return nil, errPacked
}

func unpackedList(tag string, packedList []any) (any, error) {
	list := make([]any, len(packedList))
	var numbers documents.Vector
	for i, e := range packedList {
		var err error
		if list[i], err = unpacked(e); err != nil {
			return nil, err
		}
		if f, ok := list[i].(float64); ok {
			numbers = append(numbers, f)
		}
	}
	switch {
	case tag == "a":
		return list, nil
	case len(numbers) != len(list):
	case tag == "v":
		return numbers, nil
	case tag == "p" && len(list) == 2 && math.Abs(numbers[0]) <= 90 && math.Abs(numbers[1]) <= 180:
		return documents.Point{Latitude: numbers[0], Longitude: numbers[1]}, nil
	}
	return nil, fmt.Errorf("%w: %s", errPacked, tag)
}
