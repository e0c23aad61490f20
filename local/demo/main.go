// Command demo walks through what the server does: a governed call in both eras, a question to the user that any instance can
// follow up, refusals with their reasons, a tool that an operator stops, callers with keys under a policy, and the receipts of all
// that. It shows each exchange as it goes over the wire.
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
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"example.com/erlmcp/function"
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
	dir    string           // of files
	memory *function.Memory // the store of the fleet
	id     string           // of the last call
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
	d := &demo{out: out, dir: dir, memory: function.NewMemory()}
	defer func() { stop(); d.serving.Wait() }()
	base := map[string]string{"PORT": "0", "ERLMCP_KEYS": keys, "DRAIN_TIMEOUT": "0s", "REDIS_URL": redis, "RECEIPT_KEY_FILE": receiptKey,
		"CONCURRENT_CALLS_OUTAGE": "open"} // an embedded Redis may be late on a machine that is busy
	first, err := d.instance(ctx, base)
	if err != nil {
		return err
	}
	second, err := d.instance(ctx, base)
	if err != nil {
		return err
	}

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
	if err := order(ctx, redis, func(o *function.Orders) error {
		return o.Kill(function.Kill{Scope: "tool:distance", Reason: "its map is being redrawn", At: time.Now()})
	}); err != nil {
		return err
	}
	d.stopped(ctx, first, "distance", `"arguments":{"from":"Lima","to":"Sydney"}`)
	refused := d.id
	d.stopped(ctx, second, "distance", `"arguments":{"from":"Lima","to":"Sydney"}`)

	if err := d.callers(ctx, base); err != nil {
		return err
	}
	if d.err != nil {
		return d.err
	}
	return d.receipts(ctx, base, called, refused)
}

// callers shows a server that lets in who has a key, and a rule that hides tools from one of them.
func (d *demo) callers(ctx context.Context, base map[string]string) error {
	guest, guestEntry := function.NewKey(function.Key{Tenant: "visitors", Subject: "guest", Scopes: []string{"read"}})
	staff, staffEntry := function.NewKey(function.Key{Tenant: "office", Subject: "staff", Scopes: []string{"*"}})
	file, err := json.Marshal(function.KeyFile{Keys: []function.Key{guestEntry, staffEntry}})
	if err != nil {
		return err
	}
	env := maps.Clone(base)
	env["AUTHENTICATION"], env["API_KEYS_FILE"], env["POLICY_FILE"] = "keys", filepath.Join(d.dir, "keys.json"), filepath.Join(d.dir, "policy.yaml")
	const rule = `rules: [{name: visitors, when: 'principal.tenant == "visitors" && tool.name != "find_cities"', then: deny}]`
	if err := errors.Join(os.WriteFile(env["API_KEYS_FILE"], file, 0o600), os.WriteFile(env["POLICY_FILE"], []byte(rule), 0o600)); err != nil {
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
	d.title("9. A server with callers of its own: a key that no one has is refused …")
	call("erlmcp_aaaaaaaa_aaaaaaaaaaaaaaaaaaaaaaaaaa")
	d.title("… the key of a visitor does not see the tool: the rule is " + rule)
	call(guest)
	d.title("… and the key of the staff does")
	call(staff)
	return nil
}

// receipts shows what was recorded of two calls, and proves that nothing is missing from the record, or altered in it.
func (d *demo) receipts(ctx context.Context, env map[string]string, called, refused string) error {
	r, err := function.OpenRecords(ctx, "", function.WithMemory(d.memory), function.WithGetenv(func(name string) string { return env[name] }))
	if err != nil {
		return err
	}
	defer r.Close()
	if _, err := find(ctx, r, d.id); err != nil { // then those of before are there too
		return err
	}
	d.title("10. Each decision has left a receipt: of the first call …")
	if err := d.receipt(ctx, r, called); err != nil {
		return err
	}
	d.title("… and of the one to a tool that was stopped, by the id that its caller was told")
	if err := d.receipt(ctx, r, refused); err != nil {
		return err
	}
	d.title("Each of the three instances has written them in a chain: all are there, and as they were recorded …")
	report, err := r.Verify(ctx, "", time.Time{}, time.Time{})
	if err != nil {
		return err
	}
	fmt.Fprintf(d.out, "\n  %s", indented(report))
	d.title("… and in a copy, which an auditor verifies with the public key alone, that refusal can't be made another thing")
	var text bytes.Buffer
	if _, err := r.Export(ctx, &text, "", time.Time{}, time.Time{}); err != nil {
		return err
	}
	public, err := function.PublicKeys(filepath.Join(d.dir, publicKey))
	if err != nil {
		return err
	}
	lines := bytes.SplitAfter(text.Bytes(), []byte("\n"))
	for i, line := range lines {
		if bytes.Contains(line, []byte(refused)) {
			lines[i] = bytes.Replace(line, []byte(`"decision":"refuse"`), []byte(`"decision":"allow"`), 1)
		}
	}
	if report, err = function.VerifyExport(ctx, bytes.NewReader(bytes.Join(lines, nil)), public); err != nil {
		return err
	}
	fmt.Fprintf(d.out, "\n  %s", indented(report))
	return nil
}

func indented(r *function.Report) string {
	return strings.ReplaceAll(strings.TrimSuffix(r.String(), "\n"), "\n", "\n  ") + "\n"
}

// receipt shows the receipts of a call.
func (d *demo) receipt(ctx context.Context, r *function.Records, id string) error {
	found, err := find(ctx, r, id)
	if err != nil {
		return err
	}
	for _, one := range found {
		var pretty bytes.Buffer
		if err := json.Indent(&pretty, one.Append(nil), "  ", "  "); err != nil {
			return err
		}
		fmt.Fprintf(d.out, "\n  %s\n", &pretty)
	}
	return nil
}

// find returns the receipts of a call, which are stored within a second or so.
func find(ctx context.Context, r *function.Records, id string) ([]function.Receipt, error) {
	for range 300 {
		if found, _, err := r.Find(ctx, id); err != nil || len(found) > 0 {
			return found, err
		}
		time.Sleep(100 * time.Millisecond)
	}
	return nil, fmt.Errorf("there is no receipt of %s", id)
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
	s, err := function.New(ctx, append(sample.Catalog(), function.WithLoopback(), function.WithMemory(d.memory), function.WithLogger(slog.New(slog.DiscardHandler)),
		function.WithGetenv(func(name string) string { return env[name] }))...)
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

// order changes what holds on the fleet, as erlmcp kill and erlmcp limits do.
func order(ctx context.Context, redis string, change func(*function.Orders) error) error {
	op, err := function.OpenOperator(ctx, function.WithGetenv(func(name string) string { return map[string]string{"REDIS_URL": redis}[name] }))
	if err != nil {
		return err
	}
	defer op.Close()
	_, err = op.Change(ctx, change)
	return err
}
