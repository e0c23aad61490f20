package app

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.com/erlmcp/function/internal/backup"
	"example.com/erlmcp/function/internal/config"
	"example.com/erlmcp/function/internal/directives"
	"example.com/erlmcp/function/internal/governor"
	"example.com/erlmcp/function/internal/identity"
	"example.com/erlmcp/function/internal/memnet"
	"example.com/erlmcp/function/internal/recovery"
	"example.com/erlmcp/function/internal/serve"
	"example.com/erlmcp/function/internal/telemetry"
)

// inFile are options whose store is a file.
func inFile(file string) Options {
	return Options{Getenv: func(name string) string { return map[string]string{"STORE_FILE": file}[name] }}
}

// TestRecovery backs a store up, has it back in another, lets calls in there, and does all of that as a drill.
func TestRecovery(t *testing.T) {
	dir := t.TempDir()
	first, second := filepath.Join(dir, "first"), filepath.Join(dir, "second")
	place := filepath.Join(dir, "place")
	m, err := OpenMemory(first)
	if err != nil {
		t.Fatal(err)
	}
	_, key := identity.NewKey(identity.Key{Tenant: "acme", Subject: "ci", Created: time.Now()})
	if _, err := m.Store.AddKey(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	m.Close()
	open := func(file string) *Recovery {
		r, err := OpenRecovery(t.Context(), "", inFile(file))
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	quiet := func(backup.Kind, int64) {}
	r := open(first)
	if _, err := r.Backup(t.Context(), place, time.Time{}, quiet); err != nil {
		t.Fatal(err)
	}
	if s, err := r.Ship(t.Context(), place); err != nil || s.Roots != 0 {
		t.Errorf("%+v, %v", s, err)
	}
	for _, into := range []string{first, filepath.Join(dir, ".", "first")} {
		if _, err := r.Drill(t.Context(), place, recovery.DrillOptions{Into: into, Empty: true, Progress: quiet}); err == nil {
			t.Errorf("a drill into the store that serves, %s", into)
		}
	}
	if _, err := os.Stat(first); err != nil {
		t.Fatalf("a drill has emptied the store that serves: %v", err)
	}
	found, err := r.Drill(t.Context(), place, recovery.DrillOptions{Into: filepath.Join(dir, "drill"), Empty: true, Progress: quiet})
	if err != nil || !found.OK {
		t.Errorf("%v, %+v", err, found)
	}
	r.Close()

	r = open(second)
	if got, err := r.Restore(t.Context(), place, "", quiet); err != nil || got.Compared.Compared == 0 {
		t.Errorf("%+v, %v", got, err)
	}
	refuses := func() bool {
		d, err := r.stores.Directives.Directives(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return d.KillOn(directives.Everything, time.Now()) != nil
	}
	if !refuses() {
		t.Error("a restored store lets calls in at once")
	}
	if c, plan, err := r.Confirm(t.Context(), place, false); err != nil || c == nil || len(plan.Replay) != 0 || !refuses() {
		t.Errorf("a look: %+v, %v, refuses: %t", plan, err, refuses())
	}
	c, plan, err := r.Confirm(t.Context(), place, true)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Run(t.Context(), plan, func(recovery.Order, string) {}); err != nil || refuses() {
		t.Errorf("%v, refuses: %t", err, refuses())
	}
	if got, err := r.stores.Keys.Key(t.Context(), key.ID); err != nil || got.Subject != "ci" {
		t.Errorf("%+v, %v", got, err)
	}
	r.Close()
	if all, unfinished, err := ListBackups(t.Context(), place, 10); err != nil || len(all) < 1 || len(unfinished) != 0 {
		t.Errorf("%d backups, %v, %v", len(all), unfinished, err)
	}
	_, err = OpenRecovery(t.Context(), "", inFile(""))
	if start, ok := errors.AsType[*serve.StartError](err); !ok || !strings.Contains(start.Error(), "STORE_FILE") {
		t.Errorf("without a store: %v", err)
	}
}

// TestStoresThatCantBeOpened is a table of settings that are wrong: the error names the setting, and no password.
func TestStoresThatCantBeOpened(t *testing.T) {
	dir := t.TempDir()
	write := func(text string) string {
		file := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	for _, c := range []struct {
		name string
		cfg  config.Config
		want string // "" opens
	}{
		{"alone", config.Config{Standalone: true}, ""},
		{"no URL", config.Config{Redis: "hunter2"}, "REDIS_URL: "},
		{"a file that there is not", config.Config{RedisFile: filepath.Join(dir, "none")}, "REDIS_URL_FILE: "},
		{"a file with what is none", config.Config{RedisFile: write("hunter2\n")}, "REDIS_URL_FILE: "},
		{"a certificate that checks nothing", config.Config{RedisFile: write("redis://:hunter2@localhost:1\n"), RedisCA: "x"}, "REDIS_URL_FILE: does not begin with rediss://"},
	} {
		o := Options{Getenv: func(string) string { return "" }}
		o.Complete()
		s, err := OpenStores(t.Context(), &c.cfg, &o)
		if (err != nil) != (c.want != "") || err != nil && (!strings.HasPrefix(err.Error(), c.want) || strings.Contains(err.Error(), "hunter2")) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
		s.Close()
	}
}

// TestEvictionIsSaid: each policy that throws keys away is told of, with what is at stake.
func TestEvictionIsSaid(t *testing.T) {
	for _, policy := range []string{"allkeys-lru", "volatile-ttl"} {
		if got := evictionWords(policy); !strings.HasPrefix(got, "Redis: ") || !strings.Contains(got, policy) || !strings.Contains(got, "noeviction") {
			t.Error(got)
		}
	}
}

// TestLastEnd makes certificates, of which the last one counts, whatever else stands in the text.
func TestLastEnd(t *testing.T) {
	made := func(end time.Time) string {
		_, key, err := ed25519.GenerateKey(nil)
		if err != nil {
			t.Fatal(err)
		}
		c := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: end.Add(-time.Hour), NotAfter: end}
		der, err := x509.CreateCertificate(nil, c, c, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	}
	early, late := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2028, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, text := range []string{made(early) + made(late), made(late) + made(early), "# two\n" + made(late) + "\n-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"} {
		if at, ok := lastEnd(text); !ok || !at.Equal(late) {
			t.Errorf("%v, %t", at, ok)
		}
	}
	if _, ok := lastEnd("no certificate"); ok {
		t.Error("there is none")
	}
}

// A slow counter takes its time, and fails.
type slowCounters struct{ governor.Counters }

func (slowCounters) Lease(context.Context, *governor.LeaseRequest) (governor.LeaseResponse, error) {
	return governor.LeaseResponse{}, errors.New("away")
}

// TestRoundTripsAreMeasured counts what leaves the process, and nothing where nothing does.
func TestRoundTripsAreMeasured(t *testing.T) {
	for _, standalone := range []bool{true, false} {
		seen, err := telemetry.New(t.Context(), telemetry.Options{Output: t.Output()})
		if err != nil {
			t.Fatal(err)
		}
		defer seen.Close(context.Background())
		c := WatchCounters(slowCounters{}, standalone, seen)
		if _, err := c.Lease(t.Context(), &governor.LeaseRequest{}); err == nil {
			t.Error("an error is lost")
		}
		if _, own := c.(slowCounters); own != standalone {
			t.Errorf("standalone %t: %T", standalone, c)
		}
	}
	seen, _ := telemetry.New(t.Context(), telemetry.Options{Output: t.Output()})
	defer seen.Close(context.Background())
	if WatchQuotas(nil, seen) != nil {
		t.Error("where there is no store there is one")
	}
}

// TestCallable: what tenants can be is what the fleet says, or what an instance knows where there is none.
func TestCallable(t *testing.T) {
	var s Stores
	if got := s.Callable([]string{"own"})(t.Context()); len(got) != 1 || got[0] != "own" {
		t.Errorf("%q", got)
	}
	var network memnet.Network
	redis := network.Redis(t)
	o := Options{Getenv: func(string) string { return "" }}
	o.Stand.Dial = network.Dial
	o.Complete()
	shared, err := OpenStores(t.Context(), &config.Config{Redis: config.Secret(redis.URL)}, &o)
	if err != nil {
		t.Fatal(err)
	}
	defer shared.Close()
	if got := shared.Callable([]string{"own"})(t.Context()); len(got) != 0 {
		t.Errorf("nobody has said anything, and tenants are %q", got)
	}
}
