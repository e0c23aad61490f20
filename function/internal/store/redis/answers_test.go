package redis

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// TestFirst: of many instances that see an id at once one is the first, and the id is forgotten when it is of no use.
func TestFirst(t *testing.T) {
	eachRedis(t, func(t *testing.T, client *redis.Client, _ bool) {
		var first atomic.Int64
		var all sync.WaitGroup
		for range 4 { // as many as there are connections: who waits for one does so by a timer that the library shares among bubbles
			all.Go(func() {
				yes, err := NewCounters(client).First(t.Context(), "id", 15*time.Minute)
				if err != nil {
					t.Error(err)
				}
				if yes {
					first.Add(1)
				}
			})
		}
		all.Wait()
		if first.Load() != 1 {
			t.Errorf("%d were first", first.Load())
		}
		if yes, err := NewCounters(client).First(t.Context(), "other", 15*time.Minute); !yes || err != nil {
			t.Errorf("another id: %t, %v", yes, err)
		}
		keys, err := client.Keys(t.Context(), prefix+"answer:*").Result()
		if err != nil || len(keys) != 2 {
			t.Fatalf("%q, %v", keys, err)
		}
		for _, key := range keys {
			if ttl := client.TTL(t.Context(), key).Val(); ttl < 14*time.Minute || ttl > 15*time.Minute {
				t.Errorf("%s expires in %v", key, ttl)
			}
		}
	})
}
