package mcp

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// JSON-RPC and MCP error codes.
const (
	CodeParse              = -32700
	CodeInvalidRequest     = -32600
	CodeMethodNotFound     = -32601
	CodeInvalidParams      = -32602
	CodeInternal           = -32603
	CodeHeaderMismatch     = -32020
	CodeMissingCapability  = -32021
	CodeUnsupportedVersion = -32022
	CodeResourceNotFound   = -32002 // legacy only
)

// Error is an answer in place of a result. Data is JSON or nil.
type Error struct {
	Code    int
	Message string
	Data    json.RawMessage
}

func (e *Error) Error() string { return e.Message }

func invalidParams(format string, args ...any) *Error {
	return &Error{Code: CodeInvalidParams, Message: clip(fmt.Sprintf(format, args...), maxMessage)}
}

// status is the HTTP status of an error on a modern request.
func (e *Error) status() int {
	switch e.Code {
	case CodeParse, CodeInvalidRequest, CodeInvalidParams, CodeHeaderMismatch, CodeMissingCapability, CodeUnsupportedVersion:
		return 400
	case CodeMethodNotFound:
		return 404
	}
	return 200
}

// ErrUnknown is what a [Catalog] answers for a name that the caller can't see.
var ErrUnknown = errors.New("unknown")

const (
	// maxQuoted is how many bytes of a name that a caller wrote an answer repeats, maxMessage how long a message is that may hold several:
	// an answer is not to be larger than its question.
	maxQuoted  = 120
	maxMessage = 600
)

// quote shortens caller-given text for a message.
func quote(s string) string { return fmt.Sprintf("%q", clip(s, maxQuoted)) }

// clip keeps the begin of a text, of so many bytes at most.
func clip(s string, most int) string {
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
