package command

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"strings"
	"testing"
	"time"

	"example.com/erlmcp/function/internal/receipt"
)

// kept are receipts in the order of a store: chain by chain.
type kept struct {
	Records
	all []receipt.Receipt
}

func (k kept) Select(context.Context, string, time.Time, time.Time) iter.Seq2[receipt.Receipt, error] {
	return func(yield func(receipt.Receipt, error) bool) {
		for _, r := range k.all {
			if !yield(r, nil) {
				return
			}
		}
	}
}

func (kept) Close() {}

func TestReceiptsAreListedNewestFirst(t *testing.T) {
	begin := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	var k kept
	for _, second := range []int{0, 3, 4, 8, 1, 2, 5, 6, 7, 9} {
		r := receipt.Receipt{ID: fmt.Sprint("n", second), Time: begin.Add(time.Duration(second) * time.Second), Reason: "rate"}
		if second%2 == 1 {
			r.Reason = "quota"
		}
		k.all = append(k.all, r)
	}
	p := &Program{Name: "shop", OpenRecords: func(context.Context, string) (Records, error) { return k, nil }}
	for line, want := range map[string]string{
		"receipts list":                          "n9 n8 n7 n6 n5 n4 n3 n2 n1 n0",
		"receipts list -reason quota":            "n9 n7 n5 n3 n1",
		"receipts list -reason rate -limit 2":    "n8 n6 and 3 before",
		"receipts list -limit 1":                 "n9 and 9 before",
		"receipts list -limit 10":                "n9 n8 n7 n6 n5 n4 n3 n2 n1 n0",
		"receipts list -reason none":             "",
		"receipts list -from 2d -reason quota":   "n9 n7 n5 n3 n1",
		"receipts list -tenant acme -limit 3":    "n9 n8 n7 and 7 before",
		"receipts list -to 1h -reason concurren": "",
	} {
		var out, said bytes.Buffer
		if status := p.Run(strings.Fields(line), &out, &said); status != 0 {
			t.Errorf("%s: status %d: %s", line, status, &said)
		}
		var got []string
		for _, row := range strings.Split(strings.TrimSpace(out.String()), "\n")[1:] {
			before, _, older := strings.Cut(row, ": -limit")
			if fields := strings.Fields(row); !older {
				before = fields[len(fields)-1]
			}
			got = append(got, before)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %q, want %q\n%s", line, got, want, &out)
		}
	}
	for _, line := range []string{"receipts list -limit 0", "receipts list -limit many", "receipts list rate"} {
		if status := p.Run(strings.Fields(line), &bytes.Buffer{}, &bytes.Buffer{}); status != 2 {
			t.Errorf("%s: status %d", line, status)
		}
	}
}
