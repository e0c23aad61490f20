package backuptest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/erlmcp/function/internal/backup"
	"example.com/erlmcp/function/internal/directives"
	"example.com/erlmcp/function/internal/entitlement"
	"example.com/erlmcp/function/internal/identity"
	"example.com/erlmcp/function/internal/receipt"
)

// A Filled store is one whose records are made by what else it implements.
type Filled interface {
	backup.Store
	directives.Store
	entitlement.Store
	identity.KeyStore
	Next(context.Context) (epoch int64, first bool, err error)
	Take(ctx context.Context, key, day string, most, want int64) (taken, left int64, err error)
	Used(ctx context.Context, key, day string) (int64, error)
}

// A Pair is a store with its receipts.
type Pair struct {
	Filled
	Receipts receipt.Store
}

var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// names are such as callers choose.
var names = []string{"acme", "a%2Fb", "..x", "__x__", "a@b", "A", "~", "100%"}

// Fill puts some records of each kind.
func Fill(t *testing.T, s Pair, more int) {
	t.Helper()
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		_, _, err := s.Next(ctx)
		must(err)
	}
	_, err := s.Change(ctx, func(d *directives.Directives) error {
		rate := 5.0
		d.Merged = true
		return errors.Join(d.Kill(directives.Kill{Scope: "tool:a", Reason: "it leaks", At: noon}), d.Override(directives.Override{Scope: "tenant:acme", Limits: directives.Limits{PerSecond: &rate}, At: noon}))
	})
	must(err)
	_, err = s.ChangePlan(ctx, "gold", func(p *entitlement.Plan) error { p.Packs = []string{"all"}; return nil })
	must(err)
	all := slices.Clone(names)
	for i := range more {
		all = append(all, fmt.Sprintf("tenant-%04d", i))
	}
	for i, name := range all {
		event := &entitlement.Event{ID: fmt.Sprint("e", i), Source: "billing", Type: entitlement.Grant, Plan: "gold", Tenant: name, Time: noon}
		_, err := s.ChangeTenant(ctx, name, event, func(t *entitlement.Tenant) error { t.Apply(event); return nil })
		must(err)
		_, k := identity.NewKey(identity.Key{Tenant: name, Subject: "ci", Scopes: []string{"a"}, Created: noon})
		_, err = s.AddKey(ctx, k)
		must(err)
		if i%2 == 0 {
			_, err = s.ChangeKey(ctx, k.ID, func(k *identity.Key) error { k.Revoked = noon; return nil })
			must(err)
		}
		_, _, err = s.Take(ctx, "quota of "+name+"@x %/", "2026-11-24", 100, int64(i+1))
		must(err)
		at := noon.Add(time.Duration(i) * time.Second)
		must(s.Receipts.PutSegment(ctx, &receipt.Segment{
			Chain: fmt.Sprintf("chain-%d", i%3), Number: int64(i/3 + 1), From: at, To: at.Add(time.Second), Tenants: []string{name}, Calls: []int64{int64(i)},
			Certificate: []byte("certificate"), Header: fmt.Appendf(nil, "header %d", i), Receipts: []byte(strings.Repeat("receipt\n", i+1)),
		}))
		h := receipt.Heads{Format: receipt.Format, Number: int64(i + 1), Time: at, Heads: []receipt.Head{{Chain: "chain-0", Instance: "n", Seq: int64(i + 1), Appended: int64(i + 1), Time: at, To: at}}}
		must(s.Receipts.PutRoot(ctx, &receipt.Root{Number: h.Number, Time: h.Time, Text: h.Append(nil)}))
	}
}

// Text is all records of a store, for comparison.
func Text(t *testing.T, s backup.Store) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, kind := range backup.Kinds {
		if !kind.Copied() {
			continue
		}
		for r, err := range s.Records(t.Context(), kind, time.Time{}) {
			if err != nil {
				t.Fatal(err)
			}
			out[string(kind)+" "+r.ID] = string(r.Value)
		}
	}
	return out
}

// TestStore wants of stores, which open makes empty, what backups rely on.
func TestStore(t *testing.T, open func(*testing.T) Pair) {
	a, b, objects := open(t), open(t), NewObjects()
	Fill(t, a, 3)
	ctx := t.Context()
	if found, err := backup.Occupied(ctx, b); len(found) > 0 || err != nil {
		t.Fatalf("an empty store has %q (%v)", found, err)
	}
	m, err := backup.Write(ctx, a, objects, backup.Options{})
	if err != nil {
		t.Fatal(err)
	}
	n := int64(len(names) + 3)
	want := map[backup.Kind]int64{
		backup.Directives: 1, backup.Epoch: 1, backup.Plans: 1, backup.Tenants: n, backup.Keys: n, backup.Events: n, backup.Quotas: n, backup.Roots: n, backup.Segments: n,
	}
	if !maps.Equal(m.Counts, want) || m.Root == nil || m.Root.Number != n {
		t.Errorf("the backup has %v and the root %v, want %v", m.Counts, m.Root, want)
	}
	for range 2 { // once more is the same
		if err := m.Restore(ctx, objects, b, nil); err != nil {
			t.Fatal(err)
		}
	}
	before, after := Text(t, a), Text(t, b)
	if !maps.Equal(before, after) || int64(len(before)) != 6*n+1 {
		t.Errorf("%d records were\n%v\nand %d are\n%v", len(before), before, len(after), after)
	}
	if d, err := m.Compare(ctx, objects, b); err != nil || d.Err() != nil || d.Compared != 6*n+1 {
		t.Errorf("compared: %+v (%v)", d, err)
	}
	if found, err := backup.Occupied(ctx, b); len(found) != 7 || err != nil {
		t.Errorf("the restored store has %q (%v)", found, err)
	}
	t.Run("as it is used", func(t *testing.T) { testUse(t, a, b) })
	t.Run("epoch", func(t *testing.T) { testEpoch(t, open(t)) })
	t.Run("others", func(t *testing.T) { testOthers(t, m, objects, b) })
}

