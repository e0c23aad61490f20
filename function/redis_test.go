package function

import (
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/erlmcp/function/internal/fleet"
	"github.com/alicebob/miniredis/v2/server"
)

// TestRedisAsPeopleHaveIt has a Redis that does not do what it should: /startup and /ready say why, in words, and say so no longer once
// it does.
func TestRedisAsPeopleHaveIt(t *testing.T) {
	for _, c := range []struct {
		error string
		want  string
	}{
		{"WRONGPASS invalid username-password pair or user is disabled.", "does not take the user and password of REDIS_URL"},
		{"NOAUTH Authentication required.", "demands a password, and REDIS_URL has none"},
		{"NOPERM this user has no permissions to run the 'evalsha' command", "run evalsha: allow it"},
		{"ERR SELECT is not allowed in cluster mode", "leave the number at its end out"},
		{"CLUSTERDOWN Hash slot not served", "a cluster that does not work"},
		{"MOVED 3999 127.0.0.1:1", "refuses connections"},
		{"READONLY You can't write against a read only replica.", "must name the primary"},
	} {
		synctest.Test(t, func(t *testing.T) {
			t.Cleanup(func() { time.Sleep(time.Second) }) // so often the Redis client's goroutine that dials looks whether it is closed
			redis := network.Redis(t)
			var well atomic.Bool
			redis.Server().SetPreHook(func(p *server.Peer, cmd string, _ ...string) bool {
				if !well.Load() {
					p.WriteError(c.error)
				}
				return !well.Load()
			})
			url := newServer(t, WithMemory(NewInMemoryStore()), WithGetenv(env("REDIS_URL", redis.URL))).URL
			ask := func(path string) string {
				resp, err := fetch(t, url+path)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				b, _ := io.ReadAll(resp.Body)
				return string(b)
			}
			got := ask("/startup")
			for range 10 { // a node that is named first may just have been left for the one that names it
				if strings.Contains(got, c.want) {
					break
				}
				time.Sleep(50 * time.Millisecond)
				got = ask("/startup")
			}
			if !strings.Contains(got, c.want) {
				t.Errorf("%s: /startup says %s", c.error, got)
			}
			synctest.Wait() // the start has asked Redis, too
			if got := ask("/ready"); !strings.Contains(got, c.want) {
				t.Errorf("%s: /ready says %s", c.error, got)
			}
			well.Store(true)
			time.Sleep(2 * time.Second)
			if got := ask("/ready"); !strings.Contains(got, `"degraded":[]`) {
				t.Errorf("%s: /ready says once it is well: %s", c.error, got)
			}
		})
	}
}

// TestEvictingRedis has a Redis that throws keys away: /ready warns of it, and no longer once it does not.
func TestEvictingRedis(t *testing.T) {
	const some, all = "an answer of a person that was used can be used again", "until limits and orders are known again"
	for policy, warns := range map[string]string{
		"allkeys-lru": all, "allkeys-lfu": all, "allkeys-random": all, "one-to-come": all, "noeviction": "",
		"volatile-lru": some, "volatile-lfu": some, "volatile-random": some, "volatile-ttl": some,
	} {
		synctest.Test(t, func(t *testing.T) {
			redis := network.Redis(t)
			var set atomic.Value
			set.Store(policy)
			redis.Server().SetPreHook(func(p *server.Peer, cmd string, _ ...string) bool {
				if cmd != "INFO" {
					return false
				}
				p.WriteBulk("# Memory\r\nused_memory:1\r\nmaxmemory_policy:" + set.Load().(string) + "\r\nmem_allocator:jemalloc\r\n")
				return true
			})
			url := newServer(t, WithMemory(NewInMemoryStore()), WithGetenv(env("REDIS_URL", redis.URL))).URL
			time.Sleep(time.Second)
			_, got := get(t, url+"/ready")
			if strings.Contains(got, "maxmemory-policy "+policy) != (warns != "") || !strings.Contains(got, warns) || strings.Contains(got, all) != (warns == all) {
				t.Errorf("%s: %s", policy, got)
			}
			set.Store("noeviction")
			time.Sleep(time.Minute + fleet.AnnounceEvery)
			if _, got := get(t, url+"/ready"); !strings.Contains(got, `"degraded":[]`) {
				t.Errorf("once it does not: %s", got)
			}
		})
	}
}

// TestWhiteSpace has settings as mounts and pasting leave them.
func TestWhiteSpace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		redis := network.Redis(t)
		url := newServer(t, WithMemory(NewInMemoryStore()), WithGetenv(env("REDIS_URL", redis.URL+"\n", "SEALING_KEYS", testKey(1)+"\r\n", "GOVERNOR_ENABLED", " true", "LOG_LEVEL", "debug\t",
			"RATE_LIMIT_PER_SECOND", "100 ", "DRAIN_TIMEOUT", " 8s\n", "AUTHENTICATION", "anonymous \n", "HEALTH_ENDPOINT", "/health\n", "RATE_LIMIT_ON_REDIS_FAILURE", "local\n"))).URL
		time.Sleep(time.Second)
		if status, got := get(t, url+"/ready"); status != 200 || !strings.Contains(got, `"degraded":[]`) || !strings.Contains(got, "fleet") {
			t.Errorf("%d %s", status, got)
		}
	})
	_, err := assemble(t.Context(), WithGetenv(env("REDIS_URL", "redis://:secret@host :6379")))
	if err == nil || !strings.Contains(err.Error(), "REDIS_URL: has white space in it") || strings.Contains(err.Error(), "secret") {
		t.Errorf("%v", err)
	}
}
