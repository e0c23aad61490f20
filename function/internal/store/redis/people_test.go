package redis

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2/server"
	"github.com/redis/go-redis/v9"

	"example.com/erlmcp/function/internal/directives"
	"example.com/erlmcp/function/internal/governor"
	"example.com/erlmcp/function/internal/memnet"
	"example.com/erlmcp/function/internal/store/memory"
)

// TestURLs has what people write: what is wrong with it is named, and no password is.
func TestURLs(t *testing.T) {
	for text, want := range map[string]string{
		"redis://localhost:6379":                    "",
		"rediss://:secret@host:6379/3":              "",
		"redis://user:sec%40ret@host":               "",
		"redis://[::1]:6379":                        "",
		"unix:///run/redis.sock":                    "",
		"valkey://:secret@host:6379":                "valkey://: write redis://",
		"valkeys://:secret@host:6379":               "rediss:// with TLS",
		"redis-sentinel://:secret@host:26379/x":     "Sentinel",
		"redis+sentinel://:secret@a:26379,b:26379":  "Sentinel",
		"sentinel://host":                           "Sentinel",
		"http://:secret@host:6379":                  "neither with redis:// nor",
		"host:6379":                                 "is not a URL, such as",
		"":                                          "is not a URL",
		"redis://:secret@host:6379\n":               "white space",
		"redis://:secret@host:6379 /0":              "white space",
		"redis://:secret@a:6379,b:6379":             "several hosts",
		"redis://:secret@a:6379,:secret@b:6379/0":   "several hosts",
		"redis://:secret@host:6379?shards=3&zeta=1": "shards, zeta",
		"redis://:secret@host:6379/main":            `"/main", which is not the number`,
		"redis://:secret@host:6379/0/1":             `"/0/1", which is not the number`,
		"redis://:secret@host:port":                 "is not a URL",
		"redis://:sec/ret@host:6379":                "is not a URL",
		"redis://:secret@host:6379?db=x":            "is not a URL",
	} {
		_, err := Connect(Options{URL: text})
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", text, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v, want %q", text, err, want)
		case err != nil && (strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "sec/ret")):
			t.Errorf("%s: the password is in %v", text, err)
		}
	}
}

// TestExplains has the errors of Redis, as they are in its sources, and those of the way to it.
func TestExplains(t *testing.T) {
	for text, want := range map[string]string{
		"WRONGPASS invalid username-password pair or user is disabled.":                           "user and password of REDIS_URL",
		"NOAUTH Authentication required.":                                                         "REDIS_URL has none",
		"NOAUTH HELLO must be called with the client already authenticated":                       "REDIS_URL has none",
		"ERR AUTH <password> called without any password configured for the default user":         "it demands none",
		"NOPERM this user has no permissions to run the 'evalsha' command":                        "run evalsha",
		"NOPERM User app has no permissions to run the 'config|get' command":                      "run config|get",
		"NOPERM No permissions to access a key":                                                   "on the keys",
		"ERR SELECT is not allowed in cluster mode":                                               "leave the number",
		"ERR DB index is out of range":                                                            "does not have the database",
		"MOVED 3999 127.0.0.1:6381":                                                               "a cluster",
		"CLUSTERDOWN The cluster is down":                                                         "a cluster that does not work",
		"READONLY You can't write against a read only replica.":                                   "must name the primary",
		"LOADING Redis is loading the dataset in memory":                                          "still loading",
		"OOM command not allowed when used memory > 'maxmemory'.":                                 "no memory left",
		"MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist": "takes no writes",
		"BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.":  "busy with a script",
		"ERR unknown command 'EVALSHA', with args beginning with: ":                               "6.2 or later",
		"ERR something else": "",
	} {
		if got := Explain(fmt.Errorf("a draw: %w", answer(text))); want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
	for err, want := range map[error]string{
		x509.UnknownAuthorityError{}:                           "REDIS_CA",
		&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}:    "refuses connections",
		&net.DNSError{Err: "no such host", Name: "r.internal"}: "is not found",
		fmt.Errorf("a draw: %w", context.DeadlineExceeded):     "does not answer",
		io.EOF: "begins with rediss://",
		errors.New("the counters' script answered in another form"): "",
	} {
		if got := Explain(err); want == "" && got != "" || !strings.Contains(got, want) || strings.Contains(got, "r.internal") {
			t.Errorf("%v: %q, want %q", err, got, want)
		}
	}
	if Explain(nil) != "" {
		t.Error("nothing is explained")
	}
}

