package command

import (
	"bytes"
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// An operator answers each order alike.
type operator struct {
	stored, recorded bool
	status           int
	answer           string
}

func (o operator) Order(context.Context, string, string, string, []byte) (int, []byte, error) {
	return o.status, []byte(o.answer), nil
}
func (o operator) Stored() bool   { return o.stored }
func (o operator) Recorded() bool { return o.recorded }
func (o operator) Close()         {}

// TestWarningsOfDirectives holds what a command says of where its order is, and of its receipt.
func TestWarningsOfDirectives(t *testing.T) {
	t.Setenv("TAIEA_URL", "")
	const alone, unrecorded, store = "in Redis alone", "has no receipt", "while Firestore is away"
	for _, c := range []struct {
		name string
		op   operator
		want []string
	}{
		{"a store with receipts", operator{true, true, http.StatusCreated, "{}"}, nil},
		{"a store without", operator{true, false, http.StatusCreated, "{}"}, []string{unrecorded, "RECEIPTS"}},
		{"no store", operator{false, false, http.StatusCreated, "{}"}, []string{alone, unrecorded, "GOOGLE_CLOUD_PROJECT"}},
		{"a store that is away", operator{true, true, http.StatusServiceUnavailable, `{"detail":"away"}`}, []string{store, "GOOGLE_CLOUD_PROJECT"}},
		{"a store that is away, without receipts", operator{true, false, http.StatusServiceUnavailable, `{"detail":"away"}`}, []string{store, "GOOGLE_CLOUD_PROJECT"}},
		{"Redis that is away, and no store", operator{false, false, http.StatusServiceUnavailable, `{"detail":"away"}`}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out, errs bytes.Buffer
			p := &Program{Name: "erlmcp", OpenOperator: func(context.Context) (Operator, error) { return c.op, nil }}
			p.Run([]string{"kill", "tool:a", "-reason", "it leaks"}, &out, &errs)
			for _, said := range []string{alone, unrecorded, store, "RECEIPTS", "GOOGLE_CLOUD_PROJECT"} {
				if wanted := slices.Contains(c.want, said); strings.Contains(errs.String(), said) != wanted {
					t.Errorf("%q said: %t, want %t: %s", said, !wanted, wanted, errs.String())
				}
			}
		})
	}
}
