package function

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"
)

// misfit words for a person what is wrong with a form that was filled in. What it has no words for is said as the library says it.
func misfit(s *jsonschema.Schema, content any, err error) error {
	answers, ok := content.(map[string]any)
	if !ok {
		return fmt.Errorf("the form is not filled in")
	}
	var faults []string
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	for _, name := range s.Required {
		if _, ok := answers[name]; !ok {
			fault("%s is missing", name)
		}
	}
	names := s.PropertyOrder
	for name := range s.Properties {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		p, v := s.Properties[name], answers[name]
		if _, ok := answers[name]; !ok || p == nil {
			continue
		}
		resolved, fails := p.Resolve(nil)
		if fails != nil || resolved.Validate(v) == nil {
			continue
		}
		text, isText := v.(string)
		switch {
		case v == nil:
			fault("%s is missing", name)
		case len(p.Enum) > 0:
			fault("%s: %s is not one of %s", name, shownAnswer(v), listed(p.Enum))
		case p.Type != "" && !isOf(p.Type, v):
			fault("%s: %s is not %s", name, shownAnswer(v), kinds[p.Type])
		case p.Minimum != nil && below(v, *p.Minimum):
			fault("%s: %s is less than %v", name, shownAnswer(v), *p.Minimum)
		case p.Maximum != nil && below(*p.Maximum, v):
			fault("%s: %s is more than %v", name, shownAnswer(v), *p.Maximum)
		case isText && p.MinLength != nil && len([]rune(text)) < *p.MinLength:
			fault("%s has fewer than %d characters", name, *p.MinLength)
		case isText && p.MaxLength != nil && len([]rune(text)) > *p.MaxLength:
			fault("%s has more than %d characters", name, *p.MaxLength)
		case p.Pattern != "":
			fault("%s: %s does not match %s", name, shownAnswer(v), p.Pattern)
		default:
			fault("%s: %s does not fit", name, shownAnswer(v))
		}
	}
	if len(faults) == 0 {
		return err
	}
	return fmt.Errorf("%s", strings.Join(faults, "; "))
}

var kinds = map[string]string{"string": "text", "boolean": "true or false", "integer": "a whole number", "number": "a number", "array": "a list", "object": "an object", "null": "null"}

// isOf tells whether a value is of a type.
func isOf(name string, v any) bool {
	resolved, err := (&jsonschema.Schema{Type: name}).Resolve(nil)
	return err == nil && resolved.Validate(v) == nil
}

// below tells whether one number is less than another.
func below(x, y any) bool {
	number := func(v any) float64 {
		switch n := v.(type) {
		case int64:
			return float64(n)
		case uint64:
			return float64(n)
		case float64:
			return n
		}
		return 0
	}
	return number(x) < number(y)
}

// shownAnswer is an answer, for a message.
func shownAnswer(v any) string {
	const most = 60
	text, err := json.Marshal(v)
	if err != nil {
		return "the answer"
	}
	if len(text) > most {
		return strings.ToValidUTF8(string(text[:most]), "") + "…"
	}
	return string(text)
}

func listed(values []any) string {
	var out []string
	for _, v := range values {
		if text, ok := v.(string); ok {
			out = append(out, text)
		} else {
			out = append(out, fmt.Sprint(v))
		}
	}
	return strings.Join(out, ", ")
}
