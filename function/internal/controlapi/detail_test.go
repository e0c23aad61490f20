package controlapi

import (
	"encoding/json"
	"net/http/httptest"
	"testing"

	"example.com/erlmcp/function/internal/directives"
	"example.com/erlmcp/function/internal/receipt"
)

// TestNumbersInDetails wants whole numbers recorded as they were ordered, and ETags that tell them from their neighbours.
func TestNumbersInDetails(t *testing.T) {
	for text, want := range map[string]string{
		`{"n":9007199254740992}`:                  `{"n":9007199254740992}`,
		`{"n":9007199254740993}`:                  `{"n":9007199254740993}`,
		`{"n":-9223372036854775807}`:              `{"n":-9223372036854775807}`,
		`{"n":18446744073709551617}`:              `{"n":18446744073709551617}`,
		`{"n":[-0,-0.0,1.50,1e2,1e21,-0.5,1e-7]}`: `{"n":[0,0,1.5,100,1e+21,-0.5,1e-7]}`,
	} {
		v, err := receipt.DecodePlain([]byte(text))
		if got := string(receipt.Canonical(v)); err != nil || got != want {
			t.Errorf("%s: %s %v, want %s", text, got, err, want)
		}
		c := &call{r: httptest.NewRequest("PUT", "/v1/limits/x", nil), body: []byte(text)}
		if got := c.detail(nil); got != `{"order":`+want+`,"path":"/v1/limits/x"}` {
			t.Errorf("%s: the detail is %s", text, got)
		}
	}
	if _, err := receipt.DecodePlain([]byte(`{} {}`)); err == nil {
		t.Error("two values are taken for one")
	}
	one, next := int64(1<<53), int64(1<<53+1)
	if tagOf(directives.Override{Scope: "everything", Limits: directives.Limits{PerDay: &one}}) == tagOf(directives.Override{Scope: "everything", Limits: directives.Limits{PerDay: &next}}) {
		t.Error("an override has the ETag of its neighbour")
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"plan":"base","packs":["a"],"limits":{"perSecond":1},"expires":"2026-01-01T00:00:00Z"}`))
	f.Add([]byte(`{"plan":1,"plan":2,"x":{}}[`))
	f.Fuzz(func(t *testing.T, body []byte) {
		g, faults := decode[grant](body)
		if len(faults) > 0 {
			return
		}
		if !json.Valid(body) {
			t.Errorf("%q is taken: %+v", body, g)
		}
	})
}
