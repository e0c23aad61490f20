package faults

import (
	"flag"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
)

var (
	trials = flag.Int("trials", 1, "how often each fault is tried")
	strict = flag.Bool("strict", false, "hold times as they are published; without it a busy machine gets leeway")
	only   = flag.String("only", "", "try faults whose names contain this alone")
)

// bound is what a time may be at most.
func bound(published time.Duration) time.Duration {
	if *strict {
		return published
	}
	return 3*published + 500*time.Millisecond
}

// A fault is done to a fleet that is busy.
type fault struct {
	name     string
	do       func(f *fleet) (allowed int) // calls over the cap that the fault may cost
	recovers time.Duration                // the fleet is as busy again within
	outage   bool                         // Redis is out of reach for long enough: /ready must say so
}

var faults = []fault{
	{"none", func(f *fleet) int { time.Sleep(3 * time.Second); return 0 }, 500 * time.Millisecond, false},
	{"an instance killed", func(f *fleet) int {
		p := f.node(0)
		p.cmd.Process.Kill()
		<-p.done
		f.meter.set(func() { delete(f.meter.live, "n0") })
		time.Sleep(lease / 2)
		f.restart(0)
		return 0
	}, lease + 500*time.Millisecond, false},
	{"an instance stopped beyond its lease", stopInstance, time.Second, false},
	{"scripts flushed in a loop", func(f *fleet) int {
		for range 100 {
			f.redis.cli("script", "flush")
			time.Sleep(10 * time.Millisecond)
		}
		return 0
	}, 500 * time.Millisecond, false},
	{"Redis stopped within a lease", func(f *fleet) int { return stopRedis(f, lease/2) }, time.Second, true},
	{"Redis stopped beyond a lease", func(f *fleet) int { return stopRedis(f, lease*2) }, lease + time.Second, true},
	{"Redis killed and restarted empty", func(f *fleet) int {
		f.redis.kill()
		time.Sleep(200 * time.Millisecond)
		f.redis = startRedis(f.t, f.redis.port, nil)
		return 0
	}, lease + time.Second, true},
	{"failover to a replica that is 0.3 s behind", failOver, lease + time.Second, false},
	{"Redis behind a black hole", func(f *fleet) int { f.toxic("timeout", `{"timeout":0}`, 3*time.Second); return 0 }, lease + time.Second, true},
	{"5 ms more to Redis", func(f *fleet) int { f.toxic("latency", `{"latency":5,"jitter":2}`, 3*time.Second); return 0 }, time.Second, false},
	{"12 ms more to Redis", func(f *fleet) int { f.toxic("latency", `{"latency":12,"jitter":4}`, 3*time.Second); return 0 }, lease + time.Second, false},
	{"100 ms more to Redis", func(f *fleet) int { f.toxic("latency", `{"latency":100,"jitter":10}`, 3*time.Second); return 0 }, lease + time.Second, true},
	{"Redis out of memory", func(f *fleet) int {
		f.redis.cli("config", "set", "maxmemory", "1")
		time.Sleep(3 * time.Second)
		f.redis.cli("config", "set", "maxmemory", "0")
		return 0
	}, lease + time.Second, true},
}

func stopRedis(f *fleet, d time.Duration) int {
	f.redis.cmd.Process.Signal(syscall.SIGSTOP)
	time.Sleep(d)
	f.redis.cmd.Process.Signal(syscall.SIGCONT)
	return 0
}

// stopInstance stops one in the middle of long calls, and wants them cancelled within 100 ms once it goes on. Until then they
// are over the cap.
func stopInstance(f *fleet) int {
	client := &http.Client{Timeout: 30 * time.Second}
	for range 5 {
		go func() {
			for range 200 {
				if refused, err := call(client, f.node(1).url, "work", 20_000); err == nil && !refused {
					return
				}
				time.Sleep(2 * time.Millisecond)
			}
		}()
	}
	time.Sleep(500 * time.Millisecond)
	p := f.node(1)
	p.cmd.Process.Signal(syscall.SIGSTOP)
	time.Sleep(20 * time.Millisecond)
	held, _ := f.meter.at("n1")
	f.meter.set(func() { f.meter.asleep["n1"] = true })
	time.Sleep(lease + time.Second)
	f.meter.set(func() { f.meter.asleep["n1"] = false })
	begin := time.Now()
	p.cmd.Process.Signal(syscall.SIGCONT)
	for time.Since(begin) < 5*time.Second {
		// What it takes in anew, it takes in under slots of its own.
		if live, _ := f.meter.at("n1"); live == 0 || live < held-4 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	took := time.Since(begin)
	fmt.Printf("  (stopped with %d live calls; they were gone %v after it went on)\n", held, took.Round(time.Millisecond))
	if took > bound(100*time.Millisecond) {
		f.t.Errorf("calls of a stopped instance were cancelled %v after it went on", took)
	}
	return held
}

// failOver promotes a replica that has not heard of the last 0.3 s. What was granted in them may be granted again.
func failOver(f *fleet) int {
	replica := startRedis(f.t, freePort(f.t), nil, "--replicaof", "127.0.0.1 "+f.redis.port)
	for begin := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		if out, _ := replica.cli("info", "replication"); strings.Contains(out, "master_link_status:up") {
			break
		}
		if time.Since(begin) > 10*time.Second {
			f.t.Fatal("the replica does not follow")
		}
	}
	time.Sleep(500 * time.Millisecond)
	replica.cmd.Process.Signal(syscall.SIGSTOP)
	_, before := f.meter.at("")
	time.Sleep(300 * time.Millisecond)
	f.redis.kill()
	_, after := f.meter.at("")
	replica.cmd.Process.Signal(syscall.SIGCONT)
	replica.cli("replicaof", "no", "one")
	if err := f.proxy.Update(&toxiproxy.Proxy{Name: "redis", Listen: f.proxy.Listen, Upstream: "127.0.0.1:" + replica.port, Enabled: true}); err != nil {
		f.t.Fatal(err)
	}
	f.redis = replica
	return after - before
}

