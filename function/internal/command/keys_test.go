package command

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.com/erlmcp/function/internal/identity"
)

func TestKeys(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.json")
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	run := func(at time.Time, args ...string) string {
		t.Helper()
		var out strings.Builder
		if err := new(Program).keys(append(args, "-file", path), &out, at); err != nil {
			t.Fatalf("keys %q: %v", args, err)
		}
		return strings.TrimSpace(out.String())
	}
	first := run(now, "add", "-tenant", "acme", "-subject", "ci", "-scopes", "read,write", "-expires", "90d")
	if !strings.HasPrefix(first, "erlmcp_") {
		t.Fatalf("the key is %q", first)
	}
	text, err := os.ReadFile(path)
	if err != nil || strings.Contains(string(text), first[16:]) {
		t.Fatalf("the key is in the file: %s (%v)", text, err)
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
		t.Errorf("the file's mode is %v", info.Mode())
	}
	id := first[7:15]
	second := run(now.Add(24*time.Hour), "rotate", id, "-overlap", "7d")
	if second == first {
		t.Fatal("the same key")
	}
	list := run(now.Add(48*time.Hour), "list")
	for _, want := range []string{id + "  acme    ci       read,write  2026-11-24  2026-12-02  valid", second[7:15] + "  acme    ci       read,write  2026-11-25  2027-02-23  valid"} {
		if !strings.Contains(list, want) {
			t.Errorf("the list lacks %q:\n%s", want, list)
		}
	}
	run(now.Add(48*time.Hour), "revoke", second[7:15])
	if list := run(now.Add(30*24*time.Hour), "list"); !strings.Contains(list, "expired") || !strings.Contains(list, "revoked") {
		t.Errorf("after both ended:\n%s", list)
	}
	run(now, "add", "-tenant", "acme", "-subject", "plain")
	run(now, "add", "-tenant", "acme", "-subject", "blank", "-scopes", " , ")
	run(now, "add", "-tenant", "acme", "-subject", "all", "-scopes", "*")
	list = run(now, "list")
	for _, want := range []string{"plain    none ", "blank    none ", "all      * "} {
		if !strings.Contains(list, want) {
			t.Errorf("the list lacks %q:\n%s", want, list)
		}
	}
	before, _ := os.ReadFile(path)
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"add", "-file", path}, "-tenant NAME"},
		{[]string{"add", "-file", path, "-tenant", "local"}, "reserved"},
		{[]string{"add", "-file", path, "-tenant", "a b"}, "is not a name"},
		{[]string{"add", "-file", path, "-tenant", "acme", "-expires", "soon"}, "no time such as"},
		{[]string{"add", "-tenant", "acme"}, "which file"},
		{[]string{"revoke", "-file", path}, "the id of one key"},
		{[]string{"revoke", "nothere1", "-file", path}, "there is no key"},
		{[]string{"rotate", id, "-file", path}, "is expired"},
		{[]string{"list", "-file", path + "x"}, "no such file"},
		{[]string{"burn"}, "there are add"},
	} {
		if err := new(Program).keys(c.args, &strings.Builder{}, now.Add(30*24*time.Hour)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("keys %q: %v, want %q", c.args, err, c.want)
		}
	}
	if after, _ := os.ReadFile(path); string(after) != string(before) {
		t.Error("a fault changed the file")
	}
	if _, err := identity.ReadKeyFile([]byte(`{"keys":[{"id":"x","tenant":"a","subject":"","hash":"` + first + `"}]}`)); err == nil || strings.Count(err.Error(), "\n") != 2 || strings.Contains(err.Error(), first) {
		t.Errorf("a file with faults: %v", err)
	}
}
