package main

import (
	"fmt"
	"time"

	"example.com/erlmcp/local/run"
)

// tries are two requests to the sample: one as clients of earlier revisions send it, and one of 2026-07-28, which says in its
// headers what it is about, so that a server can decide before it reads the body.
func tries(now time.Time) []run.Try {
	return []run.Try{
		{What: "When can Berlin, New York and Bengaluru meet?",
			Body: fmt.Sprintf(`{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"meeting_times","arguments":{"cities":["Berlin","New York","Bengaluru"],"date":%q}}}`,
				nextWednesday(now).Format(time.DateOnly))},
		{What: "A slow call in protocol revision 2026-07-28, with its progress:", Flags: "N",
			Headers: []string{"MCP-Protocol-Version: 2026-07-28", "Mcp-Method: tools/call", "Mcp-Name: daylight_year"},
			Body: `{"jsonrpc":"2.0","id":4,"method":"tools/call","params":{"name":"daylight_year","arguments":{"city":"Oslo"},` +
				`"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"progressToken":"p"}}}`},
	}
}

// bookTries are requests to the tools of the bookshop.
var bookTries = []run.Try{
	{What: "Which novels of Austen does the bookshop have? Its API is called as the catalog file says:",
		Body: `{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"shop_listBooks","arguments":{"text":"austen"}}}`},
}

func nextWednesday(now time.Time) time.Time {
	ahead := (int(time.Wednesday) - int(now.Weekday()) + 7) % 7
	if ahead == 0 {
		ahead = 7
	}
	return now.AddDate(0, 0, ahead)
}
