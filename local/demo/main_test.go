package main

import (
	"bytes"
	"strings"
	"testing"
)

// TestWalk walks once, and wants to see what each part is there to show.
func TestWalk(t *testing.T) {
	var out bytes.Buffer
	if err := walk(t.Context(), &out); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	rest := out.String()
	for _, want := range []string{
		"\n1. ", "\n3. ", `"requestState"`, "\n4. ", `"code": 10`, "\n7. ", `"code": 1068`, "\n8. ", `"code": 2041`, "\n9. ", "match: createOrder", "Jane Austen", "is more than 20", `"inputRequests"`, "Order more than five copies?",
		"\n10. ", "401 Unauthorized", "\n11. ", `"hash":`, `"decision": "refuse"`, `"ok": true`, `"chains": 5`, "ALTERED: chain ", "was altered after it was recorded",
	} {
		_, after, ok := strings.Cut(rest, want)
		if !ok {
			t.Fatalf("there is no %q in what follows:\n%s", want, rest)
		}
		rest = after
	}
}
