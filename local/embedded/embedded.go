// Package embedded starts what the local run has in place of services: a Redis inside the process, on which the same scripts
// run as on a real one.
package embedded

import (
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"

	"example.com/erlmcp/function"
)

// Redis starts a Redis on a free port of this machine, unless the settings name one or do without. It returns the URL, ""
// for none, the options of servers that use it, and what ends it.
func Redis(getenv func(string) string) (url string, opts []function.Option, stop func(), err error) {
	if getenv("REDIS_URL") != "" || getenv("GOVERNOR_SCOPE") != "" || getenv("GOVERNOR_ENABLED") == "false" {
		return "", []function.Option{function.WithGetenv(getenv)}, func() {}, nil
	}
	m := miniredis.NewMiniRedis()
	if err := m.StartAddr("127.0.0.1:0"); err != nil {
		return "", nil, nil, err
	}
	done := make(chan struct{})
	go func() { // its keys expire by this clock alone
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				m.FastForward(time.Second)
			case <-done:
				return
			}
		}
	}()
	url = "redis://" + m.Addr()
	return url, []function.Option{
		function.WithMemory(function.NewMemory()),
		function.WithGetenv(func(name string) string {
			if name == "REDIS_URL" {
				return url
			}
			return getenv(name)
		}),
	}, sync.OnceFunc(func() { close(done); m.Close() }), nil
}
