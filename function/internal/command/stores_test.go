package command_test

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"example.com/erlmcp/function/internal/app"
	"example.com/erlmcp/function/internal/directives"
	"example.com/erlmcp/function/internal/entitlement"
	"example.com/erlmcp/function/internal/identity"
	"example.com/erlmcp/function/internal/memnet"
)

// keyFiles makes an operator's key, and returns the files of the private one and of the public one.
func keyFiles(t *testing.T) (private, public string) {
	t.Helper()
	pub, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	write := func(kind string, der []byte, err error) string {
		file := filepath.Join(t.TempDir(), "key.pem")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	private = write("PRIVATE KEY", der, err)
	der, err = x509.MarshalPKIXPublicKey(pub)
	return private, write("PUBLIC KEY", der, err)
}

// filled is a store in a file, with a tenant and a key.
func filled(t *testing.T) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "store")
	m, err := app.OpenMemory(file)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if _, err := m.Store.ChangeTenant(t.Context(), "acme", nil, func(x *entitlement.Tenant) error {
		x.Apply(&entitlement.Event{Source: entitlement.Operator, Type: entitlement.Grant, Time: time.Now(), Plan: "base"})
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	_, key := identity.NewKey(identity.Key{Tenant: "acme", Subject: "ci", Created: time.Now()})
	if _, err := m.Store.AddKey(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestBackupRestoreAndDrill has a store back from a backup, command by command, and looks what is in it then.
func TestBackupRestoreAndDrill(t *testing.T) {
	private, public := keyFiles(t)
	_, strangers := keyFiles(t)
	place, copied := t.TempDir(), filepath.Join(t.TempDir(), "copy")
	dir := t.TempDir()
	from := map[string]string{"STORE_FILE": filled(t), "RECEIPT_KEY_FILE": private}
	unsigned := map[string]string{"STORE_FILE": from["STORE_FILE"]}
	into := map[string]string{"STORE_FILE": copied, "RECEIPT_KEY_FILE": private}
	report := filepath.Join(dir, "report.json")
	for _, c := range []struct {
		name     string
		settings map[string]string
		line     string
		status   int
		want     []string
	}{
		{"a place without a backup", into, "restore PLACE", 1, []string{"there is no backup in"}},
		{"a backup", from, "backup PLACE", 0, []string{`backup \S+: `, `1 tenants, `, `1 keys, `, `in \d+ objects`}},
		{"one that nobody signs", unsigned, "backup PLACE", 0, []string{"the backup is not signed"}},
		{"the list of both", nil, "backup PLACE -list", 0, []string{`NAME +TIME +VERSION +SIGNED BY`, `1 tenants`}},
		{"roots where there are none", from, "backup -roots PLACE", 0, []string{"0 roots and 0 segments with changes are new in .*; there is no root yet"}},
		{"signed by a stranger", into, "restore PLACE -keys STRANGERS", 1, []string{`not signed|sign`}},
		{"a backup that there is not", into, "restore PLACE -backup none", 1, []string{"none"}},
		{"restored", into, "restore PLACE -backup FIRST", 0, []string{`restored backup \S+ in `, `compared: \d+ records are as in the backup`, `made since: 0 roots`, `Next: shop restore \S+ -replay, and then -confirm`}},
		{"into a store that has something", into, "restore PLACE -backup FIRST", 1, []string{`is not empty|restored`}},
		{"what would be replayed", into, "restore PLACE -replay", 0, []string{`The store was restored from backup `, `WARNING: no root`, `0 orders would be replayed, and 0 not. Every call is refused until -confirm`}},
		{"replayed", into, "restore PLACE -confirm", 0, []string{`0 orders are replayed. Calls are let in`}},
		{"replayed again", into, "restore PLACE -confirm", 1, []string{`restored`}},
		{"a drill into the store itself", from, "drill PLACE -into SELF", 1, []string{"a drill restores into another store than"}},
		{"a drill", from, "drill PLACE -into DIR/into -out REPORT", 0, []string{`(?m)^ok +\d`, `RTO of the store: \d`, `signed with key `}},
		{"its report", nil, "drill -verify REPORT -keys PUBLIC", 0, []string{`drill of .* with erlmcp `, `(?m)^ok `, `signed with key `}},
		{"its report, by a stranger's key", nil, "drill -verify REPORT -keys STRANGERS", 1, []string{`sign|key`}},
		{"a drill into what is not empty", from, "drill PLACE -into DIR/into", 1, []string{`empty`}},
		{"a drill that empties", from, "drill PLACE -into DIR/drill -empty", 0, []string{`"ok": ?true`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			first := ""
			if strings.Contains(c.line, "FIRST") {
				_, list := line(t, shop(nil), "backup", place, "-list")
				for row := range strings.Lines(list) { // the older of the two: the signed one
					if f := strings.Fields(row); len(f) > 4 && f[0] != "NAME" && f[3] != "1" {
						first = f[0]
					}
				}
			}
			words := strings.Fields(strings.NewReplacer("PLACE", place, "STRANGERS", strangers, "PUBLIC", public, "REPORT", report, "DIR", dir, "SELF", from["STORE_FILE"], "FIRST", first).Replace(c.line))
			status, said := line(t, shop(c.settings), words...)
			if status != c.status {
				t.Errorf("%q: status %d, want %d: %s", words, status, c.status, said)
			}
			for _, want := range c.want {
				if !regexp.MustCompile(want).MatchString(said) {
					t.Errorf("%q: no %q in %s", words, want, said)
				}
			}
		})
	}
	m, err := app.OpenMemory(copied)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	x, err := m.Store.Tenant(t.Context(), "acme")
	if err != nil || x.Sources[entitlement.Operator].Plan != "base" {
		t.Errorf("in the copy the tenant is %+v, %v", x, err)
	}
	if keys, err := m.Store.Keys(t.Context(), "acme", "", 10); err != nil || len(keys) != 1 || keys[0].Subject != "ci" {
		t.Errorf("in the copy there are the keys %v, %v", keys, err)
	}
	if o, err := m.Store.Directives(t.Context()); err != nil || o.KillOn(directives.Everything, time.Now()) != nil {
		t.Errorf("after -confirm calls are refused: %+v, %v", o, err)
	}
	text, err := os.ReadFile(report)
	if err != nil {
		t.Fatal(err)
	}
	for _, spoilt := range []string{strings.Replace(string(text), `"ok":true`, `"ok":false`, 1), strings.Replace(string(text), `"ok": true`, `"ok": false`, 1)} {
		if spoilt == string(text) {
			continue
		}
		if err := os.WriteFile(report, []byte(spoilt), 0o600); err != nil {
			t.Fatal(err)
		}
		if status, said := line(t, shop(nil), "drill", "-verify", report, "-keys", public); status != 1 || strings.Contains(said, "signed with key") {
			t.Errorf("a report that was altered: status %d: %s", status, said)
		}
	}
}

// TestOrdersLeaveReceipts gives orders through the stores, and proves their receipts by the commands for that.
func TestOrdersLeaveReceipts(t *testing.T) {
	t.Setenv("TAIEA_URL", "")
	var network memnet.Network
	redis := network.Redis(t)
	memory := app.NewMemory()
	private, public := keyFiles(t)
	_, strangers := keyFiles(t)
	settings := map[string]string{"REDIS_URL": redis.URL, "RECEIPT_KEY_FILE": private}
	file := filepath.Join(t.TempDir(), "export.jsonl")
	id := ""
	for _, c := range []struct {
		line   string
		status int
		want   []string // regular expressions
	}{
		{"kill", 0, []string{`nothing is stopped`}},
		{"kill tool:x -reason leaks -for 1h", 0, []string{`tool:x is stopped, .* to let it go on: shop kill tool:x -lift`, `warning: .*"?tool:x`}},
		{"kill", 0, []string{`(?m)^tool:x .* leaks`}},
		{"kill tool:x", 1, []string{`reason`}},
		{"limits each-tenant -per-second 5 -at-a-time 3", 0, []string{`changed, on all instances`, `(?m)^each-tenant +5 .* 3 .*overridden`}},
		{"limits each-tenant -per-day 100", 0, []string{`(?m)^each-tenant +5 .*100.*overridden`}},
		{"limits each-tenant -reset -json", 0, []string{`\{`}},
		{"limits each-tenant -per-second -1", 1, []string{`-1`}},
		{"kill tool:x -lift", 0, []string{`tool:x goes on`}},
		{"receipts list", 0, []string{`(?s)killed.*changed.*killed`, `PUT /v1/kills`, `DELETE /v1/kills`}},
		{"receipts list -reason none", 0, []string{`TIME`}},
		{"receipts show ID", 0, []string{`"kind":"killed"`, `leaks`, `"kind":"admitted"`}},
		{"receipts show 019b4f3a-7c55-7d1e-9a3b-04c26b1f90ee", 0, []string{`there is no receipt of this id`}},
		{"receipts show none", 1, []string{`is not the id of a receipt: it looks like`}},
		{"verify", 0, []string{`nothing is altered`}},
		{"verify -tenant acme", 0, []string{``}},
		{"receipts export -out FILE", 0, []string{`\d+ receipts`}},
		{"receipts export -out FILE", 1, []string{`exists`}},
		{"receipts export", 0, []string{`"leaks`}},
		{"verify -offline FILE -keys PUBLIC", 0, []string{`nothing is altered`}},
		{"verify -offline FILE -keys STRANGERS", 1, []string{`key`}},
	} {
		words := strings.Fields(strings.NewReplacer("FILE", file, "PUBLIC", public, "STRANGERS", strangers, "ID", id).Replace(c.line))
		status, said := line(t, shop(settings, func(o *app.Options) { o.Memory, o.Stand.Dial = memory, network.Dial }), words...)
		if status != c.status {
			t.Errorf("%q: status %d, want %d: %s", words, status, c.status, said)
		}
		for _, want := range c.want {
			if !regexp.MustCompile(want).MatchString(said) {
				t.Errorf("%q: no %q in %s", words, want, said)
			}
		}
		if c.line == "receipts list" {
			rows := strings.Split(strings.TrimSpace(said), "\n")
			f := strings.Fields(rows[len(rows)-1]) // the first of all
			id = f[len(f)-1]
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for row := range strings.Lines(string(text)) {
		if !json.Valid([]byte(row)) {
			t.Errorf("no JSON: %s", row)
		}
	}
	altered := strings.Replace(string(text), "leaks", "leeks", 1)
	if err := os.WriteFile(file, []byte(altered), 0o600); err != nil {
		t.Fatal(err)
	}
	if status, said := line(t, shop(nil), "verify", "-offline", file, "-keys", public); status != 1 || !strings.Contains(said, "ALTERED") {
		t.Errorf("an export that was altered: status %d: %s", status, said)
	}
}
