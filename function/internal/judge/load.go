package judge

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"example.com/erlmcp/function/internal/client"
)

// Load sends synthetic calls, where too little traffic comes by itself: lists of the tools, and calls of those that say of themselves that
// they only read (readOnlyHint) and that need no arguments, in both eras of the protocol by turns.
type Load struct {
	URL       string                                // of the MCP endpoint: the balancer's, so that both versions get their shares
	Token     func(context.Context) (string, error) // is asked for each client; nil for none
	PerSecond float64
	Name      string // how the client presents itself
	Release   string
	// Decided tells of a refusal's reason whether operators have decided so: then the server serves, and not this caller.
	Decided func(reason string) bool
}

const (
	callers       = 4 // at a time
	callTime      = 10 * time.Second
	callsOfClient = 20 // then it begins anew, since balancers may keep who has begun at one server
)

// Sent is what became of the calls.
type Sent struct {
	Calls, Failed, Refused int
	Fault                  error           // of the last that failed
	Refusal                *client.Refusal // the last
}

// Run sends until the context ends.
func (l *Load) Run(ctx context.Context) Sent {
	var sent Sent
	var mu sync.Mutex
	var wg sync.WaitGroup
	turns := make(chan string) // of revisions
	for range callers {
		wg.Go(func() {
			users := map[string]*user{}
			for version := range turns {
				u := users[version]
				if u == nil {
					u = &user{load: l, version: version}
					users[version] = u
				}
				result, err := u.turn(ctx)
				if err != nil && ctx.Err() != nil {
					continue // it was cut off, and says nothing
				}
				mu.Lock()
				sent.Calls++
				refusal := client.Refused(result, err)
				switch {
				case refusal != nil && l.Decided(refusal.Reason):
					sent.Refused++
					sent.Refusal = refusal
				case refusal != nil:
					sent.Failed++
					sent.Fault = fmt.Errorf("revision %s: %s", version, refusal.Message)
				case err != nil:
					sent.Failed++
					sent.Fault = err
				}
				mu.Unlock()
			}
		})
	}
	ticker := time.NewTicker(time.Duration(float64(time.Second) / l.PerSecond))
	defer ticker.Stop()
	versions := []string{client.Modern, client.Legacy}
	for i := 0; ctx.Err() == nil; i++ {
		select {
		case <-ctx.Done():
		case <-ticker.C:
			select {
			case turns <- versions[i%len(versions)]:
			default: // all callers wait for answers: the rate is a bound
			}
		}
	}
	close(turns)
	wg.Wait()
	return sent
}

// A user is a client that begins anew after some calls.
type user struct {
	load    *Load
	version string
	client  *client.Client
	tools   []client.Tool
	calls   int
}

// turn makes one call, or one list, and returns the result of the call.
func (u *user) turn(ctx context.Context) (json.RawMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	if u.client == nil || u.calls >= callsOfClient {
		token := ""
		if u.load.Token != nil {
			var err error
			if token, err = u.load.Token(ctx); err != nil {
				return nil, err
			}
		}
		c, err := client.Open(ctx, client.Options{URL: u.load.URL, Token: token, Version: u.version, Name: u.load.Name, Release: u.load.Release})
		if err != nil {
			return nil, fmt.Errorf("revision %s: %w", u.version, err)
		}
		u.client, u.calls, u.tools = c, 0, nil
	}
	u.calls++
	if u.tools == nil {
		list, err := u.client.Tools(ctx)
		if err != nil {
			u.client = nil
			return nil, fmt.Errorf("revision %s: tools/list: %w", u.version, err)
		}
		u.tools = harmless(list)
		return nil, nil
	}
	if len(u.tools) == 0 {
		u.tools = nil // and so all there is to do is to list
		return u.turn(ctx)
	}
	t := u.tools[rand.IntN(len(u.tools))]
	result, err := u.client.Call(ctx, &t, map[string]any{})
	if err != nil {
		return nil, fmt.Errorf("revision %s: %s: %w", u.version, t.Name, err)
	}
	return result, nil
}

// harmless are the tools that only read, and that need no arguments.
func harmless(list []client.Tool) []client.Tool {
	out := []client.Tool{}
	for _, t := range list {
		var schema struct{ Required []string }
		if t.Annotations.ReadOnlyHint && json.Unmarshal(t.InputSchema, &schema) == nil && len(schema.Required) == 0 {
			out = append(out, t)
		}
	}
	return out
}
