package function

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func quick(name string, opts ...ToolOption) Tool {
	return NewTool(name, "At once.", func(context.Context, None) (string, error) { return "here", nil }, opts...)
}

// TestRatesAdmit calls servers under limits of each size and place: each must admit what it says at once, and after a pause
// again, and refuse what is more.
func TestRatesAdmit(t *testing.T) {
	type limited struct {
		name   string
		env    []string
		tool   []ToolOption
		rate   float64
		burst  int
		weight int
	}
	var cases []limited
	for _, rate := range []int{1, 2, 3, 4, 5, 6, 9, 10, 11, 15, 17, 18, 20, 100, 199} {
		for _, name := range []string{"RATE_LIMIT_PER_SECOND", "TENANT_RATE_LIMIT_PER_SECOND", "CLIENT_RATE_LIMIT_PER_SECOND"} {
			cases = append(cases, limited{fmt.Sprint(name, " ", rate), []string{name, strconv.Itoa(rate)}, nil, float64(rate), max(1, rate/10), 1})
		}
	}
	for _, c := range []struct {
		rate          float64
		burst, weight int
	}{{10, 1, 1}, {100, 1, 1}, {1000, 1, 1}, {100, 10, 1}, {100, 10, 10}, {100, 10, 6}, {0.5, 3, 3}, {1000, 0, 51}, {1000, 0, 100}, {7, 50, 1}} {
		burst := c.burst
		if burst == 0 {
			burst = int(c.rate / 10)
		}
		cases = append(cases, limited{fmt.Sprintf("PerSecond(%v, %d), Weight(%d)", c.rate, c.burst, c.weight), nil,
			[]ToolOption{PerSecond(c.rate, c.burst), Weight(c.weight)}, c.rate, burst, c.weight})
	}
	for _, shared := range []bool{false, true} {
		for _, c := range cases {
			t.Run(fmt.Sprintf("%s, on Redis %t", c.name, shared), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					set := c.env
					if shared {
						set = append(set, "REDIS_URL", network.Redis(t).URL)
					}
					url := newServer(t, WithGetenv(env(set...)), WithMemory(NewMemory()), WithTools(quick("quick", c.tool...))).URL
					call := modern("tools/call", "quick", `"name":"quick"`)
					burst := c.burst / c.weight
					pause := time.Duration(float64(c.burst)/c.rate*float64(time.Second))*11/10 + 50*time.Millisecond
					for round := range 3 {
						for i := range burst + 1 {
							_, got := call.send(t, url)
							if code := parse(t, got).code(); (code == 0) != (i < burst) {
								t.Fatalf("round %d, call %d of %d at once: %s", round, i+1, burst, got)
							}
						}
						time.Sleep(pause)
					}
				})
			})
		}
	}
}

// TestWeightsThatNoLimitAdmits wants a start refused where a limit would never admit a call.
func TestWeightsThatNoLimitAdmits(t *testing.T) {
	for _, c := range []struct {
		name string
		env  []string
		tool []ToolOption
		want string // "" starts
	}{
		{"its own burst", nil, []ToolOption{PerSecond(100, 4), Weight(5)}, "tool:quick"},
		{"its own burst of its rate", nil, []ToolOption{PerSecond(40, 0), Weight(5)}, "tool:quick"},
		{"its own burst in shadow mode", nil, []ToolOption{PerSecond(10, 1), Weight(2), Shadow()}, "tool:quick"},
		{"everything", []string{"RATE_LIMIT_PER_SECOND", "40"}, []ToolOption{Weight(5)}, "everything"},
		{"each tenant", []string{"TENANT_RATE_LIMIT_PER_SECOND", "40"}, []ToolOption{Weight(5)}, "each-tenant"},
		{"each client", []string{"CLIENT_RATE_LIMIT_PER_SECOND", "40"}, []ToolOption{Weight(5)}, "each-client"},
		{"anonymous callers", []string{"ANONYMOUS_RATE_LIMIT_PER_SECOND", "4"}, []ToolOption{Weight(5)}, "anonymous callers"},
		{"as much as there is", []string{"RATE_LIMIT_PER_SECOND", "50"}, []ToolOption{Weight(5)}, ""},
		{"its own, as much as there is", nil, []ToolOption{PerSecond(1, 5), Weight(5)}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := New(t.Context(), WithGetenv(env(c.env...)), WithTools(quick("quick", c.tool...)))
			if err == nil {
				s.Close()
			}
			switch {
			case (err == nil) != (c.want == ""):
				t.Errorf("%v", err)
			case err != nil && (!strings.Contains(err.Error(), "the limit on "+c.want+": a call of quick costs") || !strings.Contains(err.Error(), "never be admitted")):
				t.Errorf("%v", err)
			}
		})
	}
}

// TestOverridesThatNoCallFits wants an override refused that would never admit a call of some tool.
func TestOverridesThatNoCallFits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opts := []Option{WithGetenv(env("REDIS_URL", network.Redis(t).URL)), WithTools(quick("heavy", Weight(5)), quick("light")), onNetwork}
		op, err := OpenOperator(t.Context(), opts...)
		if err != nil {
			t.Fatal(err)
		}
		defer op.Close()
		number := func(f float64) *float64 { return &f }
		for _, c := range []struct {
			v    Override
			fits bool
		}{
			{Override{Scope: "everything", PerSecond: number(40)}, false},
			{Override{Scope: "everything", PerSecond: number(50)}, true},
			{Override{Scope: "everything", Burst: number(4)}, false},
			{Override{Scope: "each-tenant", PerSecond: number(4)}, false},
			{Override{Scope: "each-client", PerSecond: number(400), Burst: number(4)}, false},
			{Override{Scope: "tenant:acme", PerSecond: number(4)}, false},
			{Override{Scope: "tenant:acme", PerSecond: number(4), Burst: number(5)}, true},
			{Override{Scope: "tool:heavy", PerSecond: number(10)}, false},
			{Override{Scope: "tool:light", PerSecond: number(10)}, true},
		} {
			before, err := op.Orders(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			after, err := op.Change(t.Context(), func(o *Orders) error { return o.Override(c.v) })
			if (err == nil) != c.fits || err != nil && !strings.Contains(err.Error(), "the override on "+c.v.Scope+": a call of heavy costs 5") {
				t.Errorf("%+v: %v", c.v, err)
			}
			if after, _ = op.Orders(t.Context()); (after.Version > before.Version) != c.fits {
				t.Errorf("%+v: version %d after %d", c.v, after.Version, before.Version)
			}
		}
	})
}
