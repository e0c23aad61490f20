package telemetry

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"strconv"
	"time"
	"unicode/utf8"
)

// jsonFormat renders entries in the fields that Google Cloud's logging reads from standard output
// (https://cloud.google.com/logging/docs/structured-logging), one object a line, each field always of one type, as
// Elasticsearch wants it. It is written by hand because the client library's own takes six times the CPU and 200 allocations a
// record (BenchmarkRecord); a test holds the two against each other.
func jsonFormat(o *Options, timeField string) func([]byte, *entry) []byte {
	traces := ""
	if o.Project != "" {
		traces = "projects/" + o.Project + "/traces/"
	}
	labels := appendString([]byte(`,"logging.googleapis.com/labels":{"instance":`), o.Instance)
	labels = appendString(append(labels, `,"version":`...), o.Version)
	labels = append(labels, '}')
	return func(b []byte, e *entry) []byte {
		b = append(b, `{"severity":"`...)
		b = append(b, severity(e.level)...)
		b = append(b, `","`...)
		b = append(b, timeField...)
		b = append(b, `":"`...)
		b = e.time.UTC().AppendFormat(b, time.RFC3339Nano)
		b = append(b, `","message":`...)
		b = appendString(b, e.message)
		b = appendPayload(b, e)
		if e.span.IsValid() {
			id := e.span.TraceID()
			b = append(b, `,"trace":"`...)
			b = appendHex(b, id[:])
			b = append(b, `","logging.googleapis.com/trace":"`...)
			b = appendHex(append(b, traces...), id[:])
			span := e.span.SpanID()
			b = append(b, `","logging.googleapis.com/spanId":"`...)
			b = appendHex(b, span[:])
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
	b = append(appendString(append(b, ','), key), ':')
	return appendValue(b, v)
}

func appendValue(b []byte, v slog.Value) []byte {
	switch v.Kind() {
	case slog.KindString:
		return appendString(b, v.String())
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
		return appendString(b, v.Duration().String())
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
		return appendString(b, x.Error())
	case fmt.Stringer:
		return appendString(b, x.String())
	default:
		text, err := json.Marshal(x)
		if err != nil {
			return appendString(b, fmt.Sprintf("%T", x))
		}
		return append(b, text...)
	}
}

const hexDigits = "0123456789abcdef"

func appendHex(b, raw []byte) []byte {
	for _, c := range raw {
		b = append(b, hexDigits[c>>4], hexDigits[c&15])
	}
	return b
}

// appendString appends a JSON string. What is not UTF-8 is replaced.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	plain := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c < utf8.RuneSelf && c != '"' && c != '\\' {
			i++
			continue
		}
		size := 1
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(s[i:])
			if size = n; r != utf8.RuneError || n > 1 {
				i += n
				continue
			}
		}
		b = append(b, s[plain:i]...)
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c == '\n':
			b = append(b, '\\', 'n')
		case c == '\t':
			b = append(b, '\\', 't')
		case c < ' ':
			b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		default:
			b = append(b, `\ufffd`...)
		}
		i += size
		plain = i
	}
	return append(append(b, s[plain:]...), '"')
}
