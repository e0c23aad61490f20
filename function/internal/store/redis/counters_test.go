package redis

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"example.com/erlmcp/function/internal/governor"
	"example.com/erlmcp/function/internal/memnet"
)

// eachRedis runs a test on the embedded Redis, in a bubble, whose clock makes exact what takes time, and on a real one where that is
// asked for.
func eachRedis(t *testing.T, test func(t *testing.T, client *redis.Client, exact bool)) {
	t.Run("embedded", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var network memnet.Network
			test(t, connectTo(t, Options{URL: network.Redis(t).URL, Dial: network.Dial}), true)
		})
	})
	t.Run("real", func(t *testing.T) { test(t, connectPatiently(t, realRedis(t)), false) })
}

// logTo is a log that is shown when the test fails.
func logTo(t *testing.T) *slog.Logger { return slog.New(slog.NewTextHandler(t.Output(), nil)) }

func connect(t *testing.T, addr string) *redis.Client {
	t.Helper()
	return connectTo(t, Options{URL: "redis://" + addr})
}

// connectPatiently connects for as long as a busy machine takes.
func connectPatiently(t *testing.T, addr string) *redis.Client {
	o := *connect(t, addr).Options()
	o.DialTimeout, o.PoolTimeout, o.ReadTimeout, o.WriteTimeout = time.Minute, time.Minute, time.Minute, time.Minute
	c := redis.NewClient(&o)
	t.Cleanup(func() { c.Close() })
	return c
}

