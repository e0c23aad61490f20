// Package control holds the control plane against a fleet: what an operator or a source of events orders of taiea is in force in four
// server processes in time, and stays so while Redis and Firestore's emulator are stopped, killed and emptied.
package control

import (
	"bytes"
	"cmp"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/erlmcp/local/checks/world"
)

func TestMain(m *testing.M) { os.Exit(world.Main(m)) }

const (
	nodes = 4
	// inForce is within what time of its answer a change must be in force on every instance.
	inForce = 2 * time.Second
)

// Codes of refusals.
const (
	saturated       = 1005
	overRate        = 1056
	quotaUsed       = 1059
	unauthenticated = 2000
	notEntitled     = 2001
	killed          = 2041
)

// TestControl has one emulator for all. What stops it comes last.
func TestControl(t *testing.T) {
	emulator := world.StartEmulator(t)
	t.Run("together", func(t *testing.T) {
		t.Run("tenants and keys", func(t *testing.T) { t.Parallel(); tenantsAndKeys(t, emulator) })
		t.Run("Redis lost", func(t *testing.T) { t.Parallel(); redisLost(t, emulator) })
	})
	t.Run("rotations", func(t *testing.T) { rotations(t, emulator) })
	t.Run("events", func(t *testing.T) { events(t, emulator) })
	t.Run("frozen", func(t *testing.T) { frozen(t, emulator) })
	t.Run("store away", func(t *testing.T) { storeAway(t, emulator) })
}

// A plane is a control plane, for one of its operators.
type plane struct {
	*world.Server
	t      *testing.T
	key    string
	client *http.Client
}

// control starts a control plane, and waits until it reads from the store: the first answers of an emulator that has just started take
// seconds on a busy machine.
func control(t *testing.T, w *world.World, name string, env ...string) *plane {
	t.Helper()
	operators := filepath.Join(w.Dir, name+"-operators.json")
	text := w.NewKey(operators, "ops", "alice", "taiea:admin")
	s := w.Serve(name, append([]string{"FUNCTION_TARGET=taiea", "AUTHENTICATION=keys", "API_KEYS_FILE=" + operators}, env...)...)
	p := &plane{s, t, text, &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 20}}}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		a, err := p.ask("GET", "/v1/tenants/nobody", "", nil)
		switch {
		case err == nil && a.status == http.StatusNotFound:
			return p
		case time.Now().After(deadline):
			t.Fatalf("the control plane does not read from the store: %v %+v", err, a)
		}
	}
}

// An answer is what a control plane says.
type answer struct {
	status int
	header http.Header
	body   []byte
	at     time.Time // when it was there
	took   time.Duration
}

// value is a member of the answer.
func (a *answer) value(t *testing.T, name string) any {
	t.Helper()
	var all map[string]any
	if err := json.Unmarshal(a.body, &all); err != nil {
		t.Fatalf("%v: %s", err, a.body)
	}
	return all[name]
}

func (a *answer) text(t *testing.T, name string) string {
	t.Helper()
	text, _ := a.value(t, name).(string)
	return text
}

