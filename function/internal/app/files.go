package app

import (
	"log/slog"
	"time"

	"example.com/erlmcp/function/internal/refresh"
)

// files are those that settings name and that are followed while the process runs.
type files struct {
	age    time.Duration
	logger *slog.Logger
	faults []func() error // of each, as it is now
}

// readFile returns what a file says as it is in force, and has what is wrong with it be told.
func readFile[T any](f *files, path string, parse func([]byte) (T, error)) (func() T, error) {
	file, err := refresh.OpenFile(path, parse, refresh.FileOptions{Now: time.Now, Logger: f.logger, Age: f.age})
	if err != nil {
		return nil, err
	}
	f.faults = append(f.faults, file.Fault)
	return file.Value, nil
}

// ReadFile returns what a file says as it is in force, and has what is wrong with it be told.
func ReadFile[T any](a *App, path string, parse func([]byte) (T, error)) (func() T, error) {
	return readFile(a.Options.files, path, parse)
}

// degraded lists the files that changed for the worse.
func (f *files) degraded() (out []string) {
	for _, fault := range f.faults {
		if err := fault(); err != nil {
			out = append(out, "files: what a file said before stays in force: "+err.Error())
		}
	}
	return out
}
