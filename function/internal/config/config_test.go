package config

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"
)

func env(pairs ...string) func(string) string {
	m := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return func(name string) string { return m[name] }
}

func TestDefaults(t *testing.T) {
	c, err := Load(env(), Machine{})
	if err != nil {
		t.Fatal(err)
	}
	if c.Port != 8080 || c.Health != "/health" || c.Ready != "/ready" || c.MaxConnections != 50000 ||
		c.ConnectionTimeout != 30*time.Second || c.DrainTimeout != 8*time.Second || c.Seen.LogLevel != slog.LevelInfo || !c.Governed || c.MaxCalls != 1000 || c.RatePerSecond != 10000 || c.Platform != Local {
		t.Errorf("%+v", c)
	}
	if c, _ := Load(env("KUBERNETES_SERVICE_HOST", "10.0.0.1"), Machine{}); c.DrainTimeout != 25*time.Second {
		t.Errorf("drain on Kubernetes: %v", c.DrainTimeout)
	}
}

func TestFaults(t *testing.T) {
	for _, c := range []struct {
		name, value, want string
	}{
		{"FUNCTION_TARGET", "erlmpc", `there is no function "erlmpc"`},
		{"GOVERNOR_ENABLED", "yes", "true or false"},
		{"FIRESTORE_EMULATOR_HOST", "localhost:1", "needs a project"},
		{"REDIS_CA", "-----BEGIN CERTIFICATE-----", "does not begin with rediss://"},
		{"GOVERNOR_SCOPE", "galaxy", "fleet, instance"},
		{"GOVERNOR_SCOPE", "fleet", "REDIS_URL: is not set"},
		{"K_SERVICE", "erlmcp", "REDIS_URL: is not set"},
		{"MAX_CONCURRENT_CALLS", "0", "MAX_CONCURRENT_CALLS"},
		{"RATE_LIMIT_PER_SECOND", "1e3", "RATE_LIMIT_PER_SECOND"},
		{"PORT", "http", `PORT: "http" is not a whole number`},
		{"PORT", "70000", "from 0 to 65535"},
		{"HEALTH_ENDPOINT", "health", "is not a path"},
		{"HEALTH_ENDPOINT", "/healthz", "ends in z"},
		{"HEALTH_ENDPOINT", "/a//b", "clean path"},
		{"HEALTH_ENDPOINT", "/mcp", "is taken"},
		{"HEALTH_ENDPOINT", "/ready", "same path"},
		{"MAX_CONNECTIONS", "0", "MAX_CONNECTIONS"},
		{"CONNECTION_TIMEOUT", "30", "not a duration"},
		{"DRAIN_TIMEOUT", "-1s", "not a duration"},
		{"LOG_LEVEL", "warn", "debug, info, warning, error"},
		{"OTEL_SDK_DISABLED", "1", "true or false"},
		{"PUBLIC_URL", "https://mcp.example.com/mcp", "leave /mcp out"},
		{"PUBLIC_URL", "https://example.com/tools/mcp/", "leave /mcp out"},
		{"PUBLIC_URL", "https://example.com/a/../b", "has a path that is not one"},
		{"PUBLIC_URL", "https://example.com/{x}", "has a path that is not one"},
		{"PUBLIC_URL", "https://example.com/a%2fb", "has a path that is not one"},
		{"PUBLIC_URL", "https://example.com/.well-known/oauth-protected-resource", "is taken"},
		{"PUBLIC_URL", "https://example.com?x", "is not an address"},
		{"PUBLIC_URL", "https://me@example.com", "is not an address"},
		{"PUBLIC_URL", "http://example.com", "is not an address"},
		{"PUBLIC_URL", "example.com", "is not an address"},
		{"RECEIPT_KMS_KEY", "projects/p/locations/l/keyRings/r/cryptoKeys/k", "is not the name of a version"},
		{"RECEIPT_ROOT_KMS_KEY", "projects/p/locations/l/keyRings/r/cryptoKeys/k", "is not the name of a version"},
		{"REDIS_LOGIN", "iam", "is not one of url, google"},
		{"REDIS_LOGIN", "google", "access tokens are sent over TLS alone"},
		{"RECEIPT_ROOTS_SINCE", "2026-12-01", `"2026-12-01" is not a time such as`},
		{"RECEIPT_ROOTS_SINCE", "24h", "is not a time such as"},
		{"FIRESTORE_DATABASE", "a,b", "names 2 databases"},
		{"FIRESTORE_DATABASE", "a,b,c,d", "names 4 databases"},
		{"FIRESTORE_DATABASE", ",", "names 0 databases"},
		{"FIRESTORE_DATABASE", "a,b,a", "names a database twice"},
		{"BACKUP_PLACE", "s3://bucket", "is neither gs://BUCKET/PREFIX nor a folder"},
		{"BACKUP_PLACE", "gs:///prefix", "is neither gs://BUCKET/PREFIX nor a folder"},
		{"RECEIPT_STORE_DAYS", "6", "6"},
		{"RECEIPT_STORE_DAYS", "401", "is more than the 400 of RECEIPT_RETENTION_DAYS"},
		{"RECEIPT_STORE_DAYS", "30", "BACKUP_PLACE is not set"},
		{"RECEIPT_KMS_KEY", "projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1:x", "is not the name of a version"},
		{"RECEIPT_KMS_KEY", "projects/p/locations/l/keyRings/../cryptoKeys/k/cryptoKeyVersions/1", "is not the name of a version"},
		{"K_SERVICE", "erlmcp", "SEALING_KEYS: is not set"},
		{"KUBERNETES_SERVICE_HOST", "10.0.0.1", "SEALING_KEYS: is not set"},
	} {
		_, err := Load(env(c.name, c.value), Machine{})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s=%s: %v, want %q", c.name, c.value, err, c.want)
		}
	}
	for _, ok := range [][]string{
		{"K_SERVICE", "x", "SEALING_KEYS", "k", "GOVERNOR_SCOPE", "instance"}, {"K_SERVICE", "x", "SEALING_KEYS", "k", "GOVERNOR_ENABLED", "false"},
		{"K_SERVICE", "x", "SEALING_KEYS", "k", "REDIS_URL", "redis://r"},
	} {
		if c, err := Load(env(ok...), Machine{}); err != nil || c.Standalone != (c.Redis == "") {
			t.Errorf("%v: %v", ok, err)
		}
	}
	for _, c := range []struct {
		want  string // "" is that it starts
		pairs []string
	}{
		{"GOOGLE_DOMAINS: is not set, nor is GOOGLE_ACCOUNTS", nil},
		{"GOOGLE_DOMAINS: is not set", []string{"GOOGLE_DOMAINS", " , "}},
		{"gmail.com is everyone's", []string{"GOOGLE_DOMAINS", "acme.com,GMail.com"}},
		{"of any project", []string{"GOOGLE_DOMAINS", "gserviceaccount.com"}},
		{"of any project", []string{"GOOGLE_DOMAINS", "iam.gserviceaccount.com"}},
		{"of any project", []string{"GOOGLE_DOMAINS", ".iam.gserviceaccount.com"}},
		{"of any project", []string{"GOOGLE_DOMAINS", "developer.gserviceaccount.com"}},
		{"of any project", []string{"GOOGLE_DOMAINS", "appspot.gserviceaccount.com"}},
		{"is not a domain", []string{"GOOGLE_DOMAINS", "*"}},
		{"is not a domain", []string{"GOOGLE_DOMAINS", "acme"}},
		{"is not a domain", []string{"GOOGLE_DOMAINS", "аcme.com"}}, // with a Cyrillic letter
		{"is not an e-mail address", []string{"GOOGLE_ACCOUNTS", "ada"}},
		{"is not an e-mail address", []string{"GOOGLE_ACCOUNTS", "Ada <ada@acme.com>"}},
		{"", []string{"GOOGLE_DOMAINS", "acme.com"}},
		{"", []string{"GOOGLE_DOMAINS", "acme-prod.iam.gserviceaccount.com"}},
		{"", []string{"GOOGLE_ACCOUNTS", "ada@gmail.com,bot@acme-prod.iam.gserviceaccount.com"}},
		{"", []string{"FUNCTION_TARGET", "taiea"}}, // whose accounts are its operators
	} {
		_, err := Load(env(append([]string{"AUTHENTICATION", "google", "GOOGLE_AUDIENCES", "x"}, c.pairs...)...), Machine{})
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want %q", c.pairs, err, c.want)
		}
	}
	for text, want := range map[string]string{"": "(default)", "a": "a", " a, a-usage ,a-receipts": "a a-usage a-receipts"} {
		if c, err := Load(env("FIRESTORE_DATABASE", text), Machine{}); err != nil || strings.Join(c.Databases, " ") != want {
			t.Errorf("FIRESTORE_DATABASE=%q: %q, %v", text, c.Databases, err)
		}
	}
	if _, err := Load(env("GOVERNOR_SCOPE", "instance", "REDIS_URL", "redis://r"), Machine{}); err == nil {
		t.Error("a scope of one instance takes a Redis")
	}
	const key = "projects/example.com:p-1/locations/europe-west1/keyRings/erlmcp/cryptoKeys/receipts_1/cryptoKeyVersions/12"
	if c, err := Load(env("RECEIPT_KMS_KEY", key), Machine{}); err != nil || c.ReceiptKMSKey != key {
		t.Errorf("%v", err)
	}
	if _, err := Load(env("BACKUP_PLACE", "gs://bucket/prefix", "RECEIPTS", "false"), Machine{}); err == nil || !strings.Contains(err.Error(), "leaves nothing that could be copied there") {
		t.Errorf("BACKUP_PLACE without receipts: %v", err)
	}
	for days, want := range map[string]int{"30": 30, "400": 400, "": 400} {
		if c, err := Load(env("BACKUP_PLACE", "gs://bucket/prefix", "RECEIPT_STORE_DAYS", days), Machine{}); err != nil || c.ReceiptStoreDays != want {
			t.Errorf("RECEIPT_STORE_DAYS=%s: %v", days, err)
		}
	}
	if _, err := Load(env("RECEIPT_KMS_KEY", key, "RECEIPT_KEY_FILE", "key.pem"), Machine{}); err == nil || !strings.Contains(err.Error(), "so is RECEIPT_KEY_FILE") {
		t.Errorf("two keys for receipts: %v", err)
	}
	if _, err := Load(env("RECEIPT_ROOT_KMS_KEY", key, "RECEIPT_ROOT_KEY_FILE", "key.pem"), Machine{}); err == nil || !strings.Contains(err.Error(), "so is RECEIPT_ROOT_KEY_FILE") {
		t.Errorf("two keys for roots: %v", err)
	}
	if _, err := Load(env("RECEIPT_ROOT_KEY_FILE", "key.pem"), Machine{}); err == nil || !strings.Contains(err.Error(), "RECEIPT_ROOTS_SINCE: is not set") {
		t.Errorf("a key of roots without a time: %v", err)
	}
	if c, err := Load(env("RECEIPT_ROOTS_SINCE", "2026-12-01T01:00:00+01:00"), Machine{}); err != nil || !c.RootsSince.Equal(time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("RECEIPT_ROOTS_SINCE: %v, %v", c, err)
	}
	for name, value := range map[string]string{"SEALING_KEYS": "k", "REDIS_URL": "redis://r"} {
		want := name + "_FILE: is set, and so is " + name + ": leave one of them out"
		if _, err := Load(env(name, value, name+"_FILE", "file"), Machine{}); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if _, err := Load(env("GOVERNOR_SCOPE", "instance", "REDIS_URL_FILE", "file"), Machine{}); err == nil {
		t.Error("a scope of one instance takes a Redis that a file names")
	}
	if c, err := Load(env("K_SERVICE", "x", "SEALING_KEYS_FILE", "keys", "REDIS_URL_FILE", "url"), Machine{}); err != nil || c.Standalone || c.FileAge() != 30*time.Second {
		t.Errorf("files on Cloud Run: %v", err)
	}
	_, err := Load(env("PORT", "x", "LOG_LEVEL", "loud", "MAX_CONNECTIONS", "many"), Machine{})
	if n := strings.Count(err.Error(), "\n") + 1; n != 3 {
		t.Errorf("%d faults listed, want 3:\n%v", n, err)
	}
}

