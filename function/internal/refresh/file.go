package refresh

import (
	"bytes"
	"cmp"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// A File is a value that is read from a file that a platform mounts, a secret or a set of rules, and read again when it changes. It looks
// when it is used, so that a process that was frozen in between sees the change first. A change that can't be read leaves in force what was,
// and is told.
type File[T any] struct {
	path  string
	parse func([]byte) (T, error)
	opts  FileOptions

	looked  atomic.Int64 // when, in Unix microseconds
	value   atomic.Pointer[T]
	fault   atomic.Pointer[error]
	content []byte // that was read last, and what was wrong with it: touched by whoever looks alone
	failed  error

	mu      sync.Mutex
	looking chan struct{} // closed when the look that runs is over
}

// FileOptions say how a file is looked at.
type FileOptions struct {
	Now    func() time.Time
	Logger *slog.Logger
	// Age is after how long a use looks again, beside the request: default 2 s. Where each look costs, as where a platform asks a
	// service for what it mounts, it is longer.
	Age time.Duration
	// Changed tells whether something else that the value was made of has changed since, such as a file that this one names. It is made again
	// then.
	Changed func() bool
	// Gone is told once that the file can't be read any more. When it can be again, it is made anew whatever it says.
	Gone func(error)
}

const (
	lookAge     = 2 * time.Second // default of Age
	lookTimeout = time.Second     // how long a use waits, once what is known is older than waitAge: a mount may hang
)

// OpenFile reads the file. Its error has the path and what is wrong.
func OpenFile[T any](path string, parse func([]byte) (T, error), o FileOptions) (*File[T], error) {
	o.Age = cmp.Or(o.Age, lookAge)
	f := &File[T]{path: path, parse: parse, opts: o}
	if err := f.read(); err != nil {
		return nil, err
	}
	f.looked.Store(o.Now().UnixMicro())
	return f, nil
}

// none is no look that was.
const none = -1

// waitAge is after how long a use waits for what it finds.
func (f *File[T]) waitAge() time.Duration { return f.opts.Age * 5 / 2 }

// Value returns what is in force.
func (f *File[T]) Value() T {
	looked := f.looked.Load()
	if age := f.age(looked); age >= f.opts.Age {
		done := f.start(looked)
		if age >= f.waitAge() {
			timer := time.NewTimer(lookTimeout)
			select {
			case <-done:
			case <-timer.C:
				f.looked.Store(f.opts.Now().UnixMicro()) // the next need not wait for it as well
			}
			timer.Stop()
		}
	}
	return *f.value.Load()
}

// age is how long ago a look was.
func (f *File[T]) age(looked int64) time.Duration {
	return time.Duration(f.opts.Now().UnixMicro()-looked) * time.Microsecond
}

// start looks beside the caller, unless someone does, or has since the look that the caller knows of. A caller that knows of none wants one anyway.
func (f *File[T]) start(known int64) (done <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.looking == nil && known != none && f.looked.Load() != known {
		over := make(chan struct{})
		close(over)
		return over
	}
	if f.looking == nil {
		over := make(chan struct{})
		f.looking = over
		go func() {
			f.look()
			f.mu.Lock()
			f.looking = nil
			f.mu.Unlock()
			close(over)
		}()
	}
	return f.looking
}

// Fault is what is wrong with the file as it is now, or nil: who asks may have just changed it. Where a look costs, it is what was found
// within [FileOptions.Age].
func (f *File[T]) Fault() error {
	looked := int64(none)
	if f.opts.Age > lookAge {
		if looked = f.looked.Load(); f.age(looked) < f.opts.Age {
			return f.known()
		}
	}
	timer := time.NewTimer(lookTimeout)
	defer timer.Stop()
	select {
	case <-f.start(looked):
	case <-timer.C:
	}
	return f.known()
}

// known is the fault that was found last.
func (f *File[T]) known() error {
	if err := f.fault.Load(); err != nil {
		return *err
	}
	return nil
}

func (f *File[T]) look() {
	before := f.value.Load()
	err := f.read()
	f.looked.Store(f.opts.Now().UnixMicro())
	if err == nil {
		f.fault.Store(nil)
		if before != f.value.Load() {
			f.opts.Logger.Info("a file has changed and is in force", "path", f.path)
		}
		return
	}
	if known := f.known(); known == nil || known.Error() != err.Error() {
		f.opts.Logger.Error("a file can't be read, and what it said before stays in force", "error", err)
	}
	f.fault.Store(&err)
}

func (f *File[T]) read() error {
	text, err := os.ReadFile(f.path)
	if err != nil {
		if f.content != nil && f.opts.Gone != nil {
			f.content = nil
			f.opts.Gone(err)
		}
		return err
	}
	if f.content != nil && bytes.Equal(text, f.content) && (f.opts.Changed == nil || !f.opts.Changed()) {
		return f.failed
	}
	v, err := f.parse(text)
	if f.content, f.failed = text, nil; err != nil {
		f.failed = fmt.Errorf("%s: %w", f.path, err)
		return f.failed
	}
	f.value.Store(&v)
	return nil
}
