package memory

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"example.com/erlmcp/function/internal/directives"
	"example.com/erlmcp/function/internal/directives/directivestest"
	"example.com/erlmcp/function/internal/effect"
	"example.com/erlmcp/function/internal/effect/effecttest"
	"example.com/erlmcp/function/internal/entitlement"
	"example.com/erlmcp/function/internal/entitlement/entitlementtest"
	"example.com/erlmcp/function/internal/governor/governortest"
	"example.com/erlmcp/function/internal/identity"
	"example.com/erlmcp/function/internal/identity/identitytest"
	"example.com/erlmcp/function/internal/receipt"
	"example.com/erlmcp/function/internal/receipt/receipttest"
)

// kept is what one file keeps.
type kept struct {
	*Store
	receipts *Receipts
	effects  *Effects
}

func tryOpen(path string) (kept, error) {
	k := kept{New(), NewReceipts(0), NewEffects()}
	return k, Open(path, k.Store, k.receipts, k.effects)
}

func open(t *testing.T, path string) kept {
	t.Helper()
	k, err := tryOpen(path)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func shut(t *testing.T, k kept) {
	t.Helper()
	if err := k.Close(); err != nil {
		t.Error(err)
	}
}

// text is all that is in the stores.
func (k kept) text() string {
	b, err := json.MarshalIndent([]any{
		k.epoch, k.directives, fmt.Sprint(k.used), *k.tenants.version, k.tenants.rows, k.plans.rows, *k.keys.version, k.keys.rows, k.events.seen, k.events.order,
		k.effects.kept, k.receipts.ordered, k.receipts.bytes, len(k.receipts.segments), k.receipts.roots,
	}, "", " ")
	return fmt.Sprintf("%s %v", b, err)
}

// TestStoresInAFile runs the suites, and reads what they have left.
func TestStoresInAFile(t *testing.T) {
	for name, suite := range map[string]func(*testing.T, kept){
		"governor":   func(t *testing.T, k kept) { governortest.TestStore(t, k) },
		"directives": func(t *testing.T, k kept) { directivestest.TestStore(t, k) },
		"tenants":    func(t *testing.T, k kept) { entitlementtest.TestStore(t, k) },
		"keys":       func(t *testing.T, k kept) { identitytest.TestKeyStore(t, k) },
		"effects":    func(t *testing.T, k kept) { effecttest.TestStore(t, k.effects) },
		"receipts":   func(t *testing.T, k kept) { receipttest.TestStore(t, k.receipts) },
		"one of each": func(t *testing.T, k kept) {
			if err := k.fill(t, "a"); err != nil {
				t.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // they wait for the disk
			path := filepath.Join(t.TempDir(), "store")
			k := open(t, path)
			suite(t, k)
			shut(t, k)
			again := open(t, path)
			defer shut(t, again)
			if before, after := k.text(), again.text(); before != after {
				t.Errorf("written was\n%.2000s, read\n%.2000s", before, after)
			}
		})
	}
}

// fill writes a row of each kind.
func (k kept) fill(t testing.TB, id string) error {
	ctx, at := t.Context(), time.Date(2026, 11, 24, 12, 0, 0, 123456789, time.UTC)
	event := &entitlement.Event{ID: id, Source: "market", Type: entitlement.Grant, Tenant: id, Time: at, Plan: "base", Packs: []string{"a"}}
	_, err1 := k.ChangeTenant(ctx, id, event, func(x *entitlement.Tenant) error { x.Apply(event); return nil })
	_, err2 := k.ChangePlan(ctx, id, func(p *entitlement.Plan) error { p.Grace = 5; return nil })
	_, err3 := k.AddKey(ctx, identity.Key{ID: id, Tenant: "acme", Scopes: []string{"read"}, Expires: at})
	_, err4 := k.Change(ctx, func(o *directives.Directives) error {
		return o.Kill(directives.Kill{Scope: "tool:" + id, Reason: "leaks", At: at})
	})
	_, _, err5 := k.Take(ctx, "all of "+id, "2026-11-24", 10, 4)
	_, _, err6 := k.Next(ctx)
	_, err7 := k.effects.Claim(ctx, id, effect.IdempotencyRecord{Claim: "mine", Expires: at}, at)
	err8 := k.receipts.PutSegment(ctx, &receipt.Segment{Chain: id, Number: 1, To: at, Receipts: []byte("{}\n")})
	err9 := k.receipts.PutRoot(ctx, &receipt.Root{Number: k.epoch, Time: at, Text: []byte("{}")})
	return errors.Join(err1, err2, err3, err4, err5, err6, err7, err8, err9)
}

// TestReopen goes on from what was read.
func TestReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	k := open(t, path)
	if err := k.fill(t, "a"); err != nil {
		t.Fatal(err)
	}
	shut(t, k)
	before := k.text()
	if err := k.fill(t, "b"); err == nil {
		t.Error("what comes after the close is kept")
	}
	if k.text() != before {
		t.Error("what could not be written is taken for written")
	}
	k = open(t, path)
	defer shut(t, k)
	if epoch, first, err := k.Next(t.Context()); epoch != 2 || first || err != nil {
		t.Errorf("epoch %d, first %t, %v", epoch, first, err)
	}
	if _, err := k.ChangeTenant(t.Context(), "a", &entitlement.Event{ID: "a", Source: "market"}, func(*entitlement.Tenant) error { return nil }); !errors.Is(err, entitlement.ErrOther) {
		t.Errorf("another event of an id that was there: %v", err)
	}
	k.now = func() time.Time { return time.Time{} } // a clock that was set back
	version := *k.tenants.version
	if x, err := k.ChangeTenant(t.Context(), "a", nil, func(*entitlement.Tenant) error { return nil }); err != nil || x.Revision != version+1 {
		t.Errorf("revision %d after %d, %v", x.Revision, version, err)
	}
}

