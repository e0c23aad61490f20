package telemetry

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"testing/slogtest"
	"time"
)

// TestSlogTest holds the handler to the standard library's own suite for handlers.
func TestSlogTest(t *testing.T) {
	var out *written
	var seen *Telemetry
	slogtest.Run(t, func(t *testing.T) slog.Handler {
		out = &written{}
		seen = open(t, Options{Output: out, Level: slog.LevelDebug})
		return seen.Logger().Handler()
	}, func(t *testing.T) map[string]any {
		r := records(t, seen, out)[0]
		r[slog.LevelKey], r[slog.MessageKey] = r["severity"], r["message"] // by the names of Google Cloud
		return r
	})
}

// A price is a type with JSON of its own.
type price struct{ Units int }

func (p price) MarshalJSON() ([]byte, error) { return json.Marshal(map[string]int{"units": p.Units}) }

// A late value is computed when it is logged.
type late struct{ v slog.Value }

func (l late) LogValue() slog.Value { return l.v }

// TestValuesAsSlogWritesThem compares the JSON of attributes with that of log/slog. It differs where one field would have two types, or
// where a reader would get nothing.
func TestValuesAsSlogWritesThem(t *testing.T) {
	type plain struct {
		A int
		B []string `json:"b,omitempty"`
	}
	for _, c := range []struct {
		name string
		attr slog.Attr
		want string // in place of what slog writes
	}{
		{"text", slog.String("a", "é \" \\ \n \x01 \u2028 <&>"), ""},
		{"text that is no UTF-8", slog.String("a", "\xff"), ""},
		{"no text", slog.String("a", ""), ""},
		{"the least number", slog.Int64("a", math.MinInt64), ""},
		{"the greatest", slog.Uint64("a", math.MaxUint64), ""},
		{"yes", slog.Bool("a", true), ""},
		{"no", slog.Bool("a", false), ""},
		{"a fraction", slog.Float64("a", 0.1), ""},
		{"a small one", slog.Float64("a", 5e-324), ""},
		{"a large one", slog.Float64("a", 1e21), ""},
		{"minus zero", slog.Float64("a", math.Copysign(0, -1)), ""},
		{"a time", slog.Time("a", noon), ""},
		{"nothing", slog.Any("a", nil), ""},
		{"an error", slog.Any("a", errors.New("no")), ""},
		{"a list", slog.Any("a", []any{1, "x", nil}), ""},
		{"a map", slog.Any("a", map[string]int{"z": 1, "a": 2}), ""},
		{"a struct", slog.Any("a", plain{A: 1, B: []string{"x"}}), ""},
		{"JSON of its own", slog.Any("a", price{3}), ""},
		{"raw JSON", slog.Any("a", json.RawMessage(`{"x": [1]}`)), ""},
		{"a late value", slog.Any("a", late{slog.IntValue(7)}), ""},
		{"a late group", slog.Any("a", late{slog.GroupValue(slog.Int("b", 1))}), ""},
		{"a group", slog.Group("a", slog.Int("b", 1), slog.Group("c", slog.String("d", "e"))), ""},
		{"an empty group in one", slog.Group("a", slog.Group("b"), slog.Int("c", 1)), ""},
		{"an inline group", slog.Group("", slog.Int("b", 1)), ""},
		{"an address", slog.Any("a", netip.MustParseAddr("192.0.2.1")), ""},
		{"a duration has its unit", slog.Duration("a", 1500*time.Millisecond), `{"a":"1.5s"}`},
		{"not a number", slog.Float64("a", math.NaN()), `{"a":null}`},
		{"infinity", slog.Float64("a", math.Inf(1)), `{"a":null}`},
		{"what has no JSON is its type", slog.Any("a", make(chan int)), `{"a":"chan int"}`},
		{"a name that a record has", slog.Int("severity", 1), `{"severity_":1}`},
	} {
		var theirs bytes.Buffer
		slog.New(slog.NewJSONHandler(&theirs, &slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey || a.Key == slog.MessageKey) {
				return slog.Attr{}
			}
			return a
		}})).LogAttrs(t.Context(), slog.LevelInfo, "m", c.attr)
		if c.want != "" {
			theirs.Reset()
			theirs.WriteString(c.want)
		}
		mine := "{" + strings.TrimPrefix(string(appendAttr(nil, c.attr)), ",") + "}"
		var got, want any
		if err := json.Unmarshal([]byte(mine), &got); err != nil {
			t.Errorf("%s: %v: %s", c.name, err, mine)
			continue
		}
		if err := json.Unmarshal(theirs.Bytes(), &want); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %s, slog writes %s", c.name, mine, theirs.String())
		}
	}
}

