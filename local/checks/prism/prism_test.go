package prism

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"example.com/erlmcp/local/checks/gocommand"
	"example.com/erlmcp/local/checks/instances"
	"example.com/erlmcp/local/checks/npm"
	"example.com/erlmcp/local/checks/world"
)

func TestMain(m *testing.M) { os.Exit(world.Main(m)) }

// A catalog over a document: auth is how the document wants callers to authenticate, which Prism looks for.
type document struct {
	name, auth string
	offered    int
	exceptions []exception
}

// An exception is a fault that Prism finds in requests, and why there is none. One that Prism does not find any more is an error.
type exception struct{ operations, fault, why string }

// Not Stripe's: Prism does not get to its end, and takes objects of the style deepObject that are not sent for sent ones (openapiwire has that style).
var documents = []document{
	{"petstore-3.0.json", "auth: {bearer: env:MOCK_TOKEN}\n  headers: {api_key: env:MOCK_TOKEN}", 19, nil},
	{"flashnotes-fastapi-3.1.json", "auth: {bearer: env:MOCK_TOKEN}", 20, nil},
	{"airflow-fastapi-3.1.yaml", "auth: {bearer: env:MOCK_TOKEN}", 110, []exception{
		{`get_health|get_version|login|logout`, `UNAUTHORIZED`, "the document has these ask for security schemes that it does not define"},
		{`.*`, `request\.query\.\w+: Request query parameter \w+ must be array,null`, "Prism reads a list of one item as a text where null may stand for the list"},
	}},
	{"slack-web-2.0.json", "auth: {bearer: env:MOCK_TOKEN}", 174, []exception{
		{`.*`, `request\.(header|query): Request (header|query) must have required property '\w+', which is there and empty`, "Prism takes an empty text for none"},
	}},
	{"twilio-api-v2010-3.0.json", "auth: {basic: {user: env:MOCK_TOKEN, password: env:MOCK_TOKEN}}", 197, []exception{
		{`.*`, `body\.\w+: Request body property \w+ must be array`, "Prism reads a list in a form only where the document names the style that is the default (OpenAPI 3.0.3, Encoding Object)"},
		{`CreateSiprec|CreateStream`, `body\.\w+: Request body property \w+ must match format "uri"`, "the list has no room for what its 40 arguments are, and a format is checked by the API alone"},
	}},
}

// folder has the public documents: it lies beside the checkout, or where OPENAPI_DOCUMENTS says.
func folder(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("OPENAPI_DOCUMENTS")
	if dir == "" {
		dir = filepath.FromSlash("../../../../shared/openapi")
	}
	if _, err := os.Stat(filepath.Join(dir, "SOURCES.md")); err != nil {
		t.Skipf("NOTHING IS CHECKED: there are no public documents in %s; OPENAPI_DOCUMENTS names their folder", dir)
	}
	return dir
}

