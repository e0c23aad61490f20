// Package embedded starts what the local run has in place of services: a Redis inside the process, on which the same scripts
// run as on a real one.
package embedded

import (
	"fmt"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"

	"example.com/erlmcp/function"
)

// Redis starts a Redis on a free port of this machine, unless the settings name one or do without. It returns the URL, ""
// for none, the settings and the store of servers that use it, and what ends it.
func Redis(getenv func(string) string) (url string, o function.Options, stop func(), err error) {
	if getenv("REDIS_URL") != "" || getenv("GOVERNOR_SCOPE") != "" || getenv("GOVERNOR_ENABLED") == "false" {
		return "", function.Options{Getenv: getenv}, func() {}, nil
	}
	store, err := function.OpenInMemoryStore(getenv("STORE_FILE"))
	if err != nil {
		return "", o, nil, fmt.Errorf("STORE_FILE: %w", err)
	}
	m := miniredis.NewMiniRedis()
	if err := m.StartAddr("127.0.0.1:0"); err != nil {
		return "", o, nil, err
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
	o = function.Options{Store: store, Getenv: func(name string) string {
		if name == "REDIS_URL" {
			return url
		}
		return getenv(name)
	}}
	return url, o, sync.OnceFunc(func() { close(done); m.Close(); store.Close() }), nil
}
