package redisdb

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"example.com/erlmcp/function/internal/governor"
)

// eachRedis runs a test on the embedded Redis and on a real one. The real one may be missing outside of make check, which
// sets ERLMCP_REQUIRE_REDIS.
func eachRedis(t *testing.T, test func(t *testing.T, client *redis.Client)) {
	t.Run("embedded", func(t *testing.T) {
		m := miniredis.RunT(t)
		test(t, connect(t, m.Addr()))
	})
	t.Run("real", func(t *testing.T) { test(t, connect(t, realRedis(t))) })
}

func connect(t *testing.T, addr string) *redis.Client {
	t.Helper()
	c, err := Connect("redis://"+addr, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func realRedis(t *testing.T, args ...string) (addr string) {
	t.Helper()
	binary, err := exec.LookPath("redis-server")
	if err != nil {
		if os.Getenv("ERLMCP_REQUIRE_REDIS") != "" {
			t.Fatal("redis-server is missing: apt-get install redis-server")
		}
		t.Skip("NOT TESTED on a real Redis: redis-server is missing")
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr = ln.Addr().String()
	ln.Close()
	_, port, _ := net.SplitHostPort(addr)
	cmd := exec.Command(binary, append([]string{"--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", t.TempDir()}, args...)...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	for begin := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		if conn, err := net.Dial("tcp", addr); err == nil {
			conn.Close()
			return addr
		}
		if time.Since(begin) > 5*time.Second {
			t.Fatal("redis-server does not listen")
		}
	}
}

// TestScriptsAnswerAsTheLedger sends the same random messages to the scripts and to the state machine that the simulation
// proves, at the same times, and wants the same answers.
func TestScriptsAnswerAsTheLedger(t *testing.T) {
	eachRedis(t, func(t *testing.T, client *redis.Client) {
		const now = `local time = {string.sub(redis.call('GET', 'test:now'), 1, -7), string.sub(redis.call('GET', 'test:now'), -6)}`
		const real = `local time = redis.call('TIME')`
		draw, open := drawScript, openScript
		defer func() { drawScript, openScript = draw, open }()
		drawScript, openScript = redis.NewScript(strings.Replace(drawSource, real, now, 1)), redis.NewScript(strings.Replace(openSource, real, now, 1))

		ctx := t.Context()
		counters := NewCounters(client)
		rounds := 40
		granted, refused, statuses := 0, 0, map[governor.Status]int{}
		for seed := range uint64(rounds) {
			rng := rand.New(rand.NewPCG(seed, 1))
			client.FlushAll(ctx)
			ledger := governor.NewLedger()
			at := int64(1_700_000_000_000_000)
			seqs := map[string]int64{}
			first := rng.IntN(2) == 0
			for step := range 150 {
				at += rng.Int64N(200_000)
				if rng.IntN(40) == 0 {
					at += rng.Int64N(900_000_000)
				}
				if rng.IntN(40) == 0 { // the clock is set back
					at -= rng.Int64N(9_000_000)
				}
				client.Set(ctx, "test:now", at, 0)
				if step == 3 || step > 3 && rng.IntN(30) == 0 {
					want := ledger.Open(at, 7, first, 2_000_000)
					got, err := counters.Open(ctx, 7, first, 2*time.Second)
					if err != nil || got != want {
						t.Fatalf("seed %d step %d: open %d %v, want %d", seed, step, got, err, want)
					}
				}
				if step > 10 && rng.IntN(20) == 0 {
					ledger.Announce()
					if err := counters.Trip(ctx, "tool:x", time.Duration(rng.IntN(2))*time.Second); err != nil {
						t.Fatal(err)
					}
				}
				d := randomDraw(rng, seqs)
				want := ledger.Draw(at, d)
				got, err := counters.Draw(ctx, d)
				if err != nil {
					t.Fatalf("seed %d step %d: %v", seed, step, err)
				}
				if !reflect.DeepEqual(normal(got), normal(want)) {
					t.Fatalf("seed %d step %d: %+v\n got %+v\nwant %+v", seed, step, d, got, want)
				}
				statuses[got.Status]++
				for _, g := range got.Granted {
					if g.Amounts == nil {
						refused++
					} else {
						granted++
					}
				}
			}
		}
		if granted < rounds || refused < rounds || len(statuses) != 3 {
			t.Errorf("too little was exercised: %d granted, %d refused, statuses %v", granted, refused, statuses)
		}
	})
}

// normal makes empty lists nil, so that answers compare.
func normal(r governor.Reply) governor.Reply {
	if len(r.Granted) == 0 {
		r.Granted = nil
	}
	return r
}

func randomDraw(rng *rand.Rand, seqs map[string]int64) *governor.Draw {
	name := fmt.Sprint("n", rng.IntN(4))
	if seqs[name]++; rng.IntN(15) == 0 {
		seqs[name] -= 2 // an old message
	}
	d := &governor.Draw{Instance: name, Seq: max(seqs[name], 1), Epoch: 7, Lease: 2_000_000, Full: rng.IntN(2) == 0}
	if rng.IntN(25) == 0 {
		d.Epoch = 6
	}
	for i := range rng.IntN(3) {
		d.Holdings = append(d.Holdings, governor.Holding{Key: fmt.Sprint("c:k", i), Slots: rng.Int64N(5)})
	}
	for range rng.IntN(4) {
		var g governor.Group
		for i := range 1 + rng.IntN(3) {
			n := governor.Need{Least: 1 + rng.Int64N(3)}
			n.Most = n.Least + rng.Int64N(5)
			if rng.IntN(2) == 0 {
				n.Key, n.Kind, n.Cap = fmt.Sprint("c:k", i), governor.Slots, 8
			} else {
				n.Key, n.Kind, n.Period, n.Slack = fmt.Sprint([]string{"r:k", governor.Forgettable}[rng.IntN(2)], i), governor.Tokens, 1+rng.Int64N(100_000), rng.Int64N(1_000_000)
			}
			g = append(g, n)
		}
		d.Groups = append(d.Groups, g)
	}
	return d
}

// TestFleet shares limits between governors that run on one Redis.
func TestFleet(t *testing.T) {
	eachRedis(t, func(t *testing.T, client *redis.Client) {
		limits := []*governor.Limit{{Key: "slots", Scope: "slots", Concurrency: 12}, {Key: "rate", Scope: "rate", PerSecond: 400}}
		var fleet []*governor.Governor
		for i := range 4 {
			g := governor.New(governor.Options{Instance: fmt.Sprint("n", i), Counters: NewCounters(client), Epochs: firstEpoch{}, Patience: 200 * time.Millisecond})
			defer g.Close()
			fleet = append(fleet, g)
		}
		var live, most, admitted atomic.Int64
		begin := time.Now()
		end := begin.Add(3 * time.Second)
		var wg sync.WaitGroup
		for i := range 32 {
			wg.Go(func() {
				for time.Now().Before(end) {
					_, l, d := fleet[i%4].Admit(context.Background(), &governor.Call{Weight: 1, Limits: limits})
					if !d.Admitted() {
						time.Sleep(min(d.Wait, 10*time.Millisecond))
						continue
					}
					if n := live.Add(1); n > most.Load() {
						most.Store(n)
					}
					admitted.Add(1)
					time.Sleep(2 * time.Millisecond)
					live.Add(-1)
					l.Release()
				}
			})
		}
		wg.Wait()
		seconds := time.Since(begin).Seconds()
		if most.Load() > 12 {
			t.Errorf("%d calls were live, the cap is 12", most.Load())
		}
		least := 0.9
		if testing.Short() { // the race detector takes its time
			least = 0.3
		}
		if n := float64(admitted.Load()); n > 40+400*seconds || n < least*400*seconds {
			t.Errorf("%v admitted in %.2f s under 400/s", n, seconds)
		}
		t.Logf("most live %d of 12; %d admitted in %.2f s under 400/s", most.Load(), admitted.Load(), seconds)
	})
}

// TestFirstCall wants the first call on a new Redis admitted at once, and the first after a loss only when the learning ends.
func TestFirstCall(t *testing.T) {
	eachRedis(t, func(t *testing.T, client *redis.Client) {
		limits := []*governor.Limit{{Key: "slots", Scope: "slots", Concurrency: 5}}
		admit := func(name string, epochs governor.Epochs, patience time.Duration) time.Duration {
			begin := time.Now()
			g := governor.New(governor.Options{Instance: name, Counters: NewCounters(client), Epochs: epochs})
			defer g.Close()
			g.Warm()
			for time.Since(begin) < patience {
				_, l, d := g.Admit(t.Context(), &governor.Call{Weight: 1, Limits: limits})
				if d.Admitted() {
					l.Release()
					return time.Since(begin)
				}
				time.Sleep(5 * time.Millisecond)
			}
			t.Errorf("%s: not admitted within %v", name, patience)
			return 0
		}
		soon := 40 * time.Millisecond
		if testing.Short() { // under the race detector, among other tests
			soon = 400 * time.Millisecond
		}
		if d := admit("first", firstEpoch{}, time.Second); d > soon {
			t.Errorf("the first call on a new Redis was admitted after %v", d)
		}
		if d := admit("second", firstEpoch{}, time.Second); d > soon {
			t.Errorf("the first call of another instance was admitted after %v", d)
		}
		client.FlushAll(t.Context())
		if d := admit("third", Storeless{Now: time.Now}, 4*time.Second); d < 1900*time.Millisecond {
			t.Errorf("the first call after a loss was admitted after %v: others may hold slots for 2 s", d)
		}
	})
}

type firstEpoch struct{}

func (firstEpoch) Next(context.Context) (int64, bool, error) { return 1, true, nil }

func TestScriptsSurviveAFlush(t *testing.T) {
	eachRedis(t, func(t *testing.T, client *redis.Client) {
		c := NewCounters(client)
		for range 3 {
			if _, err := c.Open(t.Context(), 1, true, time.Second); err != nil {
				t.Fatal(err)
			}
			if err := client.ScriptFlush(t.Context()).Err(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestWhatExpires(t *testing.T) {
	eachRedis(t, func(t *testing.T, client *redis.Client) {
		ctx := t.Context()
		g := governor.New(governor.Options{Instance: "n", Counters: NewCounters(client), Epochs: firstEpoch{}})
		defer g.Close()
		call := &governor.Call{Weight: 1, Limits: []*governor.Limit{
			{Scope: "all", Key: "all", PerSecond: 5, Concurrency: 3}, {Scope: "client", Key: "client:x", PerSecond: 5, Many: true},
		}}
		_, l, d := g.Admit(ctx, call)
		for range 50 { // a token that came too late on a busy machine is not used
			if d.Admitted() {
				break
			}
			time.Sleep(d.Wait)
			_, l, d = g.Admit(ctx, call)
		}
		if !d.Admitted() {
			t.Fatalf("%+v", d)
		}
		defer l.Release()
		keys, err := client.Keys(ctx, "*").Result()
		if err != nil || len(keys) != 5 {
			t.Fatalf("%q, %v", keys, err)
		}
		for _, key := range keys {
			ttl, err := client.TTL(ctx, key).Result()
			if expires := strings.HasPrefix(key, prefix+governor.Forgettable); err != nil || expires != (ttl > 0) || expires && (ttl < 9*time.Minute || ttl > 11*time.Minute) {
				t.Errorf("%s expires in %v, %v", key, ttl, err)
			}
		}
	})
}

func TestStoppedRedisHoldsNothingUp(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c := NewCounters(connect(t, ln.Addr().String()))
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		begin := time.Now()
		if _, err := c.Draw(ctx, &governor.Draw{Instance: "n", Seq: 1}); err == nil {
			t.Error("no error")
		}
		cancel()
		if d := time.Since(begin); d > 60*time.Millisecond {
			t.Errorf("a draw under 20 ms took %v", d)
		}
	}
}

func TestFullRedisChangesNothing(t *testing.T) {
	client := connect(t, realRedis(t, "--maxmemory-policy", "noeviction"))
	ctx := t.Context()
	c := NewCounters(client)
	if _, err := c.Open(ctx, 1, true, time.Second); err != nil {
		t.Fatal(err)
	}
	if err := client.ConfigSet(ctx, "maxmemory", "1").Err(); err != nil { // less than there is already
		t.Fatal(err)
	}
	d := &governor.Draw{Instance: "n", Seq: 1, Epoch: 1, Lease: 1e6, Groups: []governor.Group{{{Key: "c:k", Kind: governor.Slots, Cap: 5, Least: 1, Most: 1}}}}
	if _, err := c.Draw(ctx, d); err == nil {
		t.Fatal("a full Redis takes a draw")
	}
	if n := client.Exists(ctx, prefix+"c:k", prefix+"instances").Val(); n != 0 {
		t.Errorf("%d keys were written by a draw that failed", n)
	}
}

// TestOwnCertificates is Memorystore's way: TLS under certificates that no system trusts.
func TestOwnCertificates(t *testing.T) {
	web := httptest.NewUnstartedServer(nil) // for its certificate, which names 127.0.0.1
	web.StartTLS()
	defer web.Close()
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw}))
	redis := miniredis.NewMiniRedis()
	if err := redis.StartTLS(&tls.Config{Certificates: web.TLS.Certificates}); err != nil {
		t.Fatal(err)
	}
	defer redis.Close()
	for ca, ok := range map[string]bool{ca: true, "": false} {
		c, err := Connect("rediss://"+redis.Addr(), ca)
		if err != nil {
			t.Fatal(err)
		}
		if err := NewCounters(c).Ping(t.Context()); (err == nil) != ok {
			t.Errorf("with %d bytes of certificates: %v", len(ca), err)
		}
		c.Close()
	}
}
