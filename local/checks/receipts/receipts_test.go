// Package receipts holds the record of decisions against what breaks: server processes on a real Redis and Firestore's emulator are
// killed and cut off from their store, and the operator's own commands say what is missing.
package receipts

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.com/erlmcp/local/checks/world"
)

func TestMain(m *testing.M) { os.Exit(world.Main(m)) }

// newWorld has an emulator of its own, which the test may stop.
func newWorld(t *testing.T) (*world.World, *world.Daemon) {
	t.Parallel()
	emulator := world.StartEmulator(t)
	return world.New(t, emulator, "receipts", world.Anonymous()...), emulator
}

// TestKilled kills a process under load: at most what its last second had is lost, and verification says which receipts are missing, as far
// as the process has announced them. So it is killed while it has announced some that are not stored, and will not be for a while.
func TestKilled(t *testing.T) {
	w, _ := newWorld(t)
	s := w.Serve("victim")
	s.Serves(t, "", "note")
	begin := time.Now()
	l := s.Load("", "note", 8, 20*time.Millisecond)
	time.Sleep(4 * time.Second)
	for waiting := 0.0; waiting < 0.25 || waiting > 0.6; time.Sleep(10 * time.Millisecond) {
		var head struct{ Appended, Stored float64 }
		if text := w.Notes("heads"); json.Unmarshal([]byte(text), &head) != nil {
			t.Fatalf("what is announced: %s", text)
		}
		waiting = (head.Appended - head.Stored) / (float64(l.Ran.Load()) / time.Since(begin).Seconds())
		if time.Since(begin) > 20*time.Second {
			t.Fatalf("the receipts of %.2f s wait to be stored", waiting)
		}
	}
	s.Kill()
	killed := time.Now()
	l.End()
	perSecond := float64(l.Ran.Load()) / killed.Sub(begin).Seconds()

	exported := filepath.Join(w.Dir, "all.jsonl")
	w.Operate(0, "receipts", "export", "-out", exported)
	text, err := os.ReadFile(exported)
	if err != nil {
		t.Fatal(err)
	}
	lost := 0
	for _, id := range l.IDs() {
		if !bytes.Contains(text, []byte(`"id":"`+id+`"`)) {
			lost++
		}
	}
	if l.Ran.Load() < 200 || float64(lost) > 1.5*perSecond {
		t.Errorf("%d calls ran, %.0f a second, and the receipts of %d are lost: at most those of the last second may be", l.Ran.Load(), perSecond, lost)
	}

	t.Logf("killed at %.0f calls a second: the receipts of %d of %d calls are not stored", perSecond, lost, l.Ran.Load())
	time.Sleep(time.Until(killed.Add(16 * time.Second))) // an announcement that is younger may be of one that lives
	said := w.Operate(1, "verify")
	m := regexp.MustCompile(`(?m)^LOST TAIL: .*receipts? (\d+)–(\d+)`).FindStringSubmatch(said)
	if m == nil || !strings.Contains(said, "victim-") {
		t.Fatalf("the lost tail is not named:\n%s", said)
	}
	from, _ := strconv.Atoi(m[1])
	to, _ := strconv.Atoi(m[2])
	t.Logf("verify names %d to %d:\n%s", from, to, said)
	if named := to - from + 1; named > lost+8 || float64(named) < float64(lost)-0.5*perSecond {
		t.Errorf("%d receipts are named missing, and %d are", named, lost)
	}
}

