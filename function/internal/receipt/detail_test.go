package receipt_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/gowebpki/jcs"

	"example.com/erlmcp/function/internal/receipt"
)

// TestCanonicalDetails holds what is written against a library.
func TestCanonicalDetails(t *testing.T) {
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
		if got := receipt.Canonical(v); !bytes.Equal(got, want) {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}
