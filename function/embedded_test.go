package function

import (
	"context"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestCountersOfTheProcess has an embedded Redis whose answers are late, as on a busy machine. Calls are refused by limits alone, never
// because the counters took longer than a network's may.
func TestCountersOfTheProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			name  string
			late  time.Duration
			limit ToolOptions
			calls int // at once
			most  int // that are refused by the limit
		}{
			{"at once", 0, ToolOptions{}, 4, 0},
			{"as late as a network", 15 * time.Millisecond, ToolOptions{}, 4, 0},
			{"later than a network's patience", 30 * time.Millisecond, ToolOptions{}, 4, 0},
			{"many calls", 60 * time.Millisecond, ToolOptions{}, 40, 0},
			{"later than a network's message", 120 * time.Millisecond, ToolOptions{}, 4, 0},
			{"slots", 60 * time.Millisecond, ToolOptions{MaxConcurrent: 4}, 4, 0},
			{"more than the slots", 60 * time.Millisecond, ToolOptions{MaxConcurrent: 4}, 9, 5},
			{"a burst", 30 * time.Millisecond, ToolOptions{PerSecond: 2, Burst: 4}, 1, 0},
			{"more than a burst", 30 * time.Millisecond, ToolOptions{PerSecond: 2, Burst: 4}, 9, 8},
		} {
			inCase(t, c.name, func() {
				redis := network.Redis(t)
				dial := func(ctx context.Context, protocol, address string) (net.Conn, error) {
					conn, err := network.Dial(ctx, protocol, address)
					return slowConn{conn, c.late}, err
				}
				s := newServer(t, WithMemory(NewInMemoryStore()), WithGetenv(env("REDIS_URL", redis.URL)), func(o *Options) { o.stand.Dial = dial },
					WithTools(NewTool("slow", "Says it.", func(ctx context.Context, _ None) (string, error) {
						time.Sleep(time.Second) // in a bubble
						return "here", nil
					}, c.limit)))
				time.Sleep(10 * time.Second) // what starts is over
				codes := make([]int, c.calls)
				var all sync.WaitGroup
				for i := range codes {
					all.Go(func() {
						_, got := modern("tools/call", "slow", `"name":"slow"`).send(t, s.URL)
						codes[i] = parse(t, got).code()
					})
				}
				all.Wait()
				n := map[int]int{}
				for _, code := range codes {
					n[code]++
				}
				if limited := n[1056] + n[1060]; n[0]+limited != c.calls || limited > c.most {
					t.Errorf("%d calls at once, answers %v late: %v by code, want at most %d refused, by the limit", c.calls, c.late, n, c.most)
				}
			})
		}
	})
}

// A slowConn is late with what it reads.
type slowConn struct {
	net.Conn
	late time.Duration
}

func (c slowConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	time.Sleep(c.late) // in a bubble
	return n, err
}
