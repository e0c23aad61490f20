package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// An era is one way to put the call.
type era struct {
	name    string
	headers string
	meta    string
}

var eras = []era{
	{
		"2026-07-28",
		"MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: add\r\n",
		`,"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"bench","version":"1.0.0"},"io.modelcontextprotocol/clientCapabilities":{}}`,
	},
	{"2025-11-25", "MCP-Protocol-Version: 2025-11-25\r\n", ""},
}

// request appends the i-th call.
func (e era) request(b []byte, to *target, i int) (request []byte, sum int) {
	x, y := i, 7*i%1009
	body := fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":%q,"arguments":{"a":%d,"b":%d,"note":"call number %d"}%s}}`, i+1, to.tool, x, y, i, e.meta)
	b = fmt.Appendf(b, "POST %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: bench\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\nAuthorization: Bearer %s\r\n%sContent-Length: %d\r\n\r\n", to.path, to.host, to.token, strings.Replace(e.headers, "Mcp-Name: add", "Mcp-Name: "+to.tool, 1), len(body))
	return append(b, body...), x + y
}

// A target is where calls go, whose they are, and of which tool.
type target struct{ host, path, token, tool string }

// load makes calls over a number of connections and checks every answer.
func load(to *target, e era, first, calls, conns int) error {
	done := make(chan error)
	for c := range conns {
		go func() {
			conn, err := net.Dial("tcp", to.host)
			if err != nil {
				done <- err
				return
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(2 * time.Minute))
			r := bufio.NewReader(conn)
			var buf []byte
			for i := first + c; i < first+calls; i += conns {
				request, sum := e.request(buf[:0], to, i)
				buf = request
				for tries := 0; ; tries++ {
					if _, err := conn.Write(request); err != nil {
						done <- err
						return
					}
					err := answer(r, sum)
					if errors.Is(err, errLate) && tries < 3 {
						time.Sleep(time.Second) // as it says; what the refusal cost stays in the figures
						continue
					}
					if err != nil {
						done <- fmt.Errorf("call %d: %w", i, err)
						return
					}
					break
				}
			}
			done <- nil
		}()
	}
	var errs []error
	for range conns {
		errs = append(errs, <-done)
	}
	return errors.Join(errs...)
}

// errLate is a refusal because Redis did not answer in time, as on a machine that pauses for longer than decisions wait.
var errLate = errors.New("refused: Redis was late")

func answer(r *bufio.Reader, sum int) error {
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if bytes.Contains(body, []byte(`"code":1005,`)) {
		return errLate
	}
	if want := []byte("the sum is " + strconv.Itoa(sum) + `"`); resp.StatusCode != 200 || !bytes.Contains(body, want) {
		return fmt.Errorf("status %d, %s, want %s", resp.StatusCode, body, want)
	}
	return nil
}
