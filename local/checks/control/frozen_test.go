package control

import (
	"flag"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"example.com/erlmcp/local/checks/world"
)

var firstCalls = flag.Int("first-calls", 200, "how many first calls after an idle time are held against what was ordered; a long run has 2000")

// insist gives an order until it is taken: on a machine with too much to do the store may be late.
func (p *plane) insist(method, path, body string, header ...string) *answer {
	p.t.Helper()
	with := map[string]string{}
	for pair := range slices.Chunk(header, 2) {
		with[pair[0]] = pair[1]
	}
	for begin := time.Now(); ; time.Sleep(200 * time.Millisecond) {
		a, err := p.ask(method, path, body, with)
		switch {
		case err == nil && a.status < 300:
			return a
		case err == nil && (a.status == http.StatusNotFound && method == "DELETE" || a.status == http.StatusPreconditionFailed):
			return a // it was done before, and the answer was late
		case time.Since(begin) > 2*time.Minute:
			p.t.Fatalf("%s %s: %v %+v", method, path, err, a)
		}
	}
}

// frozen has instances idle, and half of them stand still, while a tool is killed or lifted, a tenant suspended or resumed, and a key made
// or revoked, on a machine with too much to do. The first calls then, several at once, are decided by what was ordered, or refused: none by
// what was known more than two seconds ago.
func frozen(t *testing.T, emulator *world.Daemon) {
	w := world.New(t, emulator, "frozen", "AUTHENTICATION=keys").Guarded(emulator)
	p := control(t, w, "taiea")
	servers := fleet(w)
	stays := p.insist("POST", "/v1/keys", `{"tenant":"acme","subject":"stays","scopes":["*"]}`).text(t, "text")
	p.insist("PUT", "/v1/tenants/acme", `{"plan":"enterprise"}`, "If-None-Match", "*")
	for _, s := range servers {
		s.Serves(t, stays, "note")
	}
	busy := make(chan struct{})
	for range runtime.NumCPU() {
		go func() {
			for !done(busy) {
			}
		}()
	}
	defer close(busy)
	const atOnce = 4
	client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: atOnce}}
	var key *answer
	orders := []struct {
		what  string
		order func() *answer
		key   func() string
		code  int // that the calls have
	}{
		{"killed", func() *answer { return p.insist("PUT", "/v1/kills/tool:note", `{"reason":"it lies"}`) }, nil, killed},
		{"lifted", func() *answer { return p.insist("DELETE", "/v1/kills/tool:note", "") }, nil, 0},
		{"suspended", func() *answer { return p.insist("POST", "/v1/tenants/acme/suspend", `{"reason":"abuse"}`) }, nil, notEntitled},
		{"resumed", func() *answer { return p.insist("POST", "/v1/tenants/acme/resume", "") }, nil, 0},
		{"a key made", func() *answer {
			key = p.insist("POST", "/v1/keys", `{"tenant":"acme","subject":"comes","scopes":["*"]}`)
			return key
		}, func() string { return key.text(t, "text") }, 0},
		{"a key revoked", func() *answer { return p.insist("DELETE", "/v1/keys/"+key.text(t, "id"), "") }, func() string { return key.text(t, "text") }, unauthenticated},
	}
	decided, unheard := 0, 0
	for trial := 0; decided+unheard < *firstCalls; trial++ {
		o := orders[trial%len(orders)]
		for _, s := range servers[:nodes/2] {
			s.Signal(syscall.SIGSTOP)
		}
		o.order()
		ordered := time.Now()
		time.Sleep(inForce + 200*time.Millisecond)
		for _, s := range servers[:nodes/2] {
			s.Signal(syscall.SIGCONT)
		}
		with := stays
		if o.key != nil {
			with = o.key()
		}
		var all sync.WaitGroup
		var mu sync.Mutex
		for _, s := range servers {
			for range atOnce {
				all.Go(func() {
					c := s.Call(client, with, "note")
					mu.Lock()
					defer mu.Unlock()
					switch {
					case c.Err != nil:
						t.Errorf("%s: %s: %v", o.what, s.Name, c.Err)
					case c.Code == o.code:
						decided++
					case c.Code == saturated:
						unheard++
					default:
						t.Errorf("%s: a first call on %s, %v after the answer, is decided by what was known before: %d %s", o.what, s.Name, c.Began.Sub(ordered).Round(time.Millisecond), c.Code, c.Said)
						decided++
					}
				})
			}
		}
		all.Wait()
	}
	t.Logf("%d first calls were decided by what was ordered, and %d refused since that could not be heard of within a second", decided, unheard)
	if unheard > decided {
		t.Errorf("%d of %d first calls were refused", unheard, decided+unheard)
	}
}

// done tells whether a channel is closed.
func done(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
