package catalog

import (
	"errors"
	"fmt"
	"math/big"
	"strconv"

	"github.com/google/jsonschema-go/jsonschema"
)

// maxDivided is the greatest number of which the library, which divides doubles, finds out whether it is a multiple.
const maxDivided = 1 << 52

// multiples divides whole numbers beyond that exactly.
type multiples struct {
	of       *big.Rat // at this place, or nil
	members  map[string]*multiples
	elements *multiples
	hidden   bool // multipleOf stands where members and elements do not lead, and no larger number is taken anywhere
}

// multiplesOf returns nil for a schema without multipleOf.
func multiplesOf(s *jsonschema.Schema) *multiples {
	all, reached := 0, 0
	visit(s, func(key string, _ any) {
		if key == "multipleOf" {
			all++
		}
	})
	if all == 0 {
		return nil
	}
	var walk func(*jsonschema.Schema) *multiples
	walk = func(s *jsonschema.Schema) *multiples {
		m := &multiples{members: map[string]*multiples{}}
		if s.MultipleOf != nil {
			m.of, _ = new(big.Rat).SetString(strconv.FormatFloat(*s.MultipleOf, 'g', -1, 64))
			reached++
		}
		for name, p := range s.Properties {
			m.members[name] = walk(p)
		}
		if s.Items != nil {
			m.elements = walk(s.Items)
		}
		return m
	}
	m := walk(s)
	m.hidden = all != reached
	return m
}

// check returns an error for a number that is no multiple, or of which that can't be found out.
func (m *multiples) check(value any) error {
	if m != nil && m.hidden && hasLarge(value) {
		return fmt.Errorf("multipleOf: a whole number beyond %d can't be divided exactly", maxDivided)
	}
	return m.walk(value)
}

func (m *multiples) walk(value any) error {
	if m == nil {
		return nil
	}
	switch v := value.(type) {
	case int64, uint64:
		if m.of == nil || !hasLarge(v) {
			return nil
		}
		n, _ := new(big.Rat).SetString(fmt.Sprint(v))
		if m.of.Sign() == 0 || !n.Quo(n, m.of).IsInt() {
			return fmt.Errorf("multipleOf: %v is not a multiple of %s", v, m.of.RatString())
		}
	case []any:
		var faults []error
		for _, element := range v {
			faults = append(faults, m.elements.walk(element))
		}
		return errors.Join(faults...)
	case map[string]any:
		for name, member := range v {
			if err := m.members[name].walk(member); err != nil {
				return err
			}
		}
	}
	return nil
}

// hasLarge tells whether there is a whole number beyond maxDivided.
func hasLarge(value any) bool {
	switch v := value.(type) {
	case int64:
		return v > maxDivided || v < -maxDivided
	case uint64:
		return true
	case []any:
		for _, element := range v {
			if hasLarge(element) {
				return true
			}
		}
	case map[string]any:
		for _, member := range v {
			if hasLarge(member) {
				return true
			}
		}
	}
	return false
}
