package journal_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/erlmcp/function/internal/fleet"
	"example.com/erlmcp/function/internal/receipt"
	"example.com/erlmcp/function/internal/receipt/journal"
	"example.com/erlmcp/function/internal/store/memory"
)

// A board is one in memory.
type board struct {
	mu    sync.Mutex
	notes map[string][]byte
}

func (b *board) PutUp(_ context.Context, _ fleet.List, name string, note []byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.notes[name] = note
	return nil
}

func (b *board) TakeDown(_ context.Context, _ fleet.List, names ...string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, name := range names {
		delete(b.notes, name)
	}
	return nil
}

func (b *board) Notes(context.Context, fleet.List) (map[string][]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.notes), nil
}

// TestRecorder has instances record for some minutes, and wants a root a minute, and that the whole record is sound.
func TestRecorder(t *testing.T) {
	for _, c := range []struct {
		name      string
		board     fleet.Board
		instances []string
	}{
		{"alone", nil, []string{"node-1"}},
		{"on a board", &board{notes: map[string][]byte{}}, []string{"node-1", "node-2"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := memory.NewReceipts(0)
				var recorders []*journal.Recorder
				for _, instance := range c.instances {
					r, err := journal.Start(journal.Options{Instance: instance, Store: store, Signer: always(operator)}, c.board)
					if err != nil {
						t.Fatal(err)
					}
					recorders = append(recorders, r)
				}
				for range 200 {
					for _, r := range recorders {
						r.Append(call(r.Journal, receipt.Completed))
					}
					time.Sleep(time.Second)
				}
				for _, r := range recorders {
					if heads, err := r.Heads(t.Context()); err != nil || len(heads) != len(recorders) {
						t.Errorf("announced are %v, %v", heads, err)
					}
				}
				for _, r := range recorders {
					r.Close(time.Now().Add(time.Second))
				}
				if r := sound(t, store); r.Chains != int64(len(recorders)) || r.Receipts != int64(201*len(recorders)) || r.Roots < 3 || r.Roots > 5 {
					t.Errorf("%v", r)
				}
			})
		})
	}
}

// TestHeads reads what was announced: what is old is taken down, and what can't be read keeps nobody from reading the rest.
func TestHeads(t *testing.T) {
	text := func(chain string, age time.Duration) []byte {
		b, err := json.Marshal(receipt.Head{Chain: chain, Time: time.Now().Add(-age)})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	b := &board{notes: map[string][]byte{"a": text("a", 0), "old": text("old", 49*time.Hour), "b": text("c", 0), "d": []byte("garbage")}}
	heads, err := journal.ReadHeads(t.Context(), b)
	if len(heads) != 1 || heads[0].Chain != "a" || err == nil || !strings.Contains(err.Error(), "chain b can't be read") || !strings.Contains(err.Error(), "can't be read: garbage") {
		t.Errorf("%v, %v", heads, err)
	}
	if b.notes["old"] != nil || len(b.notes) != 3 {
		t.Errorf("the board has %s", b.notes)
	}
}

// TestLogged wants a record in the log of each order, by its id, since nothing else tells what was ordered.
func TestLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &faulty{Store: memory.NewReceipts(0)}
		j := open(t, store, nil)
		var said bytes.Buffer
		l := journal.Logged{Journal: j, Logger: slog.New(slog.NewJSONHandler(&said, nil))}
		order := func(kind receipt.Kind, decision receipt.Decision, detail string) receipt.Receipt {
			return receipt.Receipt{ID: j.NewID(), Kind: kind, Tenant: "acme", Principal: "5d41402abc4b2a76", Method: "PUT /v1/kills", Decision: decision, Detail: detail}
		}
		for _, c := range []struct {
			r             receipt.Receipt
			commit, away  bool
			level, member string // "" where the log says nothing
		}{
			{order(receipt.Killed, receipt.Allow, `{"scope":"tool:pay"}`), true, false, "INFO", `"detail":"{\"scope\":\"tool:pay\"}"`},
			{order(receipt.Changed, receipt.Allow, ""), true, false, "INFO", `"principal":"5d41402abc4b2a76"`},
			{order(receipt.Entitled, receipt.Allow, `{"event":"grant"}`), false, false, "INFO", `"tenant":"acme"`},
			{order(receipt.Admitted, receipt.Allow, `{"intent":"killed"}`), true, false, "INFO", `recorded: admitted`},
			{order(receipt.Refused, receipt.Refuse, `{"role":"viewer"}`), false, false, "WARN", `"decision":"refuse"`},
			{order(receipt.Failed, receipt.Allow, `{"error":"x"}`), false, false, "WARN", `recorded: failed`},
			{order(receipt.Completed, receipt.Allow, ""), false, false, "", ""},
			{order(receipt.Refused, receipt.Refuse, ""), false, false, "", ""},
			{order(receipt.Killed, receipt.Allow, `{"scope":"tool:pay"}`), true, true, "WARN", `"error":"the receipt is not stored: context deadline exceeded"`},
		} {
			store.set(func(f *faulty) {
				if f.err = nil; c.away {
					f.err = errors.New("away")
				}
			})
			if c.commit {
				ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
				if err := l.Commit(ctx, c.r); (err != nil) != c.away {
					t.Errorf("%s: %v", c.r.Kind, err)
				}
				cancel()
			} else {
				l.Append(c.r)
			}
			line := ""
			for one := range strings.Lines(said.String()) {
				if strings.Contains(one, c.r.ID) {
					line += one
				}
			}
			if strings.Count(line, "\n") > 1 || (line == "") != (c.level == "") || !strings.Contains(line, c.level) || !strings.Contains(line, c.member) {
				t.Errorf("%s %q: the log says %q, want %s with %s", c.r.Kind, c.r.Detail, line, c.level, c.member)
			}
		}
		store.set(func(f *faulty) { f.err = nil })
		shut(t, j)
	})
}

