// Package telemetry is what an operator sees of the server from outside. So far that is the log: lines for a person on a
// terminal, and elsewhere JSON in the fields that Google Cloud's logging reads.
package telemetry

import (
	"io"
	"log/slog"
	"os"
)

// NewLogger returns a logger to w.
func NewLogger(w io.Writer, level slog.Leveler) *slog.Logger {
	if f, ok := w.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
			return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}))
		}
	}
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: cloudFields}))
}

// cloudFields renames what Google Cloud reads under other names:
// https://cloud.google.com/logging/docs/structured-logging.
func cloudFields(groups []string, a slog.Attr) slog.Attr {
	if len(groups) > 0 {
		return a
	}
	switch a.Key {
	case slog.MessageKey:
		a.Key = "message"
	case slog.LevelKey:
		a.Key = "severity"
		if level, ok := a.Value.Any().(slog.Level); ok && level == slog.LevelWarn {
			a.Value = slog.StringValue("WARNING")
		}
	}
	return a
}
