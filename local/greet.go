package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// A try is a command to try the server with.
type try struct {
	what    string
	headers []string
	body    string
	flags   string // of curl, beside -s
}

// tries are three requests: two as clients of earlier revisions send them, and one of 2026-07-28, which says in its headers
// what it is about, so that a server can decide before it reads the body.
func tries(withSample bool, now time.Time) []try {
	const modernMeta = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}%s}`
	modern := func(tool string) []string {
		return []string{"MCP-Protocol-Version: 2026-07-28", "Mcp-Method: tools/call", "Mcp-Name: " + tool}
	}
	list := try{what: "List the tools:", body: `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`}
	if !withSample {
		return []try{
			list,
			{what: "Ask for the time in Tokyo:",
				body: `{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"time_in_zone","arguments":{"zone":"Asia/Tokyo"}}}`},
			{what: "The same in protocol revision 2026-07-28:", headers: modern("time_in_zone"),
				body: `{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"time_in_zone","arguments":{"zone":"Asia/Tokyo"},` +
					fmt.Sprintf(modernMeta, "") + `}}`},
		}
	}
	return []try{
		list,
		{what: "When can Berlin, New York and Bengaluru meet?",
			body: `{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"meeting_times","arguments":{"cities":["Berlin","New York","Bengaluru"],"date":"` +
				nextWednesday(now).Format(time.DateOnly) + `"}}}`},
		{what: "A slow call in protocol revision 2026-07-28, with its progress:", headers: modern("daylight_year"), flags: "N",
			body: `{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"daylight_year","arguments":{"city":"Oslo"},` +
				fmt.Sprintf(modernMeta, `,"progressToken":"p"`) + `}}`},
	}
}

// curl writes the try as a command for a shell.
func (t try) curl(url string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "curl -s%s %s -H 'Content-Type: application/json' \\\n", t.flags, url)
	for _, h := range t.headers {
		fmt.Fprintf(&b, "  -H '%s' \\\n", h)
	}
	fmt.Fprintf(&b, "  -d '%s'\n", t.body)
	return b.String()
}

func nextWednesday(now time.Time) time.Time {
	ahead := (int(time.Wednesday) - int(now.Weekday()) + 7) % 7
	if ahead == 0 {
		ahead = 7
	}
	return now.AddDate(0, 0, ahead)
}

const clients = `Add it to a client:

  Claude Code    claude mcp add --transport http erlmcp %[1]s
  VS Code        in .vscode/mcp.json: {"servers":{"erlmcp":{"type":"http","url":"%[1]s"}}}
  Inspector      npx @modelcontextprotocol/inspector

Each request leaves a line below, and is counted at %[2]s.

Ctrl-C stops it.
`

// greet says where the server is and what to do with it.
func greet(w io.Writer, url, taiea, redis string, withSample bool, now time.Time) {
	fmt.Fprintf(w, "erlmcp listens at %s\n\n", url)
	for _, t := range tries(withSample, now) {
		fmt.Fprintf(w, "%s\n\n%s\n", t.what, t.curl(url))
	}
	if redis != "" {
		tool := "time_in_zone"
		if withSample {
			tool = "distance"
		}
		fmt.Fprintf(w, operator, redis, tool)
	}
	if taiea != "" {
		fmt.Fprintf(w, controlled, taiea)
	}
	fmt.Fprintf(w, clients, url, strings.TrimSuffix(url, "mcp")+"metrics")
}

const operator = `Be its operator: see the limits, stop a tool while it runs:

  export REDIS_URL=%[1]s
  go run ./function/cmd/erlmcp limits
  go run ./function/cmd/erlmcp kill tool:%[2]s -reason "trying it out"
  go run ./function/cmd/erlmcp kill tool:%[2]s -lift

`

const controlled = `Its control plane, taiea, is at %[1]s (%[1]s/openapi.json lists all of it):

  curl -s %[1]s/v1/fleet
  curl -s %[1]s/v1/receipts?limit=5
  curl -s %[1]s/v1/receipts/verify
  curl -s -X PUT %[1]s/v1/tenants/acme -H 'Content-Type: application/json' -H 'If-None-Match: *' -d '{"plan":"professional"}'

`
