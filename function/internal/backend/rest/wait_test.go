package rest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/erlmcp/function/internal/egress"
	"example.com/erlmcp/function/internal/mcp"
	"example.com/erlmcp/function/internal/memnet"
)

// inBubble serves an API inside of a bubble, over a network in memory. It ends with the bubble.
func inBubble(t *testing.T, handler http.HandlerFunc) (client *http.Client, server string) {
	t.Helper()
	var network memnet.Network
	ln := network.Listen()
	var serving sync.WaitGroup
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		serving.Add(1)
		defer serving.Done()
		handler(w, r)
	})}
	serving.Go(func() { s.Serve(ln) })
	transport := &http.Transport{DialContext: network.Dial}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		s.Close()
		serving.Wait()
	})
	return &http.Client{Transport: egress.NewRetry(transport)}, "http://" + ln.Addr().String()
}

// TestRetries counts what a server gets of each kind of request.
func TestRetries(t *testing.T) {
	all := Retries{Max: 2, Connect: true, Statuses: []int{429, 502, 503, 504}}
	key := []Parameter{{Name: "Idempotency-Key", In: Header, Fixed: always("k1")}}
	for _, c := range []struct {
		name    string
		r       Request
		retries Retries
		answers string // one after the other; the last one stays
		sent    int
		words   string // of a failure
		least   time.Duration
	}{
		{"well", Request{Method: "GET"}, all, "200", 1, "", 0},
		{"once", Request{Method: "GET"}, all, "503 200", 2, "", 0},
		{"it stays", Request{Method: "GET"}, all, "503", 3, "answers 503", 0},
		{"off", Request{Method: "GET"}, Retries{}, "503 200", 1, "answers 503", 0},
		{"off, and no answer", Request{Method: "GET"}, Retries{Max: 2, Statuses: []int{503}}, "hangup 200", 1, "ended the connection", 0},
		{"no answer", Request{Method: "GET"}, all, "hangup 200", 2, "", 0},
		{"other status", Request{Method: "GET"}, all, "500 200", 1, "answers 500", 0},
		{"not named", Request{Method: "GET"}, Retries{Max: 2, Statuses: []int{503}}, "502 200", 1, "answers 502", 0},
		{"too many", Request{Method: "GET"}, all, "429 200", 2, "", 0},
		{"it says when", Request{Method: "GET"}, all, "429:2 200", 2, "", 2 * time.Second},
		{"it says much later", Request{Method: "GET"}, all, "429:60 200", 1, "answers 429 Too Many Requests; try again in 1m0s", 0},
		{"a write", Request{Method: "POST", Body: &Body{MediaType: "text/plain", Argument: "a"}}, all, "503 200", 1, "answers 503", 0},
		{"a patch", Request{Method: "PATCH", Body: &Body{MediaType: "text/plain", Argument: "a"}}, all, "503 200", 1, "answers 503", 0},
		{"a write that says so", Request{Method: "POST", Body: &Body{MediaType: "text/plain", Argument: "a"}, Idempotent: true}, all, "503 200", 2, "", 0},
		{"a write with a key", Request{Method: "POST", Body: &Body{MediaType: "text/plain", Argument: "a"}, Parameters: key}, all, "503 hangup 200", 3, "", 0},
		{"one that replaces", Request{Method: "PUT", Body: &Body{MediaType: "text/plain", Argument: "a"}}, all, "503 200", 2, "", 0},
		{"one that deletes", Request{Method: "DELETE"}, all, "hangup 503 200", 3, "", 0},
		{"a fault of ours", Request{Method: "GET"}, all, "404 200", 1, "answers 404", 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			answers, sent := strings.Fields(c.answers), 0
			var bodies, keys []string
			client, server := inBubble(t, func(w http.ResponseWriter, r *http.Request) {
				text := answers[min(sent, len(answers)-1)]
				sent++
				body, _ := io.ReadAll(r.Body)
				bodies, keys = append(bodies, string(body)), append(keys, r.Header.Get("Idempotency-Key"))
				if text == "hangup" {
					panic(http.ErrAbortHandler)
				}
				code, after, ok := strings.Cut(text, ":")
				if ok {
					w.Header().Set("Retry-After", after)
				}
				status := 0
				fmt.Sscan(code, &status)
				w.WriteHeader(status)
			})
			c.r.Server = server
			began := time.Now()
			result, err := call(t, &API{Name: "billing", Client: client, Retries: c.retries}, &c.r, Answer{}, map[string]any{"a": "text"})
			words := ""
			if err != nil {
				words = err.Error()
			} else if result.IsError {
				words = result.Content[0].Text
			}
			if took := time.Since(began); sent != c.sent || !strings.Contains(words, c.words) || (words == "") != (c.words == "") || took < c.least || took > c.least+time.Second {
				t.Errorf("%s: sent %d times, %q, in %v", c.name, sent, words, took)
			}
			for n := range bodies {
				if bodies[n] != bodies[0] || keys[n] != keys[0] {
					t.Errorf("%s: not the same request again: %q %q", c.name, bodies, keys)
				}
			}
		})
	}
}

