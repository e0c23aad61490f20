package serve

import (
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// opened takes in one end of a pipe, in the state that net/http has it in.
func opened(t *testing.T, c *Connections, as func(*connection)) *connection {
	t.Helper()
	near, far := net.Pipe()
	t.Cleanup(func() { near.Close(); far.Close() })
	held := c.admit(near)
	if held != nil && as != nil {
		as(held)
	}
	return held
}

// What a connection does, when another one comes.
var (
	silent = func(c *connection) { c.reading.Store(true) }
	kept   = func(c *connection) { changed(c, http.StateIdle); c.reading.Store(true) }
	behind = func(c *connection) { changed(c, http.StateActive) } // its request is read, and no handler runs yet
	serves = func(c *connection) { changed(c, http.StateActive); c.serving.Add(1) }
	ends   = func(c *connection) { serves(c); c.reading.Store(true); c.served() } // the answer is on its way
	unread = func(c *connection) { serves(c); c.served(); c.reading.Store(true) } // answered before its body came
)

// TestWhoMakesRoom fills two places and has a third connection come: who waits for its client goes before who is idle, and who is late
// because of this machine goes last.
func TestWhoMakesRoom(t *testing.T) {
	for _, c := range []struct {
		name  string
		as    [2]func(*connection)
		apart time.Duration // between the second and the third
		goes  int           // of the two; -1: the third does
	}{
		{"two that send nothing", [2]func(*connection){silent, silent}, time.Second, 0},
		{"two that send nothing, at once", [2]func(*connection){silent, silent}, 0, 0},
		{"one is idle", [2]func(*connection){kept, silent}, time.Second, 1},
		{"both are idle", [2]func(*connection){kept, kept}, time.Second, 0},
		{"one waits to be served", [2]func(*connection){behind, silent}, time.Second, 1},
		{"one waits to be served, one is idle", [2]func(*connection){behind, kept}, time.Second, 1},
		{"an answer is on its way", [2]func(*connection){ends, silent}, 0, 1},
		{"an answer has been on its way for long", [2]func(*connection){ends, silent}, 2 * time.Second, 0},
		{"a body that nobody wants does not come", [2]func(*connection){unread, kept}, time.Second, 0},
		{"one is served", [2]func(*connection){serves, kept}, time.Second, 1},
		{"both are served", [2]func(*connection){serves, serves}, time.Second, -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				all := newConnections(2)
				var two [2]*connection
				for i := range two {
					two[i] = opened(t, all, c.as[i])
					time.Sleep(time.Millisecond) // in a bubble
				}
				time.Sleep(c.apart) // in a bubble
				begin := time.Now()
				third := opened(t, all, nil)
				if waited := time.Since(begin); waited > 2*grace {
					t.Errorf("it waited for %v", waited)
				}
				if (third == nil) != (c.goes < 0) {
					t.Fatalf("the third is %v", third)
				}
				for i, conn := range two {
					if _, open := all.open[conn]; open == (i == c.goes) {
						t.Errorf("connection %d is open: %t", i, open)
					}
				}
				evicted, refused := all.Closed()
				if want := int64(1); c.goes < 0 && (evicted != 0 || refused != want) || c.goes >= 0 && (evicted != want || refused != 0) || all.Open() != 2 {
					t.Errorf("%d were closed, %d were not let in, %d are open", evicted, refused, all.Open())
				}
			})
		})
	}
}

// TestGrace has one that is late get done while another waits: neither is closed.
func TestGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := newConnections(2)
		late, idle := opened(t, all, behind), opened(t, all, kept)
		go func() {
			time.Sleep(grace / 2) // in a bubble
			late.Close()          // it is answered, and its client goes
		}()
		third := opened(t, all, silent)
		if _, open := all.open[idle]; third == nil || !open {
			t.Errorf("the third is %v, the idle one is open: %t", third, open)
		}
	})
}

// TestUnread asks the kernel of a real connection whether something has come.
func TestUnread(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	far, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	near, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if pending(near) {
		t.Error("nothing was sent")
	}
	far.Write([]byte("x"))
	var b [1]byte
	far.(*net.TCPConn).CloseWrite()
	for !pending(near) { // it is on its way
	}
	if n, err := near.Read(b[:]); n != 1 || err != nil || pending(near) {
		t.Errorf("%d, %v; at the end something is left: %t", n, err, pending(near))
	}
	near.Close()
	if pending(near) {
		t.Error("closed")
	}
	if pipe, _ := net.Pipe(); pending(pipe) {
		t.Error("nobody knows that of a pipe")
	}
}
