package rest

import (
	"strings"
	"testing"
)

// TestPlan has all that is wrong with a request said when it is loaded.
func TestPlan(t *testing.T) {
	good := func() *Request { return &Request{Method: "GET", Server: "https://api.example/v1", Path: "/a"} }
	api := &API{Name: "x", Auth: HeaderKey("X-Key", secret("k")), Headers: map[string]Secret{"X-Tenant": secret("t")}, Forward: map[string]string{"X-Mine": "X-Theirs"}}
	for _, c := range []struct {
		change func(*Request)
		want   string // "" for none
	}{
		{func(*Request) {}, ""},
		{func(r *Request) { r.Path = "" }, ""},
		{func(r *Request) { r.Path = "/a/" }, ""},
		{func(r *Request) { r.Method = "get" }, "method"},
		{func(r *Request) { r.Method = "CONNECT" }, "method"},
		{func(r *Request) { r.Method = "GET /" }, "method"},
		{func(r *Request) { r.Server = "https://api.example/" }, "server"},
		{func(r *Request) { r.Server = "api.example" }, "server"},
		{func(r *Request) { r.Server = "https://u:p@api.example" }, "server"},
		{func(r *Request) { r.Server = "https://api.example?x=y" }, "server"},
		{func(r *Request) { r.Server = "ftp://api.example" }, "server"},
		{func(r *Request) { r.Path = "a" }, "begin with /"},
		{func(r *Request) { r.Path = "/a?b=c" }, "query or a fragment"},
		{func(r *Request) { r.Path = "/a/../b" }, "leads to another path"},
		{func(r *Request) { r.Path = "/{a}" }, "no parameter of that name"},
		{func(r *Request) { r.Path = "/100%" }, "encodes nothing"},
		{func(r *Request) { r.Path = "/a%2Fb" }, ""},
		{func(r *Request) { r.Path = "/{a" }, "without a }"},
		{func(r *Request) { r.Parameters = []Parameter{{Name: "b", Argument: "b"}} }, "has no {b}"},
		{func(r *Request) { r.Parameters = []Parameter{{Name: "b", In: Query}} }, "neither an argument nor a value"},
		{func(r *Request) { r.Parameters = []Parameter{{Argument: "b", In: Query}} }, "no name"},
		{func(r *Request) { r.Parameters = []Parameter{{Name: "b", Argument: "b", In: Cookie}} }, "by the catalog alone"},
		{func(r *Request) {
			r.Parameters = []Parameter{{Name: "b", Argument: "b", In: Query, Encoding: Encoding{Style: Matrix}}}
		}, "style"},
		{func(r *Request) {
			r.Parameters = []Parameter{{Name: "b", Argument: "b", In: Header, Encoding: Encoding{Style: DeepObject}}}
		}, "style"},
		{func(r *Request) { r.Parameters = []Parameter{{Name: "b c", Argument: "b", In: Header}} }, "name that no header"},
		{func(r *Request) { r.Parameters = []Parameter{{Name: "x-key", Argument: "b", In: Header}} }, "credentials or headers set"},
		{func(r *Request) { r.Parameters = []Parameter{{Name: "x-tenant", Argument: "b", In: Header}} }, "credentials or headers set"},
		{func(r *Request) { r.Parameters = []Parameter{{Name: "x-theirs", Argument: "b", In: Header}} }, "credentials or headers set"},
		{func(r *Request) { r.Parameters = []Parameter{{Name: "X-key", Fixed: always("b"), In: Query}} }, ""},
		{func(r *Request) {
			r.Parameters = []Parameter{{Name: "b", Argument: "b", In: Query}, {Name: "b", Argument: "c", In: Query}}
		}, "twice"},
		{func(r *Request) {
			r.Parameters = []Parameter{{Name: "X-B", Argument: "b", In: Header}, {Name: "x-b", Argument: "c", In: Header}}
		}, "twice"},
		{func(r *Request) {
			r.Parameters = []Parameter{{Name: "b", Argument: "b", In: Header}, {Name: "b", Argument: "c", In: Query}}
		}, ""},
		{func(r *Request) { r.Parameters = []Parameter{{Name: "host", Fixed: always("b"), In: Header}} }, "can't be set"},
		{func(r *Request) { r.Body = &Body{MediaType: "what", Argument: "a"} }, ""},
		{func(r *Request) { r.Body = &Body{MediaType: "*/*", Argument: "a"} }, "media type"},
		{func(r *Request) {
			r.Body = &Body{MediaType: "application/json", Argument: "a", Members: []Member{{Argument: "b", Name: "b"}}}
		}, "both"},
		{func(r *Request) {
			r.Body = &Body{MediaType: "text/plain", Members: []Member{{Argument: "b", Name: "b"}}}
		}, "made of one argument"},
		{func(r *Request) {
			r.Body = &Body{MediaType: "application/json", Members: []Member{{Argument: "b", Name: "b"}, {Argument: "c", Name: "b"}}}
		}, "twice"},
		{func(r *Request) {
			r.Body = &Body{MediaType: multipartType, Members: []Member{{Argument: "b", Name: "b"}}, Encodings: map[string]Encoding{"b": {ContentType: "a\r\nb"}}}
		}, "media type"},
		{func(r *Request) {
			r.Body = &Body{MediaType: formType, Members: []Member{{Argument: "b", Name: "b"}}, Encodings: map[string]Encoding{"b": {Style: Matrix}}}
		}, "style"},
	} {
		r := good()
		c.change(r)
		if _, err := api.Tool(r, Answer{}); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", r, err, c.want)
		}
	}
	r := good()
	r.Method, r.Path, r.Server = "get", "{b}", "x"
	if _, err := api.Tool(r, Answer{MaxBytes: -1}); err == nil || len(strings.Split(err.Error(), "\n")) != 5 {
		t.Errorf("not all faults at once: %v", err)
	}
}

