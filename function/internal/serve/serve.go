// Package serve is the process around a handler: it listens, holds connections within bounds, answers probes, and drains before it ends.
package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"example.com/erlmcp/function/internal/config"
)

// Options configure a [Server]. All but Fatal must be there.
type Options struct {
	Config   *config.Config // PORT, the timeouts, MAX_CONNECTIONS and DRAIN_TIMEOUT
	Loopback bool           // listen on this machine's addresses alone
	Cancel   func()         // ends the calls that outlive their connections
	Fatal    <-chan error   // gets why the process can't go on
	Logger   *slog.Logger
}

// A Server serves a handler until it is told to go.
type Server struct {
	opts        Options
	handler     http.Handler
	connections *Connections
	draining    atomic.Bool
	running     atomic.Int64 // requests being served
	shutdownAt  atomic.Int64 // by when, in Unix nanoseconds, the process has to be gone; 0 while it stays
}

// New returns a server, which serves nothing before [Server.Handle].
func New(o Options) *Server {
	return &Server{opts: o, connections: newConnections(o.Config.MaxConnections)}
}

// Handle sets what is served. It is called once, before the first request.
func (s *Server) Handle(h http.Handler) { s.handler = h }

// Connections are those that are open.
func (s *Server) Connections() *Connections { return s.connections }

// Draining tells whether the process is about to end.
func (s *Server) Draining() bool { return s.draining.Load() }

// ShutdownAt is by when the process has to be gone, the zero time while it stays.
func (s *Server) ShutdownAt() time.Time {
	if at := s.shutdownAt.Load(); at != 0 {
		return time.Unix(0, at)
	}
	return time.Time{}
}

// ServeHTTP serves one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.running.Add(1)
	defer s.running.Add(-1)
	if s.draining.Load() {
		w.Header().Set("Connection", "close")
	}
	s.handler.ServeHTTP(w, r)
}

const (
	// LameDuck is how long a server that must go still takes requests while /ready says 503, so that load balancers can look
	// away before connections are refused.
	LameDuck = time.Second
	// Reserve is what remains of a drain for the process's own end.
	Reserve = cancelTimeout + CloseTimeout + Exit
	// cancelTimeout is how long the end waits for calls that were cancelled to return.
	cancelTimeout = 250 * time.Millisecond
	// CloseTimeout is for what is still to be written and sent when no call runs any more.
	CloseTimeout = time.Second
	// Exit is for the process to go.
	Exit = 100 * time.Millisecond
)

// A StartError lists everything that stopped a start.
type StartError struct{ Faults error }

func (e *StartError) Error() string { return "erlmcp can't start:\n  " + indent(e.Faults.Error()) }

func (e *StartError) Unwrap() error { return e.Faults }

func indent(text string) string { return strings.ReplaceAll(text, "\n", "\n  ") }

// Run listens on PORT and serves until the context ends, then drains: /ready turns 503, running calls finish within
// DRAIN_TIMEOUT, the rest are cancelled. It calls listening once with the server's URL. The error is nil after a drain in
// time.
func (s *Server) Run(ctx context.Context, listening func(url string)) error {
	listeners, err := s.listen()
	if errors.Is(err, syscall.EADDRINUSE) {
		return &StartError{fmt.Errorf("PORT: something else listens on port %d: stop it, or set another PORT", s.opts.Config.Port)}
	}
	if err != nil {
		return &StartError{fmt.Errorf("PORT: %w", err)}
	}
	if listening != nil {
		listening(fmt.Sprintf("http://localhost:%d/mcp", port(listeners[0])))
	}
	return s.Serve(ctx, listeners...)
}

// listen opens PORT on all interfaces, or on both of this machine's loopback addresses: some programs take localhost for
// ::1, where otherwise another server might answer.
func (s *Server) listen() ([]net.Listener, error) {
	listenOn := func(host string, port int) (net.Listener, error) {
		return net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	}
	if !s.opts.Loopback {
		ln, err := listenOn("", s.opts.Config.Port)
		return []net.Listener{ln}, err
	}
	ln, err := listenOn("127.0.0.1", s.opts.Config.Port)
	if err != nil {
		return nil, err
	}
	second, err := listenOn("::1", port(ln))
	switch {
	case err == nil:
		return []net.Listener{ln, second}, nil
	case errors.Is(err, syscall.EADDRINUSE):
		ln.Close()
		return nil, err
	}
	return []net.Listener{ln}, nil // no IPv6 here
}

