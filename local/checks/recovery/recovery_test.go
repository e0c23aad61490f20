// Package recovery has a store be rolled back under a fleet, in Firestore's emulator or a file, by the operator's own commands, and wants
// that nothing which was revoked, suspended or stopped works again, and that every receipt that is missing is named.
package recovery

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"example.com/erlmcp/local/checks/world"
)

func TestMain(m *testing.M) { os.Exit(world.Main(m)) }

// Codes of refusals.
const (
	overRate        = 1056
	unauthenticated = 2000
	notEntitled     = 2001
	killed          = 2041
)

// calls is how many are made between the backup and the roll-back.
const calls = 1000

// A fleet is a world with what was made in it: keys by their tenants, and ids of keys.
type fleet struct {
	*world.World
	t     *testing.T
	place string
	alone bool // the store is a file, which one process at a time has open
	keys  map[string]string
	ids   map[string]string
}

// taiea runs the control plane for as long as orders are given: where the store is a file no two processes have it open.
func (f *fleet) taiea(give func(order func(status int, method, path, body string) map[string]any)) {
	f.t.Helper()
	operators := filepath.Join(f.Dir, "operators.json")
	os.Remove(operators)
	key := f.NewKey(operators, "ops", "alice", "taiea:admin")
	s := f.Serve("taiea", "FUNCTION_TARGET=taiea", "AUTHENTICATION=keys", "API_KEYS_FILE="+operators)
	client := &http.Client{Timeout: 30 * time.Second}
	order := func(status int, method, path, body string) map[string]any {
		f.t.Helper()
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
			r, err := http.NewRequest(method, s.URL+path, strings.NewReader(body))
			if err != nil {
				f.t.Fatal(err)
			}
			r.Header.Set("Authorization", "Bearer "+key)
			if body != "" {
				r.Header.Set("Content-Type", "application/json")
			}
			if method == "PUT" && strings.HasPrefix(path, "/v1/tenants/") {
				r.Header.Set("If-None-Match", "*")
			}
			if method == "DELETE" && strings.HasPrefix(path, "/v1/tenants/") {
				r.Header.Set("If-Match", "*")
			}
			resp, err := client.Do(r)
			if err != nil {
				f.t.Fatal(err)
			}
			text, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil {
				f.t.Fatal(err)
			}
			if resp.StatusCode == http.StatusServiceUnavailable && time.Now().Before(deadline) {
				continue // a store that has just started takes its time
			}
			if resp.StatusCode != status {
				f.t.Fatalf("%s %s: %d, want %d: %s", method, path, resp.StatusCode, status, text)
			}
			var answer map[string]any
			json.Unmarshal(text, &answer)
			return answer
		}
	}
	give(order)
	stop(f.t, s)
}

func stop(t *testing.T, s *world.Server) {
	t.Helper()
	s.Signal(syscall.SIGTERM)
	select {
	case <-s.Done:
	case <-time.After(30 * time.Second):
		t.Fatalf("%s does not end", s.Name)
	}
}

// begin makes tenants and keys, and a backup of them.
func (f *fleet) begin() {
	f.taiea(func(order func(int, string, string, string) map[string]any) {
		for _, tenant := range []string{"stays", "revoked", "suspended", "ended", "resumed"} {
			order(201, "PUT", "/v1/tenants/"+tenant, `{"plan":"enterprise"}`)
			made := order(201, "POST", "/v1/keys", `{"tenant":"`+tenant+`","subject":"ci","scopes":["*"]}`)
			f.keys[tenant], f.ids[tenant] = made["text"].(string), made["id"].(string)
		}
		order(201, "PUT", "/v1/kills/tool:note", `{"reason":"lifted soon"}`)
		order(200, "DELETE", "/v1/kills/tool:note", "")
	})
	f.t.Log(f.Operate(0, "backup", f.place))
}

