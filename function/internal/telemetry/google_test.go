package telemetry

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/sdk/instrumentation"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	collectormetrics "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	"google.golang.org/protobuf/proto"

	"example.com/erlmcp/function/internal/memnet"
)

// A point is one of a series, with all that is above it.
type point struct {
	scope, metric string
	value         float64
}

func flat(parts ...*metricdata.ResourceMetrics) (out []point) {
	for _, p := range parts {
		for _, s := range p.ScopeMetrics {
			for _, m := range s.Metrics {
				switch d := m.Data.(type) {
				case metricdata.Gauge[float64]:
					for _, v := range d.DataPoints {
						out = append(out, point{s.Scope.Name, m.Name, v.Value})
					}
				case metricdata.Sum[float64]:
					for _, v := range d.DataPoints {
						out = append(out, point{s.Scope.Name, m.Name, v.Value})
					}
				case metricdata.Histogram[float64]:
					for _, v := range d.DataPoints {
						out = append(out, point{s.Scope.Name, m.Name, v.Sum})
					}
				case metricdata.ExponentialHistogram[float64]:
					for _, v := range d.DataPoints {
						out = append(out, point{s.Scope.Name, m.Name, v.Sum})
					}
				case metricdata.Summary:
					for _, v := range d.DataPoints {
						out = append(out, point{s.Scope.Name, m.Name, v.Sum})
					}
				}
			}
		}
	}
	return out
}

// TestSplit cuts exports of every kind and size: no part has too many points or none, and together they are what came.
func TestSplit(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		next := 0.0
		value := func() float64 { next++; return next }
		data := &metricdata.ResourceMetrics{}
		for range random.IntN(4) {
			scope := metricdata.ScopeMetrics{Scope: instrumentation.Scope{Name: string(rune('a' + random.IntN(3)))}}
			for range random.IntN(5) {
				m := metricdata.Metrics{Name: string(rune('k' + random.IntN(9)))}
				n := random.IntN(30)
				switch random.IntN(5) {
				case 0:
					d := metricdata.Gauge[float64]{}
					for range n {
						d.DataPoints = append(d.DataPoints, metricdata.DataPoint[float64]{Value: value()})
					}
					m.Data = d
				case 1:
					d := metricdata.Sum[float64]{IsMonotonic: true, Temporality: metricdata.CumulativeTemporality}
					for range n {
						d.DataPoints = append(d.DataPoints, metricdata.DataPoint[float64]{Value: value()})
					}
					m.Data = d
				case 2:
					d := metricdata.Histogram[float64]{Temporality: metricdata.CumulativeTemporality}
					for range n {
						d.DataPoints = append(d.DataPoints, metricdata.HistogramDataPoint[float64]{Sum: value()})
					}
					m.Data = d
				case 3:
					d := metricdata.ExponentialHistogram[float64]{Temporality: metricdata.CumulativeTemporality}
					for range n {
						d.DataPoints = append(d.DataPoints, metricdata.ExponentialHistogramDataPoint[float64]{Sum: value()})
					}
					m.Data = d
				case 4:
					d := metricdata.Summary{}
					for range n {
						d.DataPoints = append(d.DataPoints, metricdata.SummaryDataPoint{Sum: value()})
					}
					m.Data = d
				}
				scope.Metrics = append(scope.Metrics, m)
			}
			data.ScopeMetrics = append(data.ScopeMetrics, scope)
		}
		most := 1 + random.IntN(20)
		want, parts := flat(data), split(data, most)
		if got := flat(parts...); !slices.Equal(got, want) {
			t.Fatalf("%v\nwant %v", got, want)
		}
		if fewest := (len(want) + most - 1) / most; len(parts) != fewest {
			t.Fatalf("%d parts of %d points, want %d", len(parts), len(want), fewest)
		}
		for _, p := range parts {
			if n := len(flat(p)); n == 0 || n > most {
				t.Fatalf("a part of %d points, where %d are let through", n, most)
			}
		}
	}
}

// TestAuthorized sends to an endpoint that wants a token: each export asks for one again, what gets none is lost and told, and no token goes
// where the endpoint leads on to.
func TestAuthorized(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var network memnet.Network
		elsewhere := network.Serve(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a redirect is followed, with the token") }))
		var taken, largest atomic.Int64
		var leads atomic.Bool
		var names sync.Map
		url := network.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			in := new(collectormetrics.ExportMetricsServiceRequest)
			switch {
			case leads.Load():
				http.Redirect(w, r, elsewhere, http.StatusTemporaryRedirect)
				return
			case r.Header.Get("Authorization") != "Bearer good":
				w.WriteHeader(http.StatusUnauthorized)
				return
			case err != nil || r.URL.Path != "/v1/metrics" || proto.Unmarshal(body, in) != nil:
				t.Errorf("%s: %v", r.URL, err)
			}
			n := int64(0)
			for _, rm := range in.ResourceMetrics {
				for _, sm := range rm.ScopeMetrics {
					for _, m := range sm.Metrics {
						names.Store(m.Name, true)
						n += int64(len(m.GetGauge().GetDataPoints()) + len(m.GetSum().GetDataPoints()) + len(m.GetHistogram().GetDataPoints()) + len(m.GetSummary().GetDataPoints()))
					}
				}
			}
			taken.Add(n)
			largest.Store(max(largest.Load(), n))
		}))
		var token atomic.Value
		token.Store("good")
		var log written
		seen := open(t, Options{
			Output: &log, Endpoint: url, Project: "p", Interval: time.Minute, Now: time.Now, Dial: network.Dial,
			Authorize: func(r *http.Request) error {
				if token.Load() == "" {
					return errors.New("the metadata server does not answer")
				}
				r.Header.Set("Authorization", "Bearer "+token.Load().(string))
				return nil
			},
		})
		seen.Register(Metric{Name: "many", Help: "Many.", Kind: Gauge, Labels: []string{"n"}, Read: func(emit func(float64, ...string)) {
			for i := range 450 {
				emit(1, strconv.Itoa(i))
			}
		}})
		for range 3 {
			seen.Record(context.Background(), &Request{Method: "tools/call", Kind: "tool", Name: "add", Outcome: "ok", Begun: time.Now()})
		}
		export := func(gets string) {
			token.Store(gets)
			time.Sleep(time.Minute)
			synctest.Wait()
		}
		export("good")
		if taken.Load() < 450 || largest.Load() > 200 || seen.Degraded() != nil {
			t.Errorf("%d points are taken, at most %d at once; degraded: %v", taken.Load(), largest.Load(), seen.Degraded())
		}
		_, theirs := names.Load(operationDuration)
		if _, ours := names.Load("mcp.server.operation.duration"); ours || !theirs {
			t.Errorf("names are not those that queries use: theirs %v, OpenTelemetry's %v", theirs, ours)
		}
		for bad, why := range map[string]string{"old": "it answers 401", "": "the metadata server does not answer"} {
			before := seen.metrics.lostExports.Load()
			export(bad)
			if seen.Degraded() == nil || seen.metrics.lostExports.Load() != before+1 || !strings.Contains(log.String(), why) {
				t.Errorf("with the token %q: %v, %d lost; the log says nothing of %q:\n%s", bad, seen.Degraded(), seen.metrics.lostExports.Load()-before, why, log.String())
			}
			export("good") // and a minute later the next may be told
		}
		leads.Store(true)
		export("good")
		leads.Store(false)
		export("good")
		if seen.Degraded() != nil {
			t.Errorf("it is taken again, and said to be %v", seen.Degraded())
		}
		if err := seen.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