func TestSecretsDoNotShow(t *testing.T) {
	c, err := Load(env("SEALING_KEYS", "hunter2", "REDIS_URL", "redis://:hunter2@r"), Machine{})
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("start", "keys", c.Keys, "config", c)
	for _, text := range []string{fmt.Sprint(c), fmt.Sprintf("%+v %#v %s %v %q", *c, *c, c.Keys, c.Keys, c.Keys), log.String()} {
		if strings.Contains(text, "hunter2") {
			t.Errorf("the key shows in %s", text)
		}
	}
}

func TestEverySettingIsDocumented(t *testing.T) {
	asked := map[string]bool{}
	Load(func(name string) string { asked[name] = true; return "" }, Machine{})
	for _, s := range Settings {
		if !asked[s.Name] {
			t.Errorf("%s is documented and not read: read it in Load, or take its row out of Settings", s.Name)
		}
		delete(asked, s.Name)
	}
	for _, s := range former {
		delete(asked, s.had)
	}
	for _, platform := range []string{"K_SERVICE", "K_REVISION", "KUBERNETES_SERVICE_HOST"} {
		delete(asked, platform)
	}
	for name := range asked {
		t.Errorf("%s is read and not documented: add a row to Settings", name)
	}
}

func TestOpenFiles(t *testing.T) {
	c, err := Load(env(), Machine{OpenFiles: 20000})
	if err != nil || c.MaxConnections != 20000-reservedFiles {
		t.Errorf("default under a limit of 20000 files: %d, %v", c.MaxConnections, err)
	}
	if _, err := Load(env("MAX_CONNECTIONS", "19000"), Machine{OpenFiles: 20000}); err != nil {
		t.Error(err)
	}
	if _, err := Load(env("MAX_CONNECTIONS", "20000"), Machine{OpenFiles: 20000}); err == nil || !strings.Contains(err.Error(), "ulimit -n") {
		t.Errorf("20000 connections under a limit of 20000 files: %v", err)
	}
}