// TestBudget has an API that is down get a tenth more requests than there are calls, and ten.
func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sent := 0
		client, server := inBubble(t, func(w http.ResponseWriter, _ *http.Request) {
			sent++
			w.WriteHeader(http.StatusServiceUnavailable)
		})
		a := &API{Name: "billing", Client: client, Retries: Retries{Max: 2, Statuses: []int{503}}}
		const calls = 1000
		for range calls {
			call(t, a, &Request{Method: "GET", Server: server}, Answer{}, nil)
		}
		if most := calls + calls/10 + 10; sent > most || sent < most-2 {
			t.Errorf("%d requests of %d calls", sent, calls)
		}
	})
}

// TestDeadline has a call end with its deadline, whatever it waits for: an answer, the rest of one, or the next try.
func TestDeadline(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"silence": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"half an answer": func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, "half")
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		},
		"drops": func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				io.WriteString(w, "x")
				w.(http.Flusher).Flush()
				time.Sleep(time.Second) // in a bubble
			}
		},
	} {
		for _, own := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				client, server := inBubble(t, answer)
				a := &API{Name: "billing", Client: client, Retries: Retries{Max: 2, Connect: true}}
				ctx := t.Context()
				if own {
					a.MaxWait = 5 * time.Second
				} else {
					var done context.CancelFunc
					ctx, done = context.WithTimeout(ctx, 5*time.Second)
					defer done()
				}
				tool, err := a.Tool(&Request{Method: "GET", Server: server}, Answer{})
				if err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				_, err = tool(ctx, &mcp.Call{})
				if took := time.Since(began); took != 5*time.Second {
					t.Errorf("%s: after %v", name, took)
				}
				if own && (!errors.Is(err, mcp.ErrUnavailable) || !strings.Contains(err.Error(), "within 5s")) || !own && !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("%s: %v", name, err)
				}
			})
		}
	}
}

// TestTokens has 50 calls at once fetch one token, and a later one another only shortly before that ends.
func TestTokens(t *testing.T) {
	for _, inBody := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var fetched, calls atomic.Int64
			client, server := inBubble(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/token" {
					calls.Add(1)
					if want := fmt.Sprintf("Bearer t%d", fetched.Load()); r.Header.Get("Authorization") != want {
						t.Errorf("%q, want %s", r.Header.Get("Authorization"), want)
					}
					return
				}
				user, password, ok := r.BasicAuth()
				if inBody {
					user, password, ok = r.PostFormValue("client_id"), r.PostFormValue("client_secret"), !ok
				} else { // RFC 6749, section 2.3.1
					user, _ = url.QueryUnescape(user)
					password, _ = url.QueryUnescape(password)
				}
				if !ok || user != "id:ü" || password != "s:e c+r%t" || r.PostFormValue("grant_type") != "client_credentials" || r.PostFormValue("scope") != "a b" || r.PostFormValue("audience") != "x" || r.Method != "POST" {
					t.Errorf("%v %v", r.Header, r.PostForm)
				}
				time.Sleep(time.Second) // in a bubble
				w.Header().Set("Content-Type", "application/json")
				fmt.Fprintf(w, `{"access_token":"t%d","token_type":"bearer","expires_in":3600}`, fetched.Add(1))
			})
			tokens := NewTokens(time.Now)
			grant := ClientCredentials{TokenURL: server + "/token", ID: secret("id:ü"), Secret: secret("s:e c+r%t"), Scopes: []string{"a", "b"}, Params: map[string]string{"audience": "x"}, InBody: inBody}
			ask := func(ctx context.Context) error {
				// A catalog that is loaded anew makes the tool and its credential anew.
				tool, err := (&API{Name: "billing", Client: client, Auth: tokens.ClientCredentials(grant)}).Tool(&Request{Method: "GET", Server: server, Path: "/x"}, Answer{})
				if err != nil {
					t.Fatal(err)
				}
				_, err = tool(ctx, &mcp.Call{})
				return err
			}
			impatient, leave := context.WithCancel(t.Context())
			var all sync.WaitGroup
			all.Go(func() {
				if err := ask(impatient); !errors.Is(err, context.Canceled) {
					t.Errorf("the one who left: %v", err)
				}
			})
			synctest.Wait()
			for range 50 {
				all.Go(func() {
					if err := ask(t.Context()); err != nil {
						t.Error(err)
					}
				})
			}
			synctest.Wait()
			leave() // the one that began the fetch
			all.Wait()
			if fetched.Load() != 1 || calls.Load() != 50 {
				t.Errorf("%d fetched for %d calls", fetched.Load(), calls.Load())
			}
			time.Sleep(58 * time.Minute)
			if err := ask(t.Context()); err != nil || fetched.Load() != 1 {
				t.Errorf("%d fetched, %v", fetched.Load(), err)
			}
			time.Sleep(time.Minute)
			if err := ask(t.Context()); err != nil || fetched.Load() != 2 {
				t.Errorf("%d fetched, %v", fetched.Load(), err)
			}
		})
	}
}