// change takes away what the backup has.
func (f *fleet) change() {
	f.taiea(func(order func(int, string, string, string) map[string]any) {
		order(200, "DELETE", "/v1/keys/"+f.ids["revoked"], "")
		order(200, "POST", "/v1/tenants/suspended/suspend", `{"reason":"looks like abuse"}`)
		order(200, "DELETE", "/v1/tenants/ended?reason=unpaid", "")
		order(201, "PUT", "/v1/kills/tool:pay", `{"reason":"it pays twice"}`)
		order(200, "POST", "/v1/tenants/resumed/suspend", `{"reason":"by mistake"}`)
		order(200, "POST", "/v1/tenants/resumed/resume", "")
		order(201, "PUT", "/v1/kills/tool:ration", `{"reason":"by mistake"}`)
		order(200, "DELETE", "/v1/kills/tool:ration", "")
		late := order(201, "POST", "/v1/keys", `{"tenant":"stays","subject":"late","scopes":["*"]}`)
		f.keys["late"] = late["text"].(string)
		order(200, "DELETE", "/v1/keys/"+late["id"].(string), "")
	})
}

// call makes the calls, and waits until their receipts are under a root.
func (f *fleet) call() {
	f.t.Helper()
	s := f.Serve("n1", f.callers()...)
	s.Serves(f.t, f.keys["stays"], "note")
	client := &http.Client{Timeout: 10 * time.Second}
	deadline := time.Now().Add(2 * time.Minute)
	for ran := 0; ran < calls; time.Sleep(2 * time.Millisecond) { // the plan has 1 000 a second
		c := s.Call(client, f.keys["stays"], "note")
		if c.Err == nil && c.Code == 0 {
			ran++
		} else if time.Now().After(deadline) {
			f.t.Fatalf("%d calls ran, and the last one did not: %+v", ran, c)
		}
	}
	time.Sleep(65 * time.Second) // a root is made each minute
	stop(f.t, s)
	f.t.Log(f.Operate(0, "backup", f.place, "-roots"))
}

// refuses calls with every key, on every tool, for a while: none is admitted.
func (f *fleet) refuses(s *world.Server) {
	f.t.Helper()
	client := &http.Client{Timeout: 10 * time.Second}
	n := 0
	for until := time.Now().Add(4 * time.Second); time.Now().Before(until); {
		for tenant, key := range f.keys {
			for _, tool := range []string{"note", "pay", "ration"} {
				if c := s.Call(client, key, tool); c.Err == nil && c.Code == 0 {
					f.t.Fatalf("a call of %s by %s is admitted before the store is confirmed", tool, tenant)
				}
				n++
			}
		}
	}
	f.t.Logf("%d calls, and none admitted", n)
}

// opened wants of an opened store that who is entitled is served, and nobody else, whatever was ordered when.
func (f *fleet) opened(s *world.Server) {
	f.t.Helper()
	client := &http.Client{Timeout: 10 * time.Second}
	s.Serves(f.t, f.keys["stays"], "note", "ration")
	for range 20 {
		for _, c := range []struct {
			tenant, tool string
			code         int
		}{
			{"stays", "note", 0}, {"resumed", "note", 0}, {"stays", "pay", killed}, {"revoked", "note", unauthenticated}, {"late", "note", unauthenticated},
			{"suspended", "note", notEntitled}, {"ended", "note", notEntitled},
		} {
			got := s.Call(client, f.keys[c.tenant], c.tool)
			if c.code == unauthenticated && got.Code == overRate {
				continue // too many attempts with a key that is none
			}
			if got.Err != nil || got.Code != c.code {
				f.t.Fatalf("%s of %s: %+v, want code %d", c.tool, c.tenant, got, c.code)
			}
		}
	}
}

// A seq is a receipt's place.
type seq struct {
	chain string
	seq   int64
}

var line = regexp.MustCompile(`"chain":"([^"]+)"`)

// stored are the receipts that are in the store, by what an export has of them.
func (f *fleet) stored() map[seq]bool {
	f.t.Helper()
	file := filepath.Join(f.Dir, fmt.Sprintf("export-%d.jsonl", time.Now().UnixNano()))
	f.Operate(0, "receipts", "export", "-out", file)
	text, err := os.ReadFile(file)
	if err != nil {
		f.t.Fatal(err)
	}
	out, chain := map[seq]bool{}, ""
	for one := range bytes.Lines(text) {
		switch {
		case bytes.HasPrefix(one, []byte(`{"segment":`)):
			chain = string(line.FindSubmatch(one)[1])
		case bytes.HasPrefix(one, []byte(`{"arguments"`)), bytes.Contains(one, []byte(`"seq":`)) && !bytes.HasPrefix(one, []byte(`{"root":`)) && !bytes.HasPrefix(one, []byte(`{"announced":`)):
			var r struct{ Seq int64 }
			if json.Unmarshal(one, &r) == nil && r.Seq > 0 {
				out[seq{chain, r.Seq}] = true
			}
		}
	}
	return out
}

