package recovery_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/erlmcp/function/internal/backup"
	"example.com/erlmcp/function/internal/backup/backuptest"
	"example.com/erlmcp/function/internal/directives"
	"example.com/erlmcp/function/internal/receipt"
	"example.com/erlmcp/function/internal/receipt/receipttest"
	"example.com/erlmcp/function/internal/recovery"
)

// filled is a shop with records of each kind, some in more batches than one.
func filled(t *testing.T) *shop {
	t.Helper()
	s := newShop(t)
	s.open(1)
	for i := range 3 {
		name := fmt.Sprint("tenant-", i)
		s.must("PUT", "/v1/tenants/"+name, `{"plan":"enterprise"}`)
		s.must("POST", "/v1/keys", `{"tenant":"`+name+`","subject":"s","scopes":["*"]}`)
	}
	s.must("PUT", "/v1/kills/everything", `{"reason":"an incident, as it happens"}`)
	s.must("PUT", "/v1/kills/tool:x", `{"reason":"it leaks"}`)
	for i := range backup.MaxBatch { // segments in more batches than one
		s.journal.Append(receipttest.Receipt(s.journal, receipt.Completed))
		time.Sleep(2 * time.Second) // in a bubble
		if i%30 == 0 {
			s.anchor()
		}
	}
	s.anchor()
	return s
}

var errCut = errors.New("the process is killed")

// whole wants that each backup in a place has all that its manifest names.
func whole(t *testing.T, place *backuptest.Objects) (backups int) {
	t.Helper()
	all, _, err := backup.List(context.WithoutCancel(t.Context()), place, 100)
	if err != nil {
		t.Fatal(err)
	}
	objects := place.All()
	for _, m := range all {
		for _, o := range m.Objects {
			if content, there := objects[o.Name]; !there || sha256.Sum256(content) != o.SHA256 || int64(len(content)) != o.Bytes {
				t.Errorf("backup %s names %s, which is not there as it says", m.Name, o.Name)
			}
		}
	}
	return len(all)
}

// TestInterruptedBackup ends a backup at each of its requests, before it is done and after, for ever: no manifest names what is not there, and
// another backup is whole.
func TestInterruptedBackup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := filled(t)
		defer s.close()
		count := 0
		probe := backuptest.NewObjects()
		probe.Meddle = func(string, string) error { count++; return nil }
		s.backup(probe)
		if count < 5 {
			t.Fatalf("a backup has %d requests", count)
		}
		for at := range count {
			for _, how := range []string{"before it", "after it", "it alone fails"} {
				place := backuptest.NewObjects()
				n := 0
				place.Meddle = func(operation, name string) error {
					n++
					switch {
					case n <= at, n == at+1 && how == "after it", n > at+1 && how == "it alone fails":
						return nil
					}
					return errCut
				}
				time.Sleep(time.Second)
				_, err := recovery.Backup(t.Context(), s.records, s.store, place, backup.Options{})
				if cut := how != "after it" || at < count-1; cut != (err != nil) {
					t.Errorf("ended at request %d, %s: %v", at, how, err)
				}
				place.Meddle = nil
				if n := whole(t, place); n > 0 && err != nil {
					t.Errorf("ended at request %d: there is a backup", at)
				}
				time.Sleep(time.Second)
				s.backup(place)
				if whole(t, place) == 0 {
					t.Error("there is no backup")
				}
			}
		}
	})
}

// A cutting store ends the process at one of its writes: all after it fail. Done tells whether that one is done.
type cutting struct {
	at   int
	done bool
	n    int
}

func (c *cutting) write(do func() error) error {
	c.n++
	switch {
	case c.n <= c.at:
		return do()
	case c.n == c.at+1 && c.done:
		return errors.Join(do(), errCut)
	}
	return errCut
}

type cuttingRecords struct {
	backup.Store
	c *cutting
}

func (r cuttingRecords) Put(ctx context.Context, kind backup.Kind, records []backup.Record) error {
	return r.c.write(func() error { return r.Store.Put(ctx, kind, records) })
}

type cuttingDirectives struct {
	directives.Store
	c *cutting
}

func (d cuttingDirectives) Change(ctx context.Context, change func(*directives.Directives) error) (after directives.Directives, err error) {
	err = d.c.write(func() (err error) {
		after, err = d.Store.Change(ctx, change)
		return err
	})
	return after, err
}

