package control

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"example.com/erlmcp/local/checks/world"
)

var calls = flag.Int("calls", 2000, "calls in two rounds that go on, at least, while secrets are rotated")

// taken is how long a step of a rotation may wait for all instances: files are looked at every 2 s, and instances say how they are as often.
const taken = time.Minute

// roundTime is how long a round may take.
const roundTime = 10 * time.Second

// rotations rotates the sealing keys, the password of Redis and the key of receipts, one after another, while tools are called that ask
// their user: each round goes to the next of four instances, so that the answer is never heard by the one that has asked. No call fails,
// and the record verifies by both keys.
func rotations(t *testing.T, emulator *world.Daemon) {
	w := world.New(t, emulator, "rotations").Guarded(emulator)
	r := &rotation{t: t, world: w, redis: w.Redis.Address(), sealing: filepath.Join(w.Dir, "sealing"), url: filepath.Join(w.Dir, "url"), receipts: filepath.Join(w.Dir, "key.pem")}
	r.write(r.sealing, r.output("openssl", "rand", "-base64", "32"))
	r.acl(">one", "on", "~*", "&*", "+@all")
	r.write(r.url, "redis://fleet:one@"+r.redis)
	w = w.With(t, slices.Concat(world.Anonymous(), []string{"SEALING_KEYS_FILE=" + r.sealing, "REDIS_URL=", "REDIS_URL_FILE=" + r.url,
		"CONCURRENT_CALLS_ON_REDIS_FAILURE=local"})...) // on a busy machine Redis answers late; whether a login is refused is asked of Redis itself
	taiea := control(t, w, "taiea")
	r.taiea = taiea.Server
	r.world = w.With(t, "TAIEA_URL="+taiea.URL, "TAIEA_KEY="+taiea.key)
	for i := range nodes {
		r.servers = append(r.servers, w.Serve(fmt.Sprint("node-", i)))
	}
	for _, s := range r.servers {
		s.Serves(t, "", "note")
	}

	before, err := os.ReadFile(w.Public)
	if err != nil {
		t.Fatal(err)
	}
	load := r.load(8)
	r.keys()
	r.password()
	after := r.receiptKey(before)
	load.end(*calls)

	// What begins now logs in with the new password alone.
	r.output("redis-cli", "-p", w.Redis.Port(), "client", "kill", "user", "fleet")
	for _, s := range r.servers {
		s.Serves(t, "", "note")
	}
	if log := r.output("redis-cli", "-p", w.Redis.Port(), "acl", "log"); strings.Contains(log, "fleet") {
		t.Errorf("a login was refused:\n%s", log)
	}

	for _, s := range append(r.servers, taiea.Server) {
		s.Signal(syscall.SIGTERM)
		<-s.Done
	}
	for name, keys := range map[string][]byte{"both": slices.Concat(before, after), "before": before, "after": after} {
		file := filepath.Join(w.Dir, name+".pem")
		r.write(file, string(keys))
		out, status := w.Run("verify", "-keys", file)
		if want := map[string]int{"both": 0}[name]; name == "both" && status != want || name != "both" && (status == 0 || !strings.Contains(out, "which is not one of yours")) {
			t.Errorf("verified by the keys %s: status %d\n%s", name, status, out)
		}
	}
}

// A rotation is what is rotated, where, and who must take it.
type rotation struct {
	t                             *testing.T
	world                         *world.World
	servers                       []*world.Server
	taiea                         *world.Server
	redis, sealing, url, receipts string
}

func (r *rotation) output(name string, args ...string) string {
	r.t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		r.t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// write replaces a file in one step, as what mounts secrets does.
func (r *rotation) write(path, text string) {
	r.t.Helper()
	err := os.WriteFile(path+".new", []byte(text), 0o600)
	if err = errors.Join(err, os.Rename(path+".new", path)); err != nil {
		r.t.Fatal(err)
	}
}

// acl changes the user that instances are in Redis.
func (r *rotation) acl(rules ...string) {
	r.t.Helper()
	r.output("redis-cli", append([]string{"-e", "-p", r.world.Redis.Port(), "acl", "setuser", "fleet"}, rules...)...)
}

// follow waits until all instances say that a file has changed.
func (r *rotation) follow(path string) {
	r.t.Helper()
	for begin := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		all := append(slices.Clone(r.servers), r.taiea)
		lag := slices.IndexFunc(all, func(s *world.Server) bool {
			return !slices.ContainsFunc(strings.Split(s.Log(), "\n"), func(line string) bool {
				return strings.Contains(line, "a file has changed and is in force") && strings.Contains(line, path)
			})
		})
		switch {
		case lag < 0:
			return
		case time.Since(begin) > taken:
			r.t.Fatalf("%s has not taken %s", all[lag].Name, path)
		}
	}
}

// keys takes the three steps. Each is refused before its turn, and until all instances have taken the one before.
func (r *rotation) keys() {
	r.t.Helper()
	steps := []string{"add", "use", "drop"}
	for i, step := range steps {
		for _, other := range steps {
			if other != step {
				r.world.Operate(1, "rotate", r.sealing, other)
			}
		}
		if step == "drop" {
			if out := r.world.Operate(1, "rotate", r.sealing, step); !strings.Contains(out, "-early") {
				r.t.Errorf("a key is dropped at once: %s", out)
			}
			r.taken()
			time.Sleep(roundTime) // for the answers to what the old key has sealed
		}
		for begin := time.Now(); ; time.Sleep(200 * time.Millisecond) {
			out, status := r.world.Run("rotate", "-early", r.sealing, step)
			if status == 0 {
				r.t.Logf("step %d after %v: %s", i+1, time.Since(begin).Round(100*time.Millisecond), strings.TrimSpace(out))
				break
			}
			if time.Since(begin) > taken {
				r.t.Fatalf("%s is refused for %v: %s", step, taken, out)
			}
		}
	}
	r.taken()
}

