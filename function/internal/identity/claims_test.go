package identity

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"
)

// TestClaimsAreExact wants whole numbers in claims as integers, so that rules tell an id from its neighbours.
func TestClaimsAreExact(t *testing.T) {
	for text, want := range map[string]any{
		"7": int64(7), "-7": int64(-7), "0": int64(0), "9007199254740993": int64(9007199254740993), "9223372036854775807": int64(9223372036854775807),
		"9223372036854775808": uint64(9223372036854775808), "18446744073709551615": uint64(18446744073709551615), "18446744073709551616": float64(1 << 64),
		"9007199254740993.0": int64(9007199254740993), "9.007199254740993e15": int64(9007199254740993), "1e3": int64(1000), "1.5": 1.5, "1e300": 1e300, "0.0": 0.0,
		"1e-400": 0.0, "1e-999999999": 0.0, "1e999999999": nil, "-1e999": nil, "null": nil,
		`[9007199254740993,{"id":9007199254740993,"to":null}]`: []any{int64(9007199254740993), map[string]any{"id": int64(9007199254740993), "to": nil}},
		`{"a":[1e999]}`: nil, `"7"`: "7", "true": true,
	} {
		if got := readClaims(map[string]json.RawMessage{"c": json.RawMessage(text)})["c"]; !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %T %v, want %T %v", text, got, got, want, want)
		}
	}
	for text, want := range map[string]int64{"1700000000": 1700000000, "1700000000.5": 1700000000, "1.7e9": 1700000000, "-1": -1, "18446744073709551615": -1, "253402300800": -1, `"1"`: -1} {
		at, err := readClaims(map[string]json.RawMessage{"exp": json.RawMessage(text)}).when("exp")
		if (err != nil) != (want < 0) || err == nil && at.Truncate(time.Second).Unix() != want {
			t.Errorf("exp %s: %v %v", text, at, err)
		}
	}
}