// An answer is an error of Redis.
type answer string

func (a answer) Error() string { return string(a) }
func (answer) RedisError()     {}

// draws takes n slots of a key with a cap, as one instance.
type draws struct {
	t        *testing.T
	counters governor.Counters
	name     string
	seq      int64
}

func (d *draws) draw(key string, limit, n int64, full bool, holdings ...governor.Holding) governor.Grant {
	d.t.Helper()
	d.seq++
	m := &governor.LeaseRequest{Instance: d.name, Seq: d.seq, Epoch: 1, Lease: 2e6, Full: full, Holdings: holdings}
	if n > 0 {
		m.Groups = []governor.Group{{{Key: key, Kind: governor.Slots, Cap: limit, Min: n, Max: n}}}
	}
	r, err := d.counters.Lease(d.t.Context(), m)
	if err != nil || r.Status != governor.Done {
		d.t.Fatalf("%s: %+v %v", d.name, r, err)
	}
	if n == 0 {
		return governor.Grant{}
	}
	return r.Granted[0]
}

// TestEvictedKeys throws keys away as allkeys policies do: a cap stays closed until those who hold slots have declared them.
func TestEvictedKeys(t *testing.T) {
	const key, limit = "c:slots", 5
	for _, evicted := range [][]string{{"c:slots"}, {"instances"}, {"c:slots", "instances"}, {"t:other"}, {"c:slots", "r:rate", "versions"}} {
		eachRedis(t, func(t *testing.T, client *redis.Client, exact bool) {
			c := NewCounters(client)
			if _, err := c.Open(t.Context(), 1, true, 2*time.Second); err != nil {
				t.Fatal(err)
			}
			one, two, three := &draws{t: t, counters: c, name: "one"}, &draws{t: t, counters: c, name: "two"}, &draws{t: t, counters: c, name: "three"}
			if g := one.draw(key, limit, 3, true); g.Amounts == nil {
				t.Fatalf("%+v", g)
			}
			if g := two.draw(key, limit, 2, true); g.Amounts == nil {
				t.Fatalf("%+v", g)
			}
			for _, k := range evicted {
				client.Del(t.Context(), prefix+k)
			}
			// Whoever asks first, and while not all have declared what they hold.
			if g := three.draw(key, limit, 1, true); g.Amounts != nil || g.Wait <= 0 {
				t.Errorf("%v thrown away: a slot of a full cap: %+v", evicted, g)
			}
			one.draw(key, limit, 0, true, governor.Holding{Key: key, Slots: 3})
			if g := three.draw(key, limit, 1, true); g.Amounts != nil {
				t.Errorf("%v thrown away: a slot before all have declared: %+v", evicted, g)
			}
			two.draw(key, limit, 0, true, governor.Holding{Key: key, Slots: 2})
			if g := three.draw(key, limit, 1, true); g.Amounts != nil {
				t.Errorf("%v thrown away: a slot of a cap that is full again: %+v", evicted, g)
			}
			// After it is learned, what is free is given again.
			one.draw(key, limit, 0, true, governor.Holding{Key: key, Slots: 0})
			time.Sleep(1200 * time.Millisecond) // real time: the clock of Redis; elsewhere in a bubble
			two.draw(key, limit, 0, true, governor.Holding{Key: key, Slots: 2})
			time.Sleep(1200 * time.Millisecond) // real time: the clock of Redis; elsewhere in a bubble
			if g := three.draw(key, limit, 3, true); g.Amounts == nil {
				t.Errorf("%v thrown away: no slot of those that are free: %+v", evicted, g)
			}
			if g := three.draw(key, limit, 1, true); g.Amounts != nil {
				t.Errorf("%v thrown away: a slot too many: %+v", evicted, g)
			}
		})
	}
}

