// Package fleet is what instances say of themselves: how each is, what it serves and what it holds, on a board that all of them can read.
package fleet

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"example.com/erlmcp/function/internal/governor"
)

// An Instance is one of the fleet, as it has said of itself last.
type Instance struct {
	Name     string    `json:"name"`
	Version  string    `json:"version,omitempty"`
	Began    time.Time `json:"began,omitzero"`
	Seen     time.Time `json:"seen,omitzero"` // when it was last heard of
	Ready    bool      `json:"ready"`
	Catalog  string    `json:"catalog,omitempty"` // of what it serves
	Degraded []string  `json:"degraded"`          // what it can't do as it should
	Holdings []Holding `json:"holdings"`          // of limits, leased to it
	// Tenants are what the tenants of its callers can be: names, and patterns whose last character is *. There are none of a control
	// plane, and nil is of an instance that does not say.
	Tenants []string `json:"tenants"`
	// SealingKeys are the ids of the keys that it seals and opens with, the sealing one first; nil is of an instance that does not say.
	SealingKeys []string `json:"sealingKeys,omitempty"`
	// OwnSealingKeys are those of a control plane that seals by others than the data plane's.
	OwnSealingKeys []string `json:"ownSealingKeys,omitempty"`
}

// A Holding is what an instance has leased of a limit.
type Holding struct {
	Scope  string `json:"scope"`
	Slots  int64  `json:"slots"`            // calls at a time
	Used   int64  `json:"used"`             // of them, by calls that run
	Tokens int64  `json:"tokens,omitempty"` // of a rate
}

// A Board is where instances put up notes that all of them can read.
type Board interface {
	// PutUp puts up a note in place of the one before.
	PutUp(ctx context.Context, list List, name string, note []byte) error
	// TakeDown removes notes.
	TakeDown(ctx context.Context, list List, names ...string) error
	// Notes returns those of all instances.
	Notes(ctx context.Context, list List) (map[string][]byte, error)
}

// A List is a part of the board.
type List string

// The lists.
const (
	Heads     List = "heads"    // how far chains of receipts have come, by chain
	Instances List = "fleet"    // how instances are, by instance
	Catalogs  List = "catalogs" // what instances serve, by its hash
)

// Served is what instances serve, and the limits on that without what operators have ordered: a command of the operator's, and the
// control plane, may be of another build.
type Served struct {
	Scopes []string          // of tools and upstreams
	Former map[string]string `json:",omitempty"` // scopes that tools had, and those that they have
	Limits []governor.Limit
}

// Note returns what stands on the board, and its name there.
func (s *Served) Note() (note []byte, name string) {
	note, _ = json.Marshal(s) // it holds nothing that has no JSON
	sum := sha256.Sum256(note)
	return note, hex.EncodeToString(sum[:8])
}

// Read returns the instances of the fleet, and what they serve, nil where none has said so. An error beside it is about what some of
// them serve. What is not said of any more is taken down. Catalogs are read first: an instance puts itself up before its catalog, and so
// none that is there lacks its instance.
func Read(ctx context.Context, board Board) (instances []Instance, all *Served, err error) {
	notes, err := board.Notes(ctx, Catalogs)
	if err != nil {
		return nil, nil, fmt.Errorf("what instances serve: %w", err)
	}
	if instances, err = ReadInstances(ctx, board); err != nil {
		return nil, nil, err
	}
	var faults []error
	live := map[string]bool{}
	for _, i := range instances {
		text, ok := notes[i.Catalog]
		if !ok || live[i.Catalog] {
			continue
		}
		live[i.Catalog] = true
		var one Served
		if err := json.Unmarshal(text, &one); err != nil { // another version may have written it
			faults = append(faults, fmt.Errorf("what the instance %s serves: %w", i.Name, err))
			continue
		}
		if all == nil {
			all = &Served{Former: map[string]string{}}
		}
		maps.Copy(all.Former, one.Former)
		all.Scopes = append(all.Scopes, one.Scopes...)
		for _, l := range one.Limits { // of two revisions those of the first
			if !slices.ContainsFunc(all.Limits, func(other governor.Limit) bool { return other.Scope == l.Scope }) {
				all.Limits = append(all.Limits, l)
			}
		}
	}
	for name := range notes {
		if !live[name] && len(instances) > 0 {
			board.TakeDown(ctx, Catalogs, name)
		}
	}
	return instances, all, errors.Join(faults...)
}

// ReadInstances lists the processes of the fleet by their names, and forgets those that have not been heard of for long.
func ReadInstances(ctx context.Context, board Board) ([]Instance, error) {
	notes, err := board.Notes(ctx, Instances)
	if err != nil {
		return nil, fmt.Errorf("what instances say of themselves: %w", err)
	}
	var out []Instance
	var old []string
	for name, text := range notes {
		var i Instance
		if err := json.Unmarshal(text, &i); err != nil || i.Name != name {
			old = append(old, name) // nobody knows its age, and one that runs says it anew
			i = Instance{Name: name, Degraded: []string{"what it says of itself can't be read"}}
		} else if time.Since(i.Seen) > ForgetAfter {
			old = append(old, name)
			continue
		}
		out = append(out, i)
	}
	if len(old) > 0 {
		board.TakeDown(ctx, Instances, old...) // where it fails, the next who reads does it
	}
	slices.SortFunc(out, func(x, y Instance) int { return cmp.Compare(x.Name, y.Name) })
	return out, nil
}

// Tenants says what the tenants of callers can be, by what the instances of the fleet say: nil where one of them does not say.
func Tenants(ctx context.Context, board Board) []string {
	all, err := ReadInstances(ctx, board)
	if err != nil {
		return nil
	}
	var out []string
	for _, i := range all {
		if i.Tenants == nil { // of an earlier version
			return nil
		}
		for _, t := range i.Tenants {
			if !slices.Contains(out, t) {
				out = append(out, t)
			}
		}
	}
	slices.Sort(out)
	return out
}
