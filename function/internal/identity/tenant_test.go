package identity

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// tenantOf is the tenant that a token of an issuer's makes its bearer, or the cause.
func tenantOf(t *testing.T, i Issuer, m *TenantMap, claims string) string {
	t.Helper()
	var c Claims
	if err := json.Unmarshal([]byte(claims), &c); err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	i.Audiences = []string{"me"}
	is := newIssuer(i, &Options{Tenants: m, Now: func() time.Time { return now }})
	c["iss"], c["aud"], c["exp"] = i.URL, "me", float64(now.Add(time.Hour).Unix())
	p, _, err := is.judge(c, "", now)
	if err != nil {
		return string(err.Cause)
	}
	return p.Tenant
}

// TestTenantsOfStrangers has strangers choose the name that a tenant of API keys has, acme-prod, and whatever looks like one of another
// authority: by no method are they it.
func TestTenantsOfStrangers(t *testing.T) {
	oauth := OAuthIssuer("https://login.example.com/realms/a", nil, nil, "org")
	open := func(name string) string { return `{"sub":"mallory","org":"` + name + `"}` }
	google := GoogleIssuer(nil)
	for _, c := range []struct {
		name   string
		issuer Issuer
		claims string
		want   string
	}{
		{"a project", google, `{"email":"bot@acme-prod.iam.gserviceaccount.com","email_verified":true}`, "google:acme-prod"},
		{"a project, by the proxy", IAPIssuer(nil), `{"email":"bot@acme-prod.iam.gserviceaccount.com"}`, "iap:acme-prod"},
		{"a domain", google, `{"email":"m@acme.example","hd":"acme.example","email_verified":true}`, "google:acme.example"},
		{"a domain in another case", google, `{"email":"m@acme.example","hd":"ACME.example","email_verified":true}`, "google:acme.example"},
		{"a person", google, `{"email":"m@gmail.com","email_verified":true}`, "google:google"},
		{"a namespace", KubernetesIssuer("https://k8s.example", nil), `{"sub":"system:serviceaccount:acme-prod:agent"}`, "kubernetes:acme-prod"},
		{"a claim", oauth, open("acme-prod"), "login.example.com_realms_a:acme-prod"},
		{"a claim in another case", oauth, open("ACME-PROD"), "login.example.com_realms_a:ACME-PROD"},
		{"a claim with an authority", oauth, open("google:acme-prod"), "login.example.com_realms_a:google:acme-prod"},
		{"a claim with its own authority", oauth, open("login.example.com_realms_a:x"), "login.example.com_realms_a:login.example.com_realms_a:x"},
		{"a claim with a colon in front", oauth, open(":acme-prod"), "login.example.com_realms_a::acme-prod"},
		{"a claim with a slash", oauth, open("../acme-prod"), "unnamed"},
		{"a claim with a space", oauth, open("acme-prod "), "unnamed"},
		{"a claim with a null", oauth, open(`acme-prod\u0000`), "unnamed"},
		{"a claim with a look-alike", oauth, open("аcme-prod"), "unnamed"}, // its first letter is Cyrillic
		{"a claim with an invisible letter", oauth, open(`acme\u200b-prod`), "unnamed"},
		{"a claim of full width", oauth, open("ａcme-prod"), "unnamed"},
		{"a claim that is reserved", oauth, open("local"), "unnamed"},
		{"an empty claim", oauth, open(""), "unnamed"},
		{"a long claim", oauth, open(strings.Repeat("a", 128)), "unnamed"},
		{"another realm of the host", OAuthIssuer("https://login.example.com/realms/b", nil, nil, "org"), open("acme-prod"), "login.example.com_realms_b:acme-prod"},
		{"another port of the host", OAuthIssuer("https://login.example.com:8443/realms/a", nil, nil, "org"), open("acme-prod"), "login.example.com_8443_realms_a:acme-prod"},
		{"an issuer that is one tenant", OAuthIssuer("https://login.example.com/", nil, nil, ""), open("acme-prod"), "login.example.com"},
		{"a realm that is one tenant", OAuthIssuer("https://login.example.com/realms/a", nil, nil, ""), open("acme-prod"), "login.example.com_realms_a"},
	} {
		if got := tenantOf(t, c.issuer, nil, c.claims); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
	payload := base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"iss":"https://accounts.google.com","aud":"x","exp":%d,"email":"bot@acme-prod.iam.gserviceaccount.com","email_verified":true}`, time.Now().Add(time.Hour).Unix()))
	p, err := New(Options{Chain: []string{CloudRun}}).Authenticate(t.Context(), &Request{Header: http.Header{"Authorization": {"Bearer e30." + payload + withoutSignature}}})
	if err != nil || p.Tenant != "cloudrun:acme-prod" {
		t.Errorf("an invoker: %v %v", p, err)
	}
	m, fault := ParseTenantMap([]string{"cloudrun:bot@acme-prod.iam.gserviceaccount.com=prober"}, []string{CloudRun})
	p, err = New(Options{Chain: []string{CloudRun}, Tenants: m}).Authenticate(t.Context(), &Request{Header: http.Header{"Authorization": {"Bearer e30." + payload + withoutSignature}}})
	if err != nil || fault != nil || p.Tenant != "prober" {
		t.Errorf("the prober: %v %v %v", p, err, fault)
	}
}

// TestNoTwoNamesAreOneTenant tries all short names of some authorities.
func TestNoTwoNamesAreOneTenant(t *testing.T) {
	issuers := []Issuer{
		OAuthIssuer("https://a", nil, nil, "org"), OAuthIssuer("https://a:1", nil, nil, "org"), OAuthIssuer("https://a/b", nil, nil, "org"), OAuthIssuer("https://a/b:c", nil, nil, "org"),
		GoogleIssuer(nil), KubernetesIssuer("https://k", nil),
	}
	chain := []string{OAuth, Google, Kubernetes}
	authorities, err := Authorities(chain, issuers)
	if err != nil {
		t.Fatal(err)
	}
	asBefore, err := ParseTenantMap([]string{"a:*=*"}, authorities)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []*TenantMap{nil, asBefore} {
		seen := map[string]string{}
		for _, a := range authorities {
			if strings.Contains(a, ":") {
				t.Errorf("the authority %q has a colon", a)
			}
			var names func(prefix string)
			names = func(prefix string) {
				if prefix != "" {
					tenant, from := m.Tenant(a, prefix), a+" "+prefix
					if other := seen[tenant]; other != "" {
						t.Errorf("%s and %s are both %s", other, from, tenant)
					}
					seen[tenant] = from
				}
				if len(prefix) < 5 {
					for _, c := range "ab:1_" {
						names(prefix + string(c))
					}
				}
			}
			names("")
		}
	}
}

func TestTenantMap(t *testing.T) {
	login := OAuthIssuer("https://login.example.com/realms/a", nil, nil, "org")
	whole := OAuthIssuer("https://whole.example.com/t", nil, nil, "")
	authorities, err := Authorities([]string{APIKeys, OAuth, Google, Kubernetes, Anonymous}, []Issuer{login, whole, GoogleIssuer(nil)})
	if err != nil || fmt.Sprint(authorities) != "[login.example.com_realms_a whole.example.com_t google kubernetes]" {
		t.Fatal(authorities, err)
	}
	for _, c := range []struct {
		entries, fault string
	}{
		{"google:acme.com", "is not AUTHORITY:NAME=TENANT"},
		{"acme.com=acme", "is not AUTHORITY:NAME=TENANT"},
		{"gogle:acme.com=acme", "its authority is not one"},
		{"https://login.example.com/realms/a:acme=acme", "its authority is not one"},
		{"iap:acme.com=acme", "its authority is not one"},
		{"google:=acme", "its name is not"},
		{"google:ac me=acme", "its name is not"},
		{"google:acme.com=", "is not a name"},
		{"google:acme.com=local", "is reserved"},
		{"google:acme.com=anonymous", "is reserved"},
		{"google:acme.com=a/b", "is not a name"},
		{"google:acme.com=a,google:ACME.com=b", "is there twice"},
		{"google:*=*,google:*=all", "is there twice"},
	} {
		if _, err := ParseTenantMap(strings.Split(c.entries, ","), authorities); err == nil || !strings.Contains(err.Error(), c.fault) {
			t.Errorf("%s: %v, want %q", c.entries, err, c.fault)
		}
	}
	const email = `"email":"bot@proj.iam.gserviceaccount.com","email_verified":true`
	for _, c := range []struct {
		entries string
		issuer  Issuer
		claims  string
		want    string
		can     []string // what the issuer's tenants can be
	}{
		{"", GoogleIssuer(nil), `{` + email + `}`, "google:proj", []string{"google:*"}},
		{"google:proj=acme", GoogleIssuer(nil), `{` + email + `}`, "acme", []string{"acme", "google:*"}},
		{"GOOGLE:Proj=acme", GoogleIssuer(nil), `{` + email + `}`, "acme", []string{"acme", "google:*"}},
		{"google:other=acme", GoogleIssuer(nil), `{` + email + `}`, "google:proj", []string{"acme", "google:*"}},
		{"google:*=*", GoogleIssuer(nil), `{` + email + `}`, "proj", []string{"*"}},
		{"google:*=staff", GoogleIssuer(nil), `{` + email + `}`, "staff", []string{"staff"}},
		{"google:*=staff,google:proj=robots", GoogleIssuer(nil), `{` + email + `}`, "robots", []string{"robots", "staff"}},
		{"google:proj=*", GoogleIssuer(nil), `{` + email + `}`, "proj", []string{"google:*", "proj"}},
		{"google:Bot@proj.iam.gserviceaccount.com=prober", GoogleIssuer(nil), `{` + email + `}`, "prober", []string{"google:*", "prober"}},
		{"google:bot@proj.iam.gserviceaccount.com=prober,google:proj=acme,google:*=*", GoogleIssuer(nil), `{` + email + `}`, "prober", []string{"*", "acme", "prober"}},
		{"google:bot@proj.iam.gserviceaccount.com=*", GoogleIssuer(nil), `{` + email + `}`, "bot@proj.iam.gserviceaccount.com", []string{"bot@proj.iam.gserviceaccount.com", "google:*"}},
		{"google:bot@proj.iam.gserviceaccount.com=prober", GoogleIssuer(nil), `{"email":"other@proj.iam.gserviceaccount.com","email_verified":true}`, "google:proj", []string{"google:*", "prober"}},
		{"google:bot@proj.iam.gserviceaccount.com=prober", GoogleIssuer(nil), `{"email":"bot@proj.iam.gserviceaccount.com"}`, "unnamed", []string{"google:*", "prober"}},
		{"login.example.com_realms_a:bot@acme=prober", login, `{"sub":"bot@acme","org":"x"}`, "login.example.com_realms_a:x", []string{"login.example.com_realms_a:*", "prober"}},
		{"login.example.com_realms_a:*=*", login, `{"sub":"x","org":"acme"}`, "acme", []string{"*"}},
		{"Login.Example.com_realms_a:*=*", login, `{"sub":"x","org":"Acme"}`, "Acme", []string{"*"}},
		{"login.example.com_realms_a:*=*", login, `{"sub":"x","org":"google:acme"}`, "login.example.com_realms_a:google:acme", []string{"*"}},
		{"login.example.com_realms_a:acme=shop", login, `{"sub":"x","org":"Acme"}`, "login.example.com_realms_a:Acme", []string{"login.example.com_realms_a:*", "shop"}},
		{"", whole, `{"sub":"x"}`, "whole.example.com_t", []string{"whole.example.com_t"}},
		{"whole.example.com_t:*=*", whole, `{"sub":"x"}`, "whole.example.com", []string{"whole.example.com"}},
		{"whole.example.com_t:*=acme", whole, `{"sub":"x"}`, "acme", []string{"acme"}},
		{"whole.example.com_t:whole.example.com=acme", whole, `{"sub":"x"}`, "acme", []string{"acme"}},
	} {
		var entries []string
		if c.entries != "" {
			entries = strings.Split(c.entries, ",")
		}
		m, err := ParseTenantMap(entries, authorities)
		if err != nil {
			t.Errorf("%s: %v", c.entries, err)
			continue
		}
		got := tenantOf(t, c.issuer, m, c.claims)
		if got != c.want {
			t.Errorf("%s of %s: %s, want %s", c.entries, c.claims, got, c.want)
		}
		can := m.Callable([]string{c.issuer.Method}, []Issuer{c.issuer})
		if !slices.Equal(can, c.can) {
			t.Errorf("%s: %q can be called, want %q", c.entries, can, c.can)
		}
		if got != string(Unnamed) && !slices.ContainsFunc(can, func(pattern string) bool {
			prefix, any := strings.CutSuffix(pattern, "*")
			return any && strings.HasPrefix(got, prefix) || got == pattern
		}) {
			t.Errorf("%s: %q has no place among %q", c.entries, got, can)
		}
	}
	all := (*TenantMap)(nil).Callable([]string{APIKeys, CloudRun, Anonymous}, nil)
	if !slices.Equal(all, []string{"*", "anonymous", "cloudrun:*"}) {
		t.Errorf("%q", all)
	}
}

// TestAuthorities wants that no two issuers have the same tenants.
func TestAuthorities(t *testing.T) {
	for _, c := range []struct{ one, other, fault string }{
		{"https://a.example", "https://b.example", ""},
		{"https://a.example", "https://a.example/", "the same tenants"},
		{"https://a.example", "http://a.example", "the same tenants"},
		{"https://a.example", "https://A.example", "the same tenants"},
		{"https://a.example/x", "https://a.example_x", "the same tenants"},
		{"https://a.example:1", "https://a.example_1", "the same tenants"},
		{"https://a.example/x", "https://a.example/y", ""},
		{"https://google", "https://a.example", "of the method google"},
	} {
		_, err := Authorities([]string{OAuth}, []Issuer{OAuthIssuer(c.one, nil, nil, "org"), OAuthIssuer(c.other, nil, nil, "org")})
		if (err == nil) != (c.fault == "") || err != nil && !strings.Contains(err.Error(), c.fault) {
			t.Errorf("%s and %s: %v, want %q", c.one, c.other, err, c.fault)
		}
	}
}

// TestGoogleAccounts lets in whom the operator has named.
func TestGoogleAccounts(t *testing.T) {
	g := &GoogleAccounts{Domains: []string{"acme.example", "acme-prod.iam.gserviceaccount.com"}, Addresses: []string{"ada@gmail.com"}}
	for _, c := range []struct {
		name, claims string
		in           bool
	}{
		{"of the domain", `{"email":"bob@acme.example","hd":"acme.example"}`, true},
		{"of the domain, in another case", `{"email":"Bob@Acme.example","hd":"ACME.example"}`, true},
		{"of the domain, by an alias of it", `{"email":"bob@acme-brand.example","hd":"acme.example"}`, true},
		{"an account of one's own by an address of the domain", `{"email":"bob@acme.example"}`, false},
		{"of another domain by an address of this one", `{"email":"bob@acme.example","hd":"evil.example"}`, false},
		{"of a domain below", `{"email":"bob@x.acme.example","hd":"x.acme.example"}`, false},
		{"of a domain that ends so", `{"email":"bob@notacme.example","hd":"notacme.example"}`, false},
		{"named", `{"email":"Ada@gmail.com"}`, true},
		{"another of gmail", `{"email":"mallory@gmail.com"}`, false},
		{"named, with a tag", `{"email":"ada+x@gmail.com"}`, false},
		{"of the project", `{"email":"bot@acme-prod.iam.gserviceaccount.com"}`, true},
		{"of another project", `{"email":"bot@acme-prod2.iam.gserviceaccount.com"}`, false},
		{"a default account", `{"email":"1234-compute@developer.gserviceaccount.com"}`, false},
		{"one who is named in a look-alike", `{"email":"аda@gmail.com"}`, false},
	} {
		var claims Claims
		if err := json.Unmarshal([]byte(c.claims), &claims); err != nil {
			t.Fatal(err)
		}
		if err := g.Admits(claims); (err == nil) != c.in {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	i := GoogleIssuer(nil)
	i.Admits = g.Admits
	if got := tenantOf(t, i, nil, `{"email":"mallory@gmail.com","email_verified":true}`); got != string(Unnamed) {
		t.Errorf("mallory is %s", got)
	}
	if got := tenantOf(t, i, nil, `{"email":"ada@gmail.com","email_verified":true}`); got != "google:google" {
		t.Errorf("ada is %s", got)
	}
}
