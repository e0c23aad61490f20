package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// An exchange is a request and its answer.
type exchange struct {
	url    string
	header map[string]string
	body   string

	status   string
	answered http.Header
	answer   []byte
}

// do sends the request.
func (x *exchange) do(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, "POST", x.url, strings.NewReader(x.body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "demo")
	for name, v := range x.header {
		req.Header.Set(name, v)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	x.status, x.answered = resp.Status, resp.Header
	x.answer, err = io.ReadAll(resp.Body)
	return err
}

// refused tells whether the answer has a reason for a refusal.
func (x *exchange) refused() bool { return bytes.Contains(x.answer, []byte(`"reason"`)) }

// modernCall is a call in protocol revision 2026-07-28.
func modernCall(url, tool, params string) *exchange {
	return &exchange{
		url:    url,
		header: map[string]string{"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": tool},
		body:   modernBody(tool, params),
	}
}

func modernBody(tool, params string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":%q,%s,"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"elicitation":{}}}}}`, tool, params)
}

func (d *demo) modern(ctx context.Context, url, tool, params string) []byte {
	return d.send(ctx, modernCall(url, tool, params))
}

// send shows a request and its answer, and returns the answer's body.
func (d *demo) send(ctx context.Context, x *exchange) []byte {
	if d.err != nil {
		return nil
	}
	if d.err = x.do(ctx); d.err != nil {
		return nil
	}
	d.show(x)
	return x.answer
}

// crowd makes five calls at once, and shows the first that is refused. On a machine that is very busy they may come one after the
// other, and all be served: then five others come.
func (d *demo) crowd(ctx context.Context, url, tool, params string) {
	for range 10 {
		const calls = 5
		done := make(chan *exchange, calls)
		for range calls {
			go func() {
				x := modernCall(url, tool, params)
				if x.do(ctx) != nil {
					x = nil
				}
				done <- x
			}()
		}
		for range calls {
			if x := <-done; x != nil && x.refused() {
				d.show(x)
				return
			}
		}
	}
	d.err = fmt.Errorf("no call of %s was refused", tool)
}

// stopped calls a tool until an operator's order is heard, and shows how that call is refused.
func (d *demo) stopped(ctx context.Context, url, tool, params string) {
	for range 300 {
		x := modernCall(url, tool, params)
		if d.err = x.do(ctx); d.err != nil {
			return
		}
		if bytes.Contains(x.answer, []byte("kill_switch")) {
			d.show(x)
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	d.err = fmt.Errorf("%s was not stopped", tool)
}

func (d *demo) title(text string) { fmt.Fprintf(d.out, "\n%s\n", text) }

// show shows an exchange as it went over the wire.
func (d *demo) show(x *exchange) {
	d.id = x.answered.Get("X-Request-Id")
	fmt.Fprintf(d.out, "\n  > POST %s\n", x.url)
	for _, name := range []string{"Authorization", "MCP-Protocol-Version", "Mcp-Method", "Mcp-Name"} {
		if v, ok := x.header[name]; ok {
			fmt.Fprintf(d.out, "  > %s: %s\n", name, v)
		}
	}
	fmt.Fprintf(d.out, "  > %s\n", shorten(x.body))
	fmt.Fprintf(d.out, "\n  < %s\n", x.status)
	for _, name := range []string{"WWW-Authenticate", "Retry-After", "RateLimit", "RateLimit-Policy", "X-Request-Id"} {
		if v := x.answered.Get(name); v != "" {
			fmt.Fprintf(d.out, "  < %s: %s\n", name, v)
		}
	}
	var pretty bytes.Buffer
	if json.Indent(&pretty, x.answer, "  < ", "  ") != nil {
		pretty.Reset()
		pretty.Write(x.answer)
	}
	for line := range strings.Lines(pretty.String()) {
		fmt.Fprint(d.out, "  < ", shorten(strings.TrimPrefix(strings.TrimRight(line, "\n"), "  < ")), "\n")
	}
}

func shorten(text string) string {
	const most = 180
	if r := []rune(text); len(r) > most {
		return string(r[:most]) + "…"
	}
	return text
}