type cuttingReceipts struct {
	receipt.Store
	c *cutting
}

func (r cuttingReceipts) PutRoot(ctx context.Context, root *receipt.Root) error {
	return r.c.write(func() error { return r.Store.PutRoot(ctx, root) })
}

func (r cuttingReceipts) PutSegment(ctx context.Context, s *receipt.Segment) error {
	return r.c.write(func() error { return r.Store.PutSegment(ctx, s) })
}

// TestInterruptedRestore ends a restore at each of its writes, before it is done and after. What is there then either has no record at all,
// or refuses every call and can't be confirmed; and the same restore, run again, has all records.
func TestInterruptedRestore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		place, s := backuptest.NewObjects(), filled(t)
		m := s.backup(place)
		for range 3 {
			time.Sleep(time.Minute)
			s.must("PUT", "/v1/kills/tool:y", `{"reason":"since"}`)
			s.ship(place)
		}
		s.close()
		count, complete := 0, 0
		step := 5
		if *everything {
			step = 1
		}
		for at := 0; at == 0 || at < count; at = max(at+1, min(at+step, count-1)) { // the last among them
			for _, done := range []bool{false, true} {
				restored := newShop(t)
				run := func(c *cutting) error {
					r := restored.restore(place)
					r.Store, r.Directives, r.Receipts = cuttingRecords{r.Store, c}, &directives.Writer{Store: cuttingDirectives{restored.store, c}, Now: time.Now}, cuttingReceipts{r.Receipts, c}
					_, err := r.Run(t.Context())
					return err
				}
				if at == 0 && !done {
					probe := &cutting{at: 1 << 30}
					if err := run(probe); err != nil {
						t.Fatal(err)
					}
					count, restored = probe.n, newShop(t)
				}
				if err := run(&cutting{at: at, done: done}); err == nil {
					t.Fatalf("ended at write %d of %d: no error", at, count)
				}
				d, err := restored.store.Directives(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				name, whole := d.Restored()
				switch {
				case name == "":
					if found, err := backup.Occupied(t.Context(), restored.records); len(found) > 0 || err != nil {
						t.Errorf("ended at write %d: it has %q and is not closed (%v)", at, found, err)
					}
				case name != m.Name || d.Killed(time.Now(), nil) == nil:
					t.Errorf("ended at write %d: %+v", at, d)
				}
				if whole {
					complete++
					if different, err := m.Compare(t.Context(), place, restored.records); err != nil || different.Err() != nil {
						t.Errorf("ended at write %d: it says that it is complete, and is not: %v %v", at, err, different.Err())
					}
				} else {
					if err := run(&cutting{at: 1 << 30}); err != nil {
						t.Fatalf("ended at write %d, and run again: %v", at, err)
					}
				}
				restored.closed()
				want := backuptest.Text(t, s.records)
				for id, text := range backuptest.Text(t, restored.records) {
					if want[id] != text {
						t.Errorf("ended at write %d: %s is %s, and was %s", at, id, text, want[id])
					}
				}
				if different, err := m.Compare(t.Context(), place, restored.records); err != nil || different.Err() != nil {
					t.Errorf("ended at write %d, and run again: %v %v", at, err, different.Err())
				}
				restored.open(5)
				c := restored.confirm(place)
				p, err := c.Plan(t.Context())
				if err == nil {
					err = c.Run(t.Context(), p, func(recovery.Order, string) {})
				}
				if err != nil {
					t.Fatal(err)
				}
				after, err := restored.store.Directives(t.Context())
				if err != nil || len(after.Kills) != 3 || after.KillOn(directives.Everything, time.Now()) == nil {
					t.Errorf("opened, it has %+v (%v): want the three kill switches that there were", after.Kills, err)
				}
				restored.close()
			}
		}
		if count < 10 || complete == 0 {
			t.Errorf("a restore has %d writes, and was complete after %d of the ends: the test shows little", count, complete)
		}
	})
}

