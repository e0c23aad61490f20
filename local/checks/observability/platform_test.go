package observability

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// quick is how much faster time passes on a game day.
const quick = 60

var times = regexp.MustCompile(`(\[|offset |for: |interval: )(\d+)([smhd])`)

// scaled is the configuration of a Prometheus that watches targets, by job, and evaluates the rules that are deployed. What takes them a minute
// takes it a second.
func scaled(t *testing.T, targets map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range files {
		text := times.ReplaceAllStringFunc(read(t, "infra/observability/"+name+".yaml"), func(s string) string {
			m := times.FindStringSubmatch(s)
			n, _ := strconv.Atoi(m[2])
			seconds := n * map[string]int{"s": 1, "m": 60, "h": 3600, "d": 86400}[m[3]]
			return fmt.Sprintf("%s%ds", m[1], max(1, seconds/quick))
		})
		if err := os.WriteFile(filepath.Join(dir, name+".yaml"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	config := fmt.Sprintf("global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}\nrule_files: [%q]\nscrape_configs:\n", dir+"/*.yaml")
	for job, url := range targets {
		config += fmt.Sprintf("- {job_name: %s, static_configs: [{targets: [%q]}]}\n", job, strings.TrimPrefix(url, "http://"))
	}
	return config
}

const (
	pusher   = "erlmcp-push@my-project.iam.gserviceaccount.com"
	audience = "https://erlmcp-taiea-123456789012.us-central1.run.app/v1/events/pubsub"
)

// A pubsub delivers events to the control plane as a push subscription does, whose account's token Cloud Run has verified.
type pubsub struct {
	url  string
	dead atomic.Int64 // letters
}

// publish delivers an event up to 10 times, and says whether it was taken. What was not is a dead letter.
func (p *pubsub) publish(event string) bool {
	now := time.Now().Unix()
	claims, _ := json.Marshal(map[string]any{"iss": "https://accounts.google.com", "aud": audience, "sub": "1", "email": pusher, "email_verified": true, "iat": now, "exp": now + 3600})
	token := "e30." + base64.RawURLEncoding.EncodeToString(claims) + ".SIGNATURE_REMOVED_BY_GOOGLE"
	body, _ := json.Marshal(map[string]any{"message": map[string]string{"data": base64.StdEncoding.EncodeToString([]byte(event)), "messageId": "1"}, "subscription": "projects/my-project/subscriptions/erlmcp-entitlements"})
	for range 10 {
		r, _ := http.NewRequest("POST", p.url+"/v1/events/pubsub", strings.NewReader(string(body)))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer "+token)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			continue
		}
		resp.Body.Close()
		if resp.StatusCode/100 == 2 {
			return true
		}
	}
	p.dead.Add(1)
	return false
}

// google tells what Google measures, by the names that it has there: of Redis' memory what the real one says, of Pub/Sub the dead letters, and
// that there was a backup.
func (d *day) google() (url string) {
	value := func(info, name string) float64 {
		_, rest, _ := strings.Cut(info, "\n"+name+":")
		n, _ := strconv.ParseFloat(strings.TrimSpace(strings.SplitN(rest, "\n", 2)[0]), 64)
		return n
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if info := d.redis("info", "memory"); value(info, "maxmemory") > 0 {
			fmt.Fprintf(w, "redis_googleapis_com:stats_memory_usage_ratio{monitored_resource=\"redis_instance\",instance_id=\"projects/my-project/locations/us-central1/instances/erlmcp\"} %g\n",
				value(info, "used_memory")/value(info, "maxmemory"))
		}
		fmt.Fprintf(w, "pubsub_googleapis_com:subscription_num_undelivered_messages{monitored_resource=\"pubsub_subscription\",subscription_id=\"erlmcp-entitlements-dead\"} %d\n", d.pubsub.dead.Load())
		fmt.Fprintln(w, `run_googleapis_com:job_completed_execution_count{monitored_resource="cloud_run_job",job_name="erlmcp-ops",result="succeeded"} 1`)
	}))
	d.t.Cleanup(s.Close)
	return s.URL
}
