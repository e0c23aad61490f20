package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"

	"example.com/erlmcp/local/checks/gocommand"
)

// draw returns n mutations that compile, spread evenly over the packages.
func (c *checkout) draw(ctx context.Context, packages []string, n int, seed uint64) ([]mutation, error) {
	var drawn []mutation
	for i, p := range packages {
		want := n / len(packages)
		if i < n%len(packages) {
			want++
		}
		got, err := c.drawFrom(ctx, p, want, seed)
		if err != nil {
			return nil, err
		}
		drawn = append(drawn, got...)
	}
	return drawn, nil
}

func (c *checkout) drawFrom(ctx context.Context, name string, n int, seed uint64) ([]mutation, error) {
	p, ok := c.packages[name]
	if !ok {
		return nil, fmt.Errorf("-packages: %s is no package of %s", name, c.root)
	}
	var all, drawn []mutation
	for _, file := range p.GoFiles {
		found, err := find(c.root, path.Join(name, file))
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	for _, m := range order(all, seed) {
		if len(drawn) == n {
			break
		}
		if ok, err := c.compiles(ctx, m); err != nil {
			return nil, err
		} else if ok {
			drawn = append(drawn, m)
		}
	}
	if len(drawn) < n {
		return nil, fmt.Errorf("%s has %d faults that compile, and %d are asked for: ask for less with -n, or name more packages", name, len(drawn), n)
	}
	return drawn, nil
}

// order is that in which a seed tries mutations: one of each kind in turn, since else most would be of the commonest kind. The
// place of each depends on itself alone, so that most are drawn again when another line of the package has changed.
func order(all []mutation, seed uint64) []mutation {
	hash := func(what any) string {
		b, err := json.Marshal([]any{seed, what})
		if err != nil {
			panic(err) // strings and numbers
		}
		sum := sha256.Sum256(b)
		return string(sum[:])
	}
	kinds := map[string][]mutation{}
	for _, m := range all {
		kinds[m.Kind] = append(kinds[m.Kind], m)
	}
	type placed struct {
		turn       int
		kind, hash string
		mutation   mutation
	}
	var out []placed
	for kind, of := range kinds {
		rank := hash([]string{path.Dir(of[0].File), kind})
		slices.SortFunc(of, func(a, b mutation) int { return cmp.Compare(hash(a.identity()), hash(b.identity())) })
		for turn, m := range of {
			out = append(out, placed{turn, rank, hash(m.identity()), m})
		}
	}
	slices.SortFunc(out, func(a, b placed) int {
		return cmp.Or(cmp.Compare(a.turn, b.turn), cmp.Compare(a.kind, b.kind), cmp.Compare(a.hash, b.hash))
	})
	sorted := make([]mutation, len(out))
	for i, p := range out {
		sorted[i] = p.mutation
	}
	return sorted
}

// replay reads a list and finds each mutation in the checkout. What is not there any more has an error in its place.
func (c *checkout) replay(list []byte) ([]mutation, []error, error) {
	var all []mutation
	d := json.NewDecoder(bytes.NewReader(list))
	d.DisallowUnknownFields()
	if err := d.Decode(&all); err != nil {
		return nil, nil, fmt.Errorf("-replay: the file is no list that -list has written: %w", err)
	}
	gone := make([]error, len(all))
	for i, m := range all {
		found, err := find(c.root, m.File)
		if errors.Is(err, fs.ErrNotExist) {
			gone[i] = errors.New("the file is gone")
			continue
		} else if err != nil {
			return nil, nil, err
		}
		at := slices.IndexFunc(found, func(f mutation) bool { return f.identity() == m.identity() })
		if at < 0 {
			gone[i] = fmt.Errorf("the line %q of %s is gone, or no longer says what was listed: list anew with -list", m.Text, cmp.Or(m.Func, "no function"))
			continue
		}
		all[i] = found[at]
	}
	return all, gone, nil
}

// A checkout is what is mutated, and is only read.
type checkout struct {
	root     string
	packages map[string]gocommand.Package // by folder
}

func open(ctx context.Context, root string) (*checkout, error) {
	all, err := gocommand.List(ctx, root, "./...")
	if err != nil {
		return nil, err
	}
	c := &checkout{root, map[string]gocommand.Package{}}
	for _, p := range all {
		c.packages[p.Name(root)] = p
	}
	return c, nil
}

// compiles is true where go vet has nothing to say against the package with the mutation: what it finds, no test has to.
func (c *checkout) compiles(ctx context.Context, m mutation) (bool, error) {
	overlay, remove, err := c.overlay(m)
	if err != nil {
		return false, err
	}
	defer remove()
	_, err = gocommand.Output(gocommand.New(ctx, c.root, "go", "vet", "-overlay", overlay, "./"+path.Dir(m.File)))
	return err == nil, ctx.Err()
}

// overlay writes the mutated file, and a list for the go command that puts it in the place of the checkout's.
func (c *checkout) overlay(m mutation) (string, func(), error) {
	src, err := os.ReadFile(path.Join(c.root, m.File))
	if err != nil {
		return "", nil, err
	}
	if m.end > len(src) || string(src[m.start:m.end]) != m.Before {
		return "", nil, fmt.Errorf("%s has changed while its mutations run", m.File)
	}
	dir, err := os.MkdirTemp("", "mutation")
	if err != nil {
		return "", nil, err
	}
	mutated, list := path.Join(dir, path.Base(m.File)), path.Join(dir, "overlay.json")
	replaced, err := json.Marshal(map[string]any{"Replace": map[string]string{path.Join(c.root, m.File): mutated}})
	if err == nil {
		err = errors.Join(os.WriteFile(mutated, slices.Concat(src[:m.start], []byte(m.After), src[m.end:]), 0o600), os.WriteFile(list, replaced, 0o600))
	}
	if err != nil {
		return "", nil, errors.Join(err, os.RemoveAll(dir))
	}
	return list, func() { os.RemoveAll(dir) }, nil
}
