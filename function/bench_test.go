package function

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"strconv"
	"testing"
)

// nowhere is a response writer that costs nothing.
type nowhere struct {
	header http.Header
	status int
}

func (w *nowhere) Header() http.Header         { return w.header }
func (w *nowhere) WriteHeader(status int)      { w.status = status }
func (w *nowhere) Write(b []byte) (int, error) { return len(b), nil }

// BenchmarkCall measures one tools/call below net/http; what it costs over a socket, beside its peers, make bench tells.
func BenchmarkCall(b *testing.B) {
	type input struct {
		A    int    `json:"a"`
		B    int    `json:"b"`
		Note string `json:"note"`
	}
	s, err := assemble(b.Context(), WithGetenv(env("RATE_LIMIT_PER_SECOND", "250000", "RECEIPTS", os.Getenv("RECEIPTS"))), WithLogOutput(io.Discard), WithTools(
		NewTool("add", "Adds two numbers.", func(_ context.Context, in input) (string, error) {
			return "the sum is " + strconv.Itoa(in.A+in.B), nil
		})))
	if err != nil {
		b.Fatal(err)
	}
	const call = `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"add","arguments":{"a":1,"b":2,"note":"call number 7"}`
	for _, era := range []struct {
		name, body string
		header     http.Header
	}{
		{"modern", call + `,"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}`, http.Header{
			"Mcp-Protocol-Version": {"2026-07-28"}, "Mcp-Method": {"tools/call"}, "Mcp-Name": {"add"},
		}},
		{"legacy", call + `}}`, http.Header{"Mcp-Protocol-Version": {"2025-11-25"}}},
	} {
		b.Run(era.name, func(b *testing.B) {
			era.header.Set("Content-Type", "application/json")
			b.ReportAllocs()
			for b.Loop() {
				r, _ := http.NewRequest("POST", "/mcp", io.NopCloser(bytes.NewReader([]byte(era.body))))
				r.ContentLength = int64(len(era.body))
				r.Header = era.header
				w := &nowhere{header: http.Header{}}
				s.ServeHTTP(w, r)
				if w.status != 200 {
					b.Fatal(w.status)
				}
			}
		})
	}
}
