package observability

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/erlmcp/local/checks/world"
)

func TestMain(m *testing.M) { os.Exit(world.Main(m)) }

// An incident is what goes wrong, and what ends it.
type incident struct {
	alert  string
	within time.Duration // of its beginning, by the clock of the day: the alert's own time, and some for scrapes and a busy machine
	begin  func()
	end    func()
	also   []string // alerts that may come with it
}

// TestGameDay breaks one thing after another in a fleet of real parts, which a real Prometheus watches by the rules that are deployed. The
// right alert must fire in time, and no other one; what its runbook says must end it. A minute of the rules is a second of the day.
func TestGameDay(t *testing.T) {
	t.Parallel()
	d := newDay(t)
	const away = "GovernorDegraded"
	// Calls that are refused for want of room use up the error budget, as the runbook of that alert says.
	refused := []string{"AvailabilityBurnsFast", "AvailabilityBurnsSlowly", "RedisRoundTripsLost", "RedisSlow", "CallsUnheard", "OverheadHigh"}
	d.quiet()
	for _, hour := range [][]incident{
		{
			{alert: "HandlerPanics", within: 10 * time.Second, begin: func() { d.call("break") }, end: func() {
				d.run("HandlerPanics", `erlmcp kill tool:export -reason`, "tool:export", "tool:break")
				d.killed("break")
			}},
			{alert: "CredentialExpires", within: 15 * time.Second, begin: d.ageKey, end: func() {
				d.run("CredentialExpires", `erlmcp keys rotate`, "k7f3q2xa", d.keyID, "keys.json", d.keys)
			}},
			{alert: "EventsNotTaken", within: 15 * time.Second, begin: func() {
				if d.pubsub.publish(strings.ReplaceAll(d.message(), "professional", "platinum")) {
					t.Error("an event of a plan that nobody has is taken")
				}
			}, end: func() {
				if !d.pubsub.publish(d.message()) {
					t.Error("the event of the runbook is not taken")
				}
				d.pubsub.dead.Store(0) // pull, with --auto-ack
			}},
		},
		{{alert: away, within: 10 * time.Second, begin: d.world.Redis.Stop, end: d.world.Redis.Continue, also: refused}},
		{{alert: "RedisFull", within: 25 * time.Second, begin: d.fill, end: d.clear, also: append([]string{away}, refused...)}},
		{{alert: "ReceiptsLate", within: 25 * time.Second, begin: d.emulator.Stop, end: func() {
			d.run("ReceiptsLate", `erlmcp kill tool:pay`)
			d.killed("pay")
			d.emulator.Continue() // the store is back
		}, also: refused}},
	} {
		d.play(hour)
	}
}

// play begins incidents, wants their alerts in time and no other, ends them, and wants the alerts to end. What came with them may last: windows
// are long.
func (d *day) play(hour []incident) {
	var expected []string
	begun := time.Now()
	for _, i := range hour {
		expected, d.also = append(expected, i.alert), append(d.also, i.also...)
		i.begin()
	}
	for missing := slices.Clone(expected); len(missing) > 0; time.Sleep(200 * time.Millisecond) {
		firing := d.firing()
		for _, i := range hour {
			at := slices.Index(missing, i.alert)
			switch took := time.Since(begun); {
			case at < 0:
				continue
			case slices.Contains(firing, i.alert):
				d.t.Logf("%s fires after %.1f s", i.alert, took.Seconds())
			case took > i.within:
				d.t.Errorf("%s does not fire within %s: %v do", i.alert, i.within, firing)
			default:
				continue
			}
			missing = slices.Delete(missing, at, at+1)
		}
		d.only(expected, firing)
	}
	for _, i := range hour {
		i.end()
	}
	ended := time.Now()
	for still := true; still; time.Sleep(200 * time.Millisecond) {
		firing := d.firing()
		d.only(expected, firing)
		still = slices.ContainsFunc(expected, func(alert string) bool { return slices.Contains(firing, alert) })
		if still && time.Since(ended) > time.Minute {
			d.t.Errorf("%v still fire a minute after what their runbooks say was done", firing)
			return
		}
	}
	d.t.Logf("%s: quiet again after %.1f s", strings.Join(expected, ", "), time.Since(ended).Seconds())
}

