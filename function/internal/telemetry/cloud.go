package telemetry

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"cloud.google.com/go/logging"
	"google.golang.org/api/option"

	"example.com/erlmcp/function/internal/strictjson"
)

// An apiSink sends records to Cloud Logging's API, for where nothing reads standard output.
type apiSink struct {
	client *logging.Client
	logger *logging.Logger
	traces string
	failed atomic.Int64
}

const maxBuffered = 16 << 20

func newAPISink(ctx context.Context, o *Options, forClient []option.ClientOption, forLogger ...logging.LoggerOption) (*apiSink, error) {
	if o.Project == "" {
		return nil, fault("LOG_OUTPUT", "api needs GOOGLE_CLOUD_PROJECT")
	}
	client, err := logging.NewClient(context.WithoutCancel(ctx), "projects/"+o.Project, forClient...)
	if err != nil {
		return nil, fault("LOG_OUTPUT", "Cloud Logging's API can't be used: %w", err)
	}
	s := &apiSink{client: client, traces: "projects/" + o.Project + "/traces/"}
	client.OnError = func(error) { s.failed.Add(1) }
	forLogger = append(forLogger, logging.BufferedByteLimit(maxBuffered), logging.DelayThreshold(time.Second),
		logging.CommonLabels(map[string]string{"instance": o.Instance, "version": o.Version}))
	s.logger = client.Logger(o.Service, forLogger...)
	return s, nil
}

func (s *apiSink) put(e *entry) {
	payload := strictjson.AppendString([]byte(`{"message":`), e.message)
	payload = append(appendPayload(payload, e), '}')
	out := logging.Entry{Timestamp: e.time, Severity: cloudSeverity(e.level), Payload: json.RawMessage(payload)}
	if e.span.IsValid() {
		out.Trace, out.SpanID, out.TraceSampled = s.traces+e.span.TraceID().String(), e.span.SpanID().String(), e.span.IsSampled()
	}
	if r := e.request; r != nil {
		out.HTTPRequest = &logging.HTTPRequest{
			Request: &http.Request{Method: r.HTTPMethod, URL: &url.URL{Path: r.Path}, Proto: r.Protocol, Header: http.Header{"User-Agent": {r.UserAgent}}},
			Status:  r.Status, RequestSize: r.RequestSize, ResponseSize: r.ResponseSize, Latency: r.Duration,
		}
	}
	s.logger.Log(out)
}

func cloudSeverity(level slog.Level) logging.Severity {
	switch {
	case level >= slog.LevelError:
		return logging.Error
	case level >= slog.LevelWarn:
		return logging.Warning
	case level >= slog.LevelInfo:
		return logging.Info
	}
	return logging.Debug
}

func (s *apiSink) lost() int64 { return s.failed.Load() }

func (s *apiSink) close(ctx context.Context) error {
	done := make(chan error, 1)
	go func() { done <- s.client.Close() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(closeTimeout):
		return context.DeadlineExceeded
	}
}