// unpacked writes a public document to a file.
func unpacked(t *testing.T, dir, name string) string {
	t.Helper()
	packed, err := os.Open(filepath.Join(dir, name+".gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	at := filepath.Join(t.TempDir(), name)
	r, err := gzip.NewReader(packed)
	if err == nil {
		var text []byte
		if text, err = io.ReadAll(r); err == nil {
			err = os.WriteFile(at, text, 0o644)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// start runs a program until the test ends, and returns what the first group of a pattern matches in its output.
func start(t *testing.T, ready string, cmd *exec.Cmd) string {
	t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = write, write
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	write.Close()
	found, ended := make(chan string, 1), make(chan struct{})
	var mu sync.Mutex
	var log bytes.Buffer
	go func() {
		defer close(ended)
		pattern, lines := regexp.MustCompile(ready), bufio.NewReader(read)
		for {
			line, err := lines.ReadString('\n')
			mu.Lock()
			log.WriteString(line)
			mu.Unlock()
			if m := pattern.FindStringSubmatch(line); m != nil {
				select {
				case found <- m[1]:
				default:
				}
			}
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() { cmd.Cancel(); <-ended; cmd.Wait(); read.Close() })
	select {
	case got := <-found:
		return got
	case <-ended:
	case <-time.After(time.Minute):
	}
	mu.Lock()
	defer mu.Unlock()
	t.Fatalf("%s does not say %s: %s", cmd.Args, ready, &log)
	return ""
}

// mock plays a document's API.
func mock(t *testing.T, node, at string) *recorder {
	t.Helper()
	port := world.FreePort(t)
	cmd := gocommand.New(context.WithoutCancel(t.Context()), "", node, "node/node_modules/@stoplight/prism-cli/dist/index.js", "mock", "-p", port, at)
	return record(t, start(t, `listening on (http://\S+)`, cmd))
}

// client is one of the server over a catalog that offers all of a document.
func client(t *testing.T, d document, at, upstream string) *mcp.ClientSession {
	t.Helper()
	file := filepath.Join(t.TempDir(), "catalog.yaml")
	catalog := fmt.Sprintf("catalog: 1\nsources:\n- name: api\n  openapi: %s\n  server: %s\n  %s\n  retries: {max: 0}\n  breaker: {failures: 0}\n  tools: [{match: \"*\"}]\n",
		at, upstream, d.auth)
	if err := os.WriteFile(file, []byte(catalog), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := gocommand.New(context.WithoutCancel(t.Context()), "", world.Program(t, "erlmcp"))
	cmd.Env = append(os.Environ(), "PORT=0", "HOST=127.0.0.1", "LOG_OUTPUT=stderr", "AUTHENTICATION=anonymous", "ANONYMOUS_RATE_LIMIT_PER_SECOND=0", "TAIEA_TOOLS=none", "EGRESS_ALLOW=127.0.0.1",
		"MOCK_TOKEN=token", "CATALOG_FILE="+file)
	address := start(t, `"url":"([^"]+)"`, cmd)
	c := mcp.NewClient(&mcp.Implementation{Name: "check", Version: "1.0.0"}, nil)
	s, err := c.Connect(t.Context(), &mcp.StreamableClientTransport{Endpoint: address}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

const (
	wanted = 3  // calls of each operation
	tries  = 60 // values that the server may refuse, since what is listed says less than what is checked
)

// TestCalls calls each operation of a document with generated arguments. None of the requests may be invalid to Prism.
func TestCalls(t *testing.T) {
	dir, node := folder(t), npm.Modules(t, "prism")
	for _, d := range documents {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			at := unpacked(t, dir, d.name)
			upstream := mock(t, node, at)
			s := client(t, d, at, upstream.URL)
			c := counts{exceptions: d.exceptions, excepted: make([]int, len(d.exceptions))}
			for tool, err := range s.Tools(t.Context(), nil) {
				if err != nil {
					t.Fatal(err)
				}
				if strings.HasPrefix(tool.Name, "api_") {
					c.tools++
					c.call(t, s, upstream, tool)
				}
			}
			if c.tools != d.offered {
				t.Errorf("%d operations are offered, of %d", c.tools, d.offered)
			}
			t.Logf("%d operations, %d calls: %d requests invalid to Prism, %d answered, %d of them by a failure since the document has no other answer; before them the server refused %d generated values",
				c.tools, c.calls, c.invalid, c.answered, c.failed, c.refused)
			for i, e := range d.exceptions {
				t.Logf("%d requests of %s are invalid to Prism, %s: %s", c.excepted[i], e.operations, e.fault, e.why)
				if c.excepted[i] == 0 {
					t.Error("the exception is none")
				}
			}
		})
	}
}

type counts struct {
	tools, calls, answered, failed, invalid, refused int
	exceptions                                       []exception
	excepted                                         []int
}

// except tells whether each fault that Prism finds is an exception.
func (c *counts) except(tool string, e exchange) bool {
	of := func(f string) int {
		return slices.IndexFunc(c.exceptions, func(x exception) bool {
			return regexp.MustCompile("^api_("+x.operations+")$").MatchString(tool) && regexp.MustCompile("^"+x.fault+"$").MatchString(f)
		})
	}
	if len(e.invalid) == 0 || slices.ContainsFunc(e.invalid, func(f string) bool { return of(f) < 0 }) {
		return false
	}
	c.excepted[of(e.invalid[0])]++
	return true
}

func (c *counts) call(t *testing.T, s *mcp.ClientSession, upstream *recorder, tool *mcp.Tool) {
	t.Helper()
	schema, _ := tool.InputSchema.(map[string]any)
	seed := uint64(0)
	for _, r := range tool.Name {
		seed = seed*31 + uint64(r)
	}
	format(schema)
	g := instances.New(schema, rand.New(rand.NewPCG(7, seed)))
	sent, refusal := 0, ""
	for range tries {
		arguments := g.Value()
		upstream.taken()
		result, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: tool.Name, Arguments: arguments})
		if err != nil {
			text, _ := json.Marshal(arguments)
			t.Errorf("%s: %v: %.600s", tool.Name, err, text)
			return
		}
		seen := upstream.taken()
		if len(seen) == 0 {
			c.refused++
			refusal = words(result)
			continue
		}
		sent++
		c.calls++
		c.judge(t, tool.Name, seen, result)
		if sent == wanted {
			return
		}
	}
	t.Errorf("%s: %d of %d values were sent: %s", tool.Name, sent, tries, refusal)
}

var formats = regexp.MustCompile(`Format ([a-z-]+)\.`)

// format takes the formats that descriptions name for what they are, as a model does: providers of models refuse most of them as keywords.
func format(schema any) {
	switch s := schema.(type) {
	case map[string]any:
		if text, ok := s["description"].(string); ok && s["format"] == nil && s["properties"] == nil {
			if m := formats.FindStringSubmatch(text); m != nil {
				s["format"] = m[1]
			}
		}
		for _, part := range s {
			format(part)
		}
	case []any:
		for _, part := range s {
			format(part)
		}
	}
}

func (c *counts) judge(t *testing.T, name string, seen []exchange, result *mcp.CallToolResult) {
	t.Helper()
	e := seen[0]
	switch {
	case len(seen) != 1:
		t.Errorf("%s: %d requests of one call: %+v", name, len(seen), seen)
	case c.except(name, e):
	case len(e.invalid) > 0:
		c.invalid++
		t.Errorf("%s: %d %s\n%s", name, e.status, strings.Join(e.invalid, "; "), e.request)
	case (e.status >= 300) != result.IsError:
		t.Errorf("%s: %d, and the caller gets %.300s", name, e.status, words(result))
	case result.IsError:
		c.failed++
		fallthrough
	default:
		c.answered++
	}
}

func words(r *mcp.CallToolResult) string {
	var all []string
	for _, c := range r.Content {
		if text, ok := c.(*mcp.TextContent); ok {
			all = append(all, text.Text)
		}
	}
	return strings.Join(all, "\n")
}

// TestPrismRefuses has the recorder see what is wrong with requests that are: else no request would be invalid to it.
func TestPrismRefuses(t *testing.T) {
	at := unpacked(t, folder(t), "petstore-3.0.json")
	upstream := mock(t, npm.Modules(t, "prism"), at)
	for _, c := range []struct{ method, path, body, problem, invalid string }{
		{"GET", "/pet/7", "", "", ""},
		{"GET", "/pet/seven", "", "", "request.path.petid"}, // by the document's own 400
		{"POST", "/pet", `{"name":"a","photoUrls":"none"}`, "UNPROCESSABLE_ENTITY", "body.photoUrls"},
		{"GET", "/nowhere", "", "NO_PATH_MATCHED_ERROR", "NO_PATH_MATCHED_ERROR"},
	} {
		r, err := http.NewRequestWithContext(t.Context(), c.method, upstream.URL+c.path, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer token")
		r.Header.Set("Content-Type", "application/json")
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		got := upstream.taken()
		if len(got) != 1 || got[0].problem != c.problem || (c.invalid == "") != (len(got[0].invalid) == 0) ||
			!slices.ContainsFunc(append(got[0].invalid, ""), func(f string) bool { return strings.HasPrefix(f, c.invalid) }) {
			t.Errorf("%s %s: %+v", c.method, c.path, got)
		}
	}
}