// only wants no alert that has nothing to do with what is broken.
func (d *day) only(expected, firing []string) {
	for _, alert := range firing {
		// On a machine that is busy Redis is slow to everyone: that alert tells the truth, and has nothing to do with what is broken.
		if alert != "RedisSlow" && !slices.Contains(expected, alert) && !slices.Contains(d.also, alert) {
			d.t.Errorf("%s fires, too", alert)
			d.also = append(d.also, alert) // said once
		}
	}
}

// quiet waits until no alert has fired for as long as most need: before the first scrape there are no backups.
func (d *day) quiet() {
	since := time.Now()
	for begin := since; time.Since(since) < 6*time.Second; time.Sleep(500 * time.Millisecond) {
		firing := d.firing()
		if len(firing) > 0 {
			since = time.Now()
		}
		if time.Since(begin) > 30*time.Second {
			d.t.Fatalf("nothing is broken, and %v fire", firing)
		}
	}
}

// run runs a command of a runbook's, as it stands there but for names, with what is exported before it.
func (d *day) run(runbook, command string, names ...string) {
	d.t.Helper()
	for _, block := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(read(d.t, "infra/docs/runbooks/"+runbook+".md"), -1) {
		exported := ""
		for line := range strings.Lines(block[1]) {
			line = strings.TrimSpace(line)
			if what, ok := strings.CutPrefix(line, "export "); ok {
				exported += what
			}
			if !strings.HasPrefix(line, command) {
				continue
			}
			line = strings.NewReplacer(names...).Replace(line)
			if !strings.Contains(exported, "GOOGLE_CLOUD_PROJECT=") {
				line = "unset GOOGLE_CLOUD_PROJECT FIRESTORE_EMULATOR_HOST; " + line
			}
			if !strings.Contains(exported, "REDIS_URL=") {
				line = "unset REDIS_URL; " + line
			}
			if out, err := d.world.Shell(line); err != nil {
				d.t.Errorf("%s: %s: %v\n%s", runbook, line, err, out)
			}
			return
		}
	}
	d.t.Errorf("%s.md does not say %s", runbook, command)
}

// killed wants a tool to be refused by a kill switch, within the 2 seconds that are promised, and some on a busy machine.
func (d *day) killed(tool string) {
	d.t.Helper()
	for begin := time.Now(); ; time.Sleep(500 * time.Millisecond) {
		c := d.node.Call(http.DefaultClient, "", tool)
		if c.Code == 2041 {
			return
		}
		if time.Since(begin) > 5*time.Second {
			d.t.Errorf("%s is not refused by a kill switch: %+v", tool, c)
			return
		}
	}
}

// call calls a tool of the node.
func (d *day) call(tool string) { d.node.Call(http.DefaultClient, "", tool) }

// ageKey makes a key of 90 days, of which 87 have passed.
func (d *day) ageKey() {
	d.world.Operate(0, "keys", "add", "-file", d.keys, "-tenant", "acme", "-subject", "ci", "-expires", "90d")
	text, err := os.ReadFile(d.keys)
	var file struct {
		Keys []map[string]any `json:"keys"`
	}
	if err != nil || json.Unmarshal(text, &file) != nil || len(file.Keys) != 1 {
		d.t.Fatalf("%v %s", err, text)
	}
	key := file.Keys[0]
	d.keyID = fmt.Sprint(key["id"])
	for _, member := range []string{"created", "expires"} {
		at, err := time.Parse(time.RFC3339, fmt.Sprint(key[member]))
		if err != nil {
			d.t.Fatal(err)
		}
		key[member] = at.Add(-87 * 24 * time.Hour)
	}
	text, _ = json.Marshal(file)
	if err := os.WriteFile(d.keys+".new", text, 0o600); err != nil {
		d.t.Fatal(err)
	}
	if err := os.Rename(d.keys+".new", d.keys); err != nil {
		d.t.Fatal(err)
	}
}

