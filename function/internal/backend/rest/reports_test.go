package rest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/erlmcp/function/internal/mcp"
)

// TestReportsOfRequests has what others' users reported of requests be right here. FM is PrefectHQ/fastmcp, FA tadata-org/fastapi_mcp, TB googleapis/mcp-toolbox,
// MH samanhappy/mcphub, AG agentgateway/agentgateway, LL BerriAI/litellm.
func TestReportsOfRequests(t *testing.T) {
	query := func(e Encoding) []Parameter { return []Parameter{{Argument: "a", Name: "a", In: Query, Encoding: e}} }
	for _, c := range []struct {
		report string
		r      Request
		args   map[string]any
		want   string // method, URI and body; "refused …" for a misfit
	}{
		{"FM#1100, FM#1107, FM#5112, FA#319, mattt/emcee#62: one name in path, query and body",
			Request{Method: "PUT", Path: "/{id}", Parameters: []Parameter{{Argument: "id__path", Name: "id"}, {Argument: "id__query", Name: "id", In: Query}}, Body: &Body{MediaType: "application/json", Members: []Member{{Argument: "id", Name: "id"}}}},
			map[string]any{"id__path": "p", "id__query": "q", "id": "b"}, `PUT /p?id=q {"id":"b"}`},
		{"FA#319: a body that is a list", Request{Method: "POST", Path: "/", Body: &Body{MediaType: "application/json", Argument: "body"}}, map[string]any{"body": []any{int64(1)}}, `POST / [1]`},
		{"FA#319: a body that is a number", Request{Method: "POST", Path: "/", Body: &Body{MediaType: "application/json", Argument: "body"}}, map[string]any{"body": int64(0)}, `POST / 0`},
		{"FM#4488, FM#1114, ttoss#1238: deepObject as {'a':1}", Request{Path: "/", Parameters: query(Encoding{Style: DeepObject, Explode: true})}, map[string]any{"a": map[string]any{"b": int64(1), "c": map[string]any{"d": true}}}, `GET /?a%5Bb%5D=1&a%5Bc%5D%5Bd%5D=true`},
		{"FM#1004, FM#1008: explode is not heeded", Request{Path: "/", Parameters: query(Encoding{Style: Form, Explode: true})}, map[string]any{"a": []any{"x", "y"}}, `GET /?a=x&a=y`},
		{"MH#1080: collectionFormat csv", Request{Path: "/", Parameters: query(Encoding{})}, map[string]any{"a": []any{"x", "y"}}, `GET /?a=x,y`},
		{"MH#1080: collectionFormat ssv", Request{Path: "/", Parameters: query(Encoding{Style: SpaceDelimited})}, map[string]any{"a": []any{"x", "y"}}, `GET /?a=x%20y`},
		{"MH#1080: collectionFormat tsv", Request{Path: "/", Parameters: query(Encoding{Style: TabDelimited})}, map[string]any{"a": []any{"x", "y"}}, `GET /?a=x%09y`},
		{"MH#1080: collectionFormat pipes", Request{Path: "/", Parameters: query(Encoding{Style: PipeDelimited})}, map[string]any{"a": []any{"x", "y"}}, `GET /?a=x%7Cy`},
		{"MH#1080: collectionFormat multi", Request{Path: "/", Parameters: query(Encoding{Explode: true})}, map[string]any{"a": []any{"x", "y"}}, `GET /?a=x&a=y`},
		{"TB#1737, openclaw#96729: ?page=&size=", Request{Path: "/", Parameters: query(Encoding{})}, map[string]any{"a": nil}, `GET /`},
		{"TB#1737: an empty text is a value", Request{Path: "/", Parameters: query(Encoding{})}, map[string]any{"a": ""}, `GET /?a=`},
		{"higress#2747: an empty member", Request{Method: "POST", Path: "/", Body: &Body{MediaType: "application/json", Members: []Member{{Argument: "a", Name: "a"}, {Argument: "b", Name: "b"}}}}, map[string]any{"b": ""}, `POST / {"b":""}`},
		{"Azure/MCP#38: a body and a parameter of the path", Request{Method: "POST", Path: "/{a}", Parameters: []Parameter{{Argument: "a", Name: "a"}}, Body: &Body{MediaType: "application/json", Members: []Member{{Argument: "b", Name: "b"}}}}, map[string]any{"a": "x", "b": "y"}, `POST /x {"b":"y"}`},
		{"FM GHSA-vv7q-7jx5-f767, google/adk-js#597, MH#1083: another path", Request{Path: "/users/{a}", Parameters: []Parameter{{Argument: "a", Name: "a"}}}, map[string]any{"a": "../../admin"}, `refused argument a: it has a slash, which would lead to another path`},
		{"AG#3598: what a path encodes", Request{Path: "/users/{a}", Parameters: []Parameter{{Argument: "a", Name: "a"}}}, map[string]any{"a": "x?y=z#é %"}, `GET /users/x%3Fy%3Dz%23%C3%A9%20%25`},
		{"Google: projects/x in {name}", Request{Path: "/v1/{a}:cancel", Parameters: []Parameter{{Argument: "a", Name: "a", Slashes: true}}}, map[string]any{"a": "projects/p 1/jobs/j"}, `GET /v1/projects/p%201/jobs/j:cancel`},
		{"gen-mcp#269, uxc#300: a form", Request{Method: "POST", Path: "/", Body: &Body{MediaType: formType, Members: []Member{{Argument: "a", Name: "a"}, {Argument: "b", Name: "b"}}}}, map[string]any{"a": "x y", "b": []any{"1", "2"}}, `POST / a=x%20y&b=1&b=2`},
		{"Superset: a parameter with content", Request{Path: "/", Parameters: query(Encoding{ContentType: "application/json"})}, map[string]any{"a": map[string]any{"page": int64(1)}}, `GET /?a=%7B%22page%22%3A1%7D`},
		{"twilio-labs/mcp#56, CC#92648: names that models can't write", Request{Path: "/", Parameters: []Parameter{{Argument: "StartTime_lt", Name: "StartTime<", In: Query}, {Argument: "uids", Name: "uids[]", In: Query, Encoding: Encoding{Explode: true}}}}, map[string]any{"StartTime_lt": "x", "uids": []any{"1", "2"}}, `GET /?StartTime%3C=x&uids%5B%5D=1&uids%5B%5D=2`},
	} {
		api := record(t, nil)
		if c.r.Server = api.URL; c.r.Method == "" {
			c.r.Method = "GET"
		}
		got := ""
		if _, err := call(t, api.api(), &c.r, Answer{}, c.args); errors.As(err, new(*mcp.Misfit)) {
			got = strings.Replace(err.Error(), "the arguments do not fit:", "refused", 1)
		} else if err != nil {
			got = err.Error()
		} else {
			got = strings.TrimSpace(api.last().Method + " " + api.last().RequestURI + " " + api.last().body)
		}
		if got != c.want {
			t.Errorf("%s:\n%s, want\n%s", c.report, got, c.want)
		}
	}
}

