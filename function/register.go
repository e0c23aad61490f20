package function

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"example.com/erlmcp/function/internal/app"
	"example.com/erlmcp/function/internal/config"
	"example.com/erlmcp/function/internal/serve"
)

// Register hands both functions, erlmcp and its control plane taiea, to the Functions Framework, whose functions.HTTP is to be given. The
// framework's own server assembles each at its first request. It would start whatever the settings are, and fail at the first request: where
// FUNCTION_TARGET names the function, bad settings end the process here. It drops running calls at SIGTERM, so the function waits for them
// itself.
//
// The framework is for the package at the root alone: by reflection it makes programs that import it keep every method of
// everything, a third of the container's binary.
func Register(http func(name string, serve func(http.ResponseWriter, *http.Request)), c Catalog) {
	for _, target := range []string{app.Target, app.ControlTarget} {
		http(target, handler(target, Options{Catalog: c}))
	}
}

func handler(target string, o Options) http.HandlerFunc {
	if os.Getenv("FUNCTION_TARGET") == target {
		cfg, err := config.Load(os.Getenv, serve.ThisMachine())
		if err = errors.Join(err, cfg.CheckPublic()); err != nil {
			fmt.Fprintln(os.Stderr, &StartError{Faults: err})
			os.Exit(1)
		}
	}
	o.set(map[string]string{"FUNCTION_TARGET": target})
	assemble := sync.OnceValue(func() *Server {
		s, err := New(context.Background(), o)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		serve.OnSignal(syscall.SIGHUP, s.Reload)
		term := make(chan os.Signal, 1)
		signal.Notify(term, syscall.SIGTERM, os.Interrupt)
		go func() {
			<-term
			s.Finish()
			s.Close()
			os.Exit(0)
		}()
		return s
	})
	return func(w http.ResponseWriter, r *http.Request) { assemble().ServeHTTP(w, r) }
}