// TestLevels are named as Google Cloud names them, with those between two of slog's too.
func TestLevels(t *testing.T) {
	for level, want := range map[slog.Level]string{
		-8: "DEBUG", slog.LevelDebug: "DEBUG", slog.LevelInfo - 1: "DEBUG", slog.LevelInfo: "INFO", slog.LevelInfo + 2: "INFO", slog.LevelWarn: "WARNING", slog.LevelError: "ERROR", 12: "ERROR",
	} {
		if got := severity(level); got != want || strings.ToUpper(cloudSeverity(level).String()) != want {
			t.Errorf("%v is %s here, and %s for the API, want %s", level, got, cloudSeverity(level), want)
		}
	}
	for name, level := range levels {
		if got, ok := ParseLevel(name); !ok || got != level || levelName(level) != name {
			t.Errorf("%s: %v, %s", name, got, levelName(level))
		}
	}
	if _, ok := ParseLevel("WARN"); ok || levelName(slog.LevelInfo+1) != "INFO+1" {
		t.Errorf("a level that there is not, and %s", levelName(slog.LevelInfo+1))
	}
}

// TestLoggerOfSomeoneElse has each member of a record go to a logger that is given, and only what that takes.
func TestLoggerOfSomeoneElse(t *testing.T) {
	var theirs, ours written
	seen := open(t, Options{Logger: slog.New(slog.NewJSONHandler(&theirs, nil)), Output: &ours})
	seen.Record(t.Context(), &success)
	seen.Record(t.Context(), &refused)
	seen.Record(t.Context(), &probe)
	var got []map[string]any
	for line := range strings.Lines(theirs.String()) {
		var r map[string]any
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		delete(r, "time")
		got = append(got, r)
	}
	own := open(t, Options{Output: &ours, Level: slog.LevelInfo})
	own.Record(t.Context(), &success)
	own.Record(t.Context(), &refused)
	want := records(t, own, &ours)
	if len(got) != 2 || len(want) != 2 {
		t.Fatalf("%d records of two that are not a probe's, and %d", len(got), len(want))
	}
	for i, level := range []string{"INFO", "WARN"} {
		if got[i]["level"] != level || got[i]["msg"] != want[i]["message"] {
			t.Errorf("%v", got[i])
		}
		delete(got[i], "level")
		delete(got[i], "msg")
		for name, v := range got[i] { // what is left is what our own record has
			if !reflect.DeepEqual(want[i][name], v) {
				t.Errorf("%s is %v, and in a record of ours %v", name, v, want[i][name])
			}
		}
		if len(got[i]) < 10 {
			t.Errorf("%v", got[i])
		}
	}
}

// A full disk takes the first so many bytes.
type full struct {
	room int
	got  strings.Builder
}

func (f *full) Write(p []byte) (int, error) {
	n := min(len(p), f.room)
	f.got.Write(p[:n])
	if f.room -= n; n < len(p) {
		return n, errors.New("no space left on device")
	}
	return n, nil
}

// TestFullDisk wants the lines that were not written, and those alone, counted.
func TestFullDisk(t *testing.T) {
	disk := &full{room: 65}
	q := newQueue(disk)
	for range 10 {
		q.add([]byte("a line of 20 bytes.\n"))
	}
	if err := q.close(t.Context()); err != nil {
		t.Error(err)
	}
	q.add([]byte("after the end\n"))
	if got := q.lost.Load(); got != 7+1 || strings.Count(disk.got.String(), "\n") != 3 {
		t.Errorf("%d lines are lost, and there is %q", got, disk.got.String())
	}
}
