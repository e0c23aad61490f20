// Command demo walks through what the server does: a governed call in both eras, a question to the user that any instance can
// follow up, refusals with their reasons, a tool that an operator stops, an API that a catalog file makes into tools, callers with keys
// under a policy, and the receipts of all that. It shows each exchange as it goes over the wire.
package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"example.com/erlmcp/function"
	"example.com/erlmcp/local/bookshop"
	"example.com/erlmcp/local/embedded"
	"example.com/erlmcp/local/sample"
)

func main() {
	if err := walk(context.Background(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

type demo struct {
	out    io.Writer
	dir    string                  // of files
	memory *function.InMemoryStore // the store of the fleet
	taiea  string                  // the control plane, for whoever is at this machine
	id     string                  // of the last call
	err    error

	serving sync.WaitGroup
}

func walk(ctx context.Context, out io.Writer) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	key := make([]byte, 32)
	rand.Read(key)
	keys := base64.StdEncoding.EncodeToString(key)
	redis, _, stopRedis, err := embedded.Redis(func(string) string { return "" })
	if err != nil {
		return err
	}
	defer stopRedis()
	dir, err := os.MkdirTemp("", "demo")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	receiptKey := filepath.Join(dir, "receipts.pem")
	if err := makeKey(receiptKey); err != nil {
		return err
	}
	d := &demo{out: out, dir: dir, memory: function.NewInMemoryStore()}
	defer func() { stop(); d.serving.Wait() }()
	base := map[string]string{"PORT": "0", "SEALING_KEYS": keys, "DRAIN_TIMEOUT": "0s", "REDIS_URL": redis, "RECEIPT_KEY_FILE": receiptKey,
		"CONCURRENT_CALLS_ON_REDIS_FAILURE": "open"} // an embedded Redis may be late on a machine that is busy
	first, err := d.instance(ctx, base)
	if err != nil {
		return err
	}
	second, err := d.instance(ctx, base)
	if err != nil {
		return err
	}
	plane := maps.Clone(base)
	plane["FUNCTION_TARGET"] = "taiea"
	if d.taiea, err = d.instance(ctx, plane); err != nil {
		return err
	}
	d.taiea = strings.TrimSuffix(d.taiea, "/mcp")

	d.title("1. A call, as most clients of today send it")
	d.send(ctx, &exchange{url: first, body: `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"distance","arguments":{"from":"Lima","to":"Sydney"}}}`})
	called := d.id

	d.title("2. The same in protocol revision 2026-07-28: complete in itself, decided from its headers")
	d.modern(ctx, first, "distance", `"arguments":{"from":"Lima","to":"Sydney"}`)

	d.title("3. A tool that asks its user: the first instance asks …")
	invite := `"arguments":{"title":"Kick-off","cities":["Lima","Sydney"],"start":"2027-03-10T21:00:00Z","minutes":30}`
	answer := d.modern(ctx, first, "invite", invite)
	var asked struct {
		Result struct {
			InputRequests map[string]json.RawMessage
			RequestState  string
		}
	}
	if err := json.Unmarshal(answer, &asked); err != nil || asked.Result.RequestState == "" {
		return fmt.Errorf("the tool did not ask: %s", answer)
	}
	d.title("… the user agrees, and the second instance goes on: the state travelled sealed through the client")
	for question := range asked.Result.InputRequests {
		d.modern(ctx, second, "invite", fmt.Sprintf(`%s,"inputResponses":{%q:{"action":"accept","content":{"confirm":true}}},"requestState":%q`, invite, question, asked.Result.RequestState))
	}

	d.title("4. Refused: a tool of 2 calls a second, 4 at once, is called five times at once; the answer says when to come back")
	d.crowd(ctx, first, "daylight_year", `"arguments":{"city":"Oslo"}`)

	d.title("5. Refused: the state does not fit another call")
	d.modern(ctx, first, "invite", strings.Replace(invite, "Lima", "Oslo", 1)+fmt.Sprintf(`,"requestState":%q`, asked.Result.RequestState))

	d.title("6. Refused: the headers say one thing and the body another")
	other := modernCall(first, "find_cities", "")
	other.body = modernBody("distance", `"arguments":{}`)
	d.send(ctx, other)

	d.title("7. Refused: too large a body, with the reason and the receipt's id in the answer")
	d.modern(ctx, first, "distance", `"arguments":{"from":"`+strings.Repeat("x", 5<<20)+`"}`)

	d.title("8. An operator stops a tool, on all instances within 2 seconds")
	if _, err := d.operate(ctx, "PUT", "/v1/kills/tool:distance", `{"reason":"its map is being redrawn"}`); err != nil {
		return err
	}
	d.stopped(ctx, first, "distance", `"arguments":{"from":"Lima","to":"Sydney"}`)
	refused := d.id
	d.stopped(ctx, second, "distance", `"arguments":{"from":"Lima","to":"Sydney"}`)

	if err := d.api(ctx, base); err != nil {
		return err
	}
	if err := d.callers(ctx, base); err != nil {
		return err
	}
	if d.err != nil {
		return d.err
	}
	return d.receipts(ctx, called, refused)
}

// api shows an API that a catalog file makes into tools, governed like the others.
func (d *demo) api(ctx context.Context, base map[string]string) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	shop := &http.Server{Handler: bookshop.New()}
	go shop.Serve(listener)
	defer shop.Close()
	env := maps.Clone(base)
	env["CATALOG_FILE"], env["BOOKSHOP_URL"], env["EGRESS_ALLOW"] = filepath.Join(d.dir, "catalog.yaml"), "http://"+listener.Addr().String(), "127.0.0.1"
	if err := errors.Join(os.WriteFile(env["CATALOG_FILE"], bookshop.Catalog, 0o600), os.WriteFile(filepath.Join(d.dir, "openapi.yaml"), bookshop.Document, 0o600)); err != nil {
		return err
	}
	url, err := d.instance(ctx, env)
	if err != nil {
		return err
	}
	d.title("9. An API, made into tools by a catalog file. Its OpenAPI document says the rest")
	fmt.Fprintf(d.out, "\n  %s\n", strings.ReplaceAll(strings.TrimSpace(string(bookshop.Catalog)), "\n", "\n  "))
	d.title("… a call is a request to the API")
	d.modern(ctx, url, "shop_listBooks", `"arguments":{"text":"austen","limit":"2"}`)
	d.title("… an argument that the file bounds is refused before the API sees it")
	d.modern(ctx, url, "shop_order", `"arguments":{"book":"emma","copies":50}`)
	d.title("… and by a condition of the file the user is asked first")
	d.modern(ctx, url, "shop_order", `"arguments":{"book":"emma","copies":6}`)
	return nil
}

// callers shows a server that lets in who has a key, and a rule that hides tools from one of them.
func (d *demo) callers(ctx context.Context, base map[string]string) error {
	var keys [2]struct{ Text string }
	for i, caller := range []string{`{"tenant":"visitors","subject":"guest","scopes":["read"]}`, `{"tenant":"office","subject":"staff","scopes":["*"]}`} {
		made, err := d.operate(ctx, "POST", "/v1/keys", caller)
		if err == nil {
			err = json.Unmarshal(made, &keys[i])
		}
		if err != nil {
			return err
		}
	}
	env := maps.Clone(base)
	env["AUTHENTICATION"], env["API_KEYS_FILE"], env["POLICY_FILE"] = "keys", filepath.Join(d.dir, "keys.json"), filepath.Join(d.dir, "policy.yaml")
	const rule = `rules: [{name: visitors, when: 'principal.tenant == "visitors" && tool.name != "find_cities"', then: deny}]`
	if err := errors.Join(os.WriteFile(env["API_KEYS_FILE"], []byte(`{"keys":[]}`), 0o600), os.WriteFile(env["POLICY_FILE"], []byte(rule), 0o600)); err != nil {
		return err
	}
	url, err := d.instance(ctx, env)
	if err != nil {
		return err
	}
	call := func(key string) {
		d.send(ctx, &exchange{url: url, header: map[string]string{"Authorization": "Bearer " + key},
			body: `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"sun_times","arguments":{"city":"Oslo","date":"2026-06-21"}}}`})
	}
	d.title("10. A server with callers of its own: a key that no one has is refused …")
	call("erlmcp_aaaaaaaa_aaaaaaaaaaaaaaaaaaaaaaaaaa")
	d.title("… the key of a visitor does not see the tool: the rule is " + rule)
	call(keys[0].Text)
	d.title("… and the key of the staff does")
	call(keys[1].Text)
	return nil
}

// receipts shows what was recorded of two calls, and proves that nothing is missing from the record, or altered in it.
func (d *demo) receipts(ctx context.Context, called, refused string) error {
	if _, err := d.find(ctx, d.id); err != nil { // then those of before are there too
		return err
	}
	d.title("11. Each decision has left a receipt: of the first call …")
	if err := d.receipt(ctx, called); err != nil {
		return err
	}
	d.title("… and of the one to a tool that was stopped, by the id that its caller was told")
	if err := d.receipt(ctx, refused); err != nil {
		return err
	}
	d.title("Each of the four instances, and the control plane, has written them in a chain: all are there, and as they were recorded …")
	report, err := d.operate(ctx, "GET", "/v1/receipts/verify", "")
	if err != nil {
		return err
	}
	d.indent(report)
	d.title("… and in a copy, which an auditor verifies with the public key alone, that refusal can't be made another thing")
	text, err := d.operate(ctx, "GET", "/v1/receipts/export", "")
	if err != nil {
		return err
	}
	lines := bytes.SplitAfter(text, []byte("\n"))
	for i, line := range lines {
		if bytes.Contains(line, []byte(refused)) {
			lines[i] = bytes.Replace(line, []byte(`"decision":"refuse"`), []byte(`"decision":"allow"`), 1)
		}
	}
	found, err := function.VerifyExport(ctx, bytes.NewReader(bytes.Join(lines, nil)), filepath.Join(d.dir, publicKey))
	if err != nil {
		return err
	}
	fmt.Fprintf(d.out, "\n  %s\n", strings.ReplaceAll(strings.TrimSuffix(found, "\n"), "\n", "\n  "))
	return nil
}

// receipt shows the receipts of a call.
func (d *demo) receipt(ctx context.Context, id string) error {
	found, err := d.find(ctx, id)
	for _, one := range found {
		d.indent(one)
	}
	return err
}

func (d *demo) indent(text []byte) {
	var pretty bytes.Buffer
	json.Indent(&pretty, text, "  ", "  ") // what is no JSON shows as nothing
	fmt.Fprintf(d.out, "\n  %s\n", &pretty)
}

// find returns the receipts of a call, which are stored within a second or so.
func (d *demo) find(ctx context.Context, id string) ([]json.RawMessage, error) {
	var err error
	for range 300 {
		var answer []byte
		if answer, err = d.operate(ctx, "GET", "/v1/receipts/"+id, ""); err == nil {
			var found struct{ Receipts []json.RawMessage }
			err = json.Unmarshal(answer, &found)
			return found.Receipts, err
		}
		time.Sleep(100 * time.Millisecond)
	}
	return nil, err
}

// operate asks the control plane.
func (d *demo) operate(ctx context.Context, method, path, body string) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, method, d.taiea+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if method == http.MethodPut {
		r.Header.Set("If-None-Match", "*")
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode >= 300 {
		err = fmt.Errorf("%s %s: %s", method, path, answer)
	}
	return answer, err
}

const publicKey = "receipts.pub"

// makeKey writes the operator's key, and its public part beside it, as openssl genpkey and openssl pkey -pubout do.
func makeKey(file string) error {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return err
	}
	open, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600),
		os.WriteFile(filepath.Join(filepath.Dir(file), publicKey), pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: open}), 0o644),
	)
}

// instance starts a server on a free port and returns the URL of its endpoint.
func (d *demo) instance(ctx context.Context, env map[string]string) (string, error) {
	s, err := function.New(ctx, function.Options{
		Catalog: sample.Catalog(), Loopback: true, Store: d.memory, Logger: slog.New(slog.DiscardHandler), Getenv: func(name string) string { return env[name] },
	})
	if err != nil {
		return "", err
	}
	url, failed := make(chan string, 1), make(chan error, 1)
	d.serving.Go(func() {
		defer s.Close()
		failed <- s.Run(ctx, func(u string) { url <- u })
	})
	select {
	case u := <-url:
		return u, nil
	case err := <-failed:
		return "", err
	}
}
