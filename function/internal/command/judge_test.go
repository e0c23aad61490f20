package command

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"example.com/erlmcp/function/internal/judge"
)

// TestJudgeArguments: each command line that is wrong is said to be, before anything is asked.
func TestJudgeArguments(t *testing.T) {
	t.Setenv("GOOGLE_CLOUD_PROJECT", "")
	t.Setenv("PROMETHEUS_TOKEN", "secret")
	good := []string{"-prometheus", "http://127.0.0.1:1", "-canary", `version="2"`, "-baseline", `version="1"`}
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, "-prometheus is not set"},
		{[]string{"-prometheus", "localhost:9090"}, "is no URL such as http://localhost:9090"},
		{good[:4], "-canary and -baseline say which processes are whose"},
		{append(good[:4:4], "-baseline", `version="2"`), "are the same"},
		{append(good[:6:6], "-bake", "0s"), "-bake 0s must be more than nothing"},
		{append(good[:6:6], "-every", "1h"), "-every 1h0m0s not longer"},
		{append(good[:6:6], "-level", "1"), "-level 1 is no chance"},
		{append(good[:6:6], "-least", "0"), "-least 0"},
		{append(good[:6:6], "-undecided", "maybe"), "is not one of undecided, pass, fail"},
		{append(good[:6:6], "-load", "mcp.example.com"), "-load \"mcp.example.com\" is no URL"},
		{append(good[:6:6], "-load-per-second", "1000"), "at most 20"},
		{append(good[2:6:6], "-prometheus", "http://prometheus.example.com"), "would be sent in the clear"},
		{append(good[:6:6], "-service", "projects/p/locations/r/services/s"), "leave -canary and -baseline out"},
		{[]string{"-service", "erlmcp"}, "names no service of Cloud Run"},
		{append(good[:6:6], "word"), "0 words are wanted"},
	} {
		var out, errs bytes.Buffer
		p := &Program{Name: "erlmcp"}
		if status := p.Run(append([]string{"judge"}, c.args...), &out, &errs); status != 2 || !strings.Contains(errs.String(), c.want) || strings.Contains(errs.String(), "secret") {
			t.Errorf("%q: status %d, %s, want %q", c.args, status, &errs, c.want)
		}
	}
}

// TestJudgeOnCloudRun: a service and its revision stand for three flags.
func TestJudgeOnCloudRun(t *testing.T) {
	service, err := judge.ParseService("projects/my-project/locations/us-central1/services/erlmcp")
	if err != nil {
		t.Fatal(err)
	}
	j := judging{counts: judge.Undecided, perSecond: 1, options: judge.Options{Bake: time.Minute, Level: 0.01, Least: 1}}
	j.onCloudRun(service, "erlmcp-00008-abc")
	if err := j.complete("other"); err != nil {
		t.Fatal(err)
	}
	if j.prometheus != "https://monitoring.googleapis.com/v1/projects/my-project/location/global/prometheus" ||
		j.canary != `job="erlmcp",instance=~"erlmcp-00008-abc-[0-9a-f]{8}"` || j.baseline != `job="erlmcp",instance!~"erlmcp-00008-abc-[0-9a-f]{8}"` {
		t.Errorf("%+v", j)
	}
	if token, err := bearer(j.prometheus, ""); token == nil || err != nil {
		t.Errorf("Cloud Monitoring gets no token: %v", err)
	}
	for _, other := range []string{"https://monitoring.googleapis.com.example.com", "http://monitoring.googleapis.com", "http://localhost:9090"} {
		if token, err := bearer(other, ""); token != nil || err != nil {
			t.Errorf("%s gets the account's token: %v", other, err)
		}
	}
	token, err := bearer("http://localhost:9090", "mine\n")
	if err != nil {
		t.Fatal(err)
	}
	if text, err := token(context.Background()); text != "mine" || err != nil {
		t.Errorf("%q %v", text, err)
	}
}

// TestJudgeStatus: each verdict has its exit status, and the words or the JSON that say it.
func TestJudgeStatus(t *testing.T) {
	t.Setenv("PROMETHEUS_TOKEN", "")
	empty := func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, `{"status":"success","data":{"resultType":"vector","result":[]}}`)
	}
	for _, c := range []struct {
		name   string
		serve  http.HandlerFunc
		args   []string
		status int
		want   string
	}{
		{"nobody is there", empty, nil, 3, "undecided: There is no canary"},
		{"that counts as pass", empty, []string{"-undecided", "pass"}, 0, "That counts as pass (-undecided)."},
		{"that counts as fail", empty, []string{"-undecided", "fail"}, 1, "fail: There is no canary"},
		{"Prometheus is broken", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "\x1b[2Jgone", 500) }, nil, 3, `answers 500: \u001b[2Jgone`},
		{"a query is wrong", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(400)
			io.WriteString(w, `{"status":"error","errorType":"bad_data","error":"parse error"}`)
		}, nil, 2, "parse error"},
	} {
		srv := httptest.NewServer(c.serve)
		var out, errs bytes.Buffer
		p := &Program{Name: "erlmcp"}
		args := append([]string{"judge", "-prometheus", srv.URL, "-canary", "a", "-baseline", "b", "-bake", "5ms", "-every", "5ms"}, c.args...)
		status := p.Run(args, &out, &errs)
		srv.Close()
		if text := out.String() + errs.String(); status != c.status || !strings.Contains(text, c.want) {
			t.Errorf("%s: status %d, want %d and %q: %s", c.name, status, c.status, c.want, text)
		}
	}
	srv := httptest.NewServer(http.HandlerFunc(empty))
	defer srv.Close()
	var out bytes.Buffer
	p := &Program{Name: "erlmcp"}
	status := p.Run([]string{"judge", "-prometheus", srv.URL, "-canary", "{a}", "-baseline", "b", "-bake", "5ms", "-every", "5ms", "-json"}, &out, io.Discard)
	var v judge.Verdict
	if err := json.Unmarshal(out.Bytes(), &v); err != nil || status != 3 || v.Verdict != judge.Undecided || len(v.Because) != 1 || v.Canary.Selected != "{a}" {
		t.Errorf("status %d, %v: %s", status, err, &out)
	}
}
