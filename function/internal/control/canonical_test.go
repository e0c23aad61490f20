package control

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/gowebpki/jcs"
)

// TestCanonical holds what is written against a library.
func TestCanonical(t *testing.T) {
	for _, text := range []string{
		`{}`, `{"b":1,"a":[true,null,"x"]}`, `{"n":[0,1e21,1e-7,0.1,123456789012345680000,9007199254740991,5e-324,1.5e300]}`,
		`{"s":"<>&\u2028\u2029\\u2028\"\b\f\n\r\t\u0001\u007f é 😀 \\"}`, `{"reason":"\\\\u2028 \u2028"}`, `{"limits":{"perSecond":2.50}}`,
	} {
		var v any
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			t.Fatal(err)
		}
		want, err := jcs.Transform([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if got := canonical(v); !bytes.Equal(got, want) {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
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
