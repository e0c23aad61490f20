// Package memnet is a network in memory, for tests. The clock of a testing/synctest bubble moves on when all of its goroutines
// wait for each other, and one that reads a socket does not count as waiting: so servers, clients and miniredis meet here
// instead. Addresses look like those of loopback and are never used twice.
package memnet

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/test/bufconn"
)

// buffered is how many bytes a connection takes before its reader has read them, as a socket does.
const buffered = 64 << 10

// A Network is where what listens is found. The zero value has no listener.
type Network struct {
	mu        sync.Mutex
	listeners map[string]func(context.Context) (net.Conn, error) // by address
	last      uint16
}

// Listen returns a listener at a free address. It is found until it is closed.
func (n *Network) Listen() net.Listener {
	ln := &listener{Listener: bufconn.Listen(buffered), network: n}
	ln.at = n.add(func(ctx context.Context) (net.Conn, error) { return ln.DialContext(ctx) })
	return ln
}

func (n *Network) add(dial func(context.Context) (net.Conn, error)) netip.AddrPort {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.listeners == nil {
		n.listeners = map[string]func(context.Context) (net.Conn, error){}
	}
	n.last++
	at := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 10000+n.last)
	n.listeners[at.String()] = dial
	return at
}

func (n *Network) remove(at netip.AddrPort) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.listeners, at.String())
}

// Dial connects to a listener of the network, as [net.Dialer.DialContext] does to one of the machine. Where none listens it
// returns ECONNREFUSED.
func (n *Network) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	n.mu.Lock()
	dial := n.listeners[address]
	n.mu.Unlock()
	if dial == nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: fmt.Errorf("%s: %w", address, syscall.ECONNREFUSED)}
	}
	c, err := dial(ctx)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	remote, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	return conn{c, client, remote}, nil
}

// Serve serves HTTP/1.1 and cleartext HTTP/2 until the test ends, and returns the base URL.
func (n *Network) Serve(t testing.TB, h http.Handler) (url string) {
	ln := n.Listen()
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	var serving sync.WaitGroup
	srv := &http.Server{Handler: h, Protocols: &protocols, ConnState: func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			serving.Add(1)
		case http.StateClosed, http.StateHijacked:
			serving.Done()
		}
	}}
	serving.Go(func() { srv.Serve(ln) })
	t.Cleanup(func() { srv.Close(); serving.Wait() }) // connections linger for half a second after their last answer
	return "http://" + ln.Addr().String()
}

// Silent returns the address of a listener that takes connections and never says anything, until the test ends.
func (n *Network) Silent(t testing.TB) (address string) {
	ln := n.Listen()
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			defer c.Close()
		}
	}()
	return ln.Addr().String()
}

// Client returns a client whose connections end with the test at the latest.
func (n *Network) Client(t testing.TB) *http.Client {
	transport := &http.Transport{DialContext: n.Dial}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

type listener struct {
	*bufconn.Listener
	network *Network
	at      netip.AddrPort
}

// Accept implements [net.Listener].
func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, net.ErrClosed
	}
	return conn{c, l.at, client}, nil
}

// Close implements [net.Listener].
func (l *listener) Close() error {
	l.network.remove(l.at)
	return l.Listener.Close()
}

// Addr implements [net.Listener].
func (l *listener) Addr() net.Addr { return net.TCPAddrFromAddrPort(l.at) }

// client is the address of whoever dials.
var client = netip.MustParseAddrPort("127.0.0.1:9999")

// A conn has addresses: servers read them.
type conn struct {
	net.Conn
	local, remote netip.AddrPort
}

// Read implements [net.Conn].
func (c conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	return n, late(err)
}

// Write implements [net.Conn].
func (c conn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	return n, late(err)
}

// SetDeadline implements [net.Conn].
func (c conn) SetDeadline(t time.Time) error { return c.Conn.SetDeadline(soon(t)) }

// SetReadDeadline implements [net.Conn].
func (c conn) SetReadDeadline(t time.Time) error { return c.Conn.SetReadDeadline(soon(t)) }

// SetWriteDeadline implements [net.Conn].
func (c conn) SetWriteDeadline(t time.Time) error { return c.Conn.SetWriteDeadline(soon(t)) }

// soon puts a deadline that has passed a nanosecond ahead. In a bubble a timer whose time has passed runs where it is set, and under the
// race detector that has crashed in the runtime of Go 1.26 (timer.modify), though seldom.
func soon(t time.Time) time.Time {
	if now := time.Now(); !t.IsZero() && !t.After(now) {
		return now.Add(1)
	}
	return t
}

// late is the error of a deadline that has passed as a socket has it: servers look for that one.
func late(err error) error {
	if e, ok := err.(net.Error); ok && e.Timeout() {
		return os.ErrDeadlineExceeded
	}
	return err
}

// LocalAddr implements [net.Conn].
func (c conn) LocalAddr() net.Addr { return net.TCPAddrFromAddrPort(c.local) }

// RemoteAddr implements [net.Conn].
func (c conn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.remote) }