// taken waits until all instances have taken the last step.
func (r *rotation) taken() {
	r.t.Helper()
	for begin := time.Now(); ; time.Sleep(200 * time.Millisecond) {
		if out, status := r.world.Run("rotate", "-early", r.sealing); status == 0 {
			return
		} else if time.Since(begin) > taken {
			r.t.Fatalf("not all take the last step: %s", out)
		}
	}
}

// password gives the user in Redis a second password, has instances use it, and takes the first away.
func (r *rotation) password() {
	r.t.Helper()
	r.acl(">two")
	r.write(r.url, "redis://fleet:two@"+r.redis)
	r.follow(r.url)
	time.Sleep(time.Second) // for a connection that has asked for the login before
	r.acl("<one")
	time.Sleep(2 * time.Second) // calls go on
}

// receiptKey has another key vouch for chains, and returns its public half.
func (r *rotation) receiptKey(before []byte) []byte {
	r.t.Helper()
	file := filepath.Join(r.world.Dir, "next.pem")
	r.output("openssl", "genpkey", "-algorithm", "ed25519", "-out", file)
	private, err := os.ReadFile(file)
	if err != nil {
		r.t.Fatal(err)
	}
	r.write(r.receipts, string(private)+string(before))
	r.follow(r.receipts)
	time.Sleep(3 * time.Second) // calls go on, whose receipts are buffered for a second
	return []byte(r.output("openssl", "pkey", "-in", file, "-pubout"))
}

// A rounds calls a tool that asks, over and over.
type rounds struct {
	r       *rotation
	client  *http.Client
	next    atomic.Int64 // call; its first round goes to the next instance, and its second to the one after that
	done    atomic.Int64
	failed  atomic.Int64
	refused atomic.Int64 // since Redis and the store answered late
	stopped atomic.Bool
	wg      sync.WaitGroup
	begin   time.Time
}

func (r *rotation) load(callers int) *rounds {
	l := &rounds{r: r, client: &http.Client{Timeout: roundTime, Transport: &http.Transport{MaxIdleConnsPerHost: callers}}, begin: time.Now()}
	for range callers {
		l.wg.Go(func() {
			for !l.stopped.Load() {
				if err := l.call(); err != nil {
					if l.failed.Add(1) <= 10 {
						r.t.Errorf("call %d: %v", l.done.Load(), err)
					}
				}
				l.done.Add(1)
				time.Sleep(50 * time.Millisecond)
			}
		})
	}
	return l
}

// end ends the load after so many calls, and wants that none has failed.
func (l *rounds) end(least int) {
	l.r.t.Helper()
	for l.done.Load() < int64(least) && time.Since(l.begin) < 10*time.Minute {
		time.Sleep(50 * time.Millisecond)
	}
	l.stopped.Store(true)
	l.wg.Wait()
	done, failed := l.done.Load(), l.failed.Load()
	l.r.t.Logf("%d of %d calls in two rounds failed, in %v; %d rounds were refused by rule, and made again", failed, done, time.Since(l.begin).Round(time.Second), l.refused.Load())
	if failed > 0 || done < int64(least) {
		l.r.t.Errorf("%d of %d calls failed", failed, done)
	}
}

// call calls the tool, and answers what it asks.
func (l *rounds) call() error {
	n := l.next.Add(1)
	first, err := l.ask(n, "")
	if err != nil {
		return fmt.Errorf("first round: %w", err)
	}
	if first.ResultType != "input_required" || first.RequestState == "" {
		return fmt.Errorf("first round: %+v", first)
	}
	second, err := l.ask(n+1, `,"inputResponses":{"sure":{"action":"accept","content":{"confirm":true}}},"requestState":"`+first.RequestState+`"`)
	if err != nil {
		return fmt.Errorf("second round: %w", err)
	}
	if second.ResultType != "complete" || second.IsError {
		return fmt.Errorf("second round: %+v", second)
	}
	return nil
}

type round struct {
	ResultType, RequestState string
	IsError                  bool
	Content                  []struct{ Text string }
}

// ask makes a round. One that is refused because Redis and the store answered late, which is by rule and of a busy machine, is made again;
// that a login was refused is asked of Redis itself.
func (l *rounds) ask(n int64, more string) (*round, error) {
	for range 50 {
		r, err := l.round(n, more)
		if err == nil || !strings.Contains(err.Error(), `"code":1005`) {
			return r, err
		}
		l.refused.Add(1)
		time.Sleep(100 * time.Millisecond)
	}
	return l.round(n, more)
}

func (l *rounds) round(n int64, more string) (*round, error) {
	const revision = "2026-07-28"
	body := fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"ask","arguments":{},"_meta":{"io.modelcontextprotocol/protocolVersion":"`+revision+
		`","io.modelcontextprotocol/clientInfo":{"name":"rounds","version":"1"},"io.modelcontextprotocol/clientCapabilities":{"elicitation":{"form":{}}}}%s}}`, n, more)
	req, err := http.NewRequest("POST", l.r.servers[n%int64(len(l.r.servers))].URL+"/mcp", strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	for name, value := range map[string]string{"Content-Type": "application/json", "Accept": "application/json, text/event-stream", "MCP-Protocol-Version": revision, "Mcp-Method": "tools/call", "Mcp-Name": "ask"} {
		req.Header.Set(name, value)
	}
	resp, err := l.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	var answer struct {
		Result *round
		Error  json.RawMessage
	}
	if err := json.Unmarshal(text, &answer); err != nil || answer.Result == nil {
		return nil, fmt.Errorf("%d %.300s", resp.StatusCode, text)
	}
	return answer.Result, nil
}
