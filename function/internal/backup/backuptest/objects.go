// Package backuptest holds the suite that every [backup.Store] must pass, and objects in memory.
package backuptest

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"

	"example.com/erlmcp/function/internal/backup"
)

// Objects implement [backup.Objects] in memory.
type Objects struct {
	Meddle func(operation, name string) error // is answered in place of doing it; nil to do it

	mu  sync.Mutex
	all map[string][]byte
}

// NewObjects returns none.
func NewObjects() *Objects { return &Objects{all: map[string][]byte{}} }

// All are those that there are.
func (o *Objects) All() map[string][]byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	return maps.Clone(o.all)
}

// Replace has another object in place of one, and none for nil: only a test can.
func (o *Objects) Replace(name string, content []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.all[name] = content; content == nil {
		delete(o.all, name)
	}
}

func (o *Objects) meddle(ctx context.Context, operation, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if o.Meddle != nil {
		return o.Meddle(operation, name)
	}
	return nil
}

// String implements [backup.Objects].
func (o *Objects) String() string { return "memory" }

// Create implements [backup.Objects].
func (o *Objects) Create(ctx context.Context, name string, content []byte) error {
	if err := o.meddle(ctx, "create", name); err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if old, there := o.all[name]; there && !bytes.Equal(old, content) {
		return fmt.Errorf("%s: %w", name, backup.ErrExists)
	}
	o.all[name] = bytes.Clone(content)
	return nil
}

// Read implements [backup.Objects].
func (o *Objects) Read(ctx context.Context, name string) ([]byte, error) {
	if err := o.meddle(ctx, "read", name); err != nil {
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	content, there := o.all[name]
	if !there {
		return nil, fmt.Errorf("%s: %w", name, backup.ErrNotFound)
	}
	return content, nil
}

// List implements [backup.Objects].
func (o *Objects) List(ctx context.Context, prefix, from string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		if err := o.meddle(ctx, "list", prefix); err != nil {
			yield("", err)
			return
		}
		for _, name := range slices.Sorted(maps.Keys(o.All())) {
			if strings.HasPrefix(name, prefix) && name >= from && !yield(name, nil) {
				return
			}
		}
	}
}

// Folders implements [backup.Objects].
func (o *Objects) Folders(ctx context.Context, prefix string) ([]string, error) {
	if err := o.meddle(ctx, "list", prefix); err != nil {
		return nil, err
	}
	found := map[string]bool{}
	for name := range o.All() {
		if rest, begins := strings.CutPrefix(name, prefix); begins {
			if folder, _, below := strings.Cut(rest, "/"); below {
				found[folder] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(found)), nil
}
