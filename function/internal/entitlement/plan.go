package entitlement

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"example.com/erlmcp/function/internal/directives"
)

// A Plan is what is sold.
type Plan struct {
	Name        string            `json:"name"`
	Revision    int64             `json:"revision"` // 0: as it is shipped
	Title       string            `json:"title"`
	Packs       []string          `json:"packs"`                // of tools; * is every pack
	Limits      directives.Limits `json:"limits,omitzero"`      // in place of those that every tenant has
	Intervening directives.Limits `json:"intervening,omitzero"` // in place of these, in the grace
	Support     Support           `json:"support,omitzero"`
	Notice      Duration          `json:"notice,omitzero"` // for which a tenant is warned before it expires
	Grace       Duration          `json:"grace,omitzero"`  // for which it is served after that
}

// Support is how tenants of a plan get help.
type Support struct {
	Level    string `json:"level"`
	Contact  string `json:"contact"`            // an address or a URL
	Hours    string `json:"hours,omitempty"`    // in which it answers
	Response string `json:"response,omitempty"` // within which it does
}

// Clone returns a copy that shares nothing with the plan.
func (p *Plan) Clone() *Plan {
	c := *p
	c.Packs, c.Limits, c.Intervening = slices.Clone(p.Packs), cloned(p.Limits), cloned(p.Intervening)
	return &c
}

// A Duration is written as in 72h.
type Duration time.Duration

// MarshalText implements [encoding.TextMarshaler].
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	*d = Duration(v)
	return err
}

//go:embed plans.json
var shipped []byte

// Shipped returns the plans that there are before anyone edits them: base, professional and enterprise.
func Shipped() []*Plan {
	var plans []*Plan
	if err := json.Unmarshal(shipped, &plans); err != nil {
		panic(err) // a test reads them
	}
	return plans
}

// name is that of a plan, a pack or a source.
var name = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)

// Bounds of what a plan and an event may hold.
const (
	maxPacks     = 100
	longest      = 10 * 365 * 24 * time.Hour
	longestWords = 500 // bytes of a title or a reason
)

// Check returns what is wrong with the plan, each fault on a line.
func (p *Plan) Check() error {
	faults := []error{checkPacks(p.Packs)}
	if !name.MatchString(p.Name) {
		faults = append(faults, fmt.Errorf("name: %q is not one of small letters, digits, dots, dashes and underscores, at most 64", p.Name))
	}
	if len(p.Title) > longestWords {
		faults = append(faults, fmt.Errorf("title: is longer than %d bytes", longestWords))
	}
	for what, text := range map[string]string{"level": p.Support.Level, "contact": p.Support.Contact, "hours": p.Support.Hours, "response": p.Support.Response} {
		if len(text) > longestWords {
			faults = append(faults, fmt.Errorf("support.%s: is longer than %d bytes", what, longestWords))
		}
	}
	if err := p.Limits.Check(); err != nil {
		faults = append(faults, fmt.Errorf("limits: %w", err))
	}
	if err := p.Intervening.Check(); err != nil {
		faults = append(faults, fmt.Errorf("intervening: %w", err))
	}
	if p.Notice < 0 || time.Duration(p.Notice) > longest {
		faults = append(faults, fmt.Errorf("notice: is not from 0 to %v", longest))
	}
	if p.Grace < 0 || time.Duration(p.Grace) > longest {
		faults = append(faults, fmt.Errorf("grace: is not from 0 to %v", longest))
	}
	return errors.Join(faults...)
}

func checkPacks(packs []string) error {
	if len(packs) > maxPacks {
		return fmt.Errorf("packs: there are more than %d", maxPacks)
	}
	for _, p := range packs {
		if p != AllPacks && !name.MatchString(p) {
			return fmt.Errorf("packs: %q is not a pack: small letters, digits, dots, dashes and underscores, or *", p)
		}
	}
	return nil
}
