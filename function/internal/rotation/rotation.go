// Package rotation brings a new sealing key into a fleet, in three steps: all instances learn the key ([Add]), all seal with it ([Use]), and
// all forget the one before ([Drop]). After each step every instance can open what any other seals, as long as all have taken the step
// before; two steps at once fail the calls whose next round meets an instance that has taken neither.
//
// Which step is next follows from the versions that the keys have had, as the place that keeps them has them. OLD,NEW and NEW,OLD are told
// apart by the version before.
package rotation

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"example.com/erlmcp/function/internal/seal"
)

// A Step is one of three.
type Step string

// The steps, in their order.
const (
	Add  Step = "add"  // OLD becomes OLD,NEW
	Use  Step = "use"  // OLD,NEW becomes NEW,OLD
	Drop Step = "drop" // NEW,OLD becomes NEW
)

// A Version is what the keys were from a time on.
type Version struct {
	Name string    // for people
	At   time.Time // zero where that is not known
	Keys string    // as in SEALING_KEYS

	number int // in Secret Manager
}

// A Place keeps the versions.
type Place interface {
	// Versions yields them, the newest first.
	Versions(context.Context) iter.Seq2[Version, error]
	// Append adds one, behind the one that was the newest. It fails where another has come between.
	Append(ctx context.Context, keys string, behind Version) (Version, error)
}

// A State is how far a rotation is.
type State struct {
	Newest Version
	IDs    []string // of the keys of it
	Next   Step
	keys   []string
}

// maxVersions is how many versions of the same keys may follow each other before the search for what was before ends.
const maxVersions = 20

// Read finds how far the rotation is.
func Read(ctx context.Context, p Place) (*State, error) {
	var s *State
	n := 0
	for v, err := range p.Versions(ctx) {
		if err != nil {
			return nil, err
		}
		ring, err := seal.ParseRing(v.Keys)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", v.Name, err)
		}
		ids := ring.IDs()
		switch n++; {
		case s == nil:
			s = &State{Newest: v, IDs: ids, keys: split(v.Keys)}
			if len(ids) == 1 {
				s.Next = Add
				return s, nil
			}
			if len(ids) != 2 || ids[0] == ids[1] {
				return nil, fmt.Errorf("%s has %d keys, and one or two different ones are wanted: OLD, or OLD,NEW, or NEW,OLD", v.Name, len(ids))
			}
		case n > maxVersions:
			return nil, undecided(s)
		case slices.Equal(ids, s.IDs): // it was said twice
			s.Newest.At = v.At
		default:
			return s, s.decide(ids)
		}
	}
	if s == nil {
		return nil, errors.New("there is no version: the first has one key, which openssl rand -base64 32 makes")
	}
	return nil, undecided(s)
}

// decide finds the next step by what was before two keys.
func (s *State) decide(before []string) error {
	first, second := s.IDs[0], s.IDs[1]
	switch {
	case slices.Equal(before, []string{first}):
		s.Next = Use
	case slices.Equal(before, []string{second, first}), slices.Equal(before, []string{second}): // the latter left out a step, by hand
		s.Next = Drop
	default:
		return undecided(s)
	}
	return nil
}

func undecided(s *State) error {
	return fmt.Errorf("which key of %s is the new one can't be told, as the version before it has neither the first key alone, nor the second alone, nor both in the other order", s.Newest.Name)
}

// Keys are those after the next step.
func (s *State) Keys() string {
	switch s.Next {
	case Use:
		return s.keys[1] + "," + s.keys[0]
	case Drop:
		return s.keys[0]
	}
	secret := make([]byte, seal.KeySize)
	rand.Read(secret)
	return s.keys[0] + "," + base64.StdEncoding.EncodeToString(secret)
}

func split(keys string) (out []string) {
	for k := range strings.SplitSeq(keys, ",") {
		out = append(out, strings.TrimSpace(k))
	}
	return out
}