func port(ln net.Listener) int { return ln.Addr().(*net.TCPAddr).Port }

// Serve is [Server.Run] on listeners that are open.
func (s *Server) Serve(ctx context.Context, listeners ...net.Listener) error {
	requests, cancel := context.WithCancel(context.Background())
	defer cancel()
	srv := s.httpServer(requests)
	failed := make(chan error, len(listeners))
	for _, ln := range listeners {
		go func() { failed <- srv.Serve(&cappedListener{ln, s.connections}) }()
	}
	select {
	case err := <-failed:
		return err
	case err := <-s.opts.Fatal:
		srv.Close()
		return &StartError{fmt.Errorf("REDIS_URL: %w", err)}
	case <-ctx.Done():
	}
	return s.drain(srv, cancel)
}

const (
	// maxHeader bounds a request's headers in bytes: platforms pass on no more.
	maxHeader = 32 << 10
	// unreadBody is how long the server reads a body that no handler wants.
	unreadBody = time.Second
)

// httpServer bounds what a client can hold of a connection. Handlers that read bodies set deadlines of their own for that.
func (s *Server) httpServer(requests context.Context) *http.Server {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler:           s.connections.serve(s),
		Protocols:         &protocols,
		ReadHeaderTimeout: s.opts.Config.HeaderTimeout,
		ReadTimeout:       s.opts.Config.HeaderTimeout + unreadBody,
		IdleTimeout:       s.opts.Config.ConnectionTimeout,
		MaxHeaderBytes:    maxHeader,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams:          100,
			MaxReceiveBufferPerConnection: 1 << 20,
			MaxReceiveBufferPerStream:     64 << 10,
			SendPingTimeout:               15 * time.Second,
			PingTimeout:                   15 * time.Second,
			WriteByteTimeout:              10 * time.Second,
		},
		BaseContext: func(net.Listener) context.Context { return requests },
		ConnContext: inConnection,
		ConnState:   changed,
		ErrorLog:    slog.NewLogLogger(s.opts.Logger.Handler(), slog.LevelDebug),
	}
}

// lameDuck begins a drain, and returns by when running calls must have finished. Connections stay open meanwhile, and end with their next
// answer: a balancer may be about to use them.
func (s *Server) lameDuck() (deadline time.Time) {
	total := s.opts.Config.DrainTimeout
	s.draining.Store(true)
	deadline = time.Now().Add(total)
	s.shutdownAt.Store(deadline.UnixNano())
	time.Sleep(min(LameDuck, total/4))
	return deadline.Add(-min(Reserve, total/4))
}

func (s *Server) drain(srv *http.Server, cancel context.CancelFunc) error {
	total := s.opts.Config.DrainTimeout
	s.opts.Logger.Info("draining", "running", s.running.Load(), "timeout", total.String())
	deadline := s.lameDuck()
	srv.SetKeepAlivesEnabled(false)

	patience, done := context.WithDeadline(context.Background(), deadline)
	defer done()
	err := srv.Shutdown(patience)
	if err != nil { // it looks every half a second: what has ended since is no reason to cancel anything
		err = srv.Shutdown(patience)
	}
	if err != nil {
		s.opts.Logger.Warn("calls did not finish within DRAIN_TIMEOUT and are cancelled", "running", s.running.Load())
		cancel()
		s.opts.Cancel()
		last, done := context.WithTimeout(context.Background(), min(cancelTimeout, total/4))
		defer done()
		srv.Shutdown(last)
		srv.Close()
		return fmt.Errorf("drain: %w", err)
	}
	s.opts.Logger.Info("drained")
	return nil
}

// Finish waits for running requests, up to DRAIN_TIMEOUT, where another server than this one has the listener and drops them at its end.
func (s *Server) Finish() {
	deadline := s.lameDuck()
	for s.running.Load() > 0 && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond)
	}
	s.opts.Cancel()
}

// UntilTold returns a context that ends when the process is told to go.
func UntilTold() (context.Context, context.CancelFunc) {
	return signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
}

// OnSignal calls a function at a signal, until the function that it returns is called.
func OnSignal(sig os.Signal, do func()) (stop func()) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, sig)
	go func() {
		for range signals {
			do()
		}
	}()
	return func() { signal.Stop(signals); close(signals) }
}
