package strictjson_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"example.com/erlmcp/function/internal/strictjson"
)

type inner struct {
	PerSecond *float64 `json:"perSecond,omitempty"`
	Shadow    bool     `json:"shadow"`
}

type outer struct {
	Tenant  string          `json:"tenant"`
	Kind    string          `json:"kind"` // with a letter that the Kelvin sign folds into
	Scopes  []string        `json:"scopes,omitempty"`
	Limits  inner           `json:"limits"`
	Keys    []inner         `json:"keys,omitempty"`
	Other   *inner          `json:"other,omitempty"`
	Expires time.Time       `json:"expires,omitzero"`
	Raw     json.RawMessage `json:"raw,omitempty"`
	Free    map[string]any  `json:"free,omitempty"`
	Bytes   []byte          `json:"bytes,omitempty"`
	Hidden  string          `json:"-"`
	//lint:ignore U1000 no member of an object has its name
	private string
}

func TestUnmarshal(t *testing.T) {
	five := 5.0
	for _, c := range []struct {
		text string
		want outer
	}{
		{`{}`, outer{}},
		{" {\n} \t\r\n", outer{}},
		{`{"tenant":"acme","scopes":["a","b"],"limits":{"perSecond":5,"shadow":true}}`, outer{Tenant: "acme", Scopes: []string{"a", "b"}, Limits: inner{&five, true}}},
		{`{"ten\u0061nt":"acme"}`, outer{Tenant: "acme"}}, // escaped, and spelled the same
		{`{"tenant":null,"scopes":null,"limits":null,"other":null,"expires":null,"free":null}`, outer{}},
		{`{"scopes":[],"keys":[{},{"perSecond":5}],"other":{"shadow":true}}`, outer{Scopes: []string{}, Keys: []inner{{}, {PerSecond: &five}}, Other: &inner{Shadow: true}}},
		{`{"expires":"2026-11-24T12:00:00Z","bytes":"AAE="}`, outer{Expires: time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC), Bytes: []byte{0, 1}}},
		{`{"free":{"a":true,"A":{"b":[]}}}`, outer{Free: map[string]any{"a": true, "A": map[string]any{"b": []any{}}}}},
		{`{"raw":{"a":1e999999,"A":1}}`, outer{Raw: json.RawMessage(`{"a":1e999999,"A":1}`)}},
	} {
		var got outer
		if err := strictjson.Unmarshal([]byte(c.text), "body", &got, strictjson.Refuse); err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, %v, want %+v", c.text, got, err, c.want)
		}
	}
}

func TestFaults(t *testing.T) {
	for _, c := range []struct {
		text string
		want []string
	}{
		// Names in another case, which encoding/json would take.
		{`{"TENANT":"x"}`, []string{"TENANT: is not known: it is spelled tenant"}},
		{`{"tenant":"a","Tenant":"b"}`, []string{"Tenant: is not known: it is spelled tenant"}},
		{`{"Tenant":"a","tenant":"b"}`, []string{"Tenant: is not known: it is spelled tenant"}},
		{`{"tEnAnT":"a","TENANT":"b"}`, []string{"tEnAnT: is not known: it is spelled tenant", "TENANT: is not known: it is spelled tenant"}},
		{"{\"\u212aind\":\"x\"}", []string{"\u212aind: is not known: it is spelled kind"}}, // the Kelvin sign
		{`{"\u212aind":"x"}`, []string{"\u212aind: is not known: it is spelled kind"}},
		{"{\"\u017fcopes\":[]}", []string{"\u017fcopes: is not known: it is spelled scopes"}}, // the long s
		{`{"limits":{"PerSecond":1}}`, []string{"limits.PerSecond: is not known: it is spelled perSecond"}},
		{`{"keys":[{},{"SHADOW":true}]}`, []string{"keys[1].SHADOW: is not known: it is spelled shadow"}},
		{`{"other":{"Shadow":true}}`, []string{"other.Shadow: is not known: it is spelled shadow"}},
		// Names that are given twice.
		{`{"tenant":"a","tenant":"b"}`, []string{"tenant: is given twice"}},
		{`{"tenant":"a","tenant":"a"}`, []string{"tenant: is given twice"}},
		{`{"tenant":"a","ten\u0061nt":"b"}`, []string{"tenant: is given twice"}},
		{`{"tenant":null,"tenant":"b"}`, []string{"tenant: is given twice"}},
		{`{"limits":{},"limits":{}}`, []string{"limits: is given twice"}},
		{`{"limits":{"shadow":true,"shadow":true}}`, []string{"limits.shadow: is given twice"}},
		{`{"free":{"a":{"b":1,"b":2}}}`, []string{"free.b: is given twice"}},
		{`{"free":{"a":[0,{"c":1,"c":2}]}}`, []string{"free.c: is given twice"}},
		{`{"raw":{"a":1,"a":2}}`, []string{"raw.a: is given twice"}},
		// Names that are not known, or not to be given.
		{`{"role":"admin"}`, []string{"role: is not known"}},
		{`{"Hidden":"x"}`, []string{"Hidden: is not known"}},
		{`{"private":"x"}`, []string{"private: is not known"}},
		{`{"-":"x"}`, []string{"-: is not known"}},
		{`{"":"x"}`, []string{`"": is not known`}},
		{`{"a\u001b[2J":"x"}`, []string{`"a\x1b[2J": is not known`}},
		{`{"` + strings.Repeat("n", 100) + `":1}`, []string{strings.Repeat("n", 40) + "…: is not known"}},
		// Text that is not one object.
		{``, []string{"body: is not JSON: it ends too early"}},
		{`{"tenant":`, []string{"body: is not JSON: it ends too early"}},
		{"{\n\"tenant\":}", []string{"body: is not JSON at line 2: "}},
		{"\ufeff{}", []string{"body: is not JSON at line 1: "}},
		{"{\"tenant\":\"\xff\"}", []string{"body: is not JSON: it is not in UTF-8"}},
		{`{}{}`, []string{"body: there is more after the JSON object, from line 1 on"}},
		{`{}}`, []string{"body: there is more after the JSON object"}},
		{"{}\n\nx", []string{"body: there is more after the JSON object"}},
		{`{} null`, []string{"body: there is more after the JSON object"}},
		{`[]`, []string{"body: is not a JSON object"}},
		{`null`, []string{"body: is not a JSON object"}},
		{`"{}"`, []string{"body: is not a JSON object"}},
		// Values of another kind.
		{`{"tenant":7,"scopes":"a","limits":[],"expires":5,"bytes":"*"}`, []string{
			"tenant: is a JSON number, not a string", "scopes: is a JSON string, not a list", "limits: is not a JSON object", "expires: ", "bytes: "}},
		{`{"scopes":["a",7],"keys":[7],"limits":{"perSecond":"5","shadow":0}}`, []string{
			"scopes[1]: is a JSON number, not a string", "keys[0]: is not a JSON object", "limits.perSecond: is a JSON string, not a number", "limits.shadow: is a JSON number, not a true or false"}},
		{`{"free":{"a":1e999999}}`, []string{"free: "}},
	} {
		var got outer
		err := strictjson.Unmarshal([]byte(c.text), "body", &got, strictjson.Refuse)
		lines := strings.Split(fmt.Sprint(err), "\n")
		if len(lines) != len(c.want) {
			t.Errorf("%s: %d faults, want %q:\n%v", c.text, len(lines), c.want, err)
			continue
		}
		for i, want := range c.want {
			if !strings.HasPrefix(lines[i], want) {
				t.Errorf("%s: %q, want %q", c.text, lines[i], want)
			}
		}
	}
}

