package function

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"time"

	"example.com/erlmcp/function/internal/config"
)

// Target is the function's name: the value of FUNCTION_TARGET that serves it.
const Target = "erlmcp"

// Handler is a function, [Target] or [ControlTarget], as the Functions Framework's own server runs it, assembled
// at the first request. That server would start whatever the settings are, and fail at the first request: where FUNCTION_TARGET names the function,
// bad settings end the process here. It drops running calls at SIGTERM, so the function waits for them itself.
//
// The framework is for the package at the root alone: by reflection it makes programs that import it keep every method of
// everything, a third of the container's binary.
func Handler(target string, opts ...Option) http.HandlerFunc {
	if os.Getenv("FUNCTION_TARGET") == target {
		cfg, err := config.Load(os.Getenv, thisMachine())
		if err = errors.Join(err, cfg.CheckPublic()); err != nil {
			fmt.Fprintln(os.Stderr, &StartError{err})
			os.Exit(1)
		}
	}
	assemble := sync.OnceValue(func() *Server {
		s, err := New(context.Background(), append(slices.Clip(opts), Changing(func(name, value string) string {
			if name == "FUNCTION_TARGET" {
				return target
			}
			return value
		}))...)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		s.reloadOn(syscall.SIGHUP)
		term := make(chan os.Signal, 1)
		signal.Notify(term, syscall.SIGTERM, os.Interrupt)
		go func() {
			<-term
			s.finish()
			s.Close()
			os.Exit(0)
		}()
		return s
	})
	return func(w http.ResponseWriter, r *http.Request) { assemble().ServeHTTP(w, r) }
}

// finish waits for running requests, up to DRAIN_TIMEOUT.
func (s *Server) finish() {
	s.draining.Store(true)
	total := s.config.DrainTimeout
	deadline := time.Now().Add(total)
	s.goes.Store(deadline.UnixNano())
	deadline = deadline.Add(-min(deadlineSlack, total/4))
	time.Sleep(min(lameDuck, total/4))
	for s.running.Load() > 0 && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond)
	}
	s.stop()
}
