package identity

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// signed is a token with the claims as JSON text, so that a test can write what no encoder would.
func signed(t testing.TB, algorithm jose.SignatureAlgorithm, key any, kid, claims string, header map[jose.HeaderKey]any) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: jose.JSONWebKey{Key: key, KeyID: kid}}, &jose.SignerOptions{ExtraHeaders: header})
	if err != nil {
		t.Fatal(err)
	}
	object, err := signer.Sign([]byte(claims))
	if err != nil {
		t.Fatal(err)
	}
	out, err := object.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// publishing returns what fetches the keys of a set, which stands at fakeURL+"/keys".
func publishing(set func() string) Get {
	return func(_ context.Context, url string, _ int64) ([]byte, http.Header, error) {
		switch url {
		case fakeURL + "/.well-known/openid-configuration":
			return fmt.Appendf(nil, `{"issuer":%q,"jwks_uri":%q}`, fakeURL, fakeURL+"/keys"), nil, nil
		case fakeURL + "/keys":
			return []byte(set()), nil, nil
		}
		return nil, nil, errors.New("404")
	}
}

// TestShapes has tokens as issuers make them, and as nobody should.
func TestShapes(t *testing.T) {
	f := newFake("a")
	end := f.clock().Add(time.Hour).Unix()
	base := fmt.Sprintf(`"iss":%q,"aud":"me","sub":"ada","exp":%d`, fakeURL, end)
	for _, c := range []struct {
		name   string
		claims string
		header map[jose.HeaderKey]any
		want   Cause
		scopes string
	}{
		{"Cognito, ID token", base + `,"email":"ada@corp.example","email_verified":"true","cognito:groups":["x"],"auth_time":1,"token_use":"id"`, nil, "", ""},
		{"Cognito, access token", fmt.Sprintf(`"iss":%q,"sub":"ada","exp":%d,"client_id":"me","token_use":"access","scope":"read admin"`, fakeURL, end), nil, WrongAudience, ""},
		{"Entra", base + `,"scp":"read admin","roles":["Tasks.Do"],"ver":"1.0","xms_edov":"1","tid":"7","email_verified":1`, nil, "", "read admin"},
		{"Apple", base + `,"email":"x@privaterelay.appleid.com","email_verified":"true","is_private_email":"true","nonce_supported":true,"real_user_status":2`, nil, "", ""},
		{"Auth0", fmt.Sprintf(`"iss":%q,"sub":"auth0|1","exp":%d,"aud":["https://api","me","https://t/userinfo"],"azp":"c","scope":"openid read","permissions":["admin"]`, fakeURL, end), nil, "", "openid read"},
		{"Okta", base + `,"ver":1,"jti":"AT.x","cid":"c","uid":"u","scp":["read","admin"],"auth_time":1`, map[jose.HeaderKey]any{"typ": "JWT"}, "", "read admin"},
		{"Keycloak", base + `,"typ":"Bearer","azp":"c","scope":"openid email","realm_access":{"roles":["x"]},"resource_access":{"account":{"roles":["y"]}},"email_verified":true`, nil, "", "openid email"},
		{"RFC 9068", base + `,"client_id":"c","jti":"x","iat":1,"scope":"read"`, map[jose.HeaderKey]any{"typ": "at+jwt"}, "", "read"},
		{"scope as a list", base + `,"scope":["read","admin two","*",3]`, nil, "", ""},
		{"scope as a list of words", base + `,"scope":["read","admin two","*"]`, nil, "", "read admin two"},
		{"scope of another kind", base + `,"scope":{"read":true},"scp":7`, nil, "", ""},
		{"odd hd and email", base + `,"hd":["corp.example"],"email":{"value":"x"},"email_verified":[]`, nil, "", ""},
		{"a number out of range that nobody reads", base + `,"height":1e999`, nil, "", ""},
		{"times with fractions", fmt.Sprintf(`"iss":%q,"aud":"me","sub":"ada","exp":%d.75,"nbf":1.5,"iat":1e3`, fakeURL, end), nil, "", ""},
		{"nulls", base + `,"nbf":null,"iat":null,"hd":null,"scope":null`, nil, "", ""},

		{"no exp", `"iss":"` + fakeURL + `","aud":"me","sub":"ada"`, nil, Malformed, ""},
		{"exp null", `"iss":"` + fakeURL + `","aud":"me","sub":"ada","exp":null`, nil, Malformed, ""},
		{"exp as text", fmt.Sprintf(`"iss":%q,"aud":"me","sub":"ada","exp":"%d"`, fakeURL, end), nil, Malformed, ""},
		{"exp in milliseconds", fmt.Sprintf(`"iss":%q,"aud":"me","sub":"ada","exp":%d000`, fakeURL, end), nil, Malformed, ""},
		{"exp beyond all numbers", `"iss":"` + fakeURL + `","aud":"me","sub":"ada","exp":1e999`, nil, Malformed, ""},
		{"exp true", `"iss":"` + fakeURL + `","aud":"me","sub":"ada","exp":true`, nil, Malformed, ""},
		{"nbf as text", base + `,"nbf":"now"`, nil, Malformed, ""},
		{"iat as a date", base + `,"iat":"2026-11-24"`, nil, Malformed, ""},
		{"aud a number", fmt.Sprintf(`"iss":%q,"aud":7,"sub":"ada","exp":%d`, fakeURL, end), nil, Malformed, ""},
		{"aud with a number in it", fmt.Sprintf(`"iss":%q,"aud":["me",7],"sub":"ada","exp":%d`, fakeURL, end), nil, Malformed, ""},
		{"aud an object", fmt.Sprintf(`"iss":%q,"aud":{"me":1},"sub":"ada","exp":%d`, fakeURL, end), nil, Malformed, ""},
		{"aud empty", fmt.Sprintf(`"iss":%q,"aud":[],"sub":"ada","exp":%d`, fakeURL, end), nil, WrongAudience, ""},
		{"sub a number", fmt.Sprintf(`"iss":%q,"aud":"me","sub":7,"exp":%d`, fakeURL, end), nil, Malformed, ""},
		{"sub empty", fmt.Sprintf(`"iss":%q,"aud":"me","sub":"","exp":%d`, fakeURL, end), nil, Unnamed, ""},
		{"iss twice", base + `,"iss":"` + fakeURL + `"`, nil, Malformed, ""},
		{"typ a number", base, map[jose.HeaderKey]any{"typ": 7}, Malformed, ""},
		{"typ a list", base, map[jose.HeaderKey]any{"typ": []string{"JWT"}}, Malformed, ""},
		{"typ of another use", base, map[jose.HeaderKey]any{"typ": "logout+jwt"}, Malformed, ""},
		{"a header that must be understood", base, map[jose.HeaderKey]any{"crit": []string{"x"}, "x": 1}, Malformed, ""},
	} {
		a := f.authenticator(OAuth)
		p, err := a.Authenticate(t.Context(), &Request{Header: http.Header{"Authorization": {"Bearer " + signed(t, jose.ES256, f.keys["a"], "a", "{"+c.claims+"}", c.header)}}, RemoteAddr: "192.0.2.1:1"})
		switch {
		case err != nil && (err.Cause != c.want || err.Request):
			t.Errorf("%s: %v, of the request: %t; want %q", c.name, err, err.Request, c.want)
		case err == nil && (c.want != "" || strings.Join(p.Scopes, " ") != c.scopes):
			t.Errorf("%s: taken, with the scopes %v; want %q, %q", c.name, p.Scopes, c.want, c.scopes)
		}
	}
	for _, payload := range []string{`[]`, `"x"`, `null`, `{`, `7`} {
		if _, cause := try(f.authenticator(OAuth), signed(t, jose.ES256, f.keys["a"], "a", payload, nil)); cause == "" {
			t.Errorf("a token of %s is taken", payload)
		}
	}
}