// TestSkip has members that are not known, where others define what there is.
func TestSkip(t *testing.T) {
	for text, want := range map[string]string{
		`{"tenant":"a","more":1,"deep":{"tenant":"b","tenant":"c"}}`: "<nil>",
		`{"message_id":1,"messageId":2,"tenant":"a"}`:                "<nil>", // as Pub/Sub sends it
		`{"more":1,"more":2,"tenant":"a"}`:                           "more: is given twice",
		`{"more":1,"MORE":2,"tenant":"a"}`:                           "MORE: is given twice",
		`{"tenant":"a","TENANT":"b"}`:                                "TENANT: is not known: it is spelled tenant",
		`{"TENANT":"b","tenant":"a"}`:                                "TENANT: is not known: it is spelled tenant",
		`{"tenant":"a"} {}`:                                          "body: there is more after the JSON object, from line 1 on",
	} {
		var got outer
		if err := strictjson.Unmarshal([]byte(text), "body", &got, strictjson.Skip); fmt.Sprint(err) != want || got.Tenant != "a" && !strings.HasPrefix(want, "body") {
			t.Errorf("%s: %+v, %v, want %s", text, got, err, want)
		}
	}
}

// FuzzUnmarshal holds it against encoding/json: what is taken is taken there too and means the same, and what encoding/json writes is
// taken.
func FuzzUnmarshal(f *testing.F) {
	for _, text := range []string{
		`{}`, `{"tenant":"a","TENANT":"b"}`, `{"tenant":"a","kind":"b","scopes":["x",null],"limits":{"perSecond":1e3,"shadow":true},"keys":[null,{}],"other":{}}`,
		`{"expires":"2026-11-24T12:00:00.5+01:00","raw":[1,{"a":2}],"free":{"a":{"b":[1,2,"\ud800"]}},"bytes":"AAAA"}`, "{\"\u212aind\":1}",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var strict, loose outer
		err := strictjson.Unmarshal(text, "body", &strict, strictjson.Refuse)
		d := json.NewDecoder(bytes.NewReader(text))
		d.DisallowUnknownFields()
		fault := d.Decode(&loose)
		if err == nil && (fault != nil || !reflect.DeepEqual(strict, loose)) {
			t.Fatalf("%s: %+v, and encoding/json reads %+v, %v", text, strict, loose, fault)
		}
		if fault != nil {
			return
		}
		written, fault := json.Marshal(loose)
		if fault != nil {
			return // a time that RFC 3339 has no text for
		}
		var again outer
		if err := strictjson.Unmarshal(written, "body", &again, strictjson.Refuse); err != nil && len(loose.Raw) == 0 {
			t.Fatalf("%s, as encoding/json writes it: %v", written, err)
		}
	})
}