// TestEvictedRates throws away how far rates are used: they begin as used up, and not with a burst.
func TestEvictedRates(t *testing.T) {
	for _, others := range [][]string{nil, {"instances"}, {"c:slots"}} {
		eachRedis(t, func(t *testing.T, client *redis.Client, _ bool) {
			c := NewCounters(client)
			if _, err := c.Open(t.Context(), 1, true, 2*time.Second); err != nil {
				t.Fatal(err)
			}
			seq := int64(0)
			take := func(n int64) governor.Grant {
				t.Helper()
				seq++
				r, err := c.Lease(t.Context(), &governor.LeaseRequest{Instance: "one", Seq: seq, Epoch: 1, Lease: 2e6, Full: true, Groups: []governor.Group{{{
					Key: "r:rate", Kind: governor.Tokens, Period: 200_000, Cap: 5000, Min: n, Max: n,
				}}}})
				if err != nil || r.Status != governor.Done {
					t.Fatalf("%+v %v", r, err)
				}
				return r.Granted[0]
			}
			if g := take(5); g.Amounts == nil {
				t.Fatalf("a burst at first: %+v", g)
			}
			for _, k := range append([]string{"r:rate"}, others...) {
				client.Del(t.Context(), prefix+k)
			}
			if g := take(1); g.Amounts != nil || g.Wait <= 0 {
				t.Errorf("a burst once more: %+v", g)
			}
			time.Sleep(750 * time.Millisecond) // real time: the clock of Redis; elsewhere in a bubble
			if g := take(2); g.Amounts == nil {
				t.Errorf("two periods after the longest hold: %+v", g)
			}
			if g := take(3); g.Amounts != nil {
				t.Errorf("more than that: %+v", g)
			}
		})
	}
}

// TestEvictedDirectives throws away what operators have ordered: an instance notices though there is no news, and puts it back.
func TestEvictedDirectives(t *testing.T) {
	for _, storeless := range []bool{false, true} {
		eachRedis(t, func(t *testing.T, client *redis.Client, _ bool) {
			c := NewCounters(client)
			o := governor.Options{Instance: "n", Counters: c, Epochs: firstEpoch{}, Timeout: 200 * time.Millisecond, Logger: logTo(t)}
			w := &directives.Writer{Board: c, Storeless: storeless, Now: time.Now}
			if !storeless {
				store := memory.New()
				w.Store, o.Directives = store, store
			}
			if err := change(t.Context(), w, "tool:a"); err != nil {
				t.Fatal(err)
			}
			if err := c.Announce(t.Context(), directives.Versions{"keys": 3}); err != nil {
				t.Fatal(err)
			}
			g := governor.New(o)
			t.Cleanup(g.Close)
			call := func() governor.Reason {
				l, d := g.Admit(t.Context(), &governor.Call{Weight: 1, Scopes: []string{"tool:a"}, Limits: []*governor.Limit{{Key: "rate", Scope: "rate", PerSecond: 1000}}})
				if d.Admitted() {
					l.Release()
				}
				return d.Reason
			}
			there := func() bool {
				b, err := c.Snapshot(t.Context())
				return err == nil && len(b.Directives.Kills) == 1 && b.Versions["keys"] == 3
			}
			until := func(what string, most time.Duration, is func() bool) {
				t.Helper()
				for begin := time.Now(); !is(); time.Sleep(50 * time.Millisecond) { // in a bubble, but for a real Redis
					if call(); time.Since(begin) > most {
						t.Fatalf("%s: not after %v", what, most)
					}
				}
			}
			until("killed", 10*time.Second, func() bool { return call() == governor.Killed })
			until("all is known", 10*time.Second, there)
			if n := client.Del(t.Context(), prefix+"orders", prefix+"versions").Val(); n != 2 {
				t.Fatalf("%d keys are thrown away", n)
			}
			until("it is back", 10*time.Second, there)
			if why := call(); why != governor.Killed {
				t.Errorf("it is %v", why)
			}
		})
	}
}