// rooted are those of some receipts that the last root in the place names: what came after it is the last minute's.
func (f *fleet) rooted(all map[seq]bool) map[seq]bool {
	f.t.Helper()
	files, err := filepath.Glob(f.place + "/roots/*/*.json")
	if err != nil || len(files) == 0 {
		f.t.Fatalf("there are no roots in %s (%v)", f.place, err)
	}
	text, err := os.ReadFile(slices.Max(files))
	if err != nil {
		f.t.Fatal(err)
	}
	var root struct {
		Heads []struct {
			Chain string
			Seq   int64
		}
	}
	if err := json.Unmarshal(text, &root); err != nil {
		f.t.Fatal(err)
	}
	to := map[string]int64{}
	for _, h := range root.Heads {
		to[h.Chain] = h.Seq
	}
	out := map[seq]bool{}
	for at := range all {
		if last, named := to[at.chain]; !named || at.seq <= last {
			out[at] = true
		}
	}
	if n := len(all) - len(out); n > 3 {
		f.t.Errorf("%d receipts are later than the last root: those of the end of a process alone should be", n)
	}
	return out
}

var fault = regexp.MustCompile(`^(?:LOST TAIL|MISSING): chain ([0-9a-f-]+)\b.*?receipts? (\d+)(?:–(\d+))?`)

// named are the receipts that a verification names as missing.
func named(said string) map[seq]bool {
	out := map[seq]bool{}
	for one := range strings.Lines(said) {
		m := fault.FindStringSubmatch(one)
		if m == nil {
			continue
		}
		from, _ := strconv.ParseInt(m[2], 10, 64)
		to, err := strconv.ParseInt(m[3], 10, 64)
		if err != nil {
			to = from
		}
		for n := from; n <= to; n++ {
			out[seq{m[1], n}] = true
		}
	}
	return out
}

// missing holds what a verification of a store that was rolled back names against what there was before.
func (f *fleet) missing(before map[seq]bool) {
	f.t.Helper()
	said := f.With(f.t, "REDIS_URL=").Operate(1, "verify", "-roots", f.place)
	is, after := named(said), f.stored()
	lost := 0
	for at := range before {
		if !after[at] {
			if lost++; !is[at] {
				f.t.Errorf("receipt %d of chain %s is missing, and not named:\n%s", at.seq, at.chain, said)
				return
			}
		}
	}
	for at := range is {
		if after[at] || !before[at] {
			f.t.Errorf("receipt %d of chain %s is named as missing; it is stored: %v; it was there before: %v:\n%s", at.seq, at.chain, after[at], before[at], said)
			return
		}
	}
	if lost < calls {
		f.t.Errorf("%d receipts are missing, and the roll-back lost %d calls", lost, calls)
	}
	f.t.Logf("of %d receipts %d are missing after the roll-back, and each is named by the roots in the place alone", len(before), lost)
}

// recover opens a store again that was rolled back, and is closed.
func (f *fleet) recover(before map[seq]bool) {
	f.t.Helper()
	f.missing(before)
	s := f.Serve("n2", f.callers()...)
	f.refuses(s)
	if f.alone {
		stop(f.t, s)
	}
	listed := f.Operate(0, "restore", f.place, "-replay")
	f.t.Log(listed)
	for _, want := range []string{
		"revoke key " + f.ids["revoked"], "suspend tenant suspended by operator: looks like abuse", "revoke tenant ended by operator: unpaid", "kill tool:pay",
		"4 orders would be replayed", "resume tenant resumed", "lift the kill switch on tool:ration", "not replayed",
	} {
		// A key that was made since, and revoked, is in the list as well.
		if !strings.Contains(strings.Replace(listed, "5 orders", "4 orders", 1), want) {
			f.t.Errorf("the list lacks %q", want)
		}
	}
	f.Operate(0, "restore", f.place, "-confirm")
	if f.alone {
		s = f.Serve("n3", f.callers()...)
	}
	f.opened(s)
	stop(f.t, s)
	f.Operate(1, "restore", f.place, "-confirm") // once is all
}