// TestStoreAway takes the store away for half a minute: strict tools are refused, the others go on, and all receipts are there after.
func TestStoreAway(t *testing.T) {
	w, emulator := newWorld(t)
	s := w.Serve("n")
	s.Serves(t, "", "note", "pay")
	strict, buffered := s.Load("", "pay", 1, 200*time.Millisecond), s.Load("", "note", 4, 20*time.Millisecond)
	time.Sleep(3 * time.Second)
	if strict.Ran.Load() == 0 || strict.Refused.Load() > 0 {
		t.Fatalf("before: %d strict calls ran, %d were refused", strict.Ran.Load(), strict.Refused.Load())
	}
	emulator.Stop()
	time.Sleep(3 * time.Second) // calls that were on their way
	ran, noted := strict.Ran.Load(), buffered.Ran.Load()
	time.Sleep(27 * time.Second)
	if n := strict.Ran.Load() - ran; n > 0 {
		t.Errorf("%d strict calls ran while the store was away", n)
	}
	if strict.Refused.Load() < 5 {
		t.Errorf("%d strict calls were refused", strict.Refused.Load())
	}
	if n := buffered.Ran.Load() - noted; n < 500 {
		t.Errorf("only %d other calls ran while the store was away", n)
	}
	resp, err := http.Get(s.URL + "/ready")
	if err != nil {
		t.Fatal(err)
	}
	said, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if resp.StatusCode != 200 || !bytes.Contains(said, []byte("receipts: the store does not take them")) {
		t.Errorf("/ready: %d %s", resp.StatusCode, said)
	}
	emulator.Continue()
	back := time.Now()
	for ran = strict.Ran.Load(); strict.Ran.Load() == ran; time.Sleep(50 * time.Millisecond) {
		if time.Since(back) > 30*time.Second {
			t.Fatal("strict calls are not taken again")
		}
	}
	t.Logf("strict calls ran again %v after the store was back", time.Since(back).Round(100*time.Millisecond))
	strict.End()
	buffered.End()
	s.Signal(syscall.SIGTERM)
	select {
	case <-s.Done:
	case <-time.After(11 * time.Second):
		t.Fatal("the server does not end")
	}
	exported := filepath.Join(w.Dir, "all.jsonl")
	w.Operate(0, "receipts", "export", "-out", exported)
	text, err := os.ReadFile(exported)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range []*world.Load{strict, buffered} {
		ids := l.IDs()
		for _, id := range ids {
			if !bytes.Contains(text, []byte(`"id":"`+id+`"`)) {
				t.Fatalf("the receipt of %s is lost, of %d calls that ran", id, len(ids))
			}
		}
	}
	t.Log(w.Operate(0, "verify"))

	t.Log(w.Operate(0, "verify", "-offline", exported, "-keys", w.Public))
	forged := filepath.Join(w.Dir, "forged.jsonl")
	edited := bytes.Replace(text, []byte(`"kind":"completed"`), []byte(`"kind":"failed"`), 1)
	if bytes.Equal(edited, text) {
		t.Fatal("nothing to edit")
	}
	if err := os.WriteFile(forged, edited, 0o600); err != nil {
		t.Fatal(err)
	}
	if said := w.Operate(1, "verify", "-offline", forged, "-keys", w.Public); !strings.Contains(said, "ALTERED") {
		t.Errorf("an edited export: %s", said)
	}
	first := strict.IDs()[0]
	if said := w.Operate(0, "receipts", "show", first); strings.Count(said, "\n") != 2 || !strings.Contains(said, `"kind":"admitted"`) {
		t.Errorf("a strict call: %s", said)
	}
	if said := w.Operate(0, "receipts", "list", "-tenant", "anonymous", "-limit", "100000"); !strings.Contains(said, first) {
		t.Errorf("the list lacks a call:\n%.2000s", said)
	}
}

// TestStalledAtTheEnd freezes an instance right after an answer, stalls the store, and has both go: the process is gone within 10 s,
// and what it did not store is known.
func TestStalledAtTheEnd(t *testing.T) {
	w, emulator := newWorld(t)
	s := w.Serve("frozen")
	for range 20 {
		s.Serves(t, "", "note")
	}
	time.Sleep(1500 * time.Millisecond)
	emulator.Stop()
	s.Serves(t, "", "note")
	s.Signal(syscall.SIGSTOP)
	time.Sleep(3 * time.Second)
	s.Signal(syscall.SIGTERM)
	s.Signal(syscall.SIGCONT)
	begin := time.Now()
	select {
	case <-s.Done:
		t.Logf("gone after %v", time.Since(begin).Round(10*time.Millisecond))
	case <-time.After(10 * time.Second):
		t.Fatal("the process lives on")
	}
	emulator.Continue()
	time.Sleep(16 * time.Second)
	said := w.Operate(1, "verify")
	if !strings.Contains(said, "LOST TAIL") || !strings.Contains(s.Log(), "not all receipts are stored") {
		t.Errorf("what was not stored is not known:\n%s\n%s", said, s.Log())
	}
}
