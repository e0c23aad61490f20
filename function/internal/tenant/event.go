package tenant

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// An Event is what a source says of a tenant. Events may come late, twice and in any order: the time at which the source
// made them decides, for grants and revocations apart from suspensions and resumptions.
type Event struct {
	ID      string    `json:"id"` // of the event, for its source; 1 to 128 printable characters
	Source  string    `json:"source"`
	Type    Type      `json:"type"`
	Tenant  string    `json:"tenant"`
	Time    time.Time `json:"time"` // at which the source made it
	Plan    string    `json:"plan,omitempty"`
	Packs   []string  `json:"packs,omitempty"`
	Limits  Limits    `json:"limits,omitzero"`
	Expires time.Time `json:"expires,omitzero"`
	Reason  string    `json:"reason,omitempty"` // callers read it
}

// A Type is what an event does.
type Type string

// The types.
const (
	Grant   Type = "grant"
	Suspend Type = "suspend"
	Resume  Type = "resume"
	Revoke  Type = "revoke"
)

// mostAhead is how far the clock of a source may be ahead.
const mostAhead = 5 * time.Minute

// ParseEvent decodes one. Its error lists every fault.
func ParseEvent(text []byte) (*Event, error) {
	e := &Event{}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(e); err != nil {
		return nil, fmt.Errorf("not an event: %w", err)
	}
	if d.More() {
		return nil, errors.New("not an event: there is more after it")
	}
	return e, nil
}

// Check returns what is wrong with the event at the time, each fault on a line.
func (e *Event) Check(now time.Time) error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if n := len(e.ID); n < 1 || n > 128 || strings.ContainsFunc(e.ID, func(r rune) bool { return r <= ' ' || r > '~' }) {
		fault("id: %.140q is not 1 to 128 printable characters", e.ID)
	}
	if !source.MatchString(e.Source) {
		fault("source: %.140q is not one of small letters, digits, dots, dashes and underscores, at most 64", e.Source)
	}
	if !slices.Contains([]Type{Grant, Suspend, Resume, Revoke}, e.Type) {
		fault("type: %.40q is not one of grant, suspend, resume, revoke", e.Type)
	}
	if err := CheckID(e.Tenant); err != nil {
		fault("tenant: %w", err)
	}
	switch {
	case e.Time.IsZero():
		fault("time: is missing")
	case e.Time.After(now.Add(mostAhead)):
		fault("time: %s is ahead of the clock here by more than %v", e.Time.Format(time.RFC3339), mostAhead)
	}
	if len(e.Reason) > longestWords {
		fault("reason: is longer than %d bytes", longestWords)
	}
	if e.Type == Grant {
		if e.Plan == "" {
			fault("plan: is missing in a grant")
		}
		if err := e.Limits.Check(); err != nil {
			fault("limits: %w", err)
		}
		if err := checkPacks(e.Packs); err != nil {
			faults = append(faults, err)
		}
	} else if e.Plan != "" || len(e.Packs) > 0 || e.Limits != (Limits{}) || !e.Expires.IsZero() {
		fault("plan, packs, limits and expires: belong to a grant, not to %q", e.Type)
	}
	return errors.Join(faults...)
}

// CheckID returns what is wrong with a tenant's id.
func CheckID(id string) error {
	if n := len(id); n < 1 || n > 128 || id == "." || id == ".." || strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r > '~' || r == '/' }) {
		return fmt.Errorf("%.140q is not 1 to 128 printable characters without / and spaces", id)
	}
	return nil
}

// An Effect is what became of an event.
type Effect string

// The effects.
const (
	Applied Effect = "applied" // it is the latest of its source
	Late    Effect = "late"    // its source has said something later already: nothing changes
)

// Apply takes the event into account. Of two that a source made at the same time the stricter one holds.
func (t *Tenant) Apply(e *Event) Effect {
	s := t.Sources[e.Source]
	mark, on := &s.Granted, e.Type == Grant
	strict := e.Type == Revoke
	if e.Type == Suspend || e.Type == Resume {
		mark, on = &s.Suspended, e.Type == Suspend
		strict = on
	}
	if order := e.Time.Compare(mark.At); order < 0 || order == 0 && !strict {
		return Late
	}
	*mark = Mark{On: on, At: e.Time}
	switch e.Type {
	case Grant:
		s.Plan, s.Packs, s.Limits, s.Expires, s.Reason = e.Plan, slices.Clone(e.Packs), e.Limits, e.Expires, ""
	case Revoke:
		s.Reason = e.Reason
	default:
		s.Suspense = e.Reason
	}
	if t.Sources == nil {
		t.Sources = map[string]Source{}
	}
	t.Sources[e.Source] = s
	return Applied
}

// A Transition is a change of a tenant's state.
type Transition struct {
	From, To State // the same where there is none
	Why      string
}

// String is as in "stable → refusing: suspended by marketplace".
func (t Transition) String() string { return because(string(t.From)+" → "+string(t.To), t.Why) }

// Note brings the noted state up to date, and returns the transition that is to be recorded.
func (t *Tenant) Note(plans map[string]*Plan, now time.Time) Transition {
	s := t.Standing(plans, now)
	change := Transition{From: cmp.Or(t.Noted, Boot), To: s.State, Why: s.Why}
	t.Noted = s.State
	return change
}

// Note notes the state of a tenant in the store: of several that do so at the same time one gets the transition.
func Note(ctx context.Context, store Store, id string, plans map[string]*Plan, now time.Time) (change Transition, err error) {
	_, err = store.ChangeTenant(ctx, id, nil, func(t *Tenant) error {
		if t.Revision == 0 {
			return ErrUnknown
		}
		if change = t.Note(plans, now); change.From == change.To {
			return errNoted
		}
		return nil
	})
	if errors.Is(err, errNoted) {
		err = nil
	}
	return change, err
}

var errNoted = errors.New("the state is noted already")