// TestEvictionUnderLoad has governors whose slots are thrown away again and again: no more calls than the cap run at a time.
func TestEvictionUnderLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var network memnet.Network
		r := network.Redis(t)
		const limit = 6
		l := &governor.Limit{Key: "slots", Scope: "slots", Concurrency: limit}
		live, most, admitted := make(chan int, 1), 0, 0
		live <- 0
		end := time.Now().Add(15 * time.Second)
		done := make(chan struct{})
		for i := range 3 {
			g := governor.New(governor.Options{Instance: fmt.Sprint("n", i), Counters: distant{NewCounters(connectTo(t, Options{URL: r.URL, Dial: network.Dial}))}, Epochs: firstEpoch{}, Timeout: 200 * time.Millisecond})
			t.Cleanup(g.Close)
			g.Warm()
			for range 4 {
				go func() {
					defer func() { done <- struct{}{} }()
					for time.Now().Before(end) {
						lease, d := g.Admit(t.Context(), &governor.Call{Weight: 1, Limits: []*governor.Limit{l}})
						if !d.Admitted() {
							time.Sleep(50 * time.Millisecond)
							continue
						}
						n := <-live + 1
						most, admitted = max(most, n), admitted+1
						live <- n
						time.Sleep(700 * time.Millisecond)
						live <- <-live - 1
						lease.Release()
					}
				}()
			}
		}
		for i := 0; time.Now().Before(end); i++ {
			time.Sleep(3100 * time.Millisecond)
			r.Del(prefix + []string{"c:slots", "instances"}[i%2])
		}
		for range 12 {
			<-done
		}
		if most > limit || admitted < 15 {
			t.Errorf("%d calls at a time under a cap of %d, %d in all", most, limit, admitted)
		}
	})
}

