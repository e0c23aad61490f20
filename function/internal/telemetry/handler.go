package telemetry

import (
	"context"
	"log/slog"
	"slices"
	"sync"

	"go.opentelemetry.io/otel/trace"
)

var lines = sync.Pool{New: func() any { b := make([]byte, 0, 1024); return &b }}

// A handler lets rooms log by log/slog.
type handler struct {
	log    *log
	groups []group
}

// A group is what a logger brings: attributes under the names of groups.
type group struct {
	name  string // "" for those of the record itself
	attrs []slog.Attr
}

func (h *handler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.log.level.Level()
}

func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	e := entry{time: r.Time, level: r.Level, message: r.Message, span: trace.SpanContextFromContext(ctx), groups: h.groups}
	r.Attrs(func(a slog.Attr) bool {
		e.attrs = append(e.attrs, a)
		return true
	})
	h.log.put(&e)
	return nil
}

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	groups := slices.Clone(h.groups)
	if len(groups) == 0 {
		groups = []group{{}}
	}
	last := &groups[len(groups)-1]
	last.attrs = append(slices.Clip(last.attrs), attrs...)
	return &handler{h.log, groups}
}

func (h *handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	return &handler{h.log, append(slices.Clip(h.groups), group{name: name})}
}

// nested returns the attributes of an entry with their groups around them.
func (e *entry) nested() []slog.Attr {
	attrs := e.attrs
	for _, g := range slices.Backward(e.groups) {
		attrs = append(slices.Clip(g.attrs), attrs...)
		if g.name != "" {
			attrs = []slog.Attr{{Key: g.name, Value: slog.GroupValue(attrs...)}}
		}
	}
	return attrs
}