// TestTenantClaim wants that a good token without a tenant is told so in words.
func TestTenantClaim(t *testing.T) {
	f := newFake("a")
	for claims, said := range map[string]string{
		``: "claim org", `,"org":7`: "claim org", `,"org":["acme"]`: "claim org", `,"org":null`: "claim org", `,"org":""`: "1 to 128", `,"org":"a b"`: "1 to 128", `,"org":"local"`: "reserved", `,"org":"acme"`: "",
	} {
		a := New(Options{Chain: []string{OAuth}, Issuers: []Issuer{OAuthIssuer(fakeURL, []string{"me"}, []string{"ES256"}, "org")}, Get: f.get, Now: f.clock})
		token := signed(t, jose.ES256, f.keys["a"], "a", fmt.Sprintf(`{"iss":%q,"aud":"me","sub":"ada","exp":%d%s}`, fakeURL, f.clock().Add(time.Hour).Unix(), claims), nil)
		p, err := a.Authenticate(t.Context(), &Request{Header: http.Header{"Authorization": {"Bearer " + token}}, RemoteAddr: "192.0.2.1:1"})
		if said == "" {
			if err != nil || p.Tenant != Authority(fakeURL)+":acme" {
				t.Errorf("%s: %v", claims, err)
			}
			continue
		}
		if err == nil || err.Cause != Unnamed || !strings.Contains(err.Hint, said) {
			t.Errorf("%s: %+v, want %q", claims, err, said)
		}
	}
}