func TestMemoryForConnections(t *testing.T) {
	for memory, want := range map[int64]int{0: 50000, 1 << 20: 100, 192 << 20: 1024, 920 << 20: 4906, 1 << 40: 50000} {
		if c, err := Load(env(), Machine{Memory: memory}); err != nil || c.MaxConnections != want {
			t.Errorf("default with %d bytes: %d, %v, wanted %d", memory, c.MaxConnections, err, want)
		}
	}
	if c, err := Load(env("MAX_CONNECTIONS", "20000"), Machine{Memory: 1 << 20}); err != nil || c.MaxConnections != 20000 {
		t.Errorf("what an operator chose became %d, %v", c.MaxConnections, err)
	}
}

// TestPublicURL is an address as it is compared, and the path in it.
func TestPublicURL(t *testing.T) {
	for text, want := range map[string][2]string{
		"https://mcp.example.com":              {"https://mcp.example.com", ""},
		"https://mcp.example.com/":             {"https://mcp.example.com", ""},
		"HTTPS://MCP.Example.com:443/":         {"https://mcp.example.com", ""},
		"https://mcp.example.com:8443":         {"https://mcp.example.com:8443", ""},
		"http://localhost:80":                  {"http://localhost", ""},
		"http://[::1]:8080/":                   {"http://[::1]:8080", ""},
		"https://example.com/tools":            {"https://example.com/tools", "/tools"},
		"https://Example.com:443/Tools/a.b-c/": {"https://example.com/Tools/a.b-c", "/Tools/a.b-c"},
		" https://mcp.example.com\n":           {"https://mcp.example.com", ""},
	} {
		c, err := Load(env("PUBLIC_URL", text), Machine{})
		if got := [2]string{c.Callers.PublicURL, c.Callers.PublicPath}; err != nil || got != want {
			t.Errorf("%q: %q %v, want %q", text, got, err, want)
		}
		if own := want[0] + "/mcp"; !slices.Contains(c.Callers.Audiences, own) || !slices.Contains(c.Callers.Audiences, want[0]) {
			t.Errorf("%q: tokens are for %q", text, c.Callers.Audiences)
		}
	}
}