// testUse reads a restored store as servers do.
func testUse(t *testing.T, a, b Pair) {
	ctx := t.Context()
	for _, name := range names {
		x, err1 := a.Tenant(ctx, name)
		y, err2 := b.Tenant(ctx, name)
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		if y.Revision == 0 {
			t.Errorf("tenant %q has no revision", name)
		}
		if x.Revision, y.Revision = 0, 0; !reflect.DeepEqual(x, y) {
			t.Errorf("tenant %q was %+v and is %+v", name, x, y)
		}
		used, err := b.Used(ctx, "quota of "+name+"@x %/", "2026-11-24")
		if want := int64(slices.Index(names, name) + 1); err != nil || used != want {
			t.Errorf("%d are used of the quota of %q (%v), want %d", used, name, err, want)
		}
		event := &entitlement.Event{ID: fmt.Sprint("e", slices.Index(names, name)), Source: "billing", Type: entitlement.Grant, Plan: "gold", Tenant: name, Time: noon}
		if _, err := b.ChangeTenant(ctx, name, event, func(*entitlement.Tenant) error { return nil }); !errors.Is(err, entitlement.ErrSeen) {
			t.Errorf("an event that was applied before: %v", err)
		}
	}
	x, _, err1 := a.KeyChanges(ctx, 0)
	y, version, err2 := b.KeyChanges(ctx, 0)
	if err := errors.Join(err1, err2); err != nil || len(x) != len(y) || version == 0 {
		t.Errorf("%d keys were and %d are, at version %d (%v)", len(x), len(y), version, err)
	}
	of := func(all []*identity.StoredKey) map[string]identity.Key {
		out := map[string]identity.Key{}
		for _, k := range all {
			out[k.ID] = k.Key
		}
		return out
	}
	if !reflect.DeepEqual(of(x), of(y)) {
		t.Errorf("the keys were %+v and are %+v", of(x), of(y))
	}
	for s, err := range a.Receipts.Between(ctx, time.Time{}, noon.AddDate(1, 0, 0)) {
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Receipts.PutSegment(ctx, s); err != nil {
			t.Errorf("segment %d of %s: %v", s.Number, s.Chain, err)
		}
	}
	if last, err := b.Receipts.LastRoot(ctx); err != nil || last == nil || last.Number != int64(len(names)+3) {
		t.Errorf("the last root is %+v (%v)", last, err)
	}
}

// testEpoch has an epoch be put, and the next one follow it.
func testEpoch(t *testing.T, s Pair) {
	if err := s.Put(t.Context(), backup.Epoch, []backup.Record{{ID: string(backup.Epoch), Value: []byte("77")}}); err != nil {
		t.Fatal(err)
	}
	if epoch, first, err := s.Next(t.Context()); epoch != 78 || first || err != nil {
		t.Errorf("after epoch 77 comes %d, first %v (%v)", epoch, first, err)
	}
	if err := s.Put(t.Context(), backup.Directives, []backup.Record{{ID: "directives", Value: []byte("{}")}}); err == nil {
		t.Error("directives are put, over those in force")
	}
}

// testOthers has other records be in the place of those of a backup.
func testOthers(t *testing.T, m *backup.Manifest, objects backup.Objects, b Pair) {
	if _, err := b.ChangeTenant(t.Context(), "acme", nil, func(x *entitlement.Tenant) error {
		x.Noted = entitlement.Refusing
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := m.Restore(t.Context(), objects, b, nil); !errors.Is(err, backup.ErrConflict) || !strings.Contains(err.Error(), `tenants "acme"`) {
		t.Errorf("restored over a tenant that has changed: %v", err)
	}
	d, err := m.Compare(t.Context(), objects, b)
	if err != nil || d.Other != 1 || d.Missing != 0 || d.Err() == nil {
		t.Errorf("compared with a tenant that has changed: %+v (%v)", d, err)
	}
}

// Copy restores a store from another.
func Copy(t *testing.T, from, to backup.Store) {
	t.Helper()
	objects := NewObjects()
	m, err := backup.Write(t.Context(), from, objects, backup.Options{})
	if err == nil {
		err = m.Restore(t.Context(), objects, to, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
}