// TestFirestore rolls the store back by a backup into another database, and by the emulator's own export and import, with Redis as it was
// and with Redis emptied.
func TestFirestore(t *testing.T) {
	emulator := world.StartEmulator(t)
	w := world.New(t, emulator, "recovery")
	f := &fleet{World: w, t: t, place: filepath.Join(w.Dir, "bucket"), keys: map[string]string{}, ids: map[string]string{}}
	f.begin()
	exported := filepath.Join(w.Dir, "export")
	export(t, emulator.Port(), exported)
	f.change()
	f.call()
	before := f.rooted(f.stored())

	for _, how := range []struct {
		name    string
		emptied bool
	}{{"restored, with Redis as it was", false}, {"restored, with Redis emptied", true}} {
		t.Run(how.name, func(t *testing.T) {
			if how.emptied {
				w.EmptyRedis()
			}
			g := f.in(t, fmt.Sprintf("FIRESTORE_DATABASE=restored-%v", how.emptied))
			begin := time.Now()
			t.Log(g.Operate(0, "restore", f.place))
			t.Logf("restored in %v", time.Since(begin).Round(time.Millisecond))
			if said := f.Operate(1, "restore", f.place); !strings.Contains(said, "not empty") {
				t.Errorf("a restore over the first database: %s", said)
			}
			g.recover(before)
		})
	}
	for _, emptied := range []bool{false, true} {
		t.Run(fmt.Sprintf("imported, with Redis emptied %v", emptied), func(t *testing.T) {
			if emptied {
				w.EmptyRedis()
			}
			var found []string
			err := filepath.WalkDir(exported, func(path string, _ os.DirEntry, err error) error {
				if strings.HasSuffix(path, ".overall_export_metadata") {
					found = append(found, path)
				}
				return err
			})
			if err != nil || len(found) != 1 {
				t.Fatalf("the export has %q (%v)", found, err)
			}
			other := world.StartEmulator(t, "--seed_from_export="+found[0])
			g := f.in(t, "FIRESTORE_EMULATOR_HOST=127.0.0.1:"+other.Port())
			if said := g.Operate(1, "backup", f.place, "-roots"); !strings.Contains(said, "rolled back") {
				t.Errorf("roots of a store that was rolled back: %s", said)
			}
			g.missing(before)
			t.Log(g.Operate(0, "restore", f.place, "-adopt"))
			g.recover(before)
		})
	}
	t.Run("drill", func(t *testing.T) { f.in(t).drill(t, "drill") })
	t.Run("drill that ends instances", func(t *testing.T) { f.in(t).ended(t, "ended-drill") })
}

