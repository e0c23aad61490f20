package command

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/erlmcp/function/internal/seal"
)

const secretsName = "projects/my-project/secrets/erlmcp-keys"

// A secretManager stands in for Secret Manager: https://cloud.google.com/secret-manager/docs/reference/rest.
type secretManager struct {
	mu       sync.Mutex
	versions []string          // the oldest first; "" is disabled
	made     map[int]time.Time // of versions, by number
	now      func() time.Time
	between  func() // before a version is added
}

func (m *secretManager) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	rest, ok := strings.CutPrefix(r.URL.Path, "/v1/"+secretsName)
	number, access := strings.CutSuffix(strings.TrimPrefix(rest, "/versions/"), ":access")
	named := func(n int) map[string]any {
		state := "ENABLED"
		if m.versions[n-1] == "" {
			state = "DISABLED"
		}
		return map[string]any{"name": fmt.Sprintf("projects/123/secrets/erlmcp-keys/versions/%d", n), "createTime": m.made[n], "state": state}
	}
	var answer any
	switch {
	case !ok:
		w.WriteHeader(http.StatusNotFound)
		answer = map[string]any{"error": map[string]any{"code": 404, "message": "Secret not found"}}
	case r.Method == http.MethodGet && rest == "/versions":
		list := []any{}
		for n := len(m.versions); n > 0; n-- {
			list = append(list, named(n))
		}
		answer = map[string]any{"versions": list}
	case r.Method == http.MethodGet && access:
		n, _ := strconv.Atoi(number)
		data := []byte(m.versions[n-1] + "\n")
		answer = map[string]any{"payload": map[string]any{"data": data, "dataCrc32c": fmt.Sprint(crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli)))}}
	case r.Method == http.MethodPost && rest == ":addVersion":
		var body struct{ Payload struct{ Data []byte } }
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			break
		}
		if m.between != nil {
			m.between()
		}
		m.versions = append(m.versions, string(body.Payload.Data))
		m.made[len(m.versions)] = m.now()
		answer = named(len(m.versions))
	}
	json.NewEncoder(w).Encode(answer)
}

func someKey(n byte) string {
	return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{n}, seal.KeySize))
}

// idsOf are the ids of keys.
func idsOf(t *testing.T, keys string) []string {
	t.Helper()
	ring, err := seal.ParseRing(keys)
	if err != nil {
		t.Fatal(err)
	}
	return ring.IDs()
}

// A rotating is a fleet whose keys are rotated at a place.
type rotating struct {
	t    *testing.T
	now  time.Time
	has  []string // ids of the keys of its one instance; nil: it does not say
	own  []string // of those that a control plane has for itself; nil: there is none
	away error
	args []string // the place
}

// run returns what a command says, and whether it did what it was to.
func (r *rotating) run(args ...string) (string, bool) {
	p := &Program{Name: "erlmcp", OpenOperator: func(context.Context) (Operator, error) {
		all := []any{map[string]any{"name": "one", "seen": r.now, "sealingKeys": r.has}}
		if r.own != nil {
			all = append(all, map[string]any{"name": "two", "seen": r.now, "sealingKeys": r.has, "ownSealingKeys": r.own})
		}
		text, _ := json.Marshal(map[string]any{"instances": all})
		return operator{true, true, http.StatusOK, string(text)}, r.away
	}}
	var out bytes.Buffer
	p.out, p.errs = &out, &out
	err := p.rotate(r.t.Context(), append(r.args, args...), &out, r.now)
	if err != nil {
		fmt.Fprintln(&out, err)
	}
	return out.String(), err == nil
}

// wants runs a command, and wants it to be done or not, and to say something.
func (r *rotating) wants(done bool, say string, args ...string) {
	r.t.Helper()
	if got, ok := r.run(args...); ok != done || !strings.Contains(got, say) {
		r.t.Errorf("%v: done %t, want %t and %q: %s", args, ok, done, say, got)
	}
}

// TestRotate takes all steps at both places, tries each other step before each, and each step before the fleet has taken the one before.
func TestRotate(t *testing.T) {
	t.Setenv("TAIEA_URL", "")
	for _, where := range []string{"file", "secret"} {
		t.Run(where, func(t *testing.T) {
			r := &rotating{t: t, now: time.Now()}
			var keys func() string
			if where == "file" {
				path := filepath.Join(t.TempDir(), "keys")
				if err := os.WriteFile(path, []byte(someKey(1)+"\n"), 0o640); err != nil {
					t.Fatal(err)
				}
				keys = func() string {
					text, err := os.ReadFile(path)
					if err != nil {
						t.Fatal(err)
					}
					return string(text)
				}
				r.args = []string{path}
			} else {
				m := &secretManager{versions: []string{someKey(1)}, made: map[int]time.Time{}, now: func() time.Time { return r.now }}
				srv := httptest.NewServer(m)
				t.Cleanup(srv.Close)
				keys = func() string { return m.versions[len(m.versions)-1] }
				r.args = []string{"-api", srv.URL, secretsName}
			}
			old := idsOf(t, keys())[0]
			var ids []string
			for range 2 { // rotations
				for _, step := range []string{"add", "use", "drop"} {
					r.has = nil
					r.wants(false, "does not say which keys it has", step)
					r.has = []string{"00000000"}
					r.wants(false, "the instance one had the keys 00000000", step)
					r.away = errors.New("away")
					r.wants(false, "the fleet can't be asked whether it has these keys: away; if all instances were started since", step)
					r.away, r.has = nil, idsOf(t, keys())
					for _, other := range []string{"add", "use", "drop"} {
						if other != step {
							r.wants(false, other+" is not the next step: that is "+step, other)
						}
					}
					if step == "drop" {
						r.wants(false, "drop it then, or with -early", step)
						r.now = r.now.Add(sealedFor + time.Minute)
					}
					r.wants(true, "the next step is "+step)
					r.wants(true, step+": ", step)
					ids = idsOf(t, keys())
					if want := map[string]int{"add": 0, "use": 1}[step]; step != "drop" && (len(ids) != 2 || ids[want] != old) {
						t.Errorf("after %s the keys are %v, and the old one is %s", step, ids, old)
					}
				}
				if len(ids) != 1 || ids[0] == old {
					t.Errorf("after all steps the keys are %v, and the old one was %s", ids, old)
				}
				old = ids[0]
			}
			r.away = errors.New("away")
			r.wants(true, "add: ", "add", "-restarted")
			r.wants(true, "use: ", "-restarted", "use")
			r.wants(true, "drop: ", "drop", "-restarted", "-early")
		})
	}
}

