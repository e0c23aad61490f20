// Package search asks a server of the operations of public documents, which nobody here wrote, for tools, as its users would.
package search

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.com/erlmcp/local/checks/search/documents"
)

// server starts the fixture with so many tools, 0 for one of each operation, and returns its URL.
func server(t *testing.T, tools int) string {
	t.Helper()
	if _, err := os.Stat(documents.Dir); err != nil {
		t.Skipf("the documents are not beside this checkout: %v", err)
	}
	fixture := filepath.Join(t.TempDir(), "fixture")
	if out, err := exec.Command("go", "build", "-o", fixture, "./fixture").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cmd := exec.Command(fixture)
	cmd.Env = append(os.Environ(), "LOG_OUTPUT=stderr", "LOG_LEVEL=info", "PORT=0", "TAIEA_TOOLS=none", "DRAIN_TIMEOUT=200ms", "DOCUMENTS="+documents.Dir)
	if tools > 0 {
		cmd.Env = append(cmd.Env, "TOOLS="+strconv.Itoa(tools))
	}
	pipe, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stderr := bufio.NewReader(pipe)
	ended := make(chan struct{})
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			cmd.Process.Kill()
			<-ended
		}
		cmd.Wait()
	})
	var line struct{ URL string }
	var said bytes.Buffer
	for line.URL == "" && err == nil {
		var raw []byte
		raw, err = stderr.ReadBytes('\n')
		said.Write(raw)
		json.Unmarshal(raw, &line)
	}
	go func() { io.Copy(io.Discard, stderr); close(ended) }() // a full pipe would stop the server
	if err != nil {
		t.Fatalf("the server did not say its URL: %v\n%.2000s", err, &said)
	}
	return line.URL
}

