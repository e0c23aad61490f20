package mcp

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strconv"
	"sync"

	"example.com/erlmcp/function/internal/strictjson"
)

// Answers are appended to a pooled buffer: one copy from a handler's result to the wire.
var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 4<<10); return &b }}

const largestPooled = 256 << 10

func getBuffer() *[]byte { return buffers.Get().(*[]byte) }

func putBuffer(p *[]byte) {
	if cap(*p) <= largestPooled {
		*p = (*p)[:0]
		buffers.Put(p)
	}
}

// appendEnvelope opens a response; the caller appends `"result":…}` or `"error":…}`. An unknown id is left out, as the
// schema demands of MCP errors.
func appendEnvelope(b, id []byte) []byte {
	b = append(b, `{"jsonrpc":"2.0",`...)
	if len(id) > 0 {
		b = append(b, `"id":`...)
		b = append(b, id...)
		b = append(b, ',')
	}
	return b
}

// AppendError appends a whole error response.
func AppendError(b, id []byte, e *Error) []byte {
	b = appendEnvelope(b, id)
	b = append(b, `"error":{"code":`...)
	b = strconv.AppendInt(b, int64(e.Code), 10)
	b = append(b, `,"message":`...)
	b = strictjson.AppendString(b, e.Message)
	if e.Data != nil {
		b = append(b, `,"data":`...)
		b = append(b, e.Data...)
	}
	return append(b, "}}"...)
}

// appendMember appends `"name":"value",` where value is not empty.
func appendMember(b []byte, name, value string) []byte {
	if value == "" {
		return b
	}
	b = append(b, '"')
	b = append(b, name...)
	b = append(b, `":`...)
	b = strictjson.AppendString(b, value)
	return append(b, ',')
}

func appendBase64(b, data []byte) []byte {
	b = append(b, '"')
	b = base64.StdEncoding.AppendEncode(b, data)
	return append(b, '"')
}

// closeObject turns the comma after the last member into the closing brace.
func closeObject(b []byte) []byte {
	if b[len(b)-1] == ',' {
		b[len(b)-1] = '}'
		return b
	}
	return append(b, '}')
}

func appendInt(b []byte, n int64) []byte { return strconv.AppendInt(b, n, 10) }

// appendLine appends JSON without what stands around its tokens: an event stream has lines.
func appendLine(b, text []byte) []byte {
	if text[0] > ' ' && bytes.IndexByte(text, '\n') < 0 && bytes.IndexByte(text, '\r') < 0 {
		return append(b, text...)
	}
	compact := bytes.NewBuffer(b)
	if err := json.Compact(compact, text); err != nil {
		return append(b, "null"...) // it was found to be JSON
	}
	return compact.Bytes()
}
