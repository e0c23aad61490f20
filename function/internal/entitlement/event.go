package entitlement

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"example.com/erlmcp/function/internal/directives"
	"example.com/erlmcp/function/internal/strictjson"
)

// An Event is what a source says of a tenant. Events may come late, twice and in any order: the time at which the source
// made them decides, for grants and revocations apart from suspensions and resumptions.
type Event struct {
	ID      string            `json:"id"` // of the event, for its source; 1 to 128 printable characters
	Source  string            `json:"source"`
	Type    Type              `json:"type"`
	Tenant  string            `json:"tenant"`
	Time    time.Time         `json:"time"` // at which the source made it
	Plan    string            `json:"plan,omitempty"`
	Packs   []string          `json:"packs,omitempty"`
	Limits  directives.Limits `json:"limits,omitzero"`
	Expires time.Time         `json:"expires,omitzero"`
	Reason  string            `json:"reason,omitempty"` // callers read it
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

// maxAhead is how far the clock of a source may be ahead.
const maxAhead = 5 * time.Minute

// Times beyond these are mistakes, and RFC 3339 can't write all of them in UTC.
var (
	earliest = time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC)
	latest   = time.Date(9000, 1, 1, 0, 0, 0, 0, time.UTC)
)

// Key names the event in a store: its source and its id, hashed.
func (e *Event) Key() string { return hash(e.Source, e.ID) }

// Digest is the hash of what the event says. Times are compared in UTC.
func (e *Event) Digest() (string, error) {
	c := *e
	c.Time, c.Expires = e.Time.UTC(), e.Expires.UTC()
	text, err := json.Marshal(c)
	if err != nil {
		return "", err
	}
	return hash(string(text)), nil
}

func hash(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:])
}

// ParseEvent decodes one. What it says is checked by [Event.Check].
func ParseEvent(text []byte) (*Event, error) {
	e := &Event{}
	if err := strictjson.Unmarshal(text, "the text", e, strictjson.Refuse); err != nil {
		return nil, fmt.Errorf("not an event: %w", err)
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
	if err := CheckSource(e.Source); err != nil {
		fault("source: %.140q is %w", e.Source, err)
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
	case e.Time.Before(earliest):
		fault("time: %s is before %d", e.Time.UTC().Format(time.RFC3339), earliest.Year())
	case e.Time.After(now.Add(maxAhead)):
		fault("time: %s is ahead of the clock here by more than %v", e.Time.Format(time.RFC3339), maxAhead)
	}
	if len(e.Reason) > longestWords {
		fault("reason: is longer than %d bytes", longestWords)
	}
	if e.Type == Grant {
		switch {
		case e.Plan == "":
			fault("plan: is missing in a grant")
		case !name.MatchString(e.Plan):
			fault("plan: %.140q is not one of small letters, digits, dots, dashes and underscores, at most 64", e.Plan)
		}
		if !e.Expires.IsZero() && (e.Expires.Before(earliest) || !e.Expires.Before(latest)) {
			fault("expires: %v is not from %d to %d", e.Expires.UTC(), earliest.Year(), latest.Year()-1)
		}
		if err := e.Limits.Check(); err != nil {
			fault("limits: %w", err)
		}
		if err := checkPacks(e.Packs); err != nil {
			faults = append(faults, err)
		}
	} else if e.Plan != "" || len(e.Packs) > 0 || e.Limits != (directives.Limits{}) || !e.Expires.IsZero() {
		fault("plan, packs, limits and expires: belong to a grant, not to %q", e.Type)
	}
	return errors.Join(faults...)
}

// CheckSource returns what is wrong with the name of a source, without the name: what is in its place may be a secret.
func CheckSource(text string) error {
	if !name.MatchString(text) {
		return errors.New("not one of small letters, digits, dots, dashes and underscores, at most 64")
	}
	return nil
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
	Late    Effect = "late"    // its source has said as much already, or something later or stricter: nothing changes
	Seen    Effect = "seen"    // an event of its id was applied before
)

// Apply takes the event into account. Events of a source may come in any order and more than once: what they lead to is the same.
func (t *Tenant) Apply(e *Event) Effect {
	s := t.Sources[e.Source]
	next := s
	mark := Mark{On: e.Type == Grant || e.Type == Suspend, At: e.Time.UTC()}
	var order int
	switch e.Type {
	case Grant, Revoke:
		next.Granted, next.Plan, next.Packs, next.Limits, next.Expires, next.Reason = mark, "", nil, directives.Limits{}, time.Time{}, ""
		if e.Type == Grant {
			next.Plan, next.Packs, next.Limits, next.Expires = e.Plan, slices.Clone(e.Packs), cloned(e.Limits), e.Expires.UTC()
		} else {
			next.Reason = e.Reason
		}
		order = cmp.Or(mark.At.Compare(s.Granted.At), stricter(!mark.On, !s.Granted.On), next.against(&s))
	default:
		next.Suspended, next.Suspense = mark, ""
		if e.Type == Suspend {
			next.Suspense = e.Reason
		}
		order = cmp.Or(mark.At.Compare(s.Suspended.At), stricter(mark.On, s.Suspended.On), cmp.Compare(next.Suspense, s.Suspense))
	}
	if order <= 0 {
		return Late
	}
	if t.Sources == nil {
		t.Sources = map[string]Source{}
	}
	t.Sources[e.Source] = next
	t.NotedAt = time.Time{} // the clock of who brings the event counts anew
	return Applied
}

func stricter(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// against decides between two grants, or two revocations, that a source made at the same time: that of the earlier expiry is the
// stricter one. Where neither is, any rule does that is the same in whatever order they come.
func (s *Source) against(other *Source) int {
	if !s.Expires.Equal(other.Expires) {
		switch {
		case s.Expires.IsZero():
			return -1
		case other.Expires.IsZero():
			return 1
		}
		return other.Expires.Compare(s.Expires)
	}
	return cmp.Or(cmp.Compare(s.Reason, other.Reason), cmp.Compare(s.content(), other.content()))
}

func (s *Source) content() string {
	text, _ := json.Marshal(struct {
		Plan   string
		Packs  []string
		Limits directives.Limits
	}{s.Plan, append([]string{}, s.Packs...), s.Limits})
	return string(text)
}

// Transition returns the state that was noted last and the one that is to be noted, the same where nothing is. A clock that is behind
// the one that noted the last takes nothing back.
func (t *Tenant) Transition(plans map[string]*Plan, now time.Time) (from, to State, why string) {
	if now.Before(t.NotedAt) {
		now = t.NotedAt
	}
	s := t.Standing(plans, now)
	return cmp.Or(t.Noted, Boot), s.State, s.Why
}

// Note brings the noted state up to date, and returns the transition that is to be recorded.
func (t *Tenant) Note(plans map[string]*Plan, now time.Time) (from, to State, why string) {
	from, to, why = t.Transition(plans, now)
	t.Noted = to
	if now.After(t.NotedAt) {
		t.NotedAt = now.UTC().Round(0)
	}
	return from, to, why
}
