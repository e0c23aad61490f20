package streamhttp

import (
	"strconv"
	"sync"

	"example.com/erlmcp/function/internal/mcp"
)

// memory is a budget of bytes for the bodies of requests and answers that are under way. Everyone's share of it is a quarter, so that
// one caller leaves room for others, and one body at least.
type memory struct {
	most, share int64

	mu    sync.Mutex
	taken int64
	by    map[string]int64 // owner: bytes; only of those who hold any
}

const scopeMemory = "memory"

// newMemory returns a budget of so many bytes, or as many as a body of the largest size takes.
func newMemory(most, largestBody int64) *memory {
	share := max(most/4, decoded*largestBody)
	return &memory{most: max(most, share), share: share, by: map[string]int64{}}
}

// take takes so many bytes for an owner, or says as a [*mcp.BodyError] why there are none.
func (m *memory) take(owner string, n int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.by[owner]+n > m.share:
		return &mcp.BodyError{
			Reason: mcp.Concurrency, Scope: scopeMemory, Limit: strconv.FormatInt(m.share, 10) + " bytes",
			Message: "the caller's requests and answers under way take as much of this instance's memory as one caller may: wait for answers, and read them",
		}
	case m.taken+n > m.most:
		return &mcp.BodyError{
			Reason: mcp.Backpressure, Scope: scopeMemory, Limit: strconv.FormatInt(m.most, 10) + " bytes",
			Message: "requests and answers under way take as much of this instance's memory as they may",
		}
	}
	m.taken += n
	m.by[owner] += n
	return nil
}

// give gives back what was taken.
func (m *memory) give(owner string, n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.taken -= n
	if m.by[owner] -= n; m.by[owner] == 0 {
		delete(m.by, owner)
	}
}

func (m *memory) held() (taken, most int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.taken, m.most
}
