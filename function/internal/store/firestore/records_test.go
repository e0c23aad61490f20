package firestore

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"example.com/erlmcp/function/internal/backup"
	"example.com/erlmcp/function/internal/backup/backuptest"
	"example.com/erlmcp/function/internal/entitlement"
)

type records = Records

// recorded is a store with its records.
type recorded struct {
	*Store
	*records
}

// keepForTest is longer than receipts of tests are old.
const keepForTest = 400 * 24 * time.Hour

func openPair(t *testing.T) backuptest.Pair {
	s := connect(t)
	return backuptest.Pair{Filled: recorded{s, NewRecords(s, keepForTest)}, Receipts: s.Receipts(keepForTest)}
}

func TestRecords(t *testing.T) {
	emulator(t)
	backuptest.TestStore(t, openPair)
}

// TestRecordsOfATime reads what there was when the reading began, whatever has changed since, and in more pages than one.
func TestRecordsOfATime(t *testing.T) {
	emulator(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	s := openPair(t)
	backuptest.Fill(t, s, 2*page)
	before := backuptest.Text(t, s)
	at, err := s.Now(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.ChangeTenant(ctx, "acme", nil, func(x *entitlement.Tenant) error { x.Noted = entitlement.Refusing; return nil }); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ChangeTenant(ctx, "new", nil, func(*entitlement.Tenant) error { return nil }); err != nil {
		t.Fatal(err)
	}
	then := 0
	for _, kind := range backup.Kinds {
		for r, err := range s.Records(ctx, kind, at) {
			if err != nil {
				t.Fatal(err)
			}
			if !kind.Copied() {
				continue
			}
			then++
			if want := before[string(kind)+" "+r.ID]; want != string(r.Value) {
				t.Errorf("%s %s was %s and is read as %s", kind, r.ID, want, r.Value)
			}
		}
	}
	if then != len(before) {
		t.Errorf("%d records are read, and there were %d", then, len(before))
	}
}

// TestAllIsBackedUp wants each collection of this package be in backups, or be named here with its reason.
func TestAllIsBackedUp(t *testing.T) {
	left := map[string]string{replays: "its documents expire within a day, and hold sealed answers"}
	s, err := Connect(t.Context(), Options{Project: "p", Databases: []string{"(default)"}, Emulator: "127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	backed := map[string]bool{}
	for _, k := range NewRecords(s, keepForTest).kinds {
		backed[k.collection] = true
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(f, "_test.go") {
			continue
		}
		for _, m := range regexp.MustCompile(`"(erlmcp(?:-[a-z-]+)?)"`).FindAllStringSubmatch(string(text), -1) {
			found++
			if name := m[1]; !backed[name] && left[name] == "" {
				t.Errorf("%s: the collection %s is in no backup: add its kind to records.go", f, name)
			}
		}
	}
	if found < 9 {
		t.Errorf("%d collections are found: the test looks in the wrong place", found)
	}
}