// TestReportsOfAnswers has what others' users reported of answers be right here. Where a report has tests of its own, they are named.
func TestReportsOfAnswers(t *testing.T) {
	long := `{"results":[` + strings.TrimSuffix(strings.Repeat(`{"name":"a measure of some length"},`, 20_000), ",") + `]}`
	for _, c := range []struct {
		report            string
		status            int
		contentType, body string
		fits              func(r *mcp.Result, err error) bool
	}{
		{"mcp-use#1816: 204 under JSON is an exception", 204, "application/json", "", func(r *mcp.Result, err error) bool { return err == nil && in(r) == "text done (204)" }},
		{"AG#864, orval#4126: a list as structured content", 200, "application/json", "[1]", func(r *mcp.Result, err error) bool { return string(r.Structured) == "[1]" }},
		{"FM#1241, FM#2472: an answer unlike its schema", 200, "application/json", `{"surprise":1}`, func(r *mcp.Result, err error) bool { return err == nil && !r.IsError }},
		{"go-sdk: whole numbers above 2^53 are rounded", 200, "application/json", `{"id":9007199254740993}`, func(r *mcp.Result, err error) bool { return strings.Contains(string(r.Structured), "9007199254740993") }},
		{"mcpproxy-go#368: pictures as base64 in a text", 200, "image/jpeg", "\xff\xd8", func(r *mcp.Result, err error) bool { return r.Content[0].Type == "image" && len(r.Content) == 1 }},
		{"envoyproxy/ai-gateway#2218: JSON under text/event-stream is nothing", 200, "text/event-stream", `{"a":1}`, func(r *mcp.Result, err error) bool { return in(r) == `text {"a":1}` }},
		{"dbt-mcp#178, superset#39107, OpenMetadata#29707, saucelabs#27: a huge answer", 200, "application/json", long, func(r *mcp.Result, err error) bool {
			return err == nil && len(r.Content[0].Text) <= 64<<10 && len(r.Content[0].Text) > 60<<10 && strings.Contains(r.Content[1].Text, "of 20000 items of results; ask for less by the arguments, such as limit")
		}},
		{"FM#1323, TB#2147: a fault that says nothing", 422, "application/problem+json", `{"title":"Bad amount","detail":"amount is negative"}`, func(r *mcp.Result, err error) bool {
			return err == nil && in(r) == "error text billing answers 422 Unprocessable Entity: Bad amount: amount is negative"
		}},
		{"registry#1320, mcpproxy-go#965: a refusal counts as a dead upstream", 400, "", "", func(r *mcp.Result, err error) bool { return err == nil && r.IsError }},
		{"and a fault of its own does not", 500, "", "", func(r *mcp.Result, err error) bool { return errors.Is(err, mcp.ErrUnavailable) }},
	} {
		r, err := answering(t, &API{}, Answer{Structured: true}, c.status, c.contentType, c.body)
		if !c.fits(r, err) {
			t.Errorf("%s: %v, %v", c.report, r, err)
		}
	}
	// AG#3476, LL#39172, ag2#3262, codebase-memory-mcp#1247: TestPages. MCPJungle#252, FM#3260, palaia#314, awslabs#3695: TestForward, TestRedirects.
	// Spotify, Slack, Discourse: TestPlan, TestNoOverride. LL#18169: TestAPIHeaders.
}

// TestCancellation has the API learn that a caller has left (FM#4124, KG#422, XcodeMCPKit#210).
func TestCancellation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan struct{})
		client, server := inBubble(t, func(_ http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
			close(ended)
		})
		tool, err := (&API{Name: "billing", Client: client, Retries: Retries{Max: 2, Connect: true}}).Tool(&Request{Method: "GET", Server: server}, Answer{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, leave := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { leave(fmt.Errorf("gone")) })
		if _, err := tool(ctx, &mcp.Call{}); !errors.Is(err, context.Canceled) || errors.Is(err, mcp.ErrUnavailable) {
			t.Errorf("%v", err)
		}
		<-ended
	})
}