// TestFaults tries each fault twice: offered three times what the cap allows, to see what is live and how soon the fleet is as
// busy again; and offered half of it, to see what a decision takes.
func TestFaults(t *testing.T) {
	f := newFleet(t, nil, nil)
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	faults := slices.DeleteFunc(slices.Clone(faults), func(c fault) bool { return !strings.Contains(c.name, *only) })
	for range *trials {
		full := f.startLoad(3 * atATime)
		if _, ok := f.recovery(atATime, 10*time.Second); !ok {
			t.Fatal("the fleet never got busy")
		}
		fmt.Fprintf(out, "offered 3 times the cap of %d\tmost live\texcess\tallowed\trecovery\tanswered\trefused\tfailed\trate's worst window\t\n", atATime)
		for _, c := range faults {
			f.meter.since()
			f.meter.set(func() { f.meter.ticks = nil })
			before := [3]int64{full.answered.Load(), full.refused.Load(), full.failed.Load()}
			allowed, took, ok, saw := f.try(c, atATime)
			most, _ := f.meter.since()
			most = max(most, saw)
			f.meter.mu.Lock()
			over, ticks := worst(f.meter.ticks), len(f.meter.ticks)
			f.meter.mu.Unlock()
			fmt.Fprintf(out, "%s\t%d\t%d\t%d\t%v\t%d\t%d\t%d\t%+.1f\t\n", c.name, most, max(most-atATime, 0), allowed, took.Round(10*time.Millisecond),
				full.answered.Load()-before[0], full.refused.Load()-before[1], full.failed.Load()-before[2], over)
			if most > atATime+allowed {
				t.Errorf("%s: %d calls were live, the cap is %d and the fault may cost %d", c.name, most, atATime, allowed)
			}
			if !ok || took > bound(c.recovers) {
				t.Errorf("%s: busy again after %v, want %v", c.name, took, c.recovers)
			}
			if c.name == "none" {
				// How much of a rate is delivered depends on the machine: a busy one shows no more than that it is.
				if n := float64(ticks); *strict && n < 0.95*perSecond*3 || n < 0.1*perSecond*3 {
					t.Errorf("%v calls of %d under a rate of %d/s in 3 s, offered twice as many", n, perSecond*3, perSecond)
				}
			}
			if over > 0 && !c.outage && allowed == 0 {
				t.Errorf("%s: %.1f calls too many in a window under %d/s and %d at once", c.name, over, perSecond, burst)
			}
		}
		full.end()

		half := f.startLoad(atATime / 2)
		time.Sleep(time.Second)
		half.touched()
		fmt.Fprint(out, "\t\t\t\t\t\t\t\t\t\noffered half of the cap\tdecision p50\tp99\tp99.9\tmost live\t\t\t\t\t\n")
		for _, c := range faults {
			f.meter.since()
			allowed, _, _, most := f.try(c, 1)
			time.Sleep(500 * time.Millisecond)
			p50, p99, p999 := half.touched()
			fmt.Fprintf(out, "%s\t%v\t%v\t%v\t%d\t\t\t\t\t\n", c.name, p50, p99, p999, most)
			most999 := 25 * time.Millisecond
			if c.outage { // a fleet without a store waits for Redis to tell what is ordered, and refuses then
				most999 = 1100 * time.Millisecond
			}
			if p999 > bound(most999) && c.name != "an instance stopped beyond its lease" { // whoever calls that one waits
				t.Errorf("%s: 99.9 %% of decisions took at most %v, want %v", c.name, p999, most999)
			}
			if most > atATime+allowed {
				t.Errorf("%s: %d calls were live", c.name, most)
			}
		}
		half.end()
		out.Flush()
	}
}

// try does a fault and waits until the fleet is as busy as it should be. Nothing may crash; what is out of reach must be said.
func (f *fleet) try(c fault, busy int) (allowed int, recovery time.Duration, ok bool, most int) {
	said := make(chan bool)
	over := make(chan struct{})
	go func() {
		degraded := false
		for {
			select {
			case <-over:
				said <- degraded
				return
			case <-time.After(20 * time.Millisecond):
				list, ok := f.node(2).degraded()
				degraded = degraded || len(list) > 0
				if !ok && !c.outage {
					f.t.Errorf("%s: /ready does not answer 200", c.name)
				}
			}
		}
	}()
	allowed = c.do(f)
	most, _ = f.meter.since()
	recovery, ok = f.recovery(busy, bound(c.recovers)+3*time.Second)
	later, _ := f.meter.since()
	close(over)
	if degraded := <-said; c.outage && !degraded {
		f.t.Errorf("%s: /ready never said degraded", c.name)
	}
	for i := range nodes {
		p := f.node(i)
		if !p.alive() {
			f.t.Fatalf("%s: instance %d crashed", c.name, i)
		}
		for begin := time.Now(); ; time.Sleep(20 * time.Millisecond) {
			list, ok := p.degraded()
			if ok && len(list) == 0 {
				break
			}
			if time.Since(begin) > 5*time.Second {
				f.t.Errorf("%s: afterwards /ready of instance %d says %q", c.name, i, list)
				break
			}
		}
	}
	return allowed, recovery, ok, max(most, later)
}
