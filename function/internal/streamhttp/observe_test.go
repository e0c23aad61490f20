package streamhttp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"example.com/erlmcp/function/internal/mcp"
)

type noted struct{ ended []*Exchange }

func (*noted) Begin(ctx context.Context, _ *Exchange) context.Context { return ctx }
func (*noted) Message(context.Context, *Exchange, *mcp.Message)       {}
func (n *noted) End(_ context.Context, x *Exchange)                   { n.ended = append(n.ended, x) }

// TestPanicOutsideOfTools wants one record with the stack, one answer in JSON-RPC, and nothing of the panic's text.
func TestPanicOutsideOfTools(t *testing.T) {
	for _, c := range []struct {
		name   string
		handle http.HandlerFunc
		status int
		want   string // in the body
		panic  string // in the record
	}{
		{"before an answer", func(http.ResponseWriter, *http.Request) { panic("hunter2") }, 500, `"error":{"code":-32603`, "string"},
		{"an error", func(http.ResponseWriter, *http.Request) { panic(errors.New("hunter2")) }, 500, `"error":{"code":-32603`, "*errors.errorString"},
		{"a fault of the runtime", func(_ http.ResponseWriter, r *http.Request) { r.Header["X"][r.ContentLength] = "hunter2" }, 500, "-32603", "runtime error: index out of range [0] with length 0"},
		{"after an answer", func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("half")); panic("hunter2") }, 200, "half", "string"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var log bytes.Buffer
			n := &noted{}
			h := Observe(c.handle, n, func() string { return "r-1" }, slog.New(slog.NewJSONHandler(&log, nil)))
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest("POST", "/mcp", nil))
			body, _ := io.ReadAll(w.Body)
			if w.Code != c.status || !strings.Contains(string(body), c.want) || strings.Count(string(body), "jsonrpc") > 1 {
				t.Errorf("%d %s", w.Code, body)
			}
			var record map[string]string
			if err := json.Unmarshal(log.Bytes(), &record); err != nil {
				t.Fatalf("not one record: %s", log.String())
			}
			if record["panic"] != c.panic || !strings.Contains(record["stack_trace"], "observe_test.go") || record["request_id"] != w.Header().Get("X-Request-Id") {
				t.Errorf("%v", record)
			}
			if strings.Contains(log.String()+string(body), "hunter2") {
				t.Error("the panic's text shows")
			}
			if len(n.ended) != 1 || !n.ended[0].Panicked || n.ended[0].Status != c.status {
				t.Errorf("%+v", n.ended)
			}
		})
	}
	t.Run("on purpose", func(t *testing.T) {
		n := &noted{}
		defer func() {
			if recover() != http.ErrAbortHandler || len(n.ended) != 1 {
				t.Error("net/http is not told")
			}
		}()
		Observe(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }), n, func() string { return "r-1" }, slog.New(slog.NewTextHandler(t.Output(), nil))).
			ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", "/mcp", nil))
	})
}
