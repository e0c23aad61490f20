package config

import (
	"fmt"
	"log/slog"
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
	c, err := Load(env(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if c.Port != 8080 || c.Health != "/health" || c.Ready != "/ready" || c.MaxConnections != 50000 ||
		c.ConnectionTimeout != 30*time.Second || c.DrainTimeout != 8*time.Second || c.Seen.LogLevel != slog.LevelInfo || !c.Governed || c.MaxCalls != 1000 || c.RatePerSecond != 10000 || c.Platform != Local {
		t.Errorf("%+v", c)
	}
	if c, _ := Load(env("KUBERNETES_SERVICE_HOST", "10.0.0.1"), 0); c.DrainTimeout != 25*time.Second {
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
		{"ALLOWED_ORIGINS", "https://a.example, app.example.com/x", "is not an origin"},
		{"RECEIPT_KMS_KEY", "projects/p/locations/l/keyRings/r/cryptoKeys/k", "is not the name of a version"},
		{"RECEIPT_KMS_KEY", "projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1:x", "is not the name of a version"},
		{"RECEIPT_KMS_KEY", "projects/p/locations/l/keyRings/../cryptoKeys/k/cryptoKeyVersions/1", "is not the name of a version"},
		{"K_SERVICE", "erlmcp", "ERLMCP_KEYS: is not set"},
		{"KUBERNETES_SERVICE_HOST", "10.0.0.1", "ERLMCP_KEYS: is not set"},
	} {
		_, err := Load(env(c.name, c.value), 0)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s=%s: %v, want %q", c.name, c.value, err, c.want)
		}
	}
	for _, ok := range [][]string{
		{"K_SERVICE", "x", "ERLMCP_KEYS", "k", "GOVERNOR_SCOPE", "instance"}, {"K_SERVICE", "x", "ERLMCP_KEYS", "k", "GOVERNOR_ENABLED", "false"},
		{"K_SERVICE", "x", "ERLMCP_KEYS", "k", "REDIS_URL", "redis://r"},
	} {
		if c, err := Load(env(ok...), 0); err != nil || c.Alone != (c.Redis == "") {
			t.Errorf("%v: %v", ok, err)
		}
	}
	if _, err := Load(env("GOVERNOR_SCOPE", "instance", "REDIS_URL", "redis://r"), 0); err == nil {
		t.Error("a scope of one instance takes a Redis")
	}
	const key = "projects/example.com:p-1/locations/europe-west1/keyRings/erlmcp/cryptoKeys/receipts_1/cryptoKeyVersions/12"
	if c, err := Load(env("RECEIPT_KMS_KEY", key), 0); err != nil || c.ReceiptKMSKey != key {
		t.Errorf("%v", err)
	}
	if _, err := Load(env("RECEIPT_KMS_KEY", key, "RECEIPT_KEY_FILE", "key.pem"), 0); err == nil || !strings.Contains(err.Error(), "so is RECEIPT_KEY_FILE") {
		t.Errorf("two keys for receipts: %v", err)
	}
	_, err := Load(env("PORT", "x", "LOG_LEVEL", "loud", "MAX_CONNECTIONS", "many"), 0)
	if n := strings.Count(err.Error(), "\n") + 1; n != 3 {
		t.Errorf("%d faults listed, want 3:\n%v", n, err)
	}
}

func TestSecretsDoNotShow(t *testing.T) {
	c, err := Load(env("ERLMCP_KEYS", "hunter2", "REDIS_URL", "redis://:hunter2@r"), 0)
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
	Load(func(name string) string { asked[name] = true; return "" }, 0)
	for _, s := range Settings {
		if !asked[s.Name] {
			t.Errorf("%s is documented and not read", s.Name)
		}
		delete(asked, s.Name)
	}
	for _, platform := range []string{"K_SERVICE", "K_REVISION", "KUBERNETES_SERVICE_HOST"} {
		delete(asked, platform)
	}
	for name := range asked {
		t.Errorf("%s is read and not documented", name)
	}
}

func TestOpenFiles(t *testing.T) {
	c, err := Load(env(), 20000)
	if err != nil || c.MaxConnections != 20000-reservedFiles {
		t.Errorf("default under a limit of 20000 files: %d, %v", c.MaxConnections, err)
	}
	if _, err := Load(env("MAX_CONNECTIONS", "19000"), 20000); err != nil {
		t.Error(err)
	}
	if _, err := Load(env("MAX_CONNECTIONS", "20000"), 20000); err == nil || !strings.Contains(err.Error(), "ulimit -n") {
		t.Errorf("20000 connections under a limit of 20000 files: %v", err)
	}
}