// TestTokenFaults has what gives no token said in words, without the secret, and asked again by the next call.
func TestTokenFaults(t *testing.T) {
	for want, c := range map[string]struct {
		status int
		body   string
		away   bool
	}{
		"refuses this server's credentials, not yours: it answers 401 invalid_client": {401, `{"error":"invalid_client","error_description":"hush"}`, false},
		"answers 503":           {503, "", true},
		"ended the connection":  {0, "", true},
		"answers no token of":   {200, `{"access_token":"x","token_type":"mac"}`, false},
		"answers no token":      {200, `<html>`, false},
		"it answers 302":        {302, ``, false},
		"a line break":          {200, `{"access_token":"a\nb","token_type":"Bearer"}`, false},
		"did not answer in tim": {-1, "", true},
	} {
		synctest.Test(t, func(t *testing.T) {
			asked := 0
			client, server := inBubble(t, func(w http.ResponseWriter, r *http.Request) {
				asked++
				io.Copy(io.Discard, r.Body)
				w.Header().Set("Location", "/elsewhere")
				switch c.status {
				case 0:
					panic(http.ErrAbortHandler)
				case -1:
					<-r.Context().Done()
				default:
					w.WriteHeader(c.status)
					io.WriteString(w, c.body)
				}
			})
			tokens := NewTokens(time.Now)
			a := &API{Name: "billing", Client: client, Auth: tokens.ClientCredentials(ClientCredentials{TokenURL: server + "/token", ID: secret("id"), Secret: secret("hush")})}
			for n := range 2 {
				_, err := call(t, a, &Request{Method: "GET", Server: server + "/x"}, Answer{}, nil)
				if err == nil || !strings.Contains(err.Error(), want) || errors.Is(err, mcp.ErrUnavailable) != c.away || strings.Contains(err.Error(), "hush") || asked != n+1 {
					t.Errorf("%s: %v, asked %d times", want, err, asked)
				}
			}
			if len(tokens.known) > 1 {
				t.Errorf("%d are kept", len(tokens.known))
			}
		})
	}
}

type minter struct {
	minted int
	err    error
}

func (m *minter) Token(_ context.Context, audience string) (string, time.Time, error) {
	m.minted++
	return fmt.Sprintf("%s-%d", audience, m.minted), time.Now().Add(time.Hour), m.err
}

// TestMinted has the platform's tokens kept by audience, and one that is refused had anew, but not again and again.
func TestMinted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refuse := false
		var got string
		client, server := inBubble(t, func(w http.ResponseWriter, r *http.Request) {
			if got = r.Header.Get("Authorization"); refuse {
				w.WriteHeader(http.StatusUnauthorized)
			}
		})
		m, tokens := &minter{}, NewTokens(time.Now)
		ask := func(audience string) (*mcp.Result, error) {
			return call(t, &API{Name: "billing", Client: client, Auth: tokens.Minted(m, audience)}, &Request{Method: "GET", Server: server}, Answer{}, nil)
		}
		for _, want := range []string{"Bearer a-1", "Bearer a-1", "Bearer b-2", "Bearer a-1"} {
			if _, err := ask(want[7:8]); err != nil || got != want {
				t.Errorf("%s, %v, want %s", got, err, want)
			}
		}
		time.Sleep(2 * time.Minute)
		refuse = true
		for range 5 {
			if result, err := ask("a"); err != nil || !result.IsError || !strings.Contains(result.Content[0].Text, "not yours, were refused") {
				t.Errorf("%v %v", result, err)
			}
		}
		if m.minted != 3 {
			t.Errorf("%d were minted", m.minted)
		}
		m.err = errors.New("the metadata server is away")
		if _, err := ask("c"); !errors.Is(err, mcp.ErrUnavailable) || !strings.Contains(err.Error(), "no token for c: the metadata") {
			t.Errorf("%v", err)
		}
	})
}
