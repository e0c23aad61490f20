package streamhttp

import (
	"context"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	"example.com/erlmcp/function/internal/mcp"
)

// An Exchange is one HTTP request and its answer, for who observes. Status and Size are those of the answer so far.
type Exchange struct {
	http.ResponseWriter
	Request   *http.Request
	RequestID string
	Begun     time.Time
	Status    int
	Size      int64 // bytes of the answer's body
	Messages  int   // that were told of
	Panicked  bool

	observer Observer
}

// An Observer is told of every request, from the goroutine that serves it.
type Observer interface {
	// Begin returns a context for the request, in which a span may be.
	Begin(context.Context, *Exchange) context.Context
	// Message tells what became of one JSON-RPC message of the request.
	Message(context.Context, *Exchange, *mcp.Message)
	// End tells that the request is over.
	End(context.Context, *Exchange)
}

// Observe gives each request an id, tells the observer of it, and turns a panic, a defect of ours, into one answer and one
// record.
func Observe(next http.Handler, o Observer, newID func() string, log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := &Exchange{ResponseWriter: w, Request: r, RequestID: newID(), Begun: time.Now(), observer: o}
		w.Header()["X-Request-Id"] = []string{x.RequestID}
		ctx := o.Begin(r.Context(), x)
		if ctx != r.Context() {
			x.Request = r.WithContext(ctx)
		}
		defer func() {
			defer o.End(ctx, x)
			x.recover(ctx, recover(), log)
		}()
		next.ServeHTTP(x, x.Request)
	})
}

func (x *Exchange) recover(ctx context.Context, v any, log *slog.Logger) {
	if v == nil {
		return
	}
	if v == http.ErrAbortHandler {
		panic(v)
	}
	x.Panicked = true
	log.ErrorContext(ctx, "panic in the server", "request_id", x.RequestID, "panic", mcp.PanicText(v), "stack_trace", string(debug.Stack()))
	if x.Status == 0 {
		write(x, http.StatusInternalServerError, mcp.AppendError(nil, nil, &mcp.Error{
			Code: mcp.CodeInternal, Message: "internal error; the operator finds it in the log under request " + x.RequestID,
		}))
	}
}

// WriteHeader implements [http.ResponseWriter].
func (x *Exchange) WriteHeader(status int) {
	if x.Status == 0 && status >= 200 {
		x.Status = status
	}
	x.ResponseWriter.WriteHeader(status)
}

func (x *Exchange) Write(b []byte) (int, error) {
	if x.Status == 0 {
		x.Status = http.StatusOK
	}
	n, err := x.ResponseWriter.Write(b)
	x.Size += int64(n)
	return n, err
}

// Unwrap is for [http.ResponseController].
func (x *Exchange) Unwrap() http.ResponseWriter { return x.ResponseWriter }
