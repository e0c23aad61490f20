// Package oncall has the real gcloud run what the runbooks say, as who is on call, against a cloud that demands for each request the
// permission that Google's documentation names, and goes by the roles that the real provider plans.
package oncall

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/erlmcp/local/checks/grants"
	"example.com/erlmcp/local/checks/tfplan"
)

const (
	root   = "../../../"
	oncall = "group:oncall@example.com"
	looks  = "group:viewers@example.com"
)

// A request of an API with the permission that it needs on what its first group names, and what is answered.
type request struct {
	method, host, path string
	permission, on     string // on is "" for the project, else the kind that a grant names
	answer             string
}

// execution is one that has started, for which gcloud waits.
const execution = `{"apiVersion":"run.googleapis.com/v1","kind":"Execution","metadata":{"name":"$1","namespace":"my-project","generation":1},"spec":{},"status":{"observedGeneration":1,` +
	`"conditions":[{"type":"Completed","status":"Unknown"},{"type":"Started","status":"True"},{"type":"ResourcesAvailable","status":"True"},{"type":"ContainerReady","status":"True"}]}}`

const at = `/v1/projects/my-project/locations/us-central1/`

var requests = []request{
	{"GET", "certificatemanager", `/v1/projects/my-project/locations/global/certificates/(\S+)`, "certificatemanager.certs.get", "", `{}`},
	{"GET", "clouddeploy", at + `deliveryPipelines/([^/]+)`, "clouddeploy.deliveryPipelines.get", "pipeline", `{"name":"projects/my-project/locations/us-central1/deliveryPipelines/$1","uid":"1","serialPipeline":{"stages":[{"targetId":"$1"}]}}`},
	{"GET", "clouddeploy", at + `targets/([^/]+)`, "clouddeploy.targets.get", "", `{"name":"projects/my-project/locations/us-central1/targets/$1","targetId":"$1"}`},
	{"GET", "clouddeploy", at + `deliveryPipelines/([^/]+)/releases`, "clouddeploy.releases.list", "pipeline", `{}`},
	{"GET", "clouddeploy", at + `deliveryPipelines/([^/]+)/releases/[^/]+`, "clouddeploy.releases.get", "pipeline", `{"name":"projects/my-project/locations/us-central1/deliveryPipelines/$1/releases/v0-6-3","renderState":"SUCCEEDED","deliveryPipelineSnapshot":{"name":"projects/my-project/locations/us-central1/deliveryPipelines/$1","serialPipeline":{"stages":[{"targetId":"$1"}]}},"targetSnapshots":[{"name":"projects/my-project/locations/us-central1/targets/$1","targetId":"$1"}]}`},
	{"GET", "clouddeploy", at + `deliveryPipelines/([^/]+)/releases/[^/]+/rollouts`, "clouddeploy.rollouts.list", "pipeline", `{"rollouts":[{"name":"projects/my-project/locations/us-central1/deliveryPipelines/$1/releases/v0-7-0/rollouts/v0-7-0-to-$1-0001","targetId":"$1","state":"SUCCEEDED","deployState":"SUCCEEDED","phases":[{"id":"stable","state":"SUCCEEDED"}]},{"name":"projects/my-project/locations/us-central1/deliveryPipelines/$1/releases/v0-6-3/rollouts/v0-6-3-to-$1-0001","targetId":"$1","state":"SUCCEEDED","phases":[{"id":"stable","state":"SUCCEEDED"}]}]}`},
	{"GET", "clouddeploy", at + `deliveryPipelines/([^/]+)/releases/[^/]+/rollouts/[^/]+/jobRuns`, "clouddeploy.jobRuns.list", "pipeline", `{}`},
	{"GET", "clouddeploy", at + `deliveryPipelines/([^/]+)/releases/[^/]+/rollouts/[^/]+`, "clouddeploy.rollouts.get", "pipeline", `{}`},
	{"POST", "clouddeploy", at + `deliveryPipelines/([^/]+)/releases/[^/]+/rollouts`, "clouddeploy.rollouts.create", "pipeline", `{"name":"projects/my-project/locations/us-central1/operations/o","done":true,"response":{"@type":"type.googleapis.com/google.cloud.deploy.v1.Rollout","name":"projects/my-project/locations/us-central1/deliveryPipelines/$1/releases/v0-6-3/rollouts/back"}}`},
	{"GET", "clouddeploy", at + `operations/(\S+)`, "clouddeploy.operations.get", "", `{"name":"projects/my-project/locations/us-central1/operations/o","done":true,"response":{}}`},
	{"GET", "cloudscheduler", at + `jobs/(\S+)`, "cloudscheduler.jobs.get", "", `{}`},
	{"GET", "firestore", `/v1/projects/my-project/databases/(\S+)`, "datastore.databases.getMetadata", "", `{}`},
	{"POST", "logging", `/v2/entries:list()`, "logging.logEntries.list", "", `{}`},
	{"POST", "pubsub", `/v1/projects/my-project/subscriptions/([^/:]+):pull`, "pubsub.subscriptions.consume", "subscription", `{"receivedMessages":[{"ackId":"1","message":{"messageId":"1","data":"e30="}}]}`},
	{"POST", "pubsub", `/v1/projects/my-project/subscriptions/([^/:]+):acknowledge`, "pubsub.subscriptions.consume", "subscription", `{}`},
	{"POST", "pubsub", `/v1/projects/my-project/topics/([^/:]+):publish`, "pubsub.topics.publish", "topic", `{"messageIds":["1"]}`},
	{"GET", "redis", at + `instances/(\S+)`, "redis.instances.get", "", `{}`},
	{"GET", "redis", at + `operations()`, "redis.operations.list", "", `{}`},
	{"GET", "run", `/apis/serving.knative.dev/v1/namespaces/my-project/services/(\S+)`, "run.services.get", "service", `{}`},
	{"POST", "run", `/apis/run.googleapis.com/v1/namespaces/my-project/jobs/([^/:]+):run`, "run.jobs.run", "job", execution},
	{"GET", "run", `/apis/run.googleapis.com/v1/namespaces/my-project/executions()`, "run.executions.list", "", `{"apiVersion":"run.googleapis.com/v1","kind":"ExecutionList","metadata":{"continue":""},"items":[]}`},
	{"GET", "run", `/apis/run.googleapis.com/v1/namespaces/my-project/executions/(\S+)`, "run.executions.get", "", execution},
	{"GET", "storage", `/storage/v1/b/([^/]+)`, "storage.buckets.get", "bucket", `{"name":"$1"}`},
}