// send posts a message of an era, and returns the result.
func send(t *testing.T, url, era, method, name, params string) json.RawMessage {
	t.Helper()
	if era == "2026-07-28" {
		if params != "" {
			params += ","
		}
		params += `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}`
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"`+method+`","params":{`+params+`}}`))
	if err != nil {
		t.Fatal(err)
	}
	for key, value := range map[string]string{"Content-Type": "application/json", "Accept": "application/json, text/event-stream", "Mcp-Protocol-Version": era, "Mcp-Method": method, "Mcp-Name": name} {
		if value != "" {
			r.Header.Set(key, value)
		}
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct{ Result, Error json.RawMessage }
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.Error != nil {
		t.Fatalf("%s %s: %v %s", method, params, err, answer.Error)
	}
	return answer.Result
}

// find returns the names of the tools that are found.
func find(t *testing.T, url, era, query string, limit int) (names []string) {
	t.Helper()
	arguments, err := json.Marshal(map[string]any{"query": query, "limit": limit})
	if err != nil {
		t.Fatal(err)
	}
	var result struct {
		StructuredContent struct {
			Tools []struct {
				Name, Description string
				InputSchema       struct{ Type string }
			}
		}
	}
	if err := json.Unmarshal(send(t, url, era, "tools/call", "find_tools", `"name":"find_tools","arguments":`+string(arguments)), &result); err != nil {
		t.Fatal(err)
	}
	for _, tool := range result.StructuredContent.Tools {
		if tool.Description == "" || tool.InputSchema.Type != "object" {
			t.Errorf("%q finds %+v, which a model can't call", query, tool)
		}
		names = append(names, tool.Name)
	}
	return names
}

// files are those of the questions. All were written from operations that were drawn at random, before anything was ranked for them. The
// weights were chosen with the first and the second at hand, and the third is younger than these.
var files = []struct {
	name               string
	questions, sources int // that are wanted
	rate               int // of them that find the tool among the first three, in percent
}{{"questions.tsv", 80, 12, 90}, {"heldout.tsv", 38, 12, 80}, {"unseen.tsv", 38, 11, 90}}

// TestQuestions asks the questions of a file of testdata, each with the operations that are right, and wants most of them among the first
// three tools.
func TestQuestions(t *testing.T) {
	url := server(t, 0)
	operations, err := documents.Read(documents.Dir)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]string{} // by source and id
	for _, o := range operations {
		names[o.Source+" "+o.ID] = o.Name
	}
	for _, file := range files {
		text, err := os.ReadFile("testdata/" + file.name)
		if err != nil {
			t.Fatal(err)
		}
		asked, first, firstThree := 0, 0, 0
		sources := map[string]bool{}
		for line := range strings.Lines(string(text)) {
			question, right, _ := strings.Cut(strings.TrimSpace(line), "\t")
			source, ids, _ := strings.Cut(right, " ")
			var want []string
			for _, id := range strings.Fields(ids) {
				if names[source+" "+id] == "" {
					t.Errorf("%s: there is no operation %s of %s", file.name, id, source)
				}
				want = append(want, names[source+" "+id])
			}
			found := find(t, url, "2026-07-28", question, 3)
			if legacy := find(t, url, "2025-11-25", question, 3); !slices.Equal(found, legacy) {
				t.Errorf("%q finds %v in one era, %v in the other", question, found, legacy)
			}
			asked, sources[source] = asked+1, true
			switch at := slices.IndexFunc(found, func(name string) bool { return slices.Contains(want, name) }); at {
			case 0:
				first++
				fallthrough
			case 1, 2:
				firstThree++
			default:
				t.Logf("%q finds %v, not %v", question, found, want)
			}
		}
		t.Logf("%s: of %d questions about %d documents, among %d tools, %d find the tool first, and %d among the first three: %.1f %%",
			file.name, asked, len(sources), len(operations), first, firstThree, 100*float64(firstThree)/float64(asked))
		if asked != file.questions || len(sources) < file.sources || firstThree*100 < asked*file.rate {
			t.Errorf("%s: want %d %% of %d questions about %d documents", file.name, file.rate, file.questions, file.sources)
		}
	}
}

const (
	many = 5000
	// maxList is how long the first list may be, in bytes, and maxCPU how much a search may take of a processor.
	maxList = 4 << 10
	maxCPU  = 5 * time.Millisecond
)

// TestManyTools has the first list of many tools be short, and a search take little of a processor, with all that is around it.
func TestManyTools(t *testing.T) {
	url := server(t, many)
	for _, era := range []string{"2026-07-28", "2025-11-25"} {
		list := send(t, url, era, "tools/list", "", "")
		var listed struct{ Tools []struct{ Name string } }
		if err := json.Unmarshal(list, &listed); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(listed.Tools); len(list) > maxList || got != "[{call_tool} {find_tools}]" {
			t.Errorf("%s: a list of %d bytes, of %s", era, len(list), got)
		}
		t.Logf("%s: the first list of %d tools has %d bytes", era, many, len(list))
		var small struct{ Tools []json.RawMessage }
		if err := json.Unmarshal(send(t, url+"/wikimedia", era, "tools/list", "", ""), &small); err != nil || len(small.Tools) == 0 || len(small.Tools) > 2 {
			t.Errorf("%s: the toolset of one document lists %s, %v", era, small.Tools, err)
		}
	}
	text, err := os.ReadFile("testdata/questions.tsv")
	if err != nil {
		t.Fatal(err)
	}
	find(t, url, "2026-07-28", "the first search makes the index", 3)
	before, searches := processor(t, url), 0
	for range 4 {
		for line := range strings.Lines(string(text)) {
			question, _, _ := strings.Cut(line, "\t")
			find(t, url, "2026-07-28", question, 5)
			searches++
		}
	}
	took := (processor(t, url) - before) / time.Duration(searches)
	t.Logf("a search of %d tools takes %v of a processor, with the request around it", many, took)
	if took > maxCPU {
		t.Errorf("a search takes %v of a processor, want at most %v", took, maxCPU)
	}
}

// processor is how long the server has used one.
func processor(t *testing.T, url string) time.Duration {
	t.Helper()
	resp, err := http.Get(strings.TrimSuffix(url, "/mcp") + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), "process_cpu_seconds_total "); ok {
			seconds, err := strconv.ParseFloat(value, 64)
			if err != nil {
				t.Fatal(err)
			}
			return time.Duration(seconds * float64(time.Second))
		}
	}
	t.Fatal("the server does not say how much of a processor it has used")
	return 0
}
