package config

import (
	"log/slog"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Seen are the settings of what is seen from outside.
type Seen struct {
	LogLevel     slog.Level    // LOG_LEVEL
	LevelFile    string        // LOG_LEVEL_FILE
	LogOutput    string        // LOG_OUTPUT: stdout, stderr or api
	LogFile      string        // LOG_FILE
	LogSample    float64       // LOG_SAMPLE
	Endpoint     string        // OTEL_EXPORTER_OTLP_ENDPOINT, or that of DATADOG_AGENT_HOST; "" for none
	Google       bool          // whether that is Google's own, which demands the account's token, the project and a location
	Headers      Secret        // OTEL_EXPORTER_OTLP_HEADERS
	Sampler      string        // OTEL_TRACES_SAMPLER
	SamplerRatio float64       // OTEL_TRACES_SAMPLER_ARG
	Interval     time.Duration // OTEL_METRIC_EXPORT_INTERVAL
}

func (r *reader) seen(cfg *Config) {
	c := &cfg.Seen
	c.LogLevel = r.level("LOG_LEVEL", slog.LevelInfo)
	c.LevelFile = r.text("LOG_LEVEL_FILE", "")
	c.LogOutput = r.choice("LOG_OUTPUT", "stdout", "stdout", "stderr", "api")
	if c.LogOutput == "api" && cfg.Project == "" {
		r.fault("LOG_OUTPUT", "is api, and GOOGLE_CLOUD_PROJECT does not say whose log that is")
	}
	c.LogFile = r.text("LOG_FILE", "")
	c.LogSample = r.number("LOG_SAMPLE", 1, 0.001, 1)
	if r.disabled("OTEL_SDK_DISABLED") {
		return // nor does it matter what else is set for it
	}
	c.Endpoint = r.getenv("OTEL_EXPORTER_OTLP_ENDPOINT")
	if host := r.getenv("DATADOG_AGENT_HOST"); c.Endpoint == "" && host != "" {
		c.Endpoint = "http://" + net.JoinHostPort(host, "4318")
	}
	attributes := r.getenv("OTEL_RESOURCE_ATTRIBUTES")
	if u, err := url.Parse(c.Endpoint); c.Endpoint != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil) {
		r.fault("OTEL_EXPORTER_OTLP_ENDPOINT", "is not a URL such as http://localhost:4318") // it may hold a password
		c.Endpoint = ""
	} else if googleHost.MatchString(u.Hostname()) {
		c.Google = true
		r.googleEndpoint(cfg, u, attributes)
	}
	c.Headers = Secret(r.getenv("OTEL_EXPORTER_OTLP_HEADERS"))
	for pair := range strings.SplitSeq(string(c.Headers), ",") {
		if name, _, ok := strings.Cut(pair, "="); c.Headers != "" && (!ok || strings.TrimSpace(name) == "") {
			r.fault("OTEL_EXPORTER_OTLP_HEADERS", "is not a list such as api-key=abc,team=ops")
		}
	}
	if p := r.getenv("OTEL_EXPORTER_OTLP_PROTOCOL"); p != "" && p != "http/protobuf" {
		r.fault("OTEL_EXPORTER_OTLP_PROTOCOL", "%q is not spoken here: it is http/protobuf, mostly at port 4318", p)
	}
	c.Sampler = r.choice("OTEL_TRACES_SAMPLER", "parentbased_traceidratio", "always_on", "always_off", "traceidratio",
		"parentbased_always_on", "parentbased_always_off", "parentbased_traceidratio")
	c.SamplerRatio = r.number("OTEL_TRACES_SAMPLER_ARG", 0.02, 0, 1)
	c.Interval = time.Duration(r.integer("OTEL_METRIC_EXPORT_INTERVAL", 60000, 100, 3600_000)) * time.Millisecond
	if c.Google && c.Interval < googleInterval {
		r.fault("OTEL_METRIC_EXPORT_INTERVAL", "is less than the 5000 ms that Google wants between two values of a metric")
	}
}

// googleHost is the host of Google's endpoint for OTLP, of the whole world or of a region: https://docs.cloud.google.com/stackdriver/docs/reference/telemetry/overview.
var googleHost = regexp.MustCompile(`^telemetry(\.[a-z0-9-]+\.rep)?\.googleapis\.com$`)

// googleInterval is the least time between two points of a series: https://docs.cloud.google.com/monitoring/quotas.
const googleInterval = 5 * time.Second

// googleEndpoint holds what Google's endpoint would refuse, of every export.
func (r *reader) googleEndpoint(cfg *Config, u *url.URL, attributes string) {
	if u.Scheme != "https" {
		r.fault("OTEL_EXPORTER_OTLP_ENDPOINT", "is Google's, and must be https://%s: the account's token goes there", u.Hostname())
	}
	if cfg.Project == "" {
		r.fault("OTEL_EXPORTER_OTLP_ENDPOINT", "is Google's, and GOOGLE_CLOUD_PROJECT does not say whose metrics and traces these are")
	}
	for pair := range strings.SplitSeq(attributes, ",") {
		name, value, _ := strings.Cut(pair, "=")
		if slices.Contains(locations, strings.TrimSpace(name)) && strings.TrimSpace(value) != "" {
			return
		}
	}
	r.fault("OTEL_RESOURCE_ATTRIBUTES", "has no location=REGION, without which Google takes no metrics (OTEL_EXPORTER_OTLP_ENDPOINT)")
}

// locations are the attributes that Google takes for where metrics come from: https://docs.cloud.google.com/stackdriver/docs/reference/telemetry/v1.metrics.
var locations = []string{"location", "cloud.availability_zone", "cloud.region"}

// disabled reads a switch of OpenTelemetry, which takes true in any case of its letters:
// https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/#boolean.
func (r *reader) disabled(name string) bool {
	switch v := r.getenv(name); {
	case strings.EqualFold(v, "true"):
		return true
	case v != "" && !strings.EqualFold(v, "false"):
		r.fault(name, "%q is not true or false", v)
	}
	return false
}

func (r *reader) number(name string, fallback, least, most float64) float64 {
	v := r.getenv(name)
	if v == "" {
		return fallback
	}
	f, err := strconv.ParseFloat(v, 64)
	if err != nil || !(f >= least && f <= most) {
		r.fault(name, "%q is not a number from %v to %v", v, least, most)
		return fallback
	}
	return f
}
