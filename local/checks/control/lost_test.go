package control

import (
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/erlmcp/local/checks/world"
)

// perDay is the quota of the fixture's tool ration.
const perDay = 50

// redisLost kills Redis, which comes back empty: a quota that was used up still is, and a kill switch is still in force, in a process too
// that has known neither.
func redisLost(t *testing.T, emulator *world.Daemon) {
	if left := time.Until(time.Now().UTC().Truncate(24 * time.Hour).Add(24 * time.Hour)); left < time.Minute {
		time.Sleep(left) // a new day has a new quota
	}
	w := world.New(t, emulator, "lost", world.Anonymous()...).Guarded(emulator)
	p := control(t, w, "taiea")
	servers := fleet(w)
	for _, s := range servers {
		s.Serves(t, "", "note", "pay")
	}
	pays := load(servers, "", "pay", 1, 50*time.Millisecond)
	kill := p.order(201, "PUT", "/v1/kills/tool:pay", `{"reason":"it lies"}`)
	follows(t, "a tool killed", kill, pays, refused(killed))

	var used, lost atomic.Int64
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 10}}
	// use has every instance run calls until there were so many, or none is left.
	use := func(most int64) {
		var wg sync.WaitGroup
		for _, s := range servers {
			wg.Go(func() {
				for begin := time.Now(); used.Load() < most; {
					switch c := s.Call(client, "", "ration"); {
					case c.Err != nil:
						lost.Add(1)
					case c.Code == 0:
						used.Add(1)
					case c.Code == quotaUsed:
						return
					case c.Code == saturated && time.Since(begin) < 20*time.Second:
						time.Sleep(20 * time.Millisecond)
					default:
						t.Errorf("%s: %d %s", s.Name, c.Code, c.Said)
						return
					}
				}
			})
		}
		wg.Wait()
	}
	begin := time.Now()
	use(perDay / 2)
	servers[3].Kill() // with what it has drawn
	servers[3] = w.Serve("n5")
	use(10 * perDay)
	took := time.Since(begin)
	n, unknown := used.Load(), lost.Load()
	// A slice is at most an eighth of what is left.
	if slice := int64(perDay / 8); n > perDay || n+unknown < perDay-slice {
		t.Errorf("%d calls of a quota of %d ran, and what became of %d is not known: at most a slice of %d may be lost with an instance", n, perDay, unknown, slice)
	}
	t.Logf("%d calls of a quota of %d ran on four instances in %v, one of which was killed and replaced", n, perDay, took.Round(100*time.Millisecond))

	w.Redis.Kill()
	time.Sleep(200 * time.Millisecond)
	w.Redis.Restart()
	back := time.Now()
	var slowest time.Duration
	for _, s := range servers {
		s.Serves(t, "", "note")
		slowest = max(slowest, time.Since(back))
	}
	t.Logf("every instance served again %v after an empty Redis was there", slowest.Round(time.Millisecond))
	servers = append(servers, w.Serve("n6"))
	servers[4].Serves(t, "", "note")
	use(10 * perDay)
	if more := used.Load() - n; more != 0 {
		t.Errorf("%d calls beyond the quota ran once Redis was lost", more)
	}
	pays = append(pays, servers[4].Load("", "pay", 1, 20*time.Millisecond), servers[3].Load("", "pay", 1, 20*time.Millisecond))
	follows(t, "the kill switch, once Redis was empty", &answer{at: time.Now()}, append(pays[:3:3], pays[4:]...), refused(killed))
	end(pays)
	for _, l := range pays {
		for _, c := range l.Calls() {
			if c.Err == nil && c.Code == 0 && c.Began.Sub(kill.at) > inForce {
				t.Errorf("a killed tool ran on %s %v after it was killed", l.Server.Name, c.Began.Sub(kill.at))
			}
		}
	}
	limit := p.order(200, "GET", "/v1/limits/tool:ration", "")
	if today, _ := limit.value(t, "today").(float64); today != perDay {
		t.Errorf("what is used of the quota today: %s", limit.body)
	}
}