// fill has somebody else use up Redis' memory.
func (d *day) fill() {
	d.redis("eval", `for i = 1, 140 do redis.call('set', 'cache:' .. i, string.rep('x', 262144)) end`, "0")
}

// clear takes away what is not erlmcp's, by what the runbook says keys of erlmcp begin with.
func (d *day) clear() {
	begins := regexp.MustCompile("Keys of erlmcp begin with `([^`]+)`").FindStringSubmatch(read(d.t, "infra/docs/runbooks/RedisFull.md"))
	if begins == nil {
		d.t.Fatal("RedisFull.md does not say which keys are erlmcp's")
	}
	others, own := []string{"del"}, 0
	for key := range strings.Lines(d.redis("keys", "*")) {
		if key = strings.TrimSpace(key); strings.HasPrefix(key, begins[1]) {
			own++
		} else {
			others = append(others, key)
		}
	}
	if own == 0 {
		d.t.Errorf("no key begins with %s", begins[1])
	}
	d.redis(others...)
}

func (d *day) redis(args ...string) string {
	ctx, stop := context.WithTimeout(context.Background(), 10*time.Second) // while it stands still
	defer stop()
	out, _ := exec.CommandContext(ctx, "redis-cli", append([]string{"-p", d.world.Redis.Port()}, args...)...).CombinedOutput()
	return string(out)
}

// message is the one that the runbook publishes.
func (d *day) message() string {
	m := regexp.MustCompile(`gcloud pubsub topics publish \S+ --message '(.*)'`).FindStringSubmatch(read(d.t, "infra/docs/runbooks/EventsNotTaken.md"))
	if m == nil {
		d.t.Fatal("EventsNotTaken.md publishes nothing")
	}
	return m[1]
}

// A day has a node that is called all the time, its control plane, and who watches them.
type day struct {
	t          *testing.T
	world      *world.World
	emulator   *world.Daemon
	node       *world.Server
	pubsub     *pubsub
	prometheus string // URL
	keys       string // file of the node's API keys
	keyID      string
	also       []string // alerts that came with those of earlier hours
}

func newDay(t *testing.T) *day {
	emulator := world.StartEmulator(t)
	d := &day{t: t, emulator: emulator, world: world.New(t, emulator, "gameday", world.Anonymous()...)}
	d.keys = filepath.Join(d.world.Dir, "keys.json")
	if err := os.WriteFile(d.keys, []byte(`{"keys": []}`), 0o600); err != nil {
		t.Fatal(err)
	}
	d.redis("config", "set", "maxmemory", "32mb")
	d.node = d.world.Serve("node", "AUTHENTICATION=keys,anonymous", "API_KEYS_FILE="+d.keys)
	// As on Cloud Run, which has checked who pushes events.
	taiea := d.world.Serve("taiea", "FUNCTION_TARGET=taiea", "K_SERVICE=erlmcp-taiea", "AUTHENTICATION=cloudrun", "SEALING_KEYS="+base64.StdEncoding.EncodeToString(make([]byte, 32)),
		"PUBSUB_SERVICE_ACCOUNT="+pusher, "PUBSUB_AUDIENCE="+audience)
	d.pubsub = &pubsub{url: taiea.URL}
	d.node.Serves(t, "", "note", "pay")
	google := d.google()
	d.prometheus = world.StartPrometheus(t, scaled(t, map[string]string{"erlmcp": d.node.URL, "erlmcp-taiea": taiea.URL, "google": google}))
	load := d.node.Load("", "note", 1, 100*time.Millisecond)
	t.Cleanup(load.End)
	return d
}

// firing are the alerts that fire.
func (d *day) firing() (alerts []string) {
	resp, err := http.Get(d.prometheus + "/api/v1/alerts")
	if err != nil {
		d.t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct {
		Data struct {
			Alerts []struct {
				State  string
				Labels map[string]string
			}
		}
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		d.t.Fatal(err)
	}
	for _, a := range answer.Data.Alerts {
		if name := a.Labels["alertname"]; a.State == "firing" && !slices.Contains(alerts, name) {
			alerts = append(alerts, name)
		}
	}
	return alerts
}
