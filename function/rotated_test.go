package function

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/erlmcp/function/internal/receipt"
	"example.com/erlmcp/function/internal/receipt/verify"
)

// readyOf is what /ready says.
func readyOf(t *testing.T, srv testServer) string {
	t.Helper()
	resp, err := fetch(t, srv.URL+"/ready")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestSealingKeysAreFollowed rotates the keys of two servers that run, by the file that both read, and wants that each hears the answer to
// what the other has asked, before and after each step. A bad file changes nothing and is told.
func TestSealingKeysAreFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := writeFile(t, filepath.Join(t.TempDir(), "keys"), testKey(1)+"\n")
		settings := WithGetenv(env("SEALING_KEYS", "", "SEALING_KEYS_FILE", file))
		servers := []testServer{newServer(t, WithTools(askingTools()...), settings), newServer(t, WithTools(askingTools()...), settings)}
		ask := func(i int) string { return call(t, servers[i], "remove", `{"name":"x"}`, "").round(t).RequestState }
		hear := func(i int, state string) bool {
			return call(t, servers[i], "remove", `{"name":"x"}`, `,"inputResponses":{"sure":`+accepted+`},"requestState":"`+state+`"`).Error == nil
		}
		both := func(when string) {
			t.Helper()
			for i := range servers {
				if !hear(1-i, ask(i)) {
					t.Errorf("%s: what server %d has asked is not heard by the other", when, i)
				}
			}
		}
		both("at the start")
		first := ask(0)
		for _, step := range [][]byte{{1, 2}, {2, 1}, {2}} {
			var keys []string
			for _, k := range step {
				keys = append(keys, testKey(k))
			}
			open := ask(0)
			writeFile(t, file, "# a note\n"+strings.Join(keys, ",")+"\n")
			both("before it is looked at")
			time.Sleep(lookAge)
			hear(0, ask(0)) // one server looks first
			synctest.Wait()
			both("when one has taken it")
			hear(1, ask(1))
			synctest.Wait()
			both("when both have")
			if !hear(1, open) {
				t.Errorf("with %v what was asked before is not heard", step)
			}
		}
		if hear(1, first) {
			t.Error("what the first key has sealed opens, and it is dropped")
		}
		for text, want := range map[string]string{"hunter2": "key 1", "": "key 1 has 0 bytes", testKey(3)[:20]: "key 1"} {
			writeFile(t, file, text)
			time.Sleep(lookAge)
			ask(0)
			synctest.Wait()
			both("with a bad file")
			if got := readyOf(t, servers[0]); !strings.Contains(got, want) || !strings.Contains(got, "stays in force") || strings.Contains(got, "hunter2") {
				t.Errorf("%q: /ready says %s, want %q", text, got, want)
			}
		}
		writeFile(t, file, testKey(2))
		if got := readyOf(t, servers[0]); strings.Contains(got, "stays in force") {
			t.Errorf("mended: %s", got)
		}
	})
}

// TestRedisLoginIsFollowed changes the password of Redis under a server that runs: new connections log in with it. A file that names another
// server changes nothing, and says to restart.
func TestRedisLoginIsFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		redis := network.Redis(t)
		redis.RequireAuth("one")
		named := func(password string) string { return strings.Replace(redis.URL, "://", "://:"+password+"@", 1) }
		file := writeFile(t, filepath.Join(t.TempDir(), "url"), named("one")+"\n")
		srv := newServer(t, onNetwork, WithGetenv(env("REDIS_URL_FILE", file)))
		runs := func() bool {
			_, got := modern("tools/call", "add", `"name":"add","arguments":{"a":1}`).send(t, srv.URL)
			return !strings.Contains(got, "refused")
		}
		runs()
		if time.Sleep(5 * time.Second); !runs() { // new counters
			t.Fatal("it does not begin")
		}
		redis.RequireAuth("two")
		writeFile(t, file, named("two"))
		time.Sleep(2 * lookAge)
		redis.Stop() // and its connections
		redis.Start()
		time.Sleep(10 * time.Second)
		if got := readyOf(t, srv); !runs() || strings.Contains(got, `"governor`) || strings.Contains(got, "Redis") {
			t.Errorf("new connections do not log in: %s", got)
		}
		for text, want := range map[string]string{
			"redis://:hunter2@10.9.9.9:6379": "names another server", named("two") + "/3": "other options", "hunter2": "is not a URL",
		} {
			writeFile(t, file, text)
			time.Sleep(2 * lookAge)
			if got := readyOf(t, srv); !strings.Contains(got, want) || strings.Contains(got, "hunter2") || !runs() {
				t.Errorf("/ready says %s, want %q", got, want)
			}
		}
		for text, want := range map[string]string{"": "is not a URL", "valkey://r": "write redis://"} {
			_, err := assemble(t.Context(), onNetwork, WithLogger(logTo(t)), WithGetenv(env("REDIS_URL_FILE", writeFile(t, filepath.Join(t.TempDir(), "url"), text))))
			if err == nil || !strings.Contains(err.Error(), "REDIS_URL_FILE: ") || !strings.Contains(err.Error(), want) {
				t.Errorf("%q: %v, want %q", text, err, want)
			}
		}
	})
}

// TestReceiptKeyIsFollowed changes the key that vouches for receipts under a server that runs, whose records verify by both public halves.
func TestReceiptKeyIsFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var public []ed25519.PublicKey
		private := func() string {
			key, secret, err := ed25519.GenerateKey(rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			public = append(public, key)
			der, err := x509.MarshalPKCS8PrivateKey(secret)
			if err != nil {
				t.Fatal(err)
			}
			return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
		}
		file := writeFile(t, filepath.Join(t.TempDir(), "key.pem"), private())
		url, store, end := recorded(t, wireTools(), WithGetenv(env("RECEIPT_KEY_FILE", file)))
		for range 2 {
			for range 5 {
				modern("tools/list", "", "").send(t, url)
				time.Sleep(2 * time.Second)
			}
			writeFile(t, file, private())
		}
		end()
		for n, faults := range map[int]bool{1: true, 2: false} {
			r, err := verify.Store(t.Context(), store, verify.Options{Keys: public[:n], Now: time.Now()})
			if err != nil || (len(r.Faults) > 0) != faults || r.Receipts < 10 {
				t.Errorf("with %d keys: %v, %v", n, r, err)
			}
		}
		vouched := map[string]bool{}
		for s, err := range store.Openings(t.Context(), time.Time{}, time.Now().Add(time.Hour)) {
			if err != nil {
				t.Fatal(err)
			}
			c, err := receipt.ReadCertificate(s.Certificate)
			if err != nil {
				t.Fatal(err)
			}
			vouched[c.Operator] = true
		}
		if !vouched[receipt.KeyID(public[0])] || !vouched[receipt.KeyID(public[1])] {
			t.Errorf("chains are vouched for by %v", vouched)
		}
	})
}
