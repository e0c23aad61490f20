package streamhttp

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"example.com/erlmcp/function/internal/mcp"
)

// TestMemory takes and gives at random, beside a plain sum.
func TestMemory(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 0))
		most, largest := 1+r.Int64N(1<<20), 1+r.Int64N(1<<12)
		m := newMemory(most, largest)
		held, total := map[string][]int64{}, int64(0)
		sum := func(owner string) (n int64) {
			for _, h := range held[owner] {
				n += h
			}
			return n
		}
		for range 500 {
			owner := fmt.Sprint(r.IntN(6))
			if own := held[owner]; len(own) > 0 && r.IntN(2) == 0 {
				m.give(owner, own[0])
				total -= own[0]
				held[owner] = own[1:]
				continue
			}
			n := 1 + r.Int64N(decoded*largest)
			err := m.take(owner, n)
			var refused *mcp.BodyError
			switch {
			case err == nil:
				held[owner] = append(held[owner], n)
				total += n
				if total > m.most || sum(owner) > m.share {
					t.Fatalf("seed %d: %d of %d are taken, %d of %d by %s", seed, total, m.most, sum(owner), m.share, owner)
				}
			case !errors.As(err, &refused):
				t.Fatal(err)
			case refused.Reason == mcp.Concurrency && sum(owner)+n <= m.share, refused.Reason == mcp.Backpressure && total+n <= m.most:
				t.Fatalf("seed %d: %v, while %d of %d are taken, %d of %d by %s", seed, err, total, m.most, sum(owner), m.share, owner)
			}
			if total == 0 && err != nil {
				t.Fatalf("seed %d: an unused budget refuses a body of the largest size: %v", seed, err)
			}
		}
		for owner, own := range held {
			for _, n := range own {
				m.give(owner, n)
			}
		}
		if taken, _ := m.held(); taken != 0 || len(m.by) != 0 {
			t.Fatalf("seed %d: after all was given back %d are taken, by %v", seed, taken, m.by)
		}
	}
}
