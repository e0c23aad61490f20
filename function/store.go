package function

import "example.com/erlmcp/function/internal/app"

// An InMemoryStore is what a process keeps in place of a store. Servers that share it are like instances with one store.
type InMemoryStore struct{ memory *app.Memory }

// NewInMemoryStore returns an empty one.
func NewInMemoryStore() *InMemoryStore { return &InMemoryStore{app.NewMemory()} }

// OpenInMemoryStore returns one that is kept in a file, and read from it where it is there; "" is none. What is answered for is on
// disk. Close it at the end. Its error says what to do about a file that is damaged, newer, or another process's.
func OpenInMemoryStore(file string) (*InMemoryStore, error) {
	m, err := app.OpenMemory(file)
	if err != nil {
		return nil, err
	}
	return &InMemoryStore{m}, nil
}

// Close lets go of the file.
func (s *InMemoryStore) Close() error { return s.memory.Close() }

// of is nil where there is none.
func (s *InMemoryStore) of() *app.Memory {
	if s == nil {
		return nil
	}
	return s.memory
}
