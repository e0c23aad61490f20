package function

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
	"syscall"
	"time"
)

// lameDuck is how long a server that must go still takes requests while /ready says 503, so that load balancers can look
// away before connections are refused.
const lameDuck = time.Second

// Run listens on PORT and serves until the context ends, then drains: /ready turns 503, running calls finish within
// DRAIN_TIMEOUT, the rest are cancelled. It calls listening once with the server's URL. The error is nil after a drain in
// time.
func (s *Server) Run(ctx context.Context, listening func(url string)) error {
	listeners, err := s.listen()
	if errors.Is(err, syscall.EADDRINUSE) {
		return &StartError{fmt.Errorf("PORT: something else listens on port %d: stop it, or set another PORT", s.config.Port)}
	}
	if err != nil {
		return &StartError{fmt.Errorf("PORT: %w", err)}
	}
	if listening != nil {
		listening(fmt.Sprintf("http://localhost:%d/mcp", port(listeners[0])))
	}
	return s.serve(ctx, listeners)
}

// listen opens PORT on all interfaces, or on both of this machine's loopback addresses: some programs take localhost for
// ::1, where otherwise another server might answer.
func (s *Server) listen() ([]net.Listener, error) {
	if !s.loopback {
		ln, err := net.Listen("tcp", net.JoinHostPort("", strconv.Itoa(s.config.Port)))
		return []net.Listener{ln}, err
	}
	ln, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(s.config.Port)))
	if err != nil {
		return nil, err
	}
	second, err := net.Listen("tcp", net.JoinHostPort("::1", strconv.Itoa(port(ln))))
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

func (s *Server) serve(ctx context.Context, listeners []net.Listener) error {
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
	case err := <-s.unfit:
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
		ReadHeaderTimeout: s.config.HeaderTimeout,
		ReadTimeout:       s.config.HeaderTimeout + unreadBody,
		IdleTimeout:       s.config.ConnectionTimeout,
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
		ErrorLog:    slog.NewLogLogger(s.logger.Handler(), slog.LevelDebug),
	}
}

func (s *Server) drain(srv *http.Server, cancel context.CancelFunc) error {
	s.draining.Store(true)
	total := s.config.DrainTimeout
	s.goes.Store(time.Now().Add(total).UnixNano())
	s.logger.Info("draining", "running", s.running.Load(), "timeout", total.String())
	deadline := time.Now().Add(total)
	// Connections stay open meanwhile, and end with their next answer: a balancer may be about to use them.
	time.Sleep(min(lameDuck, total/4))
	srv.SetKeepAlivesEnabled(false)

	patience, done := context.WithDeadline(context.Background(), deadline.Add(-min(deadlineSlack, total/4)))
	defer done()
	err := srv.Shutdown(patience)
	if err != nil { // it looks every half a second: what has ended since is no reason to cancel anything
		err = srv.Shutdown(patience)
	}
	if err != nil {
		s.logger.Warn("calls did not finish within DRAIN_TIMEOUT and are cancelled", "running", s.running.Load())
		cancel()
		s.stop()
		last, done := context.WithTimeout(context.Background(), min(cancelled, total/4))
		defer done()
		srv.Shutdown(last)
		srv.Close()
		return fmt.Errorf("drain: %w", err)
	}
	s.logger.Info("drained")
	return nil
}

// reloadOn reads the level of the log again at a signal, until the function that it returns is called.
func (s *Server) reloadOn(sig os.Signal) (stop func()) {
	told := make(chan os.Signal, 1)
	signal.Notify(told, sig)
	go func() {
		for range told {
			s.seen.Reload()
		}
	}()
	return func() { signal.Stop(told); close(told) }
}