func connectTo(t *testing.T, o Options) *redis.Client {
	t.Helper()
	c, err := Connect(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// distant are counters some milliseconds away: in a bubble no message would take any time else, and none would be under way
// together with another.
type distant struct{ governor.Counters }

// Lease implements [governor.Counters].
func (c distant) Lease(ctx context.Context, d *governor.LeaseRequest) (governor.LeaseResponse, error) {
	time.Sleep(rand.N(10 * time.Millisecond))                    // in a bubble
	defer func() { time.Sleep(rand.N(10 * time.Millisecond)) }() // in a bubble
	return c.Counters.Lease(ctx, d)
}

// realRedis starts one. ERLMCP_TEST_ON asks for it, as make race and make stores do; it must be there then.
func realRedis(t *testing.T, args ...string) (addr string) {
	t.Helper()
	if !slices.Contains(strings.Fields(os.Getenv("ERLMCP_TEST_ON")), "redis") {
		t.Skip("asked for with ERLMCP_TEST_ON=redis")
	}
	binary, err := exec.LookPath("redis-server")
	if err != nil {
		t.Fatal("redis-server is missing: apt-get install redis-server")
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr = ln.Addr().String()
	ln.Close()
	_, port, _ := net.SplitHostPort(addr)
	for i := range args {
		args[i] = strings.ReplaceAll(args[i], "PORT", port)
	}
	cmd := exec.Command(binary, append([]string{"--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", t.TempDir()}, args...)...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	for begin := time.Now(); ; time.Sleep(5 * time.Millisecond) { // real time: a process starts
		if conn, err := net.Dial("tcp", addr); err == nil {
			conn.Close()
			return addr
		}
		if time.Since(begin) > 5*time.Second {
			t.Fatal("redis-server does not listen")
		}
	}
}

// TestFleet shares limits between governors that run on one Redis.
func TestFleet(t *testing.T) {
	eachRedis(t, func(t *testing.T, client *redis.Client, exact bool) {
		limits := []*governor.Limit{{Key: "slots", Scope: "slots", Concurrency: 12}, {Key: "rate", Scope: "rate", PerSecond: 400}}
		var fleet []*governor.Governor
		for i := range 4 {
			counters := governor.Counters(NewCounters(client))
			if exact {
				counters = distant{counters}
			}
			g := governor.New(governor.Options{Instance: fmt.Sprint("n", i), Counters: counters, Epochs: firstEpoch{}, Timeout: 200 * time.Millisecond, Logger: logTo(t)})
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
					l, d := fleet[i%4].Admit(context.Background(), &governor.Call{Weight: 1, Limits: limits})
					if !d.Admitted() {
						time.Sleep(min(max(d.Wait, time.Millisecond), 10*time.Millisecond)) // in a bubble, but for a real Redis
						continue
					}
					if n := live.Add(1); n > most.Load() {
						most.Store(n)
					}
					admitted.Add(1)
					time.Sleep(8 * time.Millisecond) // in a bubble, but for a real Redis
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
		if !exact { // a busy machine takes its time
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
	eachRedis(t, func(t *testing.T, client *redis.Client, exact bool) {
		limits := []*governor.Limit{{Key: "slots", Scope: "slots", Concurrency: 5}}
		admit := func(name string, epochs governor.Epochs) time.Duration {
			begin := time.Now()
			g := governor.New(governor.Options{Instance: name, Counters: NewCounters(client), Epochs: epochs, Logger: logTo(t)})
			defer g.Close()
			g.Warm()
			for time.Since(begin) < time.Minute {
				l, d := g.Admit(t.Context(), &governor.Call{Weight: 1, Limits: limits})
				if d.Admitted() {
					l.Release()
					return time.Since(begin)
				}
				time.Sleep(5 * time.Millisecond) // in a bubble, but for a real Redis
			}
			t.Errorf("%s: not admitted within a minute", name)
			return 0
		}
		for _, step := range []struct {
			name        string
			lost        bool
			epochs      governor.Epochs
			least, most time.Duration
		}{
			{"the first call on a new Redis", false, firstEpoch{}, 0, 40 * time.Millisecond},
			{"the first call of another instance", false, firstEpoch{}, 0, 40 * time.Millisecond},
			{"the first call after a loss", true, Storeless{Now: time.Now}, 2 * time.Second, 2200 * time.Millisecond},
		} {
			if step.lost {
				client.FlushAll(t.Context())
			}
			took := admit(step.name, step.epochs)
			if took < step.least || exact && took > step.most {
				t.Errorf("%s was admitted after %v, want %v to %v: others may hold slots for 2 s", step.name, took, step.least, step.most)
			}
			if learn := client.HGet(t.Context(), prefix+"epoch", "learn").Val(); (learn != "0") != step.lost {
				t.Errorf("%s: the counters learn until %q", step.name, learn)
			}
		}
	})
}

type firstEpoch struct{}

func (firstEpoch) Next(context.Context) (int64, bool, error) { return 1, true, nil }

func TestScriptsSurviveAFlush(t *testing.T) {
	eachRedis(t, func(t *testing.T, client *redis.Client, _ bool) {
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
	eachRedis(t, func(t *testing.T, client *redis.Client, _ bool) {
		ctx := t.Context()
		g := governor.New(governor.Options{Instance: "n", Counters: NewCounters(client), Epochs: firstEpoch{}, Logger: logTo(t)})
		defer g.Close()
		call := &governor.Call{Weight: 1, Limits: []*governor.Limit{
			{Scope: "all", Key: "all", PerSecond: 5, Concurrency: 3}, {Scope: "client", Key: "client:x", PerSecond: 5, Many: true},
		}}
		l, d := g.Admit(ctx, call)
		for range 50 { // on a busy machine with a real Redis, a token that came too late is not used
			if d.Admitted() {
				break
			}
			time.Sleep(d.Wait) // in a bubble, but for a real Redis
			l, d = g.Admit(ctx, call)
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
	synctest.Test(t, func(t *testing.T) {
		var network memnet.Network
		c := NewCounters(connectTo(t, Options{URL: "redis://" + network.Silent(t), Dial: network.Dial}))
		for range 3 {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			begin := time.Now()
			if _, err := c.Lease(ctx, &governor.LeaseRequest{Instance: "n", Seq: 1}); err == nil {
				t.Error("no error")
			}
			cancel()
			if d := time.Since(begin); d != 20*time.Millisecond {
				t.Errorf("a draw under 20 ms took %v", d)
			}
		}
	})
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
	d := &governor.LeaseRequest{Instance: "n", Seq: 1, Epoch: 1, Lease: 1e6, Groups: []governor.Group{{{Key: "c:k", Kind: governor.Slots, Cap: 5, Min: 1, Max: 1}}}}
	if _, err := c.Lease(ctx, d); err == nil {
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
	web.Close()
	synctest.Test(t, func(t *testing.T) {
		var network memnet.Network
		redis, ln := network.Redis(t), network.Listen()
		defer ln.Close()
		go func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				go unwrap(tls.Server(c, &tls.Config{Certificates: web.TLS.Certificates}), redis)
			}
		}()
		ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw}))
		for ca, ok := range map[string]bool{ca: true, "": false} {
			c := connectTo(t, Options{URL: "rediss://" + ln.Addr().String(), CA: ca, Dial: network.Dial})
			if err := NewCounters(c).Ping(t.Context()); (err == nil) != ok {
				t.Errorf("with %d bytes of certificates: %v", len(ca), err)
			}
		}
	})
}

// unwrap connects a client that speaks TLS with a Redis that does not.
func unwrap(client net.Conn, redis *memnet.Redis) {
	defer client.Close()
	server, err := redis.Dial()
	if err != nil {
		return
	}
	defer server.Close()
	go func() {
		io.Copy(server, client)
		server.Close()
	}()
	io.Copy(client, server)
}