// ask sends a request, signed by whoever says so in its headers, or else with the operator's key.
func (p *plane) ask(method, path, body string, header map[string]string) (*answer, error) {
	r, err := http.NewRequest(method, p.URL+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if header["webhook-id"] == "" {
		r.Header.Set("Authorization", "Bearer "+p.key)
	}
	for name, value := range header {
		r.Header.Set(name, value)
	}
	begin := time.Now()
	resp, err := p.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return &answer{resp.StatusCode, resp.Header, text, time.Now(), time.Since(begin)}, err
}

// order wants a status.
func (p *plane) order(status int, method, path, body string, header ...string) *answer {
	p.t.Helper()
	with := map[string]string{}
	for pair := range slices.Chunk(header, 2) {
		with[pair[0]] = pair[1]
	}
	a, err := p.ask(method, path, body, with)
	if err != nil {
		p.t.Fatalf("%s %s: %v", method, path, err)
	}
	if a.status != status {
		p.t.Fatalf("%s %s: %d, want %d: %s", method, path, a.status, status, a.body)
	}
	return a
}

// fleet starts data planes.
func fleet(w *world.World, env ...string) (servers []*world.Server) {
	for _, name := range []string{"n1", "n2", "n3", "n4"} {
		servers = append(servers, w.Serve(name, env...))
	}
	return servers
}

// load has callers call a tool of every instance.
func load(servers []*world.Server, key, tool string, callers int, pause time.Duration) (loads []*world.Load) {
	for _, s := range servers {
		loads = append(loads, s.Load(key, tool, callers, pause))
	}
	return loads
}

func end(loads []*world.Load) {
	for _, l := range loads {
		l.End()
	}
}

// follows waits until a change that was answered is long in force, and until every instance has decided a call since: on a busy machine that
// may take its time. It wants that the calls that began more than two seconds after the answer were all decided by the change, on every
// instance. Calls that were refused because the instance could not decide tell nothing. It prints how long after the answer the last call
// began that was decided as before, on the slowest instance.
func follows(t *testing.T, what string, a *answer, loads []*world.Load, as func(c *world.Call) bool) {
	t.Helper()
	time.Sleep(time.Until(a.at.Add(inForce + 700*time.Millisecond)))
	decided := func(l *world.Load) bool {
		return slices.ContainsFunc(l.Calls(), func(c world.Call) bool { return c.Err == nil && c.Code != saturated && c.Began.Sub(a.at) > inForce })
	}
	for _, l := range loads {
		for deadline := time.Now().Add(20 * time.Second); !decided(l) && time.Now().Before(deadline); {
			time.Sleep(100 * time.Millisecond)
		}
	}
	var slowest time.Duration
	for _, l := range loads {
		following := 0
		for _, c := range l.Calls() {
			since := c.Began.Sub(a.at)
			switch {
			case since < 0 || c.Err != nil || c.Code == saturated:
			case as(&c):
				if since > inForce {
					following++
				}
			case since > inForce:
				t.Errorf("%s: %s decided as before on a call that began %v after the answer: %d %s", what, l.Server.Name, since.Round(time.Millisecond), c.Code, c.Said)
			default:
				slowest = max(slowest, since)
			}
		}
		if following == 0 {
			t.Errorf("%s: no call shows it on %s", what, l.Server.Name)
		}
	}
	t.Logf("%s: the last call that was decided as before began %v after the answer (which took %v)", what, slowest.Round(time.Millisecond), a.took.Round(time.Millisecond))
}

// known tells that the caller may call, though perhaps not so often: for a lease after a fleet's counters have begun, rates are scarce, and on
// a busy machine that is while the first change is made.
func known(c *world.Call) bool { return c.Code == 0 || c.Code == overRate }

func refused(code int) func(*world.Call) bool {
	return func(c *world.Call) bool { return c.Code == code }
}

// A recorded is a receipt, as an export has it.
type recorded struct {
	ID       string `json:"id"`
	Kind     string `json:"kind"`
	Tenant   string `json:"tenant"`
	Tool     string `json:"tool"`
	Reason   string `json:"reason"`
	Limit    string `json:"limit"`
	Detail   string `json:"detail"`
	Instance string `json:"instance"`
	More     int64  `json:"more"`
	Seq      int64  `json:"seq"`
}

// receipts exports those of a tenant, "" for all, and has the operator's command prove that they are whole, as the control plane must say too.
func (p *plane) receipts(w *world.World, tenant string) (all []recorded) {
	p.t.Helper()
	time.Sleep(1500 * time.Millisecond) // until what was recorded is stored
	verified := p.order(200, "GET", "/v1/receipts/verify?tenant="+tenant, "")
	if verified.value(p.t, "ok") != true {
		p.t.Errorf("the receipts: %s", verified.body)
	}
	export := p.order(200, "GET", "/v1/receipts/export?tenant="+tenant, "")
	file := filepath.Join(w.Dir, cmp.Or(tenant, "all")+".jsonl")
	if err := os.WriteFile(file, export.body, 0o600); err != nil {
		p.t.Fatal(err)
	}
	said := w.Operate(0, "verify", "-offline", file, "-keys", w.Public)
	p.t.Log(strings.TrimSpace(said))
	for line := range bytes.Lines(export.body) {
		var r recorded
		if json.Unmarshal(line, &r) == nil && r.Seq > 0 {
			all = append(all, r)
		}
	}
	return all
}

// has wants a receipt of an id and a kind.
func has(t *testing.T, all []recorded, id, kind string) {
	t.Helper()
	if !slices.ContainsFunc(all, func(r recorded) bool { return r.ID == id && r.Kind == kind }) {
		t.Errorf("there is no receipt %s of the kind %s", id, kind)
	}
}
