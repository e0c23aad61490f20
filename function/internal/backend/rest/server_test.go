package rest

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"example.com/erlmcp/function/internal/mcp"
)

// A recorder is an API that keeps the requests that it gets.
type recorder struct {
	*httptest.Server
	mu       sync.Mutex
	requests []*recorded
}

type recorded struct {
	*http.Request
	body string
}

// record serves an API, with an answer of {} where no handler gives another one.
func record(t testing.TB, answer http.HandlerFunc) *recorder {
	t.Helper()
	r := &recorder{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			t.Error(err)
		}
		r.mu.Lock()
		r.requests = append(r.requests, &recorded{req, string(body)})
		r.mu.Unlock()
		if answer != nil {
			answer(w, req)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, "{}")
	}))
	t.Cleanup(r.Close)
	return r
}

// last returns the request that came last, or nil.
func (r *recorder) last() *recorded {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.requests) == 0 {
		return nil
	}
	return r.requests[len(r.requests)-1]
}

func (r *recorder) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.requests)
}

// api is a client's side of it.
func (r *recorder) api() *API { return &API{Name: "billing", Client: r.Client()} }

// always returns a value for what is fixed.
func always(v any) func(context.Context) (any, error) {
	return func(context.Context) (any, error) { return v, nil }
}

// secret returns a secret.
func secret(text string) Secret {
	return func(context.Context) (string, error) { return text, nil }
}

// call makes a tool of a request and calls it.
func call(t testing.TB, a *API, r *Request, answer Answer, args map[string]any) (*mcp.Result, error) {
	t.Helper()
	tool, err := a.Tool(r, answer)
	if err != nil {
		t.Fatal(err)
	}
	return tool(t.Context(), &mcp.Call{Arguments: args})
}
