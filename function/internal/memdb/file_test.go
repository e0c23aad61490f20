package memdb

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/erlmcp/function/internal/governor"
	"example.com/erlmcp/function/internal/governor/governortest"
	"example.com/erlmcp/function/internal/identity"
	"example.com/erlmcp/function/internal/identity/identitytest"
	"example.com/erlmcp/function/internal/tenant"
	"example.com/erlmcp/function/internal/tenant/tenanttest"
)

func open(t *testing.T, path string) *Store {
	t.Helper()
	s, err := Open(path, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func shut(t *testing.T, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestStoreInAFile(t *testing.T) {
	for name, suite := range map[string]func(*testing.T, *Store){
		"governor": func(t *testing.T, s *Store) { governortest.TestStore(t, s) },
		"tenants":  func(t *testing.T, s *Store) { tenanttest.TestStore(t, s) },
		"keys":     func(t *testing.T, s *Store) { identitytest.TestKeyStore(t, s) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // they wait for the disk
			path := filepath.Join(t.TempDir(), "store")
			s := open(t, path)
			suite(t, s)
			shut(t, s)
			again := open(t, path)
			defer shut(t, again)
			if before, after := text(s), text(again); before != after {
				t.Errorf("written was\n%.2000s, read\n%.2000s", before, after)
			}
		})
	}
}

func text(s *Store) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, err := json.Marshal(s.content())
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// TestReopen reads everything from the file that was written, and goes on from there.
func TestReopen(t *testing.T) {
	ctx, path := t.Context(), filepath.Join(t.TempDir(), "store")
	s := open(t, path)
	at := time.Date(2026, 11, 24, 12, 0, 0, 123456789, time.UTC)
	event := &tenant.Event{ID: "1", Source: "market", Type: tenant.Grant, Tenant: "acme", Time: at, Plan: "base", Packs: []string{"a"}}
	made, err := s.ChangeTenant(ctx, "acme", event, func(x *tenant.Tenant) error { x.Apply(event); return nil })
	if err != nil {
		t.Fatal(err)
	}
	plan, err1 := s.ChangePlan(ctx, "gold", func(p *tenant.Plan) error { p.Grace = 5; return nil })
	key, err2 := s.AddKey(ctx, identity.Key{ID: "aaaaaaaa", Tenant: "acme", Scopes: []string{"read"}, Expires: at})
	orders, err3 := s.Change(ctx, func(o *governor.Orders) error {
		return o.Kill(governor.Kill{Scope: "tool:x", Reason: "leaks", At: at})
	})
	_, _, err4 := s.Take(ctx, "q", "2026-11-24", 10, 4)
	_, _, err5 := s.Next(ctx)
	if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
		t.Fatal(err)
	}
	shut(t, s)

	s = open(t, path)
	defer shut(t, s)
	if x, err := s.Tenant(ctx, "acme"); err != nil || !reflect.DeepEqual(x, made) {
		t.Errorf("read %+v, %v, want %+v", x, err, made)
	}
	if _, err := s.ChangeTenant(ctx, "acme", event, func(*tenant.Tenant) error { return nil }); !errors.Is(err, tenant.ErrSeen) {
		t.Errorf("an event that was applied before: %v", err)
	}
	if k, err := s.Key(ctx, "aaaaaaaa"); err != nil || !reflect.DeepEqual(k, key) {
		t.Errorf("read %+v, %v, want %+v", k, err, key)
	}
	if o, err := s.Orders(ctx); err != nil || !reflect.DeepEqual(o, orders) {
		t.Errorf("read %+v, %v, want %+v", o, err, orders)
	}
	if used, err := s.Used(ctx, "q", "2026-11-24"); err != nil || used != 4 {
		t.Errorf("%d used, %v", used, err)
	}
	if epoch, first, err := s.Next(ctx); epoch != 2 || first || err != nil {
		t.Errorf("epoch %d, first %t, %v", epoch, first, err)
	}
	if v, err := s.Versions(ctx); err != nil || v["tenants"] != plan.Revision || v["keys"] != key.Revision {
		t.Errorf("versions %v, %v", v, err)
	}
	s.now = func() time.Time { return time.Time{} } // a clock that was set back
	if x, err := s.ChangeTenant(ctx, "acme", nil, func(*tenant.Tenant) error { return nil }); err != nil || x.Revision != plan.Revision+1 {
		t.Errorf("revision %d after %d, %v", x.Revision, plan.Revision, err)
	}
}

// TestWritten lets time pass: what changes is in the file soon, and the file is not written more often than that takes.
func TestWritten(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(dir, "store")
		s := open(t, path)
		defer shut(t, s)
		if _, _, err := s.Next(t.Context()); err != nil {
			t.Fatal(err)
		}
		killed := New()
		if err := killed.load(path); err != nil || killed.epoch != 1 {
			t.Errorf("an epoch that was given is at %d in the file, %v", killed.epoch, err)
		}
		versions := map[string]bool{}
		const changes = 100
		for range changes {
			if _, _, err := s.Take(t.Context(), "q", "2026-11-24", 1000, 1); err != nil {
				t.Fatal(err)
			}
			time.Sleep(every / 10)
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			versions[string(b)] = true
		}
		if len(versions) > changes/10+2 {
			t.Errorf("written %d times in %v", len(versions), changes*every/10)
		}
		time.Sleep(every)
		synctest.Wait()
		killed = New()
		if err := killed.load(path); err != nil || killed.used[quota{"q", "2026-11-24"}] != changes {
			t.Errorf("in the file after a second: %v, %v", killed.used, err)
		}
		before, _ := os.Stat(path)
		time.Sleep(10 * every)
		if after, _ := os.Stat(path); !os.SameFile(before, after) {
			t.Error("written though nothing has changed")
		}
	})
}

func TestOneProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	s := open(t, path)
	if _, err := Open(path, nil); err == nil || !strings.Contains(err.Error(), "in use by another process") {
		t.Errorf("a second one: %v", err)
	}
	shut(t, s)
	shut(t, open(t, path))
	if _, err := Open(filepath.Join(t.TempDir(), "none", "store"), nil); err == nil {
		t.Error("a folder that is not there")
	}
}

// TestDamagedFile alters what was written in every way that comes to mind; nothing is taken for something else.
func TestDamagedFile(t *testing.T) {
	t.Parallel()
	ctx, path := t.Context(), filepath.Join(t.TempDir(), "store")
	s := open(t, path)
	if _, err := s.ChangeTenant(ctx, "acme", nil, func(*tenant.Tenant) error { return nil }); err != nil {
		t.Fatal(err)
	}
	shut(t, s)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	line, rest, _ := bytes.Cut(good, []byte("\n"))
	cases := map[string][]byte{
		"empty": nil, "half": good[:len(good)/2], "the first line alone": line, "twice": append(bytes.Clone(good), good...), "without a line": rest,
		"zeros": make([]byte, len(good)), "another file": []byte("{}\n"), "of no format": bytes.Replace(good, []byte(`"format":1`), []byte(`"format":0`), 1),
	}
	for i := range len(good) - 1 {
		b := bytes.Clone(good)
		b[i] ^= 4
		cases[fmt.Sprint("a bit at ", i)] = b
	}
	for name, b := range cases {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Open(path, nil)
		if err == nil {
			s.Close()
			t.Errorf("%s: it opens", name)
			continue
		}
		if newer := strings.Contains(err.Error(), "run the newer version"); !newer && !strings.Contains(err.Error(), "move it away to begin with nothing") || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
		if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, b) {
			t.Errorf("%s: what can't be read has changed, %v", name, err)
		}
	}
	newer := bytes.Replace(good, []byte(`"format":1`), []byte(`"format":2`), 1)
	if err := os.WriteFile(path, newer, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path, nil); err == nil || !strings.Contains(err.Error(), "has format 2, and this version knows up to 1: run the newer version") {
		t.Errorf("a newer format: %v", err)
	}
	if err := os.WriteFile(path, good, 0o600); err != nil {
		t.Fatal(err)
	}
	shut(t, open(t, path))
}

// A record is a log.
type record struct {
	mu   sync.Mutex
	text strings.Builder
}

func (r *record) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(b)
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

// TestUnwritable has a disk that takes nothing for a while.
func TestUnwritable(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(dir, "store")
		var log record
		s, err := Open(path, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(path+".new", 0o700); err != nil {
			t.Fatal(err)
		}
		if _, err := s.ChangeTenant(t.Context(), "acme", nil, func(*tenant.Tenant) error { return nil }); err != nil {
			t.Errorf("a change that can't be written: %v", err)
		}
		time.Sleep(5 * every)
		synctest.Wait()
		if _, _, err := s.Next(t.Context()); err == nil {
			t.Error("an epoch that can't be written is given")
		}
		if n := strings.Count(log.String(), "level=ERROR"); n != 1 || !strings.Contains(log.String(), path) {
			t.Errorf("told %d times: %s", n, log.String())
		}
		if err := os.Remove(path + ".new"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * every)
		synctest.Wait()
		if !strings.Contains(log.String(), "again") {
			t.Errorf("not told that it goes on: %s", log.String())
		}
		kept := New()
		if err := kept.load(path); err != nil || kept.tenants.rows["acme"] == nil {
			t.Errorf("not written later: %v", err)
		}
		os.Mkdir(path+".new", 0o700)
		if _, _, err := s.Take(t.Context(), "q", "2026-11-24", 1, 1); err != nil {
			t.Fatal(err)
		}
		if s.Close() == nil {
			t.Error("a close that loses something is no error")
		}
	})
}

// TestWhole reads the file over and over while it is written from many sides: it is always whole.
func TestWhole(t *testing.T) {
	t.Parallel()
	ctx, path := t.Context(), filepath.Join(t.TempDir(), "store")
	s := open(t, path)
	done := make(chan struct{})
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for n := range 20 {
				if _, err := s.ChangeTenant(ctx, fmt.Sprint(i), nil, func(x *tenant.Tenant) error { x.Noted = tenant.State(strings.Repeat("x", n)); return nil }); err != nil {
					t.Error(err)
				}
				if _, _, err := s.Next(ctx); err != nil { // writes
					t.Error(err)
				}
			}
		})
	}
	go func() { wg.Wait(); close(done) }()
	last := int64(0)
	for reading := true; reading; {
		select {
		case <-done:
			reading = false
		default:
		}
		seen := New()
		if err := seen.load(path); err != nil {
			t.Fatal(err)
		}
		if seen.epoch < last {
			t.Errorf("epoch %d after %d", seen.epoch, last)
		}
		last = seen.epoch
	}
	shut(t, s)
	if last != 80 {
		t.Errorf("the last epoch in the file is %d of 80", last)
	}
}