// TestMoved has a node of a cluster that names another one: messages go there, and where that one goes too, to the next.
func TestMoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var network memnet.Network
		named, first, second := network.Redis(t), network.Redis(t), network.Redis(t)
		owner := first
		hop := func(r *memnet.Redis) {
			r.Server().SetPreHook(func(c *server.Peer, cmd string, _ ...string) bool {
				switch cmd {
				case "HELLO", "CLIENT", "SELECT", "PING", "COMMAND":
					return false
				}
				if r == owner {
					return false
				}
				c.WriteError("MOVED 3999 " + strings.TrimPrefix(owner.URL, "redis://"))
				return true
			})
		}
		for _, r := range []*memnet.Redis{named, first, second} {
			hop(r)
		}
		c, err := Open(Options{URL: named.URL, Dial: network.Dial})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		works := func(when string, at *memnet.Redis) {
			t.Helper()
			at.FlushAll()
			if _, err := c.Open(t.Context(), 1, true, time.Second); err != nil {
				t.Fatalf("%s: %v", when, err)
			}
			if !at.Exists(prefix + "epoch") {
				t.Errorf("%s: the keys are elsewhere", when)
			}
			if _, _, err := c.Usage(t.Context(), []*governor.Limit{{Key: "x"}}); err != nil {
				t.Errorf("%s: a pipeline: %v", when, err)
			}
			if wait, err := c.Slow("x", 60, 1).Allow(t.Context()); wait != 0 || err != nil {
				t.Errorf("%s: a slow limit: %v %v", when, wait, err)
			}
		}
		works("at first", first)
		owner = second
		works("once it has moved", second)
		owner = named
		works("once it is back at the node that is named", named)
		owner = first
		works("away again", first)
		first.Stop()
		owner = second
		if _, err := c.Snapshot(t.Context()); err == nil {
			t.Error("a node that is gone answers")
		}
		works("once its node is gone", second)
		time.Sleep(time.Second) // so often the client's goroutine that dials looks whether it is closed
	})
	for text, want := range map[string]string{
		"MOVED 1 10.0.0.1:6379": "10.0.0.1:6379", "MOVED 1 [::1]:6379": "[::1]:6379", "MOVED 1 ::1:6379": "[::1]:6379", "MOVED 1 node.example:7000": "node.example:7000",
		"MOVED 1 :6379": "", "MOVED 1": "", "ERR MOVED 1 a:1": "", "ASK 1 a:1": "",
	} {
		if got, _ := movedTo(answer(text)); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

// TestRealCluster has two nodes of a cluster, the named one of which has no slot.
func TestRealCluster(t *testing.T) {
	named := realRedis(t, "--cluster-enabled", "yes")
	owner := realRedis(t, "--cluster-enabled", "yes")
	cli := func(addr string, args ...string) {
		t.Helper()
		host, port, _ := net.SplitHostPort(addr)
		if out, err := exec.Command("redis-cli", append([]string{"-h", host, "-p", port}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("redis-cli %v: %v %s", args, err, out)
		}
	}
	cli(owner, "CLUSTER", "ADDSLOTSRANGE", "0", "16383")
	host, port, _ := net.SplitHostPort(owner)
	cli(named, "CLUSTER", "MEET", host, port)
	c, err := Open(Options{URL: "redis://" + named})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for begin := time.Now(); ; time.Sleep(100 * time.Millisecond) { // real time: nodes get to know each other
		if _, err = c.Open(t.Context(), 1, true, time.Second); err == nil {
			break
		}
		if time.Since(begin) > 20*time.Second {
			t.Fatalf("%v: %s", err, Explain(err))
		}
	}
	if _, _, err := c.Usage(t.Context(), []*governor.Limit{{Key: "x"}}); err != nil {
		t.Error(err)
	}
	selected, err := Open(Options{URL: "redis://" + owner + "/1"})
	if err != nil {
		t.Fatal(err)
	}
	defer selected.Close()
	if err := selected.Ping(t.Context()); !strings.Contains(Explain(err), "a cluster") {
		t.Errorf("a database of a cluster: %v: %q", err, Explain(err))
	}
}

// TestRealRefusals has the answers of a real Redis to whoever may not.
func TestRealRefusals(t *testing.T) {
	addr := realRedis(t, "--requirepass", "secret", "--user", "app", "on", ">secret", "~{erlmcp}:*", "+ping", "+info", "+hello", "+client", "--maxmemory-policy", "allkeys-lru")
	open, volatile := realRedis(t), realRedis(t, "--maxmemory-policy", "volatile-ttl")
	for url, want := range map[string]string{
		"redis://" + addr:                 "REDIS_URL has none",
		"redis://:wrong@" + addr:          "user and password",
		"redis://app:wrong@" + addr:       "user and password",
		"redis://app:secret@" + addr:      "let the user",
		"redis://:secret@" + addr:         "",
		"redis://:secret@" + addr + "/99": "does not have the database",
		"redis://:secret@" + open:         "", // its user needs no password, and takes any
		"redis://x:secret@" + open:        "user and password",
		"rediss://:secret@" + open:        "does not answer",
	} {
		c, err := Open(Options{URL: url})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_, err = c.Open(t.Context(), 1, true, time.Second)
		if got := Explain(err); (err == nil) != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%s: %v: %q, want %q", url, err, got, want)
		}
	}
	for url, want := range map[string]string{"redis://:secret@" + addr: "allkeys-lru", "redis://app:secret@" + addr: "allkeys-lru", "redis://" + open: "", "redis://" + volatile: "volatile-ttl"} {
		c, err := Open(Options{URL: url})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if got, err := c.Evicts(t.Context()); got != want || err != nil {
			t.Errorf("%s: %q %v, want %q", url, got, err, want)
		}
	}
}