// TestFile does so with a store that is a file, of one process: rolled back by a backup, and by a copy of the file.
func TestFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file, old := filepath.Join(dir, "store"), filepath.Join(dir, "old")
	w := world.New(t, nil, "", "REDIS_URL=", "STORE_FILE="+file)
	f := &fleet{World: w, t: t, alone: true, place: filepath.Join(dir, "place"), keys: map[string]string{}, ids: map[string]string{}}
	f.begin()
	text, err := os.ReadFile(file)
	if err == nil {
		err = os.WriteFile(old, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	f.change()
	f.call()
	before := f.rooted(f.stored())
	t.Run("restored", func(t *testing.T) {
		g := f.in(t, "STORE_FILE="+filepath.Join(dir, "restored"))
		t.Log(g.Operate(0, "restore", f.place))
		g.recover(before)
	})
	t.Run("rolled back", func(t *testing.T) {
		g := f.in(t, "STORE_FILE="+old)
		if said := g.Operate(1, "backup", f.place, "-roots"); !strings.Contains(said, "rolled back") {
			t.Errorf("roots of a store that was rolled back: %s", said)
		}
		g.missing(before)
		t.Log(g.Operate(0, "restore", f.place, "-adopt"))
		g.recover(before)
	})
	t.Run("drill", func(t *testing.T) { f.in(t).drill(t, filepath.Join(dir, "drill")) })
}

// callers are the settings of the data plane.
func (f *fleet) callers() []string {
	env := []string{"AUTHENTICATION=keys", "UNKNOWN_TENANTS=deny"}
	if !f.alone {
		return env
	}
	none := filepath.Join(f.Dir, "none.json") // beside those of the store
	if err := os.WriteFile(none, []byte(`{"keys":[]}`), 0o600); err != nil {
		f.t.Fatal(err)
	}
	return append(env, "API_KEYS_FILE="+none)
}

// in is the same fleet with other settings.
func (f *fleet) in(t *testing.T, env ...string) *fleet {
	g := *f
	g.t, g.World = t, f.With(t, env...)
	return &g
}

// export has the emulator write all that it has.
func export(t *testing.T, port, dir string) {
	t.Helper()
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	body := fmt.Sprintf(`{"database":"projects/recovery/databases/(default)","export_directory":%q}`, dir)
	resp, err := http.Post("http://127.0.0.1:"+port+"/emulator/v1/projects/recovery:export", "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK {
		t.Fatalf("the emulator does not export: %d %s", resp.StatusCode, text)
	}
}

// ended does a drill in which the only instance is killed once the drill says so, and another one comes.
func (f *fleet) ended(t *testing.T, into string) {
	f.EmptyRedis() // of what is ordered of other stores
	s := f.Serve("d1", f.callers()...)
	s.Serves(t, f.keys["stays"], "note")
	var serves atomic.Pointer[world.Server]
	serves.Store(s)
	front := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		to, _ := url.Parse(serves.Load().URL)
		r.SetURL(to)
	}})
	defer front.Close()

	report := filepath.Join(f.Dir, "ended.json")
	cmd := f.Command("drill", f.place, "-into", into, "-empty", "-ended", front.URL, "-within", "2m", "-out", report)
	cmd.Env = append(cmd.Env, "PROBE_TOKEN="+f.keys["stays"])
	var out bytes.Buffer
	cmd.Stdout = &out
	errs, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(errs); lines.Scan(); {
		fmt.Fprintln(&out, lines.Text())
		if strings.HasPrefix(lines.Text(), "End all 1 instances now") {
			s.Kill()
			serves.Store(f.Serve("d2", f.callers()...))
		}
	}
	err = cmd.Wait()
	t.Log(out.String())
	text, fault := os.ReadFile(report)
	var found struct {
		OK          bool
		Steps       []struct{ Name string }
		BackSeconds float64
	}
	if err := errors.Join(err, fault, json.Unmarshal(text, &found)); err != nil || !found.OK || len(found.Steps) != 9 || found.BackSeconds <= 0 {
		t.Errorf("%v: %s", err, text)
	}
	f.Operate(0, "drill", "-verify", report, "-keys", f.Public)
}

// drill does a drill and verifies its report, and one that was changed.
func (f *fleet) drill(t *testing.T, into string) {
	report := filepath.Join(f.Dir, "report.json")
	t.Log(f.Operate(0, "drill", f.place, "-into", into, "-out", report))
	f.Operate(0, "drill", "-verify", report, "-keys", f.Public)
	text, err := os.ReadFile(report)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(text), `"rtoSeconds": `, `"rtoSeconds": 1`, 1)
	if err := os.WriteFile(report, []byte(changed), 0o600); err != nil || changed == string(text) {
		t.Fatal(err)
	}
	f.Operate(1, "drill", "-verify", report, "-keys", f.Public)
	if said := f.Operate(1, "drill", f.place, "-into", into); !strings.Contains(said, "not empty") {
		t.Errorf("a drill into a store that is not empty: %s", said)
	}
	// As it is run each month: twice, and each leaves nothing behind.
	for range 2 {
		f.Operate(0, "drill", f.place, "-into", into, "-empty", "-out", report)
	}
	f.Operate(0, "drill", f.place, "-into", into, "-out", report) // which wants it empty
	written, err := os.ReadFile(report)
	if err != nil {
		t.Fatal(err)
	}
	if kept, err := filepath.Glob(f.place + "/reports/*.json"); err != nil || len(kept) < 4 {
		t.Errorf("%d reports are in the place, %v", len(kept), err)
	} else if newest, err := os.ReadFile(slices.Max(kept)); err != nil || string(newest) != string(written) {
		t.Errorf("the newest report in the place is another: %v", err)
	}
	if said := f.Operate(1, "drill", f.place, "-into", filepath.Join(f.Dir, "store"), "-empty"); !strings.Contains(said, "does not say that it is for drills") {
		t.Errorf("a drill that would empty another store: %s", said)
	}
}
