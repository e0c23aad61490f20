package run

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// A Try is a command to try the server with.
type Try struct {
	What    string
	Headers []string
	Body    string
	Flags   string // of curl, beside -s
}

// curl writes the try as a command for a shell.
func (t Try) curl(url string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "curl -s%s %s -H 'Content-Type: application/json' \\\n", t.Flags, url)
	for _, h := range t.Headers {
		fmt.Fprintf(&b, "  -H '%s' \\\n", h)
	}
	fmt.Fprintf(&b, "  -d '%s'\n", t.Body)
	return b.String()
}

// A greeting says where the server is and what to do with it.
type greeting struct {
	Program
	tools        []string // that are served
	taiea, redis string   // URLs; "" where there is none
	catalog      string   // path of the catalog file, or ""
}

func (g greeting) write(w io.Writer, url string, now time.Time) {
	fmt.Fprintf(w, "erlmcp listens at %s\n\n", url)
	g.writeCatalog(w)
	tries := []Try{{What: "List the tools:", Body: `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`}}
	if g.Sample != nil {
		if s := g.Sample.Service; s != nil && strings.HasSuffix(g.catalog, s.Catalog) && g.catalog != s.Catalog {
			tries = append(tries, s.Tries...)
		}
		tries = append(tries, g.Sample.Tries(now)...)
	}
	for _, t := range tries {
		fmt.Fprintf(w, "%s\n\n%s\n", t.What, t.curl(url))
	}
	fmt.Fprintf(w, "Call a tool from a shell:\n\n  %[1]s tools -url %[2]s\n  %[1]s call -url %[2]s TOOL NAME=VALUE\n\n", g.Commands, url)
	tool := "NAME"
	switch {
	case g.Sample != nil:
		tool = g.Sample.Tool
	case len(g.tools) > 0:
		tool = g.tools[0]
	}
	if g.redis != "" {
		fmt.Fprintf(w, operator, g.redis, g.Commands, tool)
	}
	if g.taiea != "" {
		fmt.Fprintf(w, controlled, g.taiea)
	}
	fmt.Fprintf(w, clients, url, strings.TrimSuffix(url, "mcp")+"metrics")
}

// maxShown is how many lines of a catalog file are printed.
const maxShown = 20

// writeCatalog shows the catalog file where it is short, and says how one of one's own begins.
func (g greeting) writeCatalog(w io.Writer) {
	text, err := os.ReadFile(g.catalog)
	if err != nil { // there is none
		return
	}
	fmt.Fprintf(w, "%s makes an API into tools. Change a line and save, and the next call is served by it:\n\n", g.catalog)
	if lines := strings.Split(strings.TrimSpace(string(text)), "\n"); len(lines) <= maxShown {
		for _, line := range lines {
			if !strings.HasPrefix(line, "#") {
				fmt.Fprintf(w, "  %s\n", line)
			}
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintf(w, declared, g.Commands)
}

const declared = `For an API of your own write catalog.yaml here and start again:

  %s catalog import openapi https://api.example.com/openapi.json > catalog.yaml

`

const operator = `Be its operator: see the limits, stop a tool while it runs:

  export REDIS_URL=%[1]s
  %[2]s limits
  %[2]s kill tool:%[3]s -reason "trying it out"
  %[2]s kill tool:%[3]s -lift

`

const controlled = `Its control plane, taiea, is at %[1]s (%[1]s/openapi.json lists all of it):

  curl -s %[1]s/v1/fleet
  curl -s %[1]s/v1/receipts?limit=5
  curl -s %[1]s/v1/receipts/verify
  curl -s -X PUT %[1]s/v1/tenants/acme -H 'Content-Type: application/json' -H 'If-None-Match: *' -d '{"plan":"professional"}'

`

const clients = `Add it to a client:

  Claude Code    claude mcp add --transport http erlmcp %[1]s
  VS Code        in .vscode/mcp.json: {"servers":{"erlmcp":{"type":"http","url":"%[1]s"}}}
  Inspector      npx @modelcontextprotocol/inspector

Each request leaves a line below, and is counted at %[2]s.

Ctrl-C stops it.
`
