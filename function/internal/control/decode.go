package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// decode reads a body of JSON into a struct, and lists all that is wrong with it: members that are not known, given twice or of
// another type. Names must be spelled as they are.
func decode[T any](body []byte) (into T, faults []string) {
	if len(bytes.TrimSpace(body)) == 0 {
		return into, []string{"body: is missing"}
	}
	return into, decodeInto(body, reflect.ValueOf(&into).Elem(), "")
}

func decodeInto(text []byte, into reflect.Value, at string) (faults []string) {
	fault := func(name, format string, args ...any) {
		faults = append(faults, strings.TrimPrefix(at+"."+name, ".")+": "+fmt.Sprintf(format, args...))
	}
	d := json.NewDecoder(bytes.NewReader(text))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		where := at
		if where == "" {
			where = "body"
		}
		return []string{where + ": is not a JSON object"}
	}
	fields := map[string]reflect.Value{}
	for i := range into.NumField() {
		if name, _, _ := strings.Cut(into.Type().Field(i).Tag.Get("json"), ","); name != "" && name != "-" {
			fields[name] = into.Field(i)
		}
	}
	seen := map[string]bool{}
	for d.More() {
		t, err := d.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			return append(faults, "body: is not JSON"+spot(err))
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return append(faults, "body: is not JSON"+spot(err))
		}
		field, known := fields[name]
		switch {
		case !known:
			fault(fmt.Sprintf("%.40s", name), "is not known")
		case seen[name]:
			fault(name, "is given twice")
		case string(value) == "null":
		case field.Kind() == reflect.Struct && field.Type() != reflect.TypeFor[time.Time]():
			faults = append(faults, decodeInto(value, field, strings.TrimPrefix(at+"."+name, "."))...)
		default:
			if err := json.Unmarshal(value, field.Addr().Interface()); err != nil {
				fault(name, "%s", mismatch(err))
			}
		}
		seen[name] = true
	}
	if _, err := d.Token(); err != nil {
		return append(faults, "body: is not JSON"+spot(err))
	}
	if _, err := d.Token(); err != io.EOF {
		faults = append(faults, "body: there is more after the JSON object")
	}
	return faults
}

func spot(err error) string {
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return fmt.Sprintf(" at byte %d: %v", syntax.Offset, syntax)
	}
	return ""
}

func mismatch(err error) string {
	var kind *json.UnmarshalTypeError
	if errors.As(err, &kind) {
		want := kind.Type.Kind().String()
		switch kind.Type.Kind() {
		case reflect.Slice:
			want = "list"
		case reflect.Float64, reflect.Int64:
			want = "number"
		case reflect.Bool:
			want = "true or false"
		}
		return "is a JSON " + kind.Value + ", not a " + want
	}
	return err.Error()
}

// page reads which page is asked for.
func (c *call) page() (after string, limit int, faults []string) {
	after, limit = c.values.Get("after"), 100
	if len(after) > 256 {
		faults = append(faults, "query: after is longer than 256 bytes")
	}
	if text := c.values.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > mostPage {
			faults = append(faults, fmt.Sprintf("query: limit: %.20q is not a number from 1 to %d", text, mostPage))
		}
		limit = n
	}
	return after, limit, faults
}

const mostPage = 500

// cut shortens a list to a page, and returns after what the next one begins; "" where there is none.
func cut[T any](all []T, limit int, name func(T) string) (some []T, next string) {
	if len(all) <= limit {
		if all == nil {
			all = []T{}
		}
		return all, ""
	}
	return all[:limit], name(all[limit-1])
}
