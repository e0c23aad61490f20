package memnet

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
)

// A Redis is a miniredis on the network, with the clock of the test's bubble. What it keeps outlives Stop.
type Redis struct {
	*miniredis.Miniredis
	URL string // as in REDIS_URL

	network *Network
	at      netip.AddrPort

	mu      sync.Mutex
	down    bool
	wasDown bool
	conns   map[net.Conn]bool
}

// Redis starts a Redis, until the test ends.
func (n *Network) Redis(t testing.TB) *Redis {
	r := &Redis{Miniredis: miniredis.NewMiniRedis(), network: n, conns: map[net.Conn]bool{}}
	if c, err := r.Dial(); err != nil { // the first connection starts it
		t.Fatal(err)
	} else {
		c.Close()
	}
	r.ClockTTL(true)
	r.at = n.add(r.dial)
	r.URL = "redis://" + r.at.String()
	t.Cleanup(func() {
		if r.wasDown { // so often the dialing goroutine of a client looks whether the client was closed
			time.Sleep(time.Second) // in a bubble
		}
		r.Stop()
		r.Close()
	})
	return r
}

func (r *Redis) dial(context.Context) (net.Conn, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.down {
		return nil, net.ErrClosed
	}
	c, err := r.Dial()
	if err == nil {
		r.conns[c] = true
	}
	return c, err
}

// Stop breaks all connections and takes no new ones.
func (r *Redis) Stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down, r.wasDown = true, true
	for c := range r.conns {
		c.Close()
	}
	clear(r.conns)
}

// Start takes connections again.
func (r *Redis) Start() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down = false
}
