package telemetry

import (
	"net/http"
	"strconv"

	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// maxPoints is how many points of metrics Google's endpoint takes at once: https://docs.cloud.google.com/stackdriver/quotas, "Limits and quotas
// for ingestion of metrics".
const maxPoints = 200

// newClient returns a client that dials and authorizes as the options say, and what closes its idle connections.
func newClient(o *Options) (client *http.Client, closeIdle func()) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if o.Dial != nil {
		transport.DialContext, transport.Proxy = o.Dial, nil
	}
	client = &http.Client{Transport: transport, Timeout: exportTimeout}
	if o.Authorize != nil {
		client.Transport = authorized{transport, o.Authorize}
		client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse } // the token is for nobody else
	}
	return client, transport.CloseIdleConnections
}

// authorized adds credentials to requests, and turns refusals, which the exporters' own errors have as text alone, into errors with a cause.
type authorized struct {
	next http.RoundTripper
	add  func(*http.Request) error
}

// A deniedError is why Google's endpoint took nothing: there was no token, or it answered with this status.
type deniedError struct {
	status int // 0: there was no token
	err    error
}

func (e *deniedError) Error() string {
	if e.status != 0 {
		return "it answers " + strconv.Itoa(e.status)
	}
	return "there is no token: " + e.err.Error()
}

// RoundTrip implements [http.RoundTripper].
func (a authorized) RoundTrip(r *http.Request) (*http.Response, error) {
	own := r.Clone(r.Context())
	if err := a.add(own); err != nil {
		if r.Body != nil {
			r.Body.Close()
		}
		return nil, &deniedError{err: err}
	}
	resp, err := a.next.RoundTrip(own)
	if err == nil && resp.StatusCode >= 300 && resp.StatusCode < 500 && resp.StatusCode != http.StatusTooManyRequests { // others are tried again
		resp.Body.Close()
		return nil, &deniedError{status: resp.StatusCode}
	}
	return resp, err
}

// split cuts an export into parts of at most so many points. All points stay, in their order, below what they were below.
func split(data *metricdata.ResourceMetrics, most int) (parts []*metricdata.ResourceMetrics) {
	room := 0
	for _, s := range data.ScopeMetrics {
		fresh := true // the scope is not in the last part yet
		for _, m := range s.Metrics {
			for begin, count := 0, pointsIn(m.Data); begin < count; {
				if room == 0 {
					parts, room, fresh = append(parts, &metricdata.ResourceMetrics{Resource: data.Resource}), most, true
				}
				last := parts[len(parts)-1]
				if fresh {
					last.ScopeMetrics, fresh = append(last.ScopeMetrics, metricdata.ScopeMetrics{Scope: s.Scope}), false
				}
				end := min(count, begin+room)
				into := &last.ScopeMetrics[len(last.ScopeMetrics)-1]
				piece := m
				piece.Data = part(m.Data, begin, end)
				into.Metrics = append(into.Metrics, piece)
				room -= end - begin
				begin = end
			}
		}
	}
	return parts
}

// pointsIn is how many points there are of a metric, of the kinds that the bridge from Prometheus makes.
func pointsIn(of metricdata.Aggregation) int {
	switch d := of.(type) {
	case metricdata.Gauge[float64]:
		return len(d.DataPoints)
	case metricdata.Sum[float64]:
		return len(d.DataPoints)
	case metricdata.Histogram[float64]:
		return len(d.DataPoints)
	case metricdata.ExponentialHistogram[float64]:
		return len(d.DataPoints)
	case metricdata.Summary:
		return len(d.DataPoints)
	}
	return 0
}

func part(of metricdata.Aggregation, begin, end int) metricdata.Aggregation {
	switch d := of.(type) {
	case metricdata.Gauge[float64]:
		d.DataPoints = d.DataPoints[begin:end]
		return d
	case metricdata.Sum[float64]:
		d.DataPoints = d.DataPoints[begin:end]
		return d
	case metricdata.Histogram[float64]:
		d.DataPoints = d.DataPoints[begin:end]
		return d
	case metricdata.ExponentialHistogram[float64]:
		d.DataPoints = d.DataPoints[begin:end]
		return d
	case metricdata.Summary:
		d.DataPoints = d.DataPoints[begin:end]
		return d
	}
	return of
}
