package faults

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A load keeps callers calling until it is stopped.
type load struct {
	answered, refused, failed atomic.Int64
	stop                      chan struct{}
	wg                        sync.WaitGroup

	mu    sync.Mutex
	touch []time.Duration // of calls that do nothing: what a decision takes, over HTTP
}

// startLoad calls the tool work from so many callers, tick at twice its rate, and touch now and then.
func (f *fleet) startLoad(callers int) *load {
	l := &load{stop: make(chan struct{})}
	client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: callers + 50}}
	forever := func(do func()) {
		l.wg.Go(func() {
			for {
				select {
				case <-l.stop:
					return
				default:
					do()
				}
			}
		})
	}
	for c := range callers {
		forever(func() {
			refused, err := call(client, f.node(c%nodes).url, "work", 5+rand.IntN(60))
			switch {
			case err != nil:
				l.failed.Add(1)
				time.Sleep(20 * time.Millisecond)
			case refused:
				l.refused.Add(1)
				time.Sleep(10 * time.Millisecond)
			default:
				l.answered.Add(1)
			}
		})
	}
	for c := range 2 * nodes {
		next := time.Now()
		forever(func() {
			next = next.Add(time.Second * nodes / perSecond)
			time.Sleep(time.Until(next))
			if time.Since(next) > time.Second {
				next = time.Now()
			}
			call(client, f.node(c%nodes).url, "tick", 0)
		})
	}
	for c := range nodes {
		forever(func() {
			time.Sleep(time.Duration(3+rand.IntN(4)) * time.Millisecond)
			begin := time.Now()
			if _, err := call(client, f.node(c).url, "touch", 0); err == nil {
				l.mu.Lock()
				l.touch = append(l.touch, time.Since(begin))
				l.mu.Unlock()
			}
		})
	}
	return l
}

func (l *load) end() {
	close(l.stop)
	l.wg.Wait()
}

// touched returns percentiles of what touch took since the last time.
func (l *load) touched() (p50, p99, p999 time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.touch) == 0 {
		return
	}
	slices.Sort(l.touch)
	at := func(q float64) time.Duration {
		return l.touch[min(int(q*float64(len(l.touch))), len(l.touch)-1)].Round(100 * time.Microsecond)
	}
	p50, p99, p999 = at(0.5), at(0.99), at(0.999)
	l.touch = nil
	return p50, p99, p999
}

func call(client *http.Client, url, tool string, ms int) (refused bool, err error) {
	body := fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":%q,"arguments":{"ms":%d}}}`, tool, ms)
	resp, err := client.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return false, err
	}
	var a struct {
		Error  *struct{}
		Result struct {
			Meta struct {
				Refusal *struct{ Code, RetryAfterMs int } `json:"erlmcp/refusal"`
			} `json:"_meta"`
		}
	}
	if err := json.Unmarshal(b, &a); err != nil {
		return false, fmt.Errorf("%s: %w", b, err)
	}
	switch r := a.Result.Meta.Refusal; {
	case a.Error == nil && r == nil:
		return false, nil
	case r != nil && (r.Code == 1060 || r.Code == 1056 || r.Code == 1005) && r.RetryAfterMs > 0:
		return true, nil
	}
	return false, fmt.Errorf("%s", b)
}

// worst returns by how many calls the worst window is over burst + rate·window.
func worst(ticks []int64) float64 {
	ticks = slices.Sorted(slices.Values(ticks))
	least, excess := 0.0, -float64(burst)
	for j, at := range ticks {
		position := float64(j) - perSecond*float64(at-ticks[0])/1e9
		if j == 0 || position < least {
			least = position
		}
		excess = max(excess, position+1-least-burst)
	}
	return excess
}