var only = flag.String("only", "", "part of the commands to run alone")

// A cloud answers one person.
type cloud struct {
	t      *testing.T
	member string
	grants *grants.Grants

	mu      sync.Mutex
	refused []string
	asked   []string // permissions
}

func (c *cloud) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	host := strings.TrimPrefix(strings.TrimSuffix(r.Host, ".test"), "us-central1-")
	for _, q := range requests {
		path := regexp.MustCompile("^" + q.path + "$")
		m := path.FindStringSubmatch(r.URL.Path)
		if q.host != host || q.method != r.Method || m == nil {
			continue
		}
		on := ""
		if q.on != "" {
			on = q.on + ":" + m[1]
		}
		c.asked = append(c.asked, q.permission)
		w.Header().Set("Content-Type", "application/json")
		if !c.grants.May(c.member, q.permission, on) {
			c.refused = append(c.refused, q.permission+" on "+on)
			w.WriteHeader(http.StatusForbidden)
			json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{"code": 403, "status": "PERMISSION_DENIED", "message": "Permission " + q.permission + " denied"}})
			return
		}
		fmt.Fprint(w, strings.ReplaceAll(q.answer, "$1", m[1]))
		return
	}
	c.t.Errorf("it is not known which permission %s %s %s needs", r.Method, r.Host, r.URL.Path)
	http.NotFound(w, r)
}

