package telemetry

import (
	"cmp"
	"context"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"
)

// A log writes records to each of its sinks.
type log struct {
	level    slog.LevelVar
	sinks    []sink
	file     *file
	instance string
	now      func() time.Time
	reported atomic.Int64 // losses that a record has told of
}

// An entry is one record on its way to the sinks.
type entry struct {
	time    time.Time
	level   slog.Level
	message string
	span    trace.SpanContext
	request *Request // nil for what is not about one
	attrs   []slog.Attr
	groups  []group // of attributes that a logger brings
}

// A sink takes records, and never lets anyone wait.
type sink interface {
	put(*entry)
	lost() int64
	close(context.Context) error
}

func newLog(ctx context.Context, o *Options) (*log, error) {
	l := &log{instance: o.Instance, now: o.Now}
	level, err := l.readLevel(o)
	if err != nil {
		return l, err
	}
	l.level.Set(level)
	switch {
	case o.LogAPI:
		s, err := newAPISink(ctx, o, nil)
		if err != nil {
			return l, err
		}
		l.sinks = append(l.sinks, s)
	case terminal(o.Output):
		l.sinks = append(l.sinks, &stream{queue: newQueue(o.Output), format: appendLine})
	default:
		l.sinks = append(l.sinks, &stream{queue: newQueue(o.Output), format: jsonFormat(o, "time")})
	}
	if o.File != "" {
		f, err := openFile(o)
		if err != nil {
			return l, err
		}
		l.file = f
		l.sinks = append(l.sinks, &stream{queue: newQueue(f), format: jsonFormat(o, "@timestamp"), file: f})
	}
	return l, nil
}

func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// levels by their names in LOG_LEVEL.
var levels = map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warning": slog.LevelWarn, "error": slog.LevelError}

// ParseLevel reads the name of a level.
func ParseLevel(name string) (slog.Level, bool) {
	l, ok := levels[name]
	return l, ok
}

func levelName(level slog.Level) string {
	for name, l := range levels {
		if l == level {
			return name
		}
	}
	return level.String()
}

func (l *log) readLevel(o *Options) (slog.Level, error) {
	if o.LevelFile == "" {
		return o.Level, nil
	}
	text, err := os.ReadFile(o.LevelFile)
	if err != nil {
		return 0, fault("LOG_LEVEL_FILE", "%w", err)
	}
	level, ok := ParseLevel(strings.ToLower(strings.TrimSpace(string(text))))
	if !ok {
		return 0, fault("LOG_LEVEL_FILE", "%s does not have one of debug, info, warning, error", o.LevelFile)
	}
	return level, nil
}

func (l *log) reopen() {
	if l.file != nil {
		l.file.reopen()
	}
}

func (l *log) put(e *entry) {
	for _, s := range l.sinks {
		s.put(e)
	}
	l.tellLosses()
}

// tellLosses says once in a while that records were lost, when there is room again.
func (l *log) tellLosses() {
	lost, told := l.lost(), l.reported.Load()
	if lost < told+max(1, told/10) || !l.reported.CompareAndSwap(told, lost) {
		return
	}
	for _, s := range l.sinks {
		s.put(&entry{time: l.now(), level: slog.LevelWarn, message: "records of the log were lost: what it is written to does not keep up",
			attrs: []slog.Attr{slog.Int64("lost", lost)}})
	}
}

func (l *log) lost() (n int64) {
	for _, s := range l.sinks {
		n += s.lost()
	}
	return n
}

func (l *log) close(ctx context.Context) error {
	var fault error
	for _, s := range l.sinks {
		fault = cmp.Or(fault, s.close(ctx))
	}
	return fault
}

// A stream is a sink of lines.
type stream struct {
	queue  *queue
	format func([]byte, *entry) []byte
	file   *file
}

func (s *stream) put(e *entry) {
	p := lines.Get().(*[]byte)
	*p = append(s.format((*p)[:0], e), '\n')
	s.queue.add(*p)
	if cap(*p) <= 16<<10 {
		lines.Put(p)
	}
}

func (s *stream) lost() int64 { return s.queue.lost.Load() }

func (s *stream) close(ctx context.Context) error {
	err := s.queue.close(ctx)
	if err == nil && s.file != nil {
		err = s.file.Close()
	}
	return err
}