// TestTelemetryOff is OTEL_SDK_DISABLED: nothing of OpenTelemetry is read then, be it wrong.
func TestTelemetryOff(t *testing.T) {
	for value, off := range map[string]bool{"true": true, "TRUE": true, "True": true, "true\n": true, "false": false, "False": false, "": false} {
		c, err := Load(env("OTEL_SDK_DISABLED", value, "OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318", "DATADOG_AGENT_HOST", "agent"), Machine{})
		if err != nil || (c.Seen.Endpoint == "") != off {
			t.Errorf("%q: %q %v", value, c.Seen.Endpoint, err)
		}
		_, err = Load(env("OTEL_SDK_DISABLED", value, "OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"), Machine{})
		if (err == nil) != off {
			t.Errorf("%q beside a setting that is wrong: %v", value, err)
		}
	}
}

// TestGoogleEndpoint is what Google's endpoint for OTLP demands of every export, all of which is said at the start.
func TestGoogleEndpoint(t *testing.T) {
	const world, region, place = "https://telemetry.googleapis.com", "https://telemetry.us-central1.rep.googleapis.com/", "location=us-central1"
	for _, c := range []struct {
		endpoint, project, attributes, interval string
		google                                  bool
		faults                                  []string
	}{
		{world, "p", place, "", true, nil},
		{region, "p", "a=b, cloud.region = us-central1", "5000", true, nil},
		{"http://localhost:4318", "", "", "100", false, nil},
		{"https://telemetry.googleapis.com.example.com", "", "", "100", false, nil},
		{"http://telemetry.googleapis.com", "", "location=", "4999", true, []string{"must be https://telemetry.googleapis.com", "GOOGLE_CLOUD_PROJECT", "has no location=REGION", "5000 ms"}},
	} {
		got, err := Load(env("OTEL_EXPORTER_OTLP_ENDPOINT", c.endpoint, "GOOGLE_CLOUD_PROJECT", c.project, "OTEL_RESOURCE_ATTRIBUTES", c.attributes, "OTEL_METRIC_EXPORT_INTERVAL", c.interval), Machine{})
		if got != nil && got.Seen.Google != c.google || (err == nil) != (c.faults == nil) {
			t.Errorf("%s: %v", c.endpoint, err)
			continue
		}
		for _, f := range c.faults {
			if !strings.Contains(err.Error(), f) {
				t.Errorf("%s: %v\nsays nothing of %q", c.endpoint, err, f)
			}
		}
	}
}

// TestFormerNames has each name that a setting had stop the start, and say the one that it has, which there is.
func TestFormerNames(t *testing.T) {
	for _, s := range former {
		_, err := Load(env(s.had, "x"), Machine{})
		if err == nil || !strings.Contains(err.Error(), s.had+": is called "+s.has) {
			t.Errorf("%s: %v", s.had, err)
		}
		name, _, _ := strings.Cut(s.has, ",")
		if !slices.ContainsFunc(Settings, func(one Setting) bool { return one.Name == name }) {
			t.Errorf("there is no setting %s", name)
		}
	}
}
