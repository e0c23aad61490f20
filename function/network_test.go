package function

import (
	"log/slog"
	"net/http"
	"testing"

	"example.com/erlmcp/function/internal/memnet"
)

// The tests' servers, clients, Redis and collectors meet on a network in memory, so that a test can run in a testing/synctest
// bubble: what it waits for then costs no time, and nothing depends on the pace of the machine.
var network memnet.Network

// onNetwork puts a server on the network of the tests.
func onNetwork(o *Options) { o.stand.Dial = network.Dial }

// logTo is a log that is shown when the test fails.
func logTo(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// A testServer is a server that listens on the network.
type testServer struct {
	*Server
	URL string
}

// start assembles a server and serves it until the test ends. Its log is shown when the test fails.
func start(t *testing.T, opts ...Option) testServer {
	t.Helper()
	s, err := assemble(t.Context(), append([]Option{WithGetenv(env()), WithLogger(logTo(t)), onNetwork}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return testServer{s, network.Serve(t, s)}
}

// do sends a request on a connection of its own, which ends with the test at the latest.
func do(t *testing.T, req *http.Request) (*http.Response, error) {
	return network.Client(t).Do(req)
}

// fetch gets a URL.
func fetch(t *testing.T, url string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return do(t, req)
}

// inCase runs one case of a table in a bubble, where there are no subtests: its failures stand below its name.
func inCase(t *testing.T, name string, check func()) {
	t.Log("case:", name)
	check()
}