// TestHalfRestored can't be opened, nor can another backup be restored over it.
func TestHalfRestored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		place, s := backuptest.NewObjects(), filled(t)
		defer s.close()
		first := s.backup(place)
		second := s.backup(place)
		half := newShop(t)
		r := half.restore(place)
		c := &cutting{at: 3}
		r.Backup, r.Store, r.Directives = first.Name, cuttingRecords{r.Store, c}, &directives.Writer{Store: cuttingDirectives{half.store, c}, Now: time.Now}
		if _, err := r.Run(t.Context()); err == nil {
			t.Fatal("it was not interrupted")
		}
		half.open(2)
		defer half.close()
		if _, err := half.confirm(place).Plan(t.Context()); err == nil || !strings.Contains(err.Error(), "not complete") {
			t.Errorf("half restored, it can be opened: %v", err)
		}
		other := half.restore(place)
		other.Backup = second.Name
		var occupied *recovery.Occupied
		if _, err := other.Run(t.Context()); !errors.As(err, &occupied) {
			t.Errorf("another backup over it: %v", err)
		}
		if _, err := recovery.Backup(t.Context(), half.records, half.store, place, backup.Options{}); err == nil || !strings.Contains(err.Error(), "not confirmed") {
			t.Errorf("a backup of it: %v", err)
		}
	})
}

// TestDamaged changes, cuts off, exchanges and takes away each object of a backup: nothing of it can be restored and opened.
func TestDamaged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		place, s := backuptest.NewObjects(), filled(t)
		s.backup(place)
		s.must("PUT", "/v1/kills/tool:y", `{"reason":"since"}`)
		s.ship(place)
		s.close()
		all := place.All()
		for i, name := range slices.Sorted(maps.Keys(all)) {
			content := all[name]
			if !*everything && i%3 > 0 && !strings.Contains(name, "manifest") {
				continue
			}
			for how, other := range map[string][]byte{
				"changed": flipped(content), "cut off": content[:len(content)/2], "empty": {}, "longer": append(content[:len(content):len(content)], 1),
				"another's": all[another(all, name)], "gone": nil,
			} {
				if how == "gone" && strings.HasPrefix(name, "roots/") || how == "gone" && strings.HasPrefix(name, "changes/") {
					continue // what was never there can't be told from what is gone: retention keeps it
				}
				place.Replace(name, other)
				restored := newShop(t)
				_, err := restored.restore(place).Run(t.Context())
				if err == nil {
					restored.open(3)
					_, err = restored.confirm(place).Plan(t.Context())
					restored.close()
				}
				if err == nil {
					t.Errorf("%s is %s, and is restored", name, how)
				}
				place.Replace(name, content)
			}
		}
	})
}

func flipped(content []byte) []byte {
	out := append([]byte(nil), content...)
	out[len(out)/2] ^= 4
	return out
}

func another(all map[string][]byte, name string) string {
	for other := range maps.Keys(all) {
		if other != name && string(all[other]) != string(all[name]) {
			return other
		}
	}
	return name
}

// forgetful is a store that loses a record of a kind, or has it otherwise, and says nothing.
type forgetful struct {
	backup.Store
	kind    backup.Kind
	instead []backup.Record
	lost    bool
}

func (f *forgetful) Put(ctx context.Context, kind backup.Kind, records []backup.Record) error {
	if kind == f.kind && !f.lost {
		f.lost = true
		records = append(slices.Clone(f.instead), records[1:]...)
	}
	return f.Store.Put(ctx, kind, records)
}

// TestComparedRecordByRecord has a store lose one record of each kind, or keep another: the restore is not complete, and can't be opened.
func TestComparedRecordByRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		place, s := backuptest.NewObjects(), filled(t)
		defer s.close()
		m := s.backup(place)
		for _, kind := range backup.Kinds {
			if !kind.Copied() || m.Counts[kind] == 0 {
				continue
			}
			for _, other := range []bool{false, true} {
				restored := newShop(t)
				store := &forgetful{Store: restored.records, kind: kind}
				if other && kind == backup.Tenants {
					store.instead = []backup.Record{{ID: "tenant-0", Value: []byte(`{"id":"tenant-0","created":"2026-01-01T00:00:00Z"}`)}}
				}
				r := restored.restore(place)
				r.Store = store
				if _, err := r.Run(t.Context()); err == nil || !store.lost {
					t.Errorf("%s: a record is lost, and nothing says so", kind)
				}
				d, err := restored.store.Directives(t.Context())
				if name, complete := d.Restored(); err != nil || name == "" || complete {
					t.Errorf("%s: restored from %q, complete %v (%v)", kind, name, complete, err)
				}
			}
		}
	})
}