// TestRotateOwn rotates what the control plane alone has, and what all have, each without the other.
func TestRotateOwn(t *testing.T) {
	t.Setenv("TAIEA_URL", "")
	path := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(path, []byte(someKey(1)), 0o600); err != nil {
		t.Fatal(err)
	}
	keys := func() []string {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return idsOf(t, string(text))
	}
	r := &rotating{t: t, now: time.Now(), args: []string{path}}
	r.has, r.own = idsOf(t, someKey(2)), keys()
	r.wants(true, "all 1 instances that run have them", "add")
	r.wants(false, "the instance two had the keys "+r.own[0]+" at", "use")
	r.own = keys()
	r.wants(true, "use: ", "use")
	r.has, r.own = keys(), idsOf(t, someKey(2))
	r.now = r.now.Add(sealedFor + time.Minute)
	r.wants(true, "all 2 instances that run have them", "drop")
	r.has = idsOf(t, someKey(3))
	r.wants(false, "the instance one had the keys "+r.has[0], "add")
}

// TestRotateUndecided has places that do not show which step is next, or can't be read: nothing is changed, and the words say why.
func TestRotateUndecided(t *testing.T) {
	one, two, three := someKey(1), someKey(2), someKey(3)
	for name, c := range map[string]struct {
		versions []string // of Secret Manager
		file     string
		want     string
	}{
		"two keys from the start":          {versions: []string{one + "," + two}, want: "which key of version 1 of " + secretsName + " is the new one can't be told"},
		"two keys after others":            {versions: []string{three, one + "," + two}, want: "can't be told"},
		"three keys":                       {versions: []string{one + "," + two + "," + three}, want: "has 3 keys"},
		"the same key twice":               {versions: []string{one + "," + one}, want: "one or two different ones"},
		"the version before is disabled":   {versions: []string{"", one + "," + two}, want: "version 1 of " + secretsName + " is DISABLED"},
		"said twice, and then decided":     {versions: []string{one, one + "," + two, one + "," + two}, want: "the next step is use"},
		"two steps at once, by hand":       {versions: []string{one, two + "," + one}, want: "the next step is drop"},
		"no key":                           {versions: []string{"hunter2"}, want: "version 1 of " + secretsName + ": key 1"},
		"no version":                       {want: "there is no version"},
		"two keys in a file":               {file: one + "," + two, want: "can't be told"},
		"a file that was changed by hand":  {file: "# erlmcp rotate - " + one + "\n# erlmcp rotate 2026-01-26T10:00:00Z " + one + "," + two + "\n" + two + "," + one, want: "can't be told"},
		"a file that was set anew by hand": {file: "# erlmcp rotate - " + one + "\n" + two, want: "the next step is add"},
		"a note that can't be read":        {file: "# erlmcp rotate yesterday " + one + "\n" + one, want: "can't be read"},
		"an empty file":                    {file: "\n", want: "key 1"},
	} {
		t.Run(name, func(t *testing.T) {
			m := &secretManager{versions: c.versions}
			srv := httptest.NewServer(m)
			t.Cleanup(srv.Close)
			r := &rotating{t: t, now: time.Now(), args: []string{"-restarted", "-early", "-api", srv.URL, secretsName}}
			if c.file != "" {
				path := filepath.Join(t.TempDir(), "keys")
				if err := os.WriteFile(path, []byte(c.file), 0o600); err != nil {
					t.Fatal(err)
				}
				r.args = []string{"-restarted", "-early", path}
			}
			got, _ := r.run()
			if !strings.Contains(got, c.want) || strings.Contains(got, "hunter2") || strings.Contains(got, one[:8]) {
				t.Errorf("%s, want %q", got, c.want)
			}
			if len(m.versions) != len(c.versions) {
				t.Errorf("a version was added")
			}
		})
	}
	m := &secretManager{versions: []string{one}, made: map[int]time.Time{}, now: time.Now}
	m.between = func() { m.versions = append(m.versions, one+","+two) }
	srv := httptest.NewServer(m)
	defer srv.Close()
	r := &rotating{t: t, now: time.Now(), args: []string{"-restarted", "-api", srv.URL, secretsName}}
	r.wants(false, "two rotate at once", "add")
	r.args[3] = "projects/my-project/secrets/other"
	r.wants(false, "answers 404: Secret not found; who asks needs roles/", "add")
}
