// Package mounted keeps what was read of a file that a platform mounts, a secret or a set of rules, and reads it again when
// it changes. It looks when it is used, so that a process that was frozen in between sees the change first. A change that
// can't be read leaves in force what was, and is told.
package mounted

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// A File is a value that is read from a file.
type File[T any] struct {
	path  string
	parse func([]byte) (T, error)
	now   func() time.Time
	log   *slog.Logger

	looked  atomic.Int64 // when, in Unix microseconds
	value   atomic.Pointer[T]
	fault   atomic.Pointer[error]
	mu      sync.Mutex // whoever looks
	content []byte
}

const (
	lookAge = 2 * time.Second // after which a use looks again, beside the request
	waitAge = 5 * time.Second // after which it waits for what it finds
)

// Open reads the file. Its error has the path and what is wrong.
func Open[T any](path string, parse func([]byte) (T, error), now func() time.Time, log *slog.Logger) (*File[T], error) {
	f := &File[T]{path: path, parse: parse, now: now, log: log}
	if err := f.read(); err != nil {
		return nil, err
	}
	f.looked.Store(now().UnixMicro())
	return f, nil
}

// Value returns what is in force.
func (f *File[T]) Value() T {
	switch age := f.now().UnixMicro() - f.looked.Load(); {
	case age >= waitAge.Microseconds():
		f.mu.Lock()
		f.look()
		f.mu.Unlock()
	case age >= lookAge.Microseconds() && f.mu.TryLock():
		go func() {
			defer f.mu.Unlock()
			f.look()
		}()
	}
	return *f.value.Load()
}

// Fault is what is wrong with the file as it is now, or nil.
func (f *File[T]) Fault() error {
	if err := f.fault.Load(); err != nil {
		return *err
	}
	return nil
}

// look reads the file unless someone just has.
func (f *File[T]) look() {
	now := f.now().UnixMicro()
	if now-f.looked.Load() < lookAge.Microseconds() {
		return
	}
	before := f.content
	err := f.read()
	f.looked.Store(now)
	if err == nil {
		f.fault.Store(nil)
		if !bytes.Equal(before, f.content) {
			f.log.Info("a file has changed and is in force", "path", f.path)
		}
		return
	}
	if known := f.Fault(); known == nil || known.Error() != err.Error() {
		f.log.Error("a file can't be read, and what it said before stays in force", "error", err)
	}
	f.fault.Store(&err)
}

func (f *File[T]) read() error {
	text, err := os.ReadFile(f.path)
	if err != nil {
		return err
	}
	if f.content != nil && bytes.Equal(text, f.content) {
		return nil
	}
	v, err := f.parse(text)
	if err != nil {
		return fmt.Errorf("%s: %w", f.path, err)
	}
	f.content = text
	f.value.Store(&v)
	return nil
}