// TestKeySets has sets of keys as issuers publish them: any of them may have signed, and what is not for signatures of the token's
// algorithm has not.
func TestKeySets(t *testing.T) {
	made := func(key any, err error) any {
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	rs, other := made(rsa.GenerateKey(rand.Reader, 2048)).(*rsa.PrivateKey), made(rsa.GenerateKey(rand.Reader, 2048)).(*rsa.PrivateKey)
	es, es384 := made(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)).(*ecdsa.PrivateKey), made(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)).(*ecdsa.PrivateKey)
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	// jwk is a key in a set, with members added or, with null, taken away.
	jwk := func(key any, members string) string {
		text, err := json.Marshal(jose.JSONWebKey{Key: key})
		if err != nil {
			t.Fatal(err)
		}
		if members != "" {
			return strings.TrimSuffix(string(text), "}") + "," + members + "}"
		}
		return string(text)
	}
	all := []string{"RS256", "PS256", "ES256", "ES384", "EdDSA"}
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	claims := fmt.Sprintf(`{"iss":%q,"aud":"me","sub":"ada","exp":%d}`, fakeURL, now.Add(time.Hour).Unix())
	many := make([]string, 40)
	for i := range many {
		many[i] = jwk(made(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)).(*ecdsa.PrivateKey).Public(), "")
	}
	for _, c := range []struct {
		name      string
		keys      []string
		algorithm jose.SignatureAlgorithm
		key       any
		kid       string
		want      Cause
	}{
		{"one id for two kinds", []string{jwk(rs.Public(), `"kid":"1"`), jwk(es.Public(), `"kid":"1"`)}, jose.ES256, es, "1", ""},
		{"one id for two kinds, the first", []string{jwk(rs.Public(), `"kid":"1"`), jwk(es.Public(), `"kid":"1"`)}, jose.RS256, rs, "1", ""},
		{"one id for two of a kind", []string{jwk(other.Public(), `"kid":"1"`), jwk(rs.Public(), `"kid":"1"`)}, jose.RS256, rs, "1", ""},
		{"one id for signatures and encryption", []string{jwk(rs.Public(), `"kid":"1","use":"sig"`), jwk(other.Public(), `"kid":"1","use":"enc"`)}, jose.RS256, rs, "1", ""},
		{"one id, and the one for encryption signs", []string{jwk(rs.Public(), `"kid":"1","use":"sig"`), jwk(other.Public(), `"kid":"1","use":"enc"`)}, jose.RS256, other, "1", BadSignature},
		{"no id in the set", []string{jwk(other.Public(), ""), jwk(rs.Public(), "")}, jose.RS256, rs, "1", ""},
		{"no id in the token", []string{jwk(other.Public(), `"kid":"1"`), jwk(rs.Public(), `"kid":"2"`), jwk(es.Public(), `"kid":"3"`)}, jose.RS256, rs, "", ""},
		{"no id anywhere", []string{jwk(other.Public(), ""), jwk(rs.Public(), "")}, jose.RS256, rs, "", ""},
		{"no id anywhere, signed by nobody", []string{jwk(other.Public(), "")}, jose.RS256, rs, "", BadSignature},
		{"another id", []string{jwk(rs.Public(), `"kid":"1"`)}, jose.RS256, rs, "2", UnknownKey},
		{"the key is for PS256", []string{jwk(rs.Public(), `"kid":"1","alg":"PS256"`)}, jose.RS256, rs, "1", WrongAlgorithm},
		{"the key is for RSA-OAEP", []string{jwk(rs.Public(), `"kid":"1","alg":"RSA-OAEP"`), jwk(rs.Public(), `"kid":"1","alg":"RS256"`)}, jose.RS256, rs, "1", ""},
		{"one id for two algorithms", []string{jwk(other.Public(), `"kid":"1","alg":"PS256"`), jwk(rs.Public(), `"kid":"1","alg":"RS256"`)}, jose.RS256, rs, "1", ""},
		{"another curve", []string{jwk(es.Public(), `"kid":"1"`), jwk(es384.Public(), `"kid":"1"`)}, jose.ES384, es384, "1", ""},
		{"Ed25519", []string{jwk(ed.Public(), `"kid":"1"`)}, jose.EdDSA, ed, "1", ""},
		{"key_ops verify", []string{jwk(rs.Public(), `"kid":"1","key_ops":["verify"]`)}, jose.RS256, rs, "1", ""},
		{"key_ops encrypt", []string{jwk(rs.Public(), `"kid":"1","key_ops":["encrypt"]`), jwk(es.Public(), `"kid":"2"`)}, jose.RS256, rs, "1", UnknownKey},
		{"a thumbprint in another form", []string{jwk(rs.Public(), `"kid":"1","x5t":"AB:CD","x5c":["not a certificate"]`)}, jose.RS256, rs, "1", ""},
		{"beside what nobody knows", []string{`{"kty":"LWE","kid":"1"}`, `7`, `{"kty":"RSA"}`, jwk(rs.Public(), `"kid":"1"`)}, jose.RS256, rs, "1", ""},
		{"a private key", []string{jwk(es, `"kid":"1"`), jwk(rs.Public(), `"kid":"2"`)}, jose.ES256, es, "1", UnknownKey},
		{"more keys than are tried", append(slices.Clone(many), jwk(es.Public(), "")), jose.ES256, es, "", BadSignature},
		{"more keys than are tried, by its id", append(slices.Clone(many), jwk(es.Public(), `"kid":"1"`)), jose.ES256, es, "1", ""},
	} {
		a := New(Options{Chain: []string{OAuth}, Issuers: []Issuer{OAuthIssuer(fakeURL, []string{"me"}, all, "")},
			Get: publishing(func() string { return `{"keys":[` + strings.Join(c.keys, ",") + `]}` }), Now: func() time.Time { return now }})
		if _, cause := try(a, signed(t, c.algorithm, c.key, c.kid, claims, nil)); cause != c.want {
			t.Errorf("%s: %q, want %q", c.name, cause, c.want)
		}
	}
}

