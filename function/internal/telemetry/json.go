package telemetry

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"strconv"
	"time"

	"example.com/erlmcp/function/internal/strictjson"
)

// jsonFormat renders entries in the fields that Google Cloud's logging reads from standard output
// (https://cloud.google.com/logging/docs/structured-logging), one object a line, each field always of one type, as
// Elasticsearch wants it. It is written by hand because log/slog's handler with ReplaceAttr takes some 1.7 times the CPU and nine
// allocations more for each call, and the client library six times and 200 more (BenchmarkRecord); a test holds the library's records
// against these.
func jsonFormat(o *Options, timeField string) func([]byte, *entry) []byte {
	traces := ""
	if o.Project != "" {
		traces = "projects/" + o.Project + "/traces/"
	}
	labels := strictjson.AppendString([]byte(`,"logging.googleapis.com/labels":{"instance":`), o.Instance)
	labels = strictjson.AppendString(append(labels, `,"version":`...), o.Version)
	labels = append(labels, '}')
	return func(b []byte, e *entry) []byte {
		b = append(b, `{"severity":"`...)
		b = append(b, severity(e.level)...)
		if !e.time.IsZero() { // slog's rule: who reads it then says when it came
			b = append(append(append(b, `","`...), timeField...), `":"`...)
			b = e.time.UTC().AppendFormat(b, time.RFC3339Nano)
		}
		b = append(b, `","message":`...)
		b = strictjson.AppendString(b, e.message)
		b = appendPayload(b, e)
		if e.span.IsValid() {
			id := e.span.TraceID()
			b = append(b, `,"trace":"`...)
			b = hex.AppendEncode(b, id[:])
			b = append(b, `","logging.googleapis.com/trace":"`...)
			b = hex.AppendEncode(append(b, traces...), id[:])
			span := e.span.SpanID()
			b = append(b, `","logging.googleapis.com/spanId":"`...)
			b = hex.AppendEncode(b, span[:])
			b = append(b, `","logging.googleapis.com/trace_sampled":`...)
			b = strconv.AppendBool(b, e.span.IsSampled())
		}
		if r := e.request; r != nil {
			b = r.appendHTTP(b)
		}
		return append(append(b, labels...), '}')
	}
}

// appendPayload appends what a record has beside the fields that a sink has places for, each member with a comma before it.
func appendPayload(b []byte, e *entry) []byte {
	if e.request != nil {
		b = e.request.appendMembers(b)
	}
	attrs := e.attrs
	if e.groups != nil {
		attrs = e.nested()
	}
	for _, a := range attrs {
		b = appendAttr(b, a)
	}
	return b
}

func severity(level slog.Level) string {
	switch {
	case level >= slog.LevelError:
		return "ERROR"
	case level >= slog.LevelWarn:
		return "WARNING"
	case level >= slog.LevelInfo:
		return "INFO"
	}
	return "DEBUG"
}

// reserved are the members that an attribute must not take the place of.
var reserved = map[string]bool{"severity": true, "time": true, "@timestamp": true, "message": true, "httpRequest": true, "trace": true}

func appendAttr(b []byte, a slog.Attr) []byte {
	v := a.Value.Resolve()
	if a.Key == "" && v.Kind() == slog.KindGroup {
		for _, member := range v.Group() {
			b = appendAttr(b, member)
		}
		return b
	}
	if a.Key == "" || v.Kind() == slog.KindGroup && len(v.Group()) == 0 {
		return b
	}
	key := a.Key
	if reserved[key] {
		key += "_"
	}
	b = append(strictjson.AppendString(append(b, ','), key), ':')
	return appendValue(b, v)
}

func appendValue(b []byte, v slog.Value) []byte {
	switch v.Kind() {
	case slog.KindString:
		return strictjson.AppendString(b, v.String())
	case slog.KindInt64:
		return strconv.AppendInt(b, v.Int64(), 10)
	case slog.KindUint64:
		return strconv.AppendUint(b, v.Uint64(), 10)
	case slog.KindBool:
		return strconv.AppendBool(b, v.Bool())
	case slog.KindFloat64:
		if f := v.Float64(); !math.IsInf(f, 0) && !math.IsNaN(f) {
			return strconv.AppendFloat(b, f, 'g', -1, 64)
		}
		return append(b, "null"...)
	case slog.KindDuration:
		return strictjson.AppendString(b, v.Duration().String())
	case slog.KindTime:
		return append(v.Time().UTC().AppendFormat(append(b, '"'), time.RFC3339Nano), '"')
	case slog.KindGroup:
		mark := len(b)
		for _, member := range v.Group() {
			b = appendAttr(b, member)
		}
		if len(b) == mark {
			return append(b, "{}"...)
		}
		b[mark] = '{' // in place of the comma
		return append(b, '}')
	}
	switch x := v.Any().(type) {
	case error:
		return strictjson.AppendString(b, x.Error())
	case fmt.Stringer:
		return strictjson.AppendString(b, x.String())
	default:
		text, err := json.Marshal(x)
		if err != nil {
			return strictjson.AppendString(b, fmt.Sprintf("%T", x))
		}
		return append(b, text...)
	}
}
