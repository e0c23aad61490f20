package judge

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestPrometheus(t *testing.T) {
	// As the documentation of the API has it: https://prometheus.io/docs/prometheus/latest/querying/api/#instant-queries.
	const documented = `{"status":"success","data":{"resultType":"vector","result":[
		{"metric":{"__name__":"up","job":"prometheus","instance":"localhost:9090"},"value":[1435781451.781,"1"]},
		{"metric":{"__name__":"up","job":"node","instance":"localhost:9100"},"value":[1435781451.781,"+Inf"]}]}}`
	for _, c := range []struct {
		name, body string
		status     int
		want       string // "": there are two samples
		query      bool   // the error is the query's
	}{
		{"samples", documented, 200, "", false},
		{"a query that is wrong", `{"status":"error","errorType":"bad_data","error":"parse error"}`, 400, "does not take the query up: parse error", true},
		{"a timeout", `{"status":"error","errorType":"timeout","error":"too slow"}`, 503, "answers 503: timeout: too slow", false},
		{"a proxy", `<html>no</html>`, 502, "answers 502: <html>", false},
		{"a page", `<html>log in</html>`, 200, "not one of Prometheus' API", false},
		{"a redirect", "", 302, "answers 302", false},
		{"a matrix", `{"status":"success","data":{"resultType":"matrix","result":[]}}`, 200, "holds no vector", false},
		{"no number", `{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"x"]}]}}`, 200, `a value "x"`, false},
		{"no value", `{"status":"success","data":{"resultType":"vector","result":[{"metric":{}}]}}`, 200, "a value", false},
	} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != "POST" || r.URL.Path != "/prefix/api/v1/query" || r.FormValue("query") != "up" || r.FormValue("time") != "1435781451.781" || r.Header.Get("Authorization") != "Bearer secret" {
				t.Errorf("%s: %s %s %v %q", c.name, r.Method, r.URL, r.Form, r.Header.Get("Authorization"))
			}
			if c.status == 302 {
				w.Header().Set("Location", "http://elsewhere.example/")
			}
			w.WriteHeader(c.status)
			io.WriteString(w, c.body)
		}))
		client := srv.Client()
		client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		p := &Prometheus{URL: srv.URL + "/prefix/", Client: client, Token: func(context.Context) (string, error) { return "secret", nil }}
		got, err := p.Query(t.Context(), "up", time.UnixMilli(1435781451781))
		srv.Close()
		var query *QueryError
		switch {
		case c.want == "" && (err != nil || len(got) != 2 || got[0].Labels["job"] != "prometheus" || got[0].Value != 1):
			t.Errorf("%s: %v %v", c.name, got, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || errors.As(err, &query) != c.query):
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

func TestTokenIsMissing(t *testing.T) {
	p := &Prometheus{URL: "http://127.0.0.1:1", Client: http.DefaultClient, Token: func(context.Context) (string, error) { return "", errors.New("log in") }}
	if _, err := p.Query(t.Context(), "up", time.Unix(1, 0)); err == nil || err.Error() != "there is no access token: log in" {
		t.Errorf("%v", err)
	}
}
