package faults

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// TestHolderKilled kills an instance that holds all of 1000 slots, and wants them back within a lease, and not before.
func TestHolderKilled(t *testing.T) {
	const slots = 1000
	f := newFleet(t, nil, []string{fmt.Sprint("SLOTS=", slots), fmt.Sprint("MAX_CONCURRENT_CALLS=", slots)})
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: slots}}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	defer func() { close(stop); wg.Wait() }()
	hold := func(node, callers int) {
		for range callers {
			wg.Go(func() {
				time.Sleep(time.Duration(rand.IntN(700)) * time.Millisecond)
				for pause := time.Duration(0); ; time.Sleep(pause) {
					select {
					case <-stop:
						return
					default:
					}
					refused, err := call(client, f.node(node).url, "work", 3000)
					if err != nil && node == 0 {
						return // it was killed, and asking it for more would cost the other the processor
					}
					pause = 50 * time.Millisecond
					if refused { // not all at once: an instance whose work is late takes less of it
						pause = time.Duration(150+rand.IntN(600)) * time.Millisecond
					}
				}
			})
		}
	}
	full := func(node string) time.Duration {
		begin := time.Now()
		for ; time.Since(begin) < 20*time.Second; time.Sleep(5 * time.Millisecond) {
			if live, _ := f.meter.at(node); live >= slots*98/100 {
				return time.Since(begin)
			}
		}
		live, _ := f.meter.at(node)
		t.Fatalf("%s holds %d of %d", node, live, slots)
		return 0
	}
	hold(0, slots+50)
	full("n0")
	hold(1, slots+50)
	time.Sleep(300 * time.Millisecond)
	f.meter.since()
	p := f.node(0)
	held, _ := f.meter.at("n0")
	p.cmd.Process.Kill()
	<-p.done
	f.meter.set(func() { delete(f.meter.live, "n0") })
	took := full("n1")
	most, _ := f.meter.since()
	fmt.Printf("killed with %d of %d slots: another holds as many %v later; most live %d, excess %d\n", held, slots, took.Round(10*time.Millisecond), most, max(0, most-slots))
	if most > slots {
		t.Errorf("%d calls were live, the cap is %d", most, slots)
	}
	if took > bound(lease+time.Second) {
		t.Errorf("the slots came back after %v", took)
	}
}

// TestClockSetForthAndBack sets Redis's clock by 5 s. Set forth, it ends every lease at once: until the instances have declared
// anew what they hold, within a quarter of a lease, it may be granted again. Set back, it must starve no one.
func TestClockSetForthAndBack(t *testing.T) {
	dir := t.TempDir()
	library, offset := filepath.Join(dir, "clock.so"), filepath.Join(dir, "offset")
	if out, err := exec.Command("cc", "-shared", "-fPIC", "-O1", "-o", library, "testdata/clock.c").CombinedOutput(); err != nil {
		t.Fatalf("%v: apt-get install gcc\n%s", err, out)
	}
	set := func(seconds int64) {
		file, err := os.OpenFile(offset, os.O_CREATE|os.O_WRONLY, 0o600) // in place: it is mapped
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		if err := binary.Write(file, binary.NativeEndian, seconds); err != nil {
			t.Fatal(err)
		}
	}
	set(0)
	f := newFleet(t, []string{"LD_PRELOAD=" + library, "CLOCK_OFFSET=" + offset}, nil)
	clock := func() (seconds int64) {
		out, err := f.redis.cli("time")
		if _, scan := fmt.Sscan(out, &seconds); err != nil || scan != nil {
			t.Fatalf("%s %v %v", out, err, scan)
		}
		return seconds - time.Now().Unix()
	}
	l := f.startLoad(3 * atATime)
	defer l.end()
	if _, ok := f.recovery(atATime, 10*time.Second); !ok {
		t.Fatal("the fleet never got busy")
	}
	for _, step := range []struct {
		seconds int64
		allowed int
	}{{5, atATime}, {0, 0}, {-5, 0}} {
		f.meter.since()
		f.meter.set(func() { f.meter.ticks = nil })
		set(step.seconds)
		time.Sleep(3 * time.Second)
		if got := clock(); got < step.seconds-1 || got > step.seconds+1 {
			t.Fatalf("Redis's clock is %d s off after it was set to %d: nothing was tested", got, step.seconds)
		}
		most, _ := f.meter.since()
		took, ok := f.recovery(atATime, lease+time.Second)
		f.meter.mu.Lock()
		over, ticks := worst(f.meter.ticks), len(f.meter.ticks)
		f.meter.mu.Unlock()
		fmt.Printf("Redis's clock set to %+d s: most live %d, excess %d, allowed %d, busy again after %v, rate's worst window %+.1f, %d under the rate in 3 s\n",
			step.seconds, most, max(0, most-atATime), step.allowed, took.Round(10*time.Millisecond), over, ticks)
		if most > atATime+step.allowed || !ok {
			t.Errorf("clock %+d s: %d live, busy again %t", step.seconds, most, ok)
		}
		if over > perSecond*float64(max(step.seconds, 0)) {
			t.Errorf("clock %+d s: %.1f calls too many in a window", step.seconds, over)
		}
		if float64(ticks) < 0.5*3*perSecond {
			t.Errorf("clock %+d s: only %d calls under a rate of %d/s in 3 s", step.seconds, ticks, perSecond)
		}
	}
}