// gcloud runs a command as the person, and returns what it prints.
func (c *cloud) gcloud(url, command string) (string, error) {
	cmd := exec.Command("bash", "-c", "exec "+command)
	cmd.Env = append(os.Environ(), "CLOUDSDK_AUTH_ACCESS_TOKEN=x", "CLOUDSDK_CORE_PROJECT=my-project", "CLOUDSDK_CORE_DISABLE_PROMPTS=1", "http_proxy="+url, "CLOUDSDK_CONFIG="+c.t.TempDir())
	for _, api := range []string{"CERTIFICATEMANAGER", "CLOUDDEPLOY", "CLOUDSCHEDULER", "FIRESTORE", "LOGGING", "PUBSUB", "REDIS", "RUN", "STORAGE"} {
		cmd.Env = append(cmd.Env, "CLOUDSDK_API_ENDPOINT_OVERRIDES_"+api+"=http://"+strings.ToLower(api)+".test/")
	}
	timer := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() }) // one that waits for what this cloud does not say
	defer timer.Stop()
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// commands are all of gcloud's in the runbooks.
func commands(t *testing.T) (all []string) {
	t.Helper()
	files, err := filepath.Glob(root + "infra/docs/runbooks/*.md")
	if err != nil || len(files) == 0 {
		t.Fatal(err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if line = strings.TrimSpace(line); strings.HasPrefix(line, "gcloud ") && !slices.Contains(all, line) {
				all = append(all, line)
			}
		}
	}
	return all
}

func TestRunbooks(t *testing.T) {
	if _, err := exec.LookPath("gcloud"); err != nil {
		t.Skip("NOT TESTED: there is no gcloud: https://cloud.google.com/sdk/docs/install")
	}
	dir := filepath.Join(tfplan.Copy(t, root), "infra/cloudrun")
	tfplan.Run(t, dir, "init", "-input=false", "-no-color")
	plan := tfplan.Make(t, dir, map[string]string{"project": "my-project", "project_number": "123456789012", "environment": "production", "emails": `["oncall@example.com"]`,
		"domain": "mcp.example.com", "people": fmt.Sprintf(`{viewers=[%q],on_call=[%q],deployers=["group:platform@example.com"]}`, looks, oncall)})
	c := &cloud{t: t, grants: grants.Of(plan.Resources())}
	srv := httptest.NewServer(c)
	defer srv.Close()
	changes := regexp.MustCompile(` (rollback|execute|pull|publish) `)
	all := commands(t)
	if len(all) < 25 {
		t.Errorf("%d commands: they are not found", len(all))
	}
	changing := 0
	for _, command := range all {
		if *only != "" && !strings.Contains(command, *only) {
			continue
		}
		c.member, c.refused, c.asked = oncall, nil, nil
		out, err := c.gcloud(srv.URL, command)
		if err != nil || len(c.refused) > 0 || len(c.asked) == 0 {
			t.Errorf("who is on call can't: %s\nrefused: %v, asked: %v, %v\n%s", command, c.refused, c.asked, err, out)
		}
		// Who only looks may not: else it would not be the role that lets the other.
		if changes.MatchString(command) {
			changing++
			c.member, c.refused = looks, nil
			if out, err := c.gcloud(srv.URL, command); err == nil || len(c.refused) == 0 {
				t.Errorf("who only looks can: %s\n%s", command, out)
			}
		}
	}
	if changing < 4 && *only == "" {
		t.Errorf("%d commands change something", changing)
	}
	if !c.grants.May(oncall, "iam.serviceAccounts.actAs", "account:erlmcp-deploy@my-project.iam.gserviceaccount.com") { // as whom rollbacks run
		t.Error("who is on call can't act as erlmcp-deploy")
	}
	for _, g := range c.grants.All { // nobody of the people reads a secret, or what the store has
		if strings.HasPrefix(g.Member, "group:") && regexp.MustCompile(`secretmanager|datastore|owner|editor|admin`).MatchString(g.Role) {
			t.Errorf("%s has %s", g.Member, g.Role)
		}
	}
}
