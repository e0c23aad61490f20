package streamhttp

import (
	"cmp"
	"strings"
	"testing"
)

// TestOriginsThatCanBeNamed names each origin that a 403 asks to have named, and is let in.
func TestOriginsThatCanBeNamed(t *testing.T) {
	const named = "name it in ALLOWED_ORIGINS"
	var closed Origins
	for _, c := range []struct{ origin, setting, other string }{
		{"https://app.example.com", "", "https://app.example.com:8443"},
		{"https://app.example.com:8443", "", "https://app.example.com"},
		{"https://app.example.com", "HTTPS://App.Example.com:443/", "http://app.example.com"},
		{"http://app.example.com", "http://app.example.com:80", "https://app.example.com"},
		{"https://xn--mnchen-3ya.example", "", "https://munchen.example"},
		{"http://[2001:db8::1]:3000", "", "http://[2001:db8::2]:3000"},
		{"chrome-extension://abcdefghijklmnopabcdefghijklmnop", "", "chrome-extension://other"},
		{"moz-extension://2f3c9a4e-0000-4000-8000-123456789abc", "", "null"},
		{"safari-web-extension://2F3C9A4E-0000-4000-8000-123456789ABC", "", "null"},
		{"vscode-webview://1l2qd1e7a8q6b1q9k0t2", "", "vscode-webview://2"},
		{"vscode-file://vscode-app", "", "vscode-file://other"},
		{"capacitor://localhost", "", "ionic://localhost"},
		{"tauri://localhost", "", "https://localhost"},
		{"app://.", "", "app://-"},
		{"file://", "file:///", "null"},
		{"null", "", "https://app.example.com"},
		{"NULL", "null", "file://"},
		{"https://b.example", "https://a.example, https://b.example", "https://c.example"},
		{"https://any.example", "*", ""},
	} {
		var open Origins
		if err := open.Name(strings.Split(cmp.Or(c.setting, c.origin), ", ")...); err != nil {
			t.Errorf("%s: %v", c.setting, err)
		}
		if err := closed.Allow(c.origin); err == nil || !strings.Contains(err.Error(), named) {
			t.Errorf("%s: %v", c.origin, err)
		}
		if err := open.Allow(c.origin); err != nil {
			t.Errorf("%s: %v", c.origin, err)
		}
		if err := open.Allow(c.other); c.other != "" && err == nil {
			t.Errorf("%s is let in, where %s is named", c.other, c.origin)
		}
	}
	for _, origin := range []string{"https://a.example/x", "https://a,b", "a.example", "https://*.example", "https://", "https://:443", "https://a b", "javascript:x", "https://münchen.example", "https://u@a.example", "https://a.example:x", "https://a.example?x"} {
		if err := closed.Allow(origin); err == nil || strings.Contains(err.Error(), named) {
			t.Errorf("%s is asked to be named: %v", origin, err)
		}
		if err := new(Origins).Name(origin); err == nil || !strings.Contains(err.Error(), "is not an origin") {
			t.Errorf("ALLOWED_ORIGINS=%s: %v", origin, err)
		}
	}
}
