// Command coldstart measures the time from exec to the first answered call of the container's main, and the size of its
// binary. It exits with 1 when the median or the size is over its limit.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"time"
)

func main() {
	binary := flag.String("binary", "", "the container's main")
	runs := flag.Int("runs", 20, "starts")
	most := flag.Duration("most", 40*time.Millisecond, "limit for the median")
	size := flag.Int64("size", 40_000_000, "limit for the binary in bytes")
	flag.Parse()
	if err := measure(*binary, *runs, *most, *size); err != nil {
		fmt.Fprintln(os.Stderr, "coldstart:", err)
		os.Exit(1)
	}
}

func measure(binary string, runs int, most time.Duration, size int64) error {
	info, err := os.Stat(binary)
	if err != nil {
		return err
	}
	var times []time.Duration
	for range runs {
		d, err := start(binary)
		if err != nil {
			return err
		}
		times = append(times, d)
	}
	slices.Sort(times)
	median := times[len(times)/2]
	fmt.Printf("exec to first answered call: median %.1f ms of %d runs (best %.1f, worst %.1f)\nbinary: %.1f MB\n",
		ms(median), runs, ms(times[0]), ms(times[len(times)-1]), float64(info.Size())/1e6)
	if median > most {
		err = errors.Join(err, fmt.Errorf("the median is over %v", most))
	}
	if info.Size() > size {
		err = errors.Join(err, fmt.Errorf("the binary is over %d bytes", size))
	}
	return err
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

const call = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"taiea_health_check",` +
	`"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}`

// start runs the binary once and returns how long the first call took to be answered.
func start(binary string) (time.Duration, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	address := ln.Addr().String()
	port := ln.Addr().(*net.TCPAddr).Port
	ln.Close()

	cmd := exec.Command(binary)
	cmd.Env = append(os.Environ(), "LOG_OUTPUT=stderr", "PORT="+strconv.Itoa(port), "AUTHENTICATION=anonymous")
	var log bytes.Buffer
	cmd.Stderr = &log
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	for time.Since(begin) < 5*time.Second {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			time.Sleep(200 * time.Microsecond)
			continue
		}
		conn.Close()
		req, err := http.NewRequest("POST", "http://"+address+"/mcp", bytes.NewReader([]byte(call)))
		if err != nil {
			return 0, err
		}
		for name, v := range map[string]string{"Content-Type": "application/json", "MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": "taiea_health_check"} {
			req.Header.Set(name, v)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return 0, err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		elapsed := time.Since(begin)
		if err != nil || resp.StatusCode != 200 || !bytes.Contains(body, []byte(`"structuredContent"`)) {
			return 0, fmt.Errorf("%d %s %v", resp.StatusCode, body, err)
		}
		return elapsed, nil
	}
	return 0, fmt.Errorf("no answer within 5 s\n%s", log.String())
}