// TestExamples has the keys and tokens of the RFCs' examples. What is signed is read as far as the audience, which they lack.
func TestExamples(t *testing.T) {
	const (
		// RFC 7515, A.2.
		rsKey   = `{"kty":"RSA","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ","e":"AQAB"}`
		rsToken = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"
		// RFC 7515, A.3.
		esKey   = `{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}`
		esToken = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
		// RFC 8037, A.4: its payload is no JSON.
		edKey   = `{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`
		edToken = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
	)
	joe := Issuer{Method: OAuth, URL: "joe", Keys: fakeURL + "/keys", Audiences: []string{"me"}, Algorithms: []string{"RS256", "ES256", "EdDSA"}}
	verify := func(set, token string, at time.Time) Cause {
		i := newIssuer(joe, &Options{Get: publishing(func() string { return set }), Now: func() time.Time { return at }, Logger: New(Options{}).opts.Logger})
		_, _, err := i.verify(t.Context(), token, "", at)
		return err.Cause
	}
	set := `{"keys":[` + esKey + "," + rsKey + "," + edKey + `]}`
	at := time.Unix(1300819380-60, 0)
	for _, c := range []struct {
		name, token string
		at          time.Time
		want        Cause
	}{
		{"RS256", rsToken, at, WrongAudience},
		{"ES256", esToken, at, WrongAudience},
		{"RS256, later", rsToken, at.Add(time.Hour), Expired},
		{"ES256, later", esToken, at.Add(time.Hour), Expired},
		{"RS256, altered", strings.Replace(rsToken, ".cC4h", ".cC4i", 1), at, BadSignature},
		{"ES256, altered", strings.Replace(esToken, ".DtEh", ".DtEi", 1), at, BadSignature},
		{"Ed25519", edToken, at, Malformed},
		{"Ed25519, altered", strings.Replace(edToken, ".hgyY", ".hgyZ", 1), at, BadSignature},
		// RFC 7519, 6.1, and RFC 8725, 3.1: never without a signature.
		{"unsecured", "eyJhbGciOiJub25lIn0.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.", at, WrongAlgorithm},
	} {
		if got := verify(set, c.token, c.at); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	// RFC 7517, A.1: of its two keys one is for signatures.
	if k, ok := parseKey(json.RawMessage(`{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM","use":"enc","kid":"1"}`)); ok {
		t.Errorf("a key for encryption is taken: %v", k.KeyID)
	}
	if k, ok := parseKey(json.RawMessage(strings.TrimSuffix(rsKey, "}") + `,"alg":"RS256","kid":"2011-04-29"}`)); !ok || k.KeyID != "2011-04-29" {
		t.Error("a key for signatures is not taken")
	}
}

// TestURIs is RFC 3986, section 6.2, as far as audiences go.
func TestURIs(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"https://mcp.example", "https://MCP.example", true},
		{"https://mcp.example", "HTTPS://mcp.example", true},
		{"https://mcp.example", "https://mcp.example/", true},
		{"https://mcp.example", "https://mcp.example:443", true},
		{"https://mcp.example", "https://mcp.example:443/", true},
		{"https://mcp.example", "https://mcp.example:", true},
		{"http://localhost", "http://localhost:80/", true},
		{"https://mcp.example/?a", "https://mcp.example?a", true},
		{"https://[2001:DB8::1]:443/mcp", "https://[2001:db8::1]/mcp", true},
		{"api://ABC/mcp", "api://abc/mcp", true},
		{"me", "me", true},
		{"https://mcp.example", "https://mcp.example:8443", false},
		{"https://mcp.example", "http://mcp.example", false},
		{"http://mcp.example:443", "https://mcp.example", false},
		{"https://mcp.example/mcp", "https://mcp.example/MCP", false},
		{"https://mcp.example/mcp", "https://mcp.example/mcp/", false},
		{"https://mcp.example/mcp", "https://mcp.example", false},
		{"https://mcp.example", "https://mcp.example.evil", false},
		{"https://mcp.example", "https://mcp.example@evil", false},
		{"https://Me@mcp.example", "https://me@mcp.example", false},
		{"https://mcp.example", "https://mcp.example/#x", false},
		{"me", "Me", false},
		{"/projects/1/X", "/projects/1/x", false},
		{"", "https://mcp.example", false},
	} {
		if SameURI(c.a, c.b) != c.same || SameURI(c.b, c.a) != c.same {
			t.Errorf("%q and %q: want %t", c.a, c.b, c.same)
		}
	}
}

