package controlapi_test

import (
	"context"
	"net/url"
	"strings"
	"testing"

	"example.com/erlmcp/function/internal/controlapi"
)

// TestTenantsThatNoCallerCanBe grants to tenants, suspends and resumes them, and wants a warning where no caller is
// concerned: of which it is, entitlement has the table.
func TestTenantsThatNoCallerCanBe(t *testing.T) {
	for _, c := range []struct {
		name     string
		callable []string // nil is not known
		tenant   string
		warning  string // "" for none
	}{
		{"a key's", []string{"*"}, "acme-prod", ""},
		{"an authority that is spelled otherwise", []string{"google:*", "iap:*"}, "gogle:acme-prod", "tenants are google:*, iap:*"},
		{"anonymous, who may not call", []string{"*"}, "anonymous", "tenants are *"},
		{"not known", nil, "acme-prod", ""},
		{"a letter that no tenant has, where keys may call", []string{"*"}, "acme|prod", "is not a name of"},
	} {
		f := newFixture(t, func(o *controlapi.Options) {
			o.Callable = func(context.Context) []string { return c.callable }
		})
		path := "/v1/tenants/" + url.PathEscape(c.tenant)
		for _, a := range []ask{
			{method: "PUT", path: path, body: `{"plan":"base","expires":"2099-01-01T00:00:00Z"}`, header: map[string]string{"If-None-Match": "*"}},
			{method: "POST", path: path + "/suspend", body: `{"reason":"abuse"}`},
			{method: "POST", path: path + "/resume", body: ``},
		} {
			got := f.do(a)
			if got.status/100 != 2 {
				t.Fatalf("%s: %s %s: %d %s", c.name, a.method, a.path, got.status, got.body)
			}
			want := c.warning
			if strings.HasSuffix(a.path, "resume") {
				want = "" // which was warned of
			}
			warned := strings.Contains(got.body, "no caller can be the tenant")
			if warned != (want != "") || !strings.Contains(got.body, want) {
				t.Errorf("%s: %s %s: %s, want the warning %q", c.name, a.method, a.path, got.body, want)
			}
		}
		event := strings.ReplaceAll(`{"id":"1","source":"market","type":"suspend","tenant":"TENANT","time":"2026-11-25T12:00:00Z"}`, "TENANT", c.tenant)
		got := f.do(f.signed(marketKey, "1", event))
		if warned := strings.Contains(got.body, "no caller can be the tenant"); got.status != 200 || warned != (c.warning != "") {
			t.Errorf("%s: by an event: %d %s", c.name, got.status, got.body)
		}
	}
}
