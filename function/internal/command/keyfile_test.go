package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"example.com/erlmcp/function/internal/identity"
)

func add(t *testing.T, path string, args ...string) string {
	t.Helper()
	var out strings.Builder
	if err := new(Program).keys(append([]string{"add", "-tenant", "acme", "-file", path}, args...), &out, time.Now()); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out.String())
}

func read(t *testing.T, path string) *identity.KeyFile {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	file, err := readKeys(text, path)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// TestKeysAtOnce has many processes make, rotate and revoke keys: each key that was printed is in the file.
func TestKeysAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.json")
	link := filepath.Join(t.TempDir(), "link.json")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	old, gone := add(t, path)[7:15], add(t, path)[7:15]
	var mu sync.Mutex
	var printed []string
	var all sync.WaitGroup
	for n := range 12 {
		args := []string{"keys", "add", "-tenant", fmt.Sprint("t", n), "-file", []string{path, link}[n%2]}
		switch n {
		case 5:
			args = []string{"keys", "rotate", old, "-file", link}
		case 6:
			args = []string{"keys", "revoke", gone, "-file", path}
		}
		cmd := started(t, args...)
		all.Go(func() {
			out, err := cmd.Output()
			if err != nil {
				var exit *exec.ExitError
				errors.As(err, &exit)
				t.Errorf("%q: %v %s", args, err, exit.Stderr)
			}
			mu.Lock()
			defer mu.Unlock()
			printed = append(printed, strings.TrimSpace(string(out)))
		})
	}
	all.Wait()
	file := read(t, path)
	state := map[string]string{}
	for _, k := range file.Keys {
		state[k.ID] = k.State(time.Now())
		if k.ID == old && k.Expires.IsZero() {
			t.Error("the rotated key has no end")
		}
	}
	for _, text := range printed {
		if id, ok := strings.CutPrefix(text, "erlmcp_"); ok && state[id[:8]] != "valid" {
			t.Errorf("the key %s was printed, and is %q in the file", id[:8], state[id[:8]])
		}
	}
	if len(file.Keys) != 13 || state[gone] != "revoked" {
		t.Errorf("%d keys, want 13; the revoked one is %s", len(file.Keys), state[gone])
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".keys-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestKeysThroughLinks follows links of each kind, to files that are there and that are not.
func TestKeysThroughLinks(t *testing.T) {
	for name, c := range map[string]struct{ link, to string }{ // in a folder with the folders real and real/deep
		"absolute":                   {"keys.json", "/real/keys.json"},
		"relative":                   {"keys.json", "real/keys.json"},
		"upwards":                    {"real/deep/keys.json", "../keys.json"},
		"of another name":            {"keys.json", "real/other"},
		"beside it":                  {"keys.json", "other.json"},
		"a link to a link":           {"keys.json", "second.json"},
		"through a link to a folder": {"keys.json", "folder/../keys.json"}, // which is not ./keys.json
	} {
		for _, there := range []bool{true, false} {
			root := t.TempDir()
			link, to := filepath.Join(root, c.link), c.to
			if filepath.IsAbs(to) {
				to = root + to
			}
			for _, err := range []error{
				os.MkdirAll(filepath.Join(root, "real/deep"), 0o755), os.Symlink("real/deep", filepath.Join(root, "folder")),
				os.Symlink("real/third.json", filepath.Join(root, "second.json")), os.Symlink(to, link),
			} {
				if err != nil {
					t.Fatal(err)
				}
			}
			if there {
				if err := os.WriteFile(link, []byte(`{"keys":[]}`), 0o640); err != nil {
					t.Fatal(err)
				}
			}
			add(t, link)
			add(t, link)
			info, err := os.Lstat(link)
			if err != nil || info.Mode()&os.ModeSymlink == 0 {
				t.Errorf("%s: the link is %v, %v", name, info.Mode(), err)
			}
			if n := len(read(t, link).Keys); n != 2 {
				t.Errorf("%s: %d keys", name, n)
			}
		}
	}
	round := filepath.Join(t.TempDir(), "round")
	if err := os.Symlink(round, round); err != nil {
		t.Fatal(err)
	}
	if err := new(Program).keys([]string{"add", "-tenant", "acme", "-file", round}, io.Discard, time.Now()); err == nil || !strings.Contains(err.Error(), "links") {
		t.Errorf("a link to itself: %v", err)
	}
}

// TestKeysKeepModeAndOwner changes files of modes and owners as operators have them.
func TestKeysKeepModeAndOwner(t *testing.T) {
	for _, mode := range []os.FileMode{0o600, 0o640, 0o644, 0o660, 0o664, 0o440} {
		path := filepath.Join(t.TempDir(), "keys.json")
		id := add(t, path)[7:15]
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		uid, gid := os.Getuid(), os.Getgid()
		if uid == 0 {
			uid, gid = 1234, 2345
			if err := os.Chown(path, uid, gid); err != nil {
				t.Fatal(err)
			}
		}
		for _, args := range [][]string{{"add", "-tenant", "acme"}, {"rotate", id}, {"revoke", id}} {
			if err := new(Program).keys(append(args, "-file", path), io.Discard, time.Now()); err != nil {
				t.Fatal(err)
			}
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if s := info.Sys().(*syscall.Stat_t); info.Mode().Perm() != mode || int(s.Uid) != uid || int(s.Gid) != gid {
				t.Errorf("%v of %d:%d after keys %s: %v of %d:%d", mode, uid, gid, args[0], info.Mode().Perm(), s.Uid, s.Gid)
			}
		}
	}
	folder := t.TempDir()
	if err := new(Program).keys([]string{"add", "-tenant", "acme", "-file", folder}, io.Discard, time.Now()); err == nil {
		t.Error("a folder is taken for the file")
	}
}

// TestKeyFilesOfEditors reads what editors and copying make of a file. What can't be read is left as it is.
func TestKeyFilesOfEditors(t *testing.T) {
	_, k := identity.NewKey(identity.Key{Tenant: "acme", Subject: "ci"})
	whole, _ := json.Marshal(identity.KeyFile{Keys: []identity.Key{k}})
	text := string(whole)
	for _, c := range []struct{ name, text, fault string }{
		{"as it is written", text + "\n", ""},
		{"a byte order mark", "\ufeff" + text, ""},
		{"lines of Windows", strings.ReplaceAll(text, ",", ",\r\n") + "\r\n", ""},
		{"no keys", `{"keys":[]}`, ""},
		{"empty", "", "it ends too early"},
		{"two files", text + "\n" + text, "there is more after"},
		{"a word after it", text + "\nTODO", "there is more after"},
		{"a brace too many", text + "}", "there is more after"},
		{"a comma after it", text + ",", "there is more after"},
		{"two byte order marks", "\ufeff\ufeff" + text, "line 1"},
		{"UTF-16, little end first", "\xff\xfe{\x00}\x00", "UTF-16"},
		{"UTF-16, big end first", "\xfe\xff\x00{\x00}", "UTF-16"},
		{"Latin-1", strings.Replace(text, `"ci"`, "\"caf\xe9\"", 1), "UTF-8"},
		{"a comment", "// keys\n" + text, "line 1"},
		{"the keys twice", strings.TrimSuffix(text, "}") + `,"keys":[]}`, "keys: is given twice"},
		{"keys in capitals", strings.Replace(text, `"keys"`, `"KEYS"`, 1), "KEYS: is not known: it is spelled keys"},
		{"scopes in another case", strings.Replace(text, `"scopes":null`, `"scopes":[],"Scopes":["*"]`, 1), "keys[0].Scopes: is not known: it is spelled scopes"},
		{"a revocation in another case", strings.Replace(text, `"scopes":null`, `"Revoked":"2026-01-01T00:00:00Z"`, 1), "keys[0].Revoked: is not known"},
		{"a tenant twice", strings.Replace(text, `"tenant":"acme"`, `"tenant":"acme","tenant":"other"`, 1), "keys[0].tenant: is given twice"},
		{"nothing but null", "null", "is not a JSON object"},
	} {
		path := filepath.Join(t.TempDir(), "keys.json")
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		err := new(Program).keys([]string{"add", "-tenant", "acme", "-file", path}, io.Discard, time.Now())
		after, _ := os.ReadFile(path)
		switch {
		case c.fault == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.fault != "" && (err == nil || !strings.Contains(err.Error(), c.fault)):
			t.Errorf("%s: %v, want %q", c.name, err, c.fault)
		case c.fault != "" && string(after) != c.text:
			t.Errorf("%s: the file is changed", c.name)
		}
	}
}