// TestPresented is how keys and tokens come, and what is said of those that come in another way.
func TestPresented(t *testing.T) {
	f := newFake("a")
	text, key := NewKey(Key{Tenant: "acme", Subject: "ci"})
	keys, err := (&KeyFile{Keys: []Key{key}}).index()
	if err != nil {
		t.Fatal(err)
	}
	token := f.token(t, "a", f.keys["a"], nil)
	a := New(Options{Chain: []string{APIKeys, OAuth}, Keys: func() *Keys { return keys }, Issuers: []Issuer{OAuthIssuer(fakeURL, []string{"me"}, []string{"ES256"}, "")}, Get: f.get, Now: f.clock})
	for _, c := range []struct {
		name   string
		header http.Header
		want   string // the tenant, or the cause
		hint   string
	}{
		{"a key in X-API-Key", http.Header{"X-Api-Key": {text}}, "acme", ""},
		{"another key in X-API-Key", http.Header{"X-Api-Key": {text + "x"}}, "unknown", ""},
		{"someone else's key in X-API-Key", http.Header{"X-Api-Key": {"AIzaSy"}}, "none", ""},
		{"X-API-Key beside Authorization", http.Header{"X-Api-Key": {text}, "Authorization": {"Bearer " + token}}, "issuer.example", ""},
		{"X-API-Key beside a bad Authorization", http.Header{"X-Api-Key": {text}, "Authorization": {"Bearer " + text + "x"}}, "unknown", ""},
		{"X-API-Key beside Basic", http.Header{"X-Api-Key": {text}, "Authorization": {"Basic YTpi"}}, "unknown", "Authorization: Bearer"},
		{"X-API-Key twice", http.Header{"X-Api-Key": {text, text}}, "malformed", ""},
		{"a raw key", http.Header{"Authorization": {text}}, "unknown", "without its scheme"},
		{"a raw token", http.Header{"Authorization": {token}}, "unknown", "without its scheme"},
		{"Basic", http.Header{"Authorization": {"Basic YTpi"}}, "unknown", "Authorization: Bearer"},
		{"ApiKey", http.Header{"Authorization": {"ApiKey " + text}}, "unknown", "Authorization: Bearer"},
		{"DPoP", http.Header{"Authorization": {"DPoP " + token}}, "unknown", "Authorization: Bearer"},
		{"empty", http.Header{"Authorization": {""}}, "unknown", "Authorization: Bearer"},
		{"an opaque token", http.Header{"Authorization": {"Bearer opaque"}}, "unknown", ""},
	} {
		p, err := a.Authenticate(t.Context(), &Request{Header: c.header, RemoteAddr: "192.0.2.1:1"})
		switch {
		case err != nil && (string(err.Cause) != c.want || (err.Hint == "") != (c.hint == "") || !strings.Contains(err.Hint, c.hint)):
			t.Errorf("%s: %v, %q", c.name, err, err.Hint)
		case err == nil && p.Tenant != c.want:
			t.Errorf("%s: %s", c.name, p)
		}
		if err != nil && (strings.Contains(err.Hint, text[len(KeyPrefix):]) || strings.Contains(err.Detail, text[len(KeyPrefix):])) {
			t.Errorf("%s: the key is in what is told: %+v", c.name, err)
		}
	}
}