// TestReservedHeaders has no argument set what is not for callers to say (RFC 9110, sections 7.2, 7.6.1, 11), however it is spelled.
func TestReservedHeaders(t *testing.T) {
	for _, name := range []string{"Authorization", "Cookie", "Host", "Connection", "Transfer-Encoding", "TE", "Trailer", "Upgrade", "Keep-Alive", "Proxy-Authorization",
		"Proxy-Connection", "Content-Length", "Content-Type", "Expect", "X-HTTP-Method-Override"} {
		for _, spelled := range []string{name, strings.ToLower(name), strings.ToUpper(name)} {
			r := &Request{Method: "GET", Server: "https://api.example", Path: "/", Parameters: []Parameter{{Argument: "a", Name: spelled, In: Header}}}
			if _, err := (&API{}).Tool(r, Answer{}); err == nil || !ReservedHeader(spelled) {
				t.Errorf("an argument sets %s", spelled)
			}
		}
	}
}

// TestAPIHeaders has the operator's own headers checked.
func TestAPIHeaders(t *testing.T) {
	r := &Request{Method: "GET", Server: "https://api.example", Path: "/"}
	for want, a := range map[string]*API{
		"set twice":        {Auth: Bearer(secret("x")), Headers: map[string]Secret{"authorization": secret("y")}},
		"can't be set":     {Headers: map[string]Secret{"Host": secret("y")}},
		`"a b" can't be`:   {Headers: map[string]Secret{"a b": secret("y")}},
		"not forwarded":    {Forward: map[string]string{"Authorization": "X-Token"}},
		`"cookie" is not`:  {Forward: map[string]string{"cookie": "X-Token"}},
		`"X-Api-Key" is n`: {Forward: map[string]string{"X-Api-Key": "X-Token"}},
	} {
		if _, err := a.Tool(r, Answer{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	a := &API{Auth: QueryKey("api_key", secret("x"))}
	if !a.Sets(Query, "api_key") || a.Sets(Header, "api_key") || a.Sets(Query, "API_KEY") {
		t.Error("a key in the query")
	}
}
