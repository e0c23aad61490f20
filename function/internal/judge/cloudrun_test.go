package judge

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestRevision reads services as Cloud Run describes them.
func TestRevision(t *testing.T) {
	const canary = `{"apiVersion":"serving.knative.dev/v1","kind":"Service","status":{"traffic":[{"revisionName":"erlmcp-00007-abc","percent":90},{"revisionName":"erlmcp-00008-def","percent":10,"tag":"canary","url":"https://canary---erlmcp-1.us-central1.run.app"}]}}`
	for _, c := range []struct {
		name   string
		status int
		body   string
		want   string
		fault  string
	}{
		{"a canary", 200, canary, "erlmcp-00008-def", ""},
		{"a canary without traffic", 200, strings.Replace(canary, `"percent":10,`, "", 1), "erlmcp-00008-def", ""},
		{"no canary", 200, strings.Replace(canary, `"tag":"canary"`, `"tag":"green"`, 1), "", "no revision of the service erlmcp has the tag canary"},
		{"no traffic", 200, `{}`, "", "no revision"},
		{"no right", 403, `{"error":{"code":403}}`, "", "needs run.services.get"},
		{"no JSON", 200, `<html>`, "", "<html>"},
	} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/apis/serving.knative.dev/v1/namespaces/my-project/services/erlmcp" || r.Header.Get("Authorization") != "Bearer t" {
				t.Errorf("%s %s", r.URL, r.Header.Get("Authorization"))
			}
			w.WriteHeader(c.status)
			io.WriteString(w, c.body)
		}))
		s, err := ParseService("projects/my-project/locations/us-central1/services/erlmcp")
		if err != nil || s.API != "https://us-central1-run.googleapis.com" {
			t.Fatal(s, err)
		}
		s.API, s.Token = srv.URL, func(context.Context) (string, error) { return "t", nil }
		got, err := s.Revision(t.Context(), CanaryTag)
		srv.Close()
		if got != c.want || (err != nil) != (c.fault != "") || err != nil && !strings.Contains(err.Error(), c.fault) {
			t.Errorf("%s: %q %v", c.name, got, err)
		}
	}
	s := &Service{API: "http://127.0.0.1:1", Client: http.DefaultClient, Token: func(context.Context) (string, error) { return "", errors.New("log in") }}
	if _, err := s.Revision(t.Context(), CanaryTag); err == nil || err.Error() != "log in" {
		t.Error(err)
	}
	for _, name := range []string{"", "erlmcp", "projects/p/locations/r/services/", "projects/p/locations/r/services/a/b", "projects/P/locations/r/services/a"} {
		if _, err := ParseService(name); err == nil {
			t.Errorf("%q names a service", name)
		}
	}
}
