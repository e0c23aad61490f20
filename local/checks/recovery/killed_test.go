package recovery

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.com/erlmcp/local/checks/world"
)

var seeds = flag.Uint64("seeds", 10, "of processes that are killed, each in schedules of its own")

// TestKilled kills the operator's commands at random times of their work. A backup that has a manifest has all that it names; a store that is
// half restored can't be opened, and refuses calls or has no record; and each, run again, comes to its end.
func TestKilled(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := world.New(t, nil, "", "REDIS_URL=", "STORE_FILE="+filepath.Join(dir, "store"))
	f := &fleet{World: w, t: t, alone: true, place: filepath.Join(dir, "place"), keys: map[string]string{}, ids: map[string]string{}}
	f.begin()
	s := f.Serve("n1", f.callers()...)
	l := s.Load(f.keys["stays"], "note", 4, 20*time.Millisecond)
	time.Sleep(8 * time.Second) // a segment a second and instance
	l.End()
	stop(t, s)
	begin := time.Now()
	f.Operate(0, "backup", f.place)
	takes := time.Since(begin)
	f.Operate(0, "backup", f.place, "-roots")

	killedAt, finished := 0, 0
	for seed := range *seeds {
		random := rand.New(rand.NewPCG(seed, 11))
		place := filepath.Join(dir, fmt.Sprint("place-", seed))
		for range 3 {
			cmd := f.Start("backup", place)
			time.Sleep(time.Duration(random.Int64N(int64(takes)))) // by the clock of the machine: what is killed is a process
			cmd.Process.Kill()
			if cmd.Wait() == nil {
				finished++
			} else {
				killedAt++
			}
			whole(t, place)
		}
		f.Operate(0, "backup", place)
		if whole(t, place) == 0 {
			t.Fatal("there is no backup")
		}
		store := filepath.Join(dir, fmt.Sprint("restored-", seed))
		g := f.in(t, "STORE_FILE="+store)
		for range 3 {
			cmd := g.Start("restore", f.place)
			time.Sleep(time.Duration(random.Int64N(int64(2 * takes))))
			cmd.Process.Kill()
			if cmd.Wait() == nil {
				finished++
				break
			}
			killedAt++
			if said := g.replay(); !strings.Contains(said, "is not complete") && !strings.Contains(said, "does not wait to be confirmed") && !strings.Contains(said, "Every call is refused") {
				t.Fatalf("seed %d: half restored, it says %s", seed, said)
			}
			g.half(seed, store)
		}
		g.try("restore", f.place) // which says so where it is complete already
		if said := g.replay(); !strings.Contains(said, "Every call is refused until -confirm") {
			t.Fatalf("seed %d: run again, it says %s", seed, said)
		}
	}
	t.Logf("%d commands were killed, and %d came to their end before", killedAt, finished)
	if killedAt < int(*seeds) {
		t.Errorf("%d commands were killed: the check shows little", killedAt)
	}
}

// try runs a command, whatever comes of it.
func (f *fleet) try(args ...string) string {
	out, _ := f.Run(args...)
	return out
}

func (f *fleet) replay() string { return f.try("restore", f.place, "-replay") }

// half serves from a copy of a store that was left by a killed restore: no call is admitted.
func (f *fleet) half(seed uint64, store string) {
	f.t.Helper()
	text, err := os.ReadFile(store)
	if seed%4 > 0 || err != nil || len(text) == 0 {
		return // a server takes a second, and where there is no file there is no store
	}
	if err := os.WriteFile(store+"-half", text, 0o600); err != nil {
		f.t.Fatal(err)
	}
	s := f.Serve("half", append(f.callers(), "STORE_FILE="+store+"-half")...)
	for tenant, key := range f.keys {
		if c := s.Call(&http.Client{Timeout: 10 * time.Second}, key, "note"); c.Err == nil && c.Code == 0 {
			f.t.Fatalf("seed %d: half restored, it serves %s", seed, tenant)
		}
	}
	stop(f.t, s)
}

// whole wants that each backup in a folder has what its manifest names, as it says, and returns how many there are.
func whole(t *testing.T, place string) int {
	t.Helper()
	manifests, err := filepath.Glob(place + "/backups/*/manifest.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range manifests {
		var m struct {
			Objects []struct {
				Name, SHA256 string
				Bytes        int64
			}
		}
		text, err := os.ReadFile(file)
		if err == nil {
			err = json.Unmarshal(text, &m)
		}
		if err != nil || len(m.Objects) == 0 {
			t.Fatalf("%s: %v %s", file, err, text)
		}
		for _, o := range m.Objects {
			content, err := os.ReadFile(filepath.Join(place, o.Name))
			if sum := sha256.Sum256(content); err != nil || int64(len(content)) != o.Bytes || hex.EncodeToString(sum[:]) != o.SHA256 {
				t.Fatalf("%s names %s, which is not there as it says: %v", file, o.Name, err)
			}
		}
	}
	return len(manifests)
}
