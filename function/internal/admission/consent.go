package admission

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"unicode/utf8"

	"example.com/erlmcp/function/internal/catalog"
	"example.com/erlmcp/function/internal/mcp"
	"example.com/erlmcp/function/internal/policy"
)

var (
	errDeclined = errors.New("the call was not made: the person at the client did not agree to it")
	errTooMuch  = errors.New("it needs the consent of the person at the client, who can't be shown so many arguments")
)

// confirmation asks the person at the client whether the call may be made (MRTR).
func confirmation(d *policy.Decision, o *catalog.Object, c *mcp.Call) (mcp.InputRequest, error) {
	arguments := c.Arguments
	if c.Method == "resources/read" {
		arguments = map[string]any{"uri": c.Name}
	}
	with, err := shown(arguments)
	if err != nil {
		return mcp.InputRequest{}, err
	}
	params, err := json.Marshal(map[string]any{
		"mode":    "form",
		"message": fmt.Sprintf("%s Call %s%s?", cmp.Or(d.Message, "The operator wants your consent to this call."), o.Name, with),
		"requestedSchema": map[string]any{
			"type": "object", "required": []string{"confirm"},
			"properties": map[string]any{"confirm": map[string]any{"type": "boolean", "title": "Make this call"}},
		},
	})
	if err != nil {
		panic(err) // text only
	}
	agreed := false
	accept := mcp.Elicited(func(content struct {
		Confirm *bool `json:"confirm"`
	}) error {
		if content.Confirm == nil {
			return errors.New("confirm: missing")
		}
		agreed = *content.Confirm
		return nil
	})
	return mcp.InputRequest{
		Key: "erlmcp.confirm." + d.Rule, Method: "elicitation/create", Capability: "elicitation", Params: params,
		Accept: func(raw json.RawMessage) error {
			err := accept(raw)
			if err == nil && !agreed || err == mcp.ErrDeclined || err == mcp.ErrDismissed {
				return errDeclined
			}
			return err
		},
	}, nil
}

// maxShown is how much of a call a person is shown, in bytes. More than that nobody reads.
const maxShown = 4000

// shortenings are how long texts may be, in characters, and lists, in elements: the first that keeps the whole within its bound is taken.
var shortenings = []shortening{{80, 20}, {32, 6}, {12, 3}}

type shortening struct{ characters, elements int }

// shown writes the arguments for the person: in one order and one spelling, as policies have seen them. Each member is there, and shortened by
// itself, so that none can hide another; what is left out of it is said. What can't be seen, or turns the text around, is escaped.
func shown(arguments map[string]any) (string, error) {
	if len(arguments) == 0 {
		return "", nil
	}
	for _, s := range shortenings {
		if b, ok := s.value([]byte(" with "), arguments); ok {
			return string(b), nil
		}
	}
	return "", errTooMuch
}

// value appends a value. It gives up where there is too much.
func (s shortening) value(b []byte, value any) (_ []byte, ok bool) {
	if len(b) > maxShown {
		return b, false
	}
	switch v := value.(type) {
	case map[string]any:
		b = append(b, '{')
		for i, name := range slices.Sorted(maps.Keys(v)) {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(s.text(b, name), ':')
			if b, ok = s.value(b, v[name]); !ok {
				return b, false
			}
		}
		b = append(b, '}')
	case []any:
		b = append(b, '[')
		for i, element := range v {
			if i == s.elements && len(v) > i+1 {
				b = fmt.Appendf(b, ",… (%d more elements)", len(v)-i)
				break
			}
			if i > 0 {
				b = append(b, ',')
			}
			if b, ok = s.value(b, element); !ok {
				return b, false
			}
		}
		b = append(b, ']')
	case string:
		b = s.text(b, v)
	default: // a number, true, false or null
		text, err := json.Marshal(v)
		if err != nil {
			return b, false
		}
		b = append(b, text...)
	}
	return b, len(b) <= maxShown
}

func (s shortening) text(b []byte, text string) []byte {
	rest := ""
	if n := utf8.RuneCountInString(text); n > s.characters+s.characters/8 { // a few more need no note
		end := 0
		for range s.characters {
			_, size := utf8.DecodeRuneInString(text[end:])
			end += size
		}
		text, rest = text[:end], "… ("+strconv.Itoa(n-s.characters)+" more characters)"
	}
	b = append(b, '"')
	for _, r := range text {
		if r == '"' || r == '\\' {
			b = append(b, '\\')
		}
		b = mcp.AppendVisible(b, r)
	}
	return append(append(b, '"'), rest...)
}
