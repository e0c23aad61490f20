// Package prism calls the tools of public OpenAPI documents on the real server, whose upstream is played by Prism from the same document: it
// refuses each request that the document does not allow.
package prism

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// An exchange is a request of the server's, and what Prism answered.
type exchange struct {
	request string
	status  int
	problem string   // Prism's own: what its type ends with, such as UNPROCESSABLE_ENTITY
	invalid []string // what Prism says is wrong with the request, at least the problem
}

// A recorder stands between the server and Prism.
type recorder struct {
	*httptest.Server
	mu   sync.Mutex
	seen []exchange
}

func record(t *testing.T, to string) *recorder {
	t.Helper()
	upstream, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(upstream)
			p.Out.URL.RawQuery = p.In.URL.RawQuery // as it came, whatever Go thinks of it
		},
		ModifyResponse: r.keep,
	}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, in *http.Request) {
		body, err := io.ReadAll(in.Body)
		if err != nil {
			t.Error(err)
		}
		in.Body = io.NopCloser(bytes.NewReader(body))
		r.mu.Lock()
		r.seen = append(r.seen, exchange{request: fmt.Sprintf("%s %s %s %.600q", in.Method, in.RequestURI, in.Header.Get("Content-Type"), body)})
		r.mu.Unlock()
		proxy.ServeHTTP(w, in)
	}))
	t.Cleanup(r.Close)
	return r
}

// A fault is one that Prism finds. Its place begins with request or response.
type fault struct {
	Location []string
	Severity string
	Code     string
	Message  string
}

// keep reads what Prism thinks of a request from a header of its answer, and from its problem (RFC 9457) where it refuses.
func (r *recorder) keep(answer *http.Response) error {
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	answer.Body = io.NopCloser(bytes.NewReader(body))
	var faults []fault
	if text := answer.Header.Get("Sl-Violations"); text != "" {
		if err := json.Unmarshal([]byte(text), &faults); err != nil {
			return fmt.Errorf("%s: %w", text, err)
		}
	}
	var problem struct {
		Type       string
		Validation []fault
	}
	if answer.StatusCode >= 400 {
		json.Unmarshal(body, &problem) // an error of the document's has none
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	e := &r.seen[len(r.seen)-1]
	e.status = answer.StatusCode
	if _, code, found := strings.Cut(problem.Type, "stoplight.io/prism/errors#"); found {
		e.problem = code
	}
	if e.problem == "UNPROCESSABLE_ENTITY" { // all of it is about the request
		for _, f := range problem.Validation {
			e.invalid = append(e.invalid, fmt.Sprintf("%s: %s", strings.Join(f.Location, "."), f.Message))
		}
	}
	for _, f := range faults {
		if len(f.Location) > 0 && f.Location[0] == "request" && f.Severity == "Error" {
			text := fmt.Sprintf("%s: %s", strings.Join(f.Location, "."), f.Message)
			if m := required.FindStringSubmatch(f.Message); m != nil && empty(answer.Request, m[1]) {
				text += ", which is there and empty"
			}
			e.invalid = append(e.invalid, text)
		}
	}
	if e.problem != "" && e.invalid == nil {
		e.invalid = []string{e.problem}
	}
	return nil
}

var required = regexp.MustCompile(`must have required property '(.+)'$`)

// empty tells whether a request has a parameter whose value is no character.
func empty(r *http.Request, name string) bool {
	header, query := r.Header.Values(name), r.URL.Query()[name]
	return len(header) == 1 && header[0] == "" || len(query) == 1 && query[0] == ""
}

// taken returns what was recorded since it was last asked.
func (r *recorder) taken() []exchange {
	r.mu.Lock()
	defer r.mu.Unlock()
	seen := r.seen
	r.seen = nil
	return seen
}
