package telemetry

import (
	"cmp"
	"os"
	"path/filepath"
	"sync"

	"github.com/DeRuina/timberjack"
)

// A file is LOG_FILE, which is moved aside when it has grown.
type file struct {
	path      string
	megabytes int

	mu  sync.Mutex
	out *timberjack.Logger
}

// Rotation of LOG_FILE.
const (
	fileMegabytes = 10
	filesKept     = 7
)

func openFile(o *Options) (*file, error) {
	// timberjack opens at the first write: a file that can't be written must stop the start.
	if err := os.MkdirAll(filepath.Dir(o.File), 0o750); err != nil {
		return nil, fault("LOG_FILE", "%w", err)
	}
	f, err := os.OpenFile(o.File, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return nil, fault("LOG_FILE", "%w", err)
	}
	f.Close()
	opened := &file{path: o.File, megabytes: cmp.Or(o.FileMegabytes, fileMegabytes)}
	opened.begin()
	return opened, nil
}

func (f *file) begin() {
	f.out = &timberjack.Logger{Filename: f.path, MaxSize: f.megabytes, MaxBackups: filesKept}
}

// Write implements [io.Writer].
func (f *file) Write(b []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.out.Write(b)
}

// reopen lets the next write open the file by its name. What was closed still writes and never moves the file aside again: so
// another takes its place.
func (f *file) reopen() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.out.Close()
	f.begin()
}

// Close implements [io.Closer].
func (f *file) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.out.Close()
}
