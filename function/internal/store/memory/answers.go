package memory

import (
	"maps"
	"sync"
	"time"
)

// Answers remembers which answers of people were used in this process.
type Answers struct {
	mu   sync.Mutex
	used map[string]time.Time // until when each could be used again
	full int                  // how many there may be before those that have expired are looked for
}

// NewAnswers returns none.
func NewAnswers() *Answers { return &Answers{used: map[string]time.Time{}} }

const fewAnswers = 1000

// First tells whether an id is seen for the first time, and remembers it.
func (a *Answers) First(id string, validity time.Duration) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	if until, ok := a.used[id]; ok && now.Before(until) {
		return false
	}
	if len(a.used) >= max(a.full, fewAnswers) {
		maps.DeleteFunc(a.used, func(_ string, until time.Time) bool { return !now.Before(until) })
		a.full = 2 * len(a.used)
	}
	a.used[id] = now.Add(validity)
	return true
}

// Forget makes the next time that an id is seen the first.
func (a *Answers) Forget(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.used, id)
}