// TestRotatedKey has tokens of a key that came after the last fetch: they are good later, and nobody is told to sign in again.
func TestRotatedKey(t *testing.T) {
	f := newFake("old")
	a := f.authenticator(OAuth)
	ask := func(kid string, n int) *Error {
		_, err := a.Authenticate(t.Context(), &Request{Header: http.Header{"Authorization": {"Bearer " + f.token(t, kid, f.keys[kid], map[string]any{"jti": n})}}, RemoteAddr: "192.0.2.1:1"})
		return err
	}
	if err := ask("old", 0); err != nil {
		t.Fatal(err)
	}
	f.pass(10 * time.Second)
	f.keys["new"], _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	for n := range 100 { // more than there may be failures
		if err := ask("new", n); err == nil || err.Cause != UnknownKey || err.Retry != 50*time.Second || err.Wait > 0 {
			t.Fatalf("within the gap: %+v", err)
		}
	}
	f.pass(50 * time.Second)
	if err := ask("new", 100); err != nil {
		t.Errorf("as was said: %+v", err)
	}
	// A key that is nobody's is known to be none once the keys were fetched after it was seen.
	f.keys["ghost"], _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ghost := f.token(t, "ghost", f.keys["ghost"], nil)
	delete(f.keys, "ghost")
	if _, err := a.Authenticate(t.Context(), &Request{Header: http.Header{"Authorization": {"Bearer " + ghost}}}); err == nil || err.Retry == 0 {
		t.Errorf("a ghost within the gap: %+v", err)
	}
	f.pass(time.Minute)
	for range 3 {
		if _, err := a.Authenticate(t.Context(), &Request{Header: http.Header{"Authorization": {"Bearer " + ghost}}}); err == nil || err.Cause != UnknownKey || err.Retry != 0 {
			t.Errorf("a ghost once that is known: %+v", err)
		}
		f.pass(time.Second)
	}
	// While the issuer is away, nothing is known of it.
	f.pass(time.Minute)
	f.mu.Lock()
	f.down = true
	f.mu.Unlock()
	late := f.forged("late")
	if _, err := a.Authenticate(t.Context(), &Request{Header: http.Header{"Authorization": {"Bearer " + late}}}); err == nil || err.Retry == 0 {
		t.Errorf("an unknown key while the issuer is away: %+v", err)
	}
	if d := a.Degraded(); len(d) != 1 || !strings.Contains(d[0], fakeURL) {
		t.Errorf("while the issuer is away: %q", d)
	}
	f.mu.Lock()
	f.down = false
	f.mu.Unlock()
	f.pass(firstGap)
	if err := ask("new", 101); err != nil {
		t.Error(err)
	}
	if _, err := a.Authenticate(t.Context(), &Request{Header: http.Header{"Authorization": {"Bearer " + late}}}); err == nil || err.Cause != UnknownKey {
		t.Errorf("once it is back: %+v", err)
	}
	if d := a.Degraded(); d != nil {
		t.Errorf("once it is back: %q", d)
	}
}

// TestRotatedWithoutIDs has a set whose keys have no ids: a new one is known by its signature alone.
func TestRotatedWithoutIDs(t *testing.T) {
	f := newFake("")
	a := f.authenticator(OAuth)
	if _, cause := try(a, f.token(t, "", f.keys[""], nil)); cause != "" {
		t.Fatal(cause)
	}
	f.keys[""], _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	next := f.token(t, "", f.keys[""], nil)
	if _, cause := try(a, next); cause != BadSignature {
		t.Errorf("within the gap: %q", cause)
	}
	f.pass(2 * time.Minute)
	if _, cause := try(a, next); cause != "" {
		t.Errorf("after it: %q", cause)
	}
}