// TestForgottenInTheFile lets rows be forgotten: they are not in the file either.
func TestForgottenInTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	k := open(t, path)
	now := time.Now()
	k.now, k.receipts.most = func() time.Time { return now }, 5
	if err := k.fill(t, "a"); err != nil {
		t.Fatal(err)
	}
	now = now.Add(remembered + time.Second)
	err1 := k.fill(t, "b")
	_, _, err2 := k.Take(t.Context(), "all of a", "2026-11-25", 10, 4)
	if err := errors.Join(err1, err2, k.effects.Drop(t.Context(), "a", "mine")); err != nil {
		t.Error(err)
	}
	shut(t, k)
	again := open(t, path)
	defer shut(t, again)
	if len(again.events.seen) != 1 || len(again.receipts.ordered) != 1 || len(again.used) != 2 || len(again.effects.kept) != 1 || k.text() != again.text() {
		t.Errorf("in the file is %s", again.text())
	}
}

// TestKilled kills a process that writes: what it was told is written is there.
func TestKilled(t *testing.T) {
	if path := os.Getenv("TEST_STORE"); path != "" {
		for k := open(t, path); ; {
			if err := k.fill(t, fmt.Sprint(k.epoch)); err != nil {
				t.Fatal(err)
			}
			fmt.Println("epoch", k.epoch)
		}
	}
	t.Parallel()
	path, last := filepath.Join(t.TempDir(), "store"), int64(0)
	for round := range 3 {
		child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilled$")
		child.Env = append(os.Environ(), "TEST_STORE="+path)
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			fmt.Sscanf(lines.Text(), "epoch %d", &last)
			if n == 5*round {
				child.Process.Kill()
			}
		}
		child.Wait()
		k := open(t, path)
		whole := last - int64(round) // each kill before may have come between an epoch and what is written in it
		if k.epoch < last || last == 0 || int64(len(k.receipts.ordered)) < whole || int64(len(k.keys.rows)) < whole {
			t.Errorf("epoch %d was told, %d is there, with %d segments and %d keys", last, k.epoch, len(k.receipts.ordered), len(k.keys.rows))
		}
		shut(t, k)
	}
}

func TestOneProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	k := open(t, path)
	if _, err := tryOpen(path); err == nil || !strings.Contains(err.Error(), "in use by another process") {
		t.Errorf("a second one: %v", err)
	}
	shut(t, k)
	shut(t, open(t, path))
	if _, err := tryOpen(filepath.Join(t.TempDir(), "none", "store")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a folder that is not there: %v", err)
	}
}

// TestDamagedFile alters what was written in every way that comes to mind: either everything is there, or it is told. So it is with
// what is written on top.
func TestDamagedFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "store")
	k := open(t, path)
	for i := range 6 {
		if err := k.fill(t, fmt.Sprint(strings.Repeat("long", 10), i)); err != nil {
			t.Fatal(err)
		}
	}
	shut(t, k)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	page := os.Getpagesize()
	cases := map[string][]byte{
		"empty": nil, "half": good[:len(good)/2], "a page": good[:page], "zeros": make([]byte, len(good)), "another file": []byte("{}\n"),
		"before": append([]byte(`{"format":1,"sha256":""}`), make([]byte, page)...),
	}
	for at := 0; at < len(good); at += page {
		cases[fmt.Sprint("no page at ", at)] = append(append(bytes.Clone(good[:at]), make([]byte, page)...), good[at+page:]...)
	}
	for at := range good {
		if at%page < 40 && at%3 == 0 || at%251 == 0 { // the first of a page say what is in it
			b := bytes.Clone(good)
			b[at] ^= 4
			cases[fmt.Sprint("a bit at ", at)] = b
		}
	}
	told := 0
	for name, b := range cases {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		switch again, err := tryOpen(path); {
		case err == nil:
			if again.text() != k.text() {
				t.Errorf("%s: it opens, with something else in it", name)
			}
			again.file.db.NoSync = true // it is to take less time
			_, _, wrong := again.Next(t.Context())
			if wrong = errors.Join(wrong, again.Close()); wrong == nil {
				if third, err := tryOpen(path); err == nil {
					if third.text() != again.text() {
						t.Errorf("%s: what was written later has changed", name)
					}
					third.Close()
				}
			}
			os.Remove(path)
			continue
		case !strings.Contains(err.Error(), "move it away to begin with nothing") && !strings.Contains(err.Error(), "run the newer version") || !strings.Contains(err.Error(), path):
			t.Errorf("%s: %v", name, err)
		default:
			told++
			if name == "before" && !strings.Contains(err.Error(), "has format 1") {
				t.Errorf("%s: %v", name, err)
			}
		}
		if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, b) {
			t.Errorf("%s: it has changed, %v", name, err)
		}
		os.Remove(path)
	}
	if t.Logf("%d of %d are told", told, len(cases)); told < len(cases)/10 {
		t.Error("few are told")
	}
}

func TestNewerFormat(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	shut(t, open(t, path))
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	f := &file{path: path, db: db}
	if err := errors.Join(f.put(row{kindFormat, kindFormat, format + 1}, row{"later", "a", 1}), f.close()); err != nil {
		t.Fatal(err)
	}
	if _, err := tryOpen(path); err == nil || !strings.Contains(err.Error(), "has format 3, and this version knows up to 2: run the newer version") {
		t.Errorf("a newer format: %v", err)
	}
}
