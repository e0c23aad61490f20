package function

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
)

// TestInstancesThatAreGone are forgotten, and so is what can't be read. Where it can't be taken down, the list is as good.
func TestInstancesThatAreGone(t *testing.T) {
	redis := miniredis.RunT(t)
	file, _ := keyFile(t)
	s, _ := packed(t, NewMemory(), "REDIS_URL", "redis://"+redis.Addr(), "API_KEYS_FILE", file)
	const board = "{erlmcp}:fleet"
	put := func(name string, ago time.Duration) {
		redis.HSet(board, name, fmt.Sprintf(`{"name":%q,"seen":%q}`, name, time.Now().Add(-ago).Format(time.RFC3339)))
	}
	put("lives", time.Minute)
	put("killed", time.Hour)
	redis.HSet(board, "odd", "{")
	var refuses atomic.Bool
	redis.Server().SetPreHook(func(c *server.Peer, cmd string, _ ...string) bool {
		if refuses.Load() && strings.EqualFold(cmd, "HDEL") {
			c.WriteError("READONLY You can't write against a read only replica.")
			return true
		}
		return false
	})
	o := &Operator{parts: s.parts}
	for _, c := range []struct {
		what    string
		refuses bool
		want    string
		left    bool // of what is old, on the board
	}{
		{"can't be taken down", true, "lives odd", true},
		{"is taken down", false, "lives odd", false},
		{"is gone", false, "lives", false},
	} {
		refuses.Store(c.refuses)
		all, err := o.Instances(t.Context())
		var names []string
		for _, i := range all {
			if i.Name != s.instance {
				names = append(names, i.Name)
			}
		}
		if got := strings.Join(names, " "); err != nil || got != c.want {
			t.Errorf("%s: %q %v, want %q", c.what, got, err, c.want)
		}
		for _, name := range []string{"killed", "odd"} {
			if left := redis.HGet(board, name) != ""; left != c.left {
				t.Errorf("%s: %s is on the board: %t", c.what, name, left)
			}
		}
	}
}