// TestRootsAreKept has two instances keep roots elsewhere, of which one or both can't for some minutes: each root is kept within a minute of
// when that is possible again, whoever made it, and at most one instance keeps a root while all is well.
func TestRootsAreKept(t *testing.T) {
	away := errors.New("the bucket is away")
	for _, c := range []struct {
		name string
		away func(instance int, minute time.Duration) bool
		most int // times that an instance keeps, in 10 minutes
	}{
		{"all is well", func(int, time.Duration) bool { return false }, 14},
		{"away for both", func(_ int, m time.Duration) bool { return m >= 2 && m < 5 }, 16},
		{"away for one", func(i int, m time.Duration) bool { return i == 0 && m < 7 }, 22},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin, store := time.Now(), memory.NewReceipts(0)
				var mu sync.Mutex
				var kept, times int64 // the number of the newest root that is kept
				var recorders []*journal.Recorder
				for i := range 2 {
					r, err := journal.Start(journal.Options{Instance: fmt.Sprint("node-", i), Store: store, Signer: always(operator), Keep: func(ctx context.Context) error {
						mu.Lock()
						defer mu.Unlock()
						times++
						if c.away(i, time.Since(begin)/time.Minute) {
							return away
						}
						last, err := store.LastRoot(ctx)
						if err != nil || last == nil {
							return err
						}
						kept = last.Number
						return nil
					}}, nil)
					if err != nil {
						t.Fatal(err)
					}
					recorders = append(recorders, r)
					time.Sleep(time.Second)
				}
				for minute := range time.Duration(10) {
					for range 60 {
						for _, r := range recorders {
							r.Append(call(r.Journal, receipt.Completed))
						}
						time.Sleep(time.Second)
					}
					last, err := store.LastRoot(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					mu.Lock()
					if !c.away(0, minute) && !c.away(1, minute) && last.Number-kept > 1 {
						t.Errorf("after %d minutes root %d is kept, and the last is %d", minute, kept, last.Number)
					}
					mu.Unlock()
				}
				count := func() int64 {
					mu.Lock()
					defer mu.Unlock()
					return times
				}
				before := count()
				time.Sleep(30 * time.Minute) // in which nobody calls
				if after := count(); after > before+2 {
					t.Errorf("roots were kept %d times while nothing happened", after-before)
				}
				for _, r := range recorders {
					r.Close(time.Now().Add(time.Second))
				}
				if n := count(); n > int64(c.most) || n < 5 {
					t.Errorf("kept %d times, at most %d are wanted", n, c.most)
				}
			})
		})
	}
}
