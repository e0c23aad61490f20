package function

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/erlmcp/function/internal/directives"
)

func quick(name string, opts ...ToolOptions) Tool {
	return NewTool(name, "At once.", func(context.Context, None) (string, error) { return "here", nil }, opts...)
}

// TestRatesAdmit calls servers under limits of each size and place: each must admit what it says at once, and after a pause
// again, and refuse what is more.
func TestRatesAdmit(t *testing.T) {
	type limited struct {
		name   string
		env    []string
		tool   ToolOptions
		rate   float64
		burst  int
		weight int
	}
	var cases []limited
	for _, rate := range []int{1, 2, 3, 4, 5, 6, 9, 10, 11, 15, 17, 18, 20, 100, 199} {
		for _, name := range []string{"RATE_LIMIT_PER_SECOND", "TENANT_RATE_LIMIT_PER_SECOND", "CLIENT_RATE_LIMIT_PER_SECOND"} {
			cases = append(cases, limited{fmt.Sprint(name, " ", rate), []string{name, strconv.Itoa(rate)}, ToolOptions{}, float64(rate), max(1, rate/10), 1})
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
		cases = append(cases, limited{fmt.Sprintf("%v a second, %d at once, weight %d", c.rate, c.burst, c.weight), nil,
			ToolOptions{PerSecond: c.rate, Burst: c.burst, Weight: c.weight}, c.rate, burst, c.weight})
	}
	for _, shared := range []bool{false, true} {
		for _, c := range cases {
			t.Run(fmt.Sprintf("%s, on Redis %t", c.name, shared), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					set := c.env
					if shared {
						set = append(set, "REDIS_URL", network.Redis(t).URL)
					}
					url := newServer(t, WithGetenv(env(set...)), WithMemory(NewInMemoryStore()), WithTools(quick("quick", c.tool))).URL
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
		tool ToolOptions
		want string // "" starts
	}{
		{"its own burst", nil, ToolOptions{PerSecond: 100, Burst: 4, Weight: 5}, "tool:quick"},
		{"its own burst of its rate", nil, ToolOptions{PerSecond: 40, Weight: 5}, "tool:quick"},
		{"its own burst in shadow mode", nil, ToolOptions{PerSecond: 10, Burst: 1, Weight: 2, DryRun: true}, "tool:quick"},
		{"everything", []string{"RATE_LIMIT_PER_SECOND", "40"}, ToolOptions{Weight: 5}, "everything"},
		{"each tenant", []string{"TENANT_RATE_LIMIT_PER_SECOND", "40"}, ToolOptions{Weight: 5}, "each-tenant"},
		{"each client", []string{"CLIENT_RATE_LIMIT_PER_SECOND", "40"}, ToolOptions{Weight: 5}, "each-client"},
		{"anonymous callers", []string{"ANONYMOUS_RATE_LIMIT_PER_SECOND", "4"}, ToolOptions{Weight: 5}, "anonymous callers"},
		{"as much as there is", []string{"RATE_LIMIT_PER_SECOND", "50"}, ToolOptions{Weight: 5}, ""},
		{"its own, as much as there is", nil, ToolOptions{PerSecond: 1, Burst: 5, Weight: 5}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := assemble(t.Context(), WithGetenv(env(c.env...)), WithTools(quick("quick", c.tool)))
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
		opts := []Option{WithGetenv(env("REDIS_URL", network.Redis(t).URL)), WithTools(quick("heavy", ToolOptions{Weight: 5}), quick("light")), onNetwork}
		op, err := openOperator(t.Context(), opts...)
		if err != nil {
			t.Fatal(err)
		}
		defer op.Close()
		number := func(f float64) *float64 { return &f }
		for _, c := range []struct {
			v    directives.Override
			fits bool
		}{
			{directives.Override{Scope: "everything", Limits: directives.Limits{PerSecond: number(40)}}, false},
			{directives.Override{Scope: "everything", Limits: directives.Limits{PerSecond: number(50)}}, true},
			{directives.Override{Scope: "everything", Limits: directives.Limits{Burst: number(4)}}, false},
			{directives.Override{Scope: "each-tenant", Limits: directives.Limits{PerSecond: number(4)}}, false},
			{directives.Override{Scope: "each-client", Limits: directives.Limits{PerSecond: number(400), Burst: number(4)}}, false},
			{directives.Override{Scope: "tenant:acme", Limits: directives.Limits{PerSecond: number(4)}}, false},
			{directives.Override{Scope: "tenant:acme", Limits: directives.Limits{PerSecond: number(4), Burst: number(5)}}, true},
			{directives.Override{Scope: "tool:heavy", Limits: directives.Limits{PerSecond: number(10)}}, false},
			{directives.Override{Scope: "tool:light", Limits: directives.Limits{PerSecond: number(10)}}, true},
		} {
			before, err := op.Directives(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			after, err := op.Change(t.Context(), func(o *directives.Directives) error { return o.Override(c.v) })
			if (err == nil) != c.fits || err != nil && !strings.Contains(err.Error(), "the override on "+c.v.Scope+": a call of heavy costs 5") {
				t.Errorf("%+v: %v", c.v, err)
			}
			if after, _ = op.Directives(t.Context()); (after.Version > before.Version) != c.fits {
				t.Errorf("%+v: version %d after %d", c.v, after.Version, before.Version)
			}
		}
	})
}

// TestOverridesThatToolsOutgrow wants an override in force as it was ordered where a later build has a tool that does not fit it: that tool
// is refused in words, other calls are limited as before, and it is told before the first call.
func TestOverridesThatToolsOutgrow(t *testing.T) {
	number := func(f float64) *float64 { return &f }
	for _, v := range []directives.Override{
		{Scope: "everything", Limits: directives.Limits{PerSecond: number(0.1), Burst: number(2)}},
		{Scope: "each-tenant", Limits: directives.Limits{PerSecond: number(0.1), Burst: number(2)}},
		{Scope: "each-client", Limits: directives.Limits{PerSecond: number(0.1), Burst: number(2)}},
		{Scope: "tenant:anonymous", Limits: directives.Limits{PerSecond: number(0.1), Burst: number(2)}},
		{Scope: "upstream:crm", Limits: directives.Limits{PerSecond: number(0.1), Burst: number(2)}},
		{Scope: "tool:heavy", Limits: directives.Limits{PerSecond: number(0.1), Burst: number(2)}},
	} {
		t.Run(v.Scope, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				settings, memory := WithGetenv(env("REDIS_URL", network.Redis(t).URL)), WithMemory(NewInMemoryStore())
				op, err := openOperator(t.Context(), settings, memory, onNetwork, WithTools(quick("heavy", ToolOptions{Upstream: "crm"}), quick("light", ToolOptions{Upstream: "crm"})))
				if err != nil {
					t.Fatal(err)
				}
				defer op.Close()
				if _, err := op.Change(t.Context(), func(o *directives.Directives) error { return o.Override(v) }); err != nil {
					t.Fatal(err)
				}
				var log safeBuffer
				s := start(t, settings, memory, WithLogger(slog.New(slog.NewTextHandler(&log, nil))), WithTools(quick("heavy", ToolOptions{Upstream: "crm", Weight: 3}), quick("light", ToolOptions{Upstream: "crm"})))
				time.Sleep(time.Second)
				status, ready := get(t, s.URL+"/ready")
				if status != 200 || !strings.Contains(ready, "orders: the override on "+v.Scope+": a call of heavy costs 3, and no more than 2 may come at once") {
					t.Errorf("/ready: %d %s", status, ready)
				}
				if !strings.Contains(log.String(), "the override on "+v.Scope+": a call of heavy costs 3") {
					t.Errorf("the log: %s", log.String())
				}
				scope := v.Scope // as callers are told it
				switch scope {
				case "each-tenant":
					scope = "tenant:anonymous"
				case "each-client":
					scope = "client"
				}
				_, got := modern("tools/call", "heavy", `"name":"heavy"`).send(t, s.URL)
				if a := parse(t, got); a.code() != 1056 || !strings.Contains(a.Error.Message, "a call of this tool costs more than the 2 calls that may come at once under the limit on "+scope) {
					t.Errorf("the heavy tool: %s", got)
				}
				var admitted int
				for range 4 {
					if _, got := modern("tools/call", "light", `"name":"light"`).send(t, s.URL); parse(t, got).code() == 0 {
						admitted++
					}
				}
				if want := map[bool]int{true: 4, false: 2}[v.Scope == "tool:heavy"]; admitted != want {
					t.Errorf("%d calls of the other tool are admitted, want %d", admitted, want)
				}
			})
		})
	}
}

// remedies reads what an error says would do.
func remedies(t *testing.T, err error) (burst, perSecond float64) {
	t.Helper()
	if err == nil {
		t.Fatal("no fault")
	}
	_, allow, _ := strings.Cut(err.Error(), ": allow ")
	for _, one := range strings.Split(allow, ", or ") {
		if n, _ := fmt.Sscanf(one, "a burst of %g", &burst); n == 1 {
			continue
		}
		if n, _ := fmt.Sscanf(one, "%g calls a second", &perSecond); n != 1 {
			t.Fatalf("no remedy: %v", err)
		}
	}
	return burst, perSecond
}

// TestRemediesOfLimits takes each remedy at its word: a server starts with it, and admits the call.
func TestRemediesOfLimits(t *testing.T) {
	for _, c := range []struct {
		name     string
		setting  string // "" is the tool's own limit
		rate     float64
		burst    int
		remedies int
	}{
		{"of a burst", "", 100, 4, 1},
		{"of a burst on a slow rate", "", 0.01, 4, 1},
		{"of a rate", "", 40, 0, 2},
		{"of all", "RATE_LIMIT_PER_SECOND", 40, 0, 1},
		{"of each tenant", "TENANT_RATE_LIMIT_PER_SECOND", 40, 0, 1},
		{"of each client", "CLIENT_RATE_LIMIT_PER_SECOND", 40, 0, 1},
		{"of anonymous callers", "ANONYMOUS_RATE_LIMIT_PER_SECOND", 4, 0, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			with := func(rate float64, burst int) []Option {
				if c.setting != "" {
					return []Option{WithGetenv(env(c.setting, strconv.FormatFloat(rate, 'f', -1, 64))), WithTools(quick("heavy", ToolOptions{Weight: 5}))}
				}
				return []Option{WithTools(quick("heavy", ToolOptions{Weight: 5, PerSecond: rate, Burst: burst}))}
			}
			_, err := assemble(t.Context(), append([]Option{WithGetenv(env())}, with(c.rate, c.burst)...)...)
			burst, perSecond := remedies(t, err)
			tried := 0
			try := func(rate, burst float64) {
				tried++
				synctest.Test(t, func(t *testing.T) {
					s := start(t, with(rate, int(burst))...)
					if _, got := modern("tools/call", "heavy", `"name":"heavy"`).send(t, s.URL); parse(t, got).code() != 0 {
						t.Errorf("with %v calls a second and a burst of %v: %s", rate, burst, got)
					}
				})
			}
			if burst > 0 {
				try(c.rate, burst)
			}
			if perSecond > 0 {
				try(perSecond, float64(c.burst))
			}
			if tried != c.remedies {
				t.Errorf("%d remedies: %v", tried, err)
			}
		})
	}
}

// TestRemediesOfOverrides takes each remedy at its word: as another override on the same scope it is accepted, and the call is admitted.
func TestRemediesOfOverrides(t *testing.T) {
	number := func(f float64) *float64 { return &f }
	for _, scope := range []string{"everything", "each-tenant", "each-client", "tenant:anonymous", "upstream:crm", "tool:heavy"} {
		for name, v := range map[string]directives.Override{
			"a rate":             {Limits: directives.Limits{PerSecond: number(40)}},
			"a rate and a burst": {Limits: directives.Limits{PerSecond: number(400), Burst: number(4)}},
			"a burst":            {Limits: directives.Limits{Burst: number(4)}},
		} {
			t.Run(scope+", "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					opts := []Option{WithGetenv(env("REDIS_URL", network.Redis(t).URL, "TENANT_RATE_LIMIT_PER_SECOND", "1000", "CLIENT_RATE_LIMIT_PER_SECOND", "1000")), WithMemory(NewInMemoryStore()),
						WithTools(quick("heavy", ToolOptions{Weight: 5, Upstream: "crm", PerSecond: 100, Burst: 5}))}
					op, err := openOperator(t.Context(), append(opts, onNetwork)...)
					if err != nil {
						t.Fatal(err)
					}
					defer op.Close()
					order := func(more directives.Override) error {
						_, err := op.Change(t.Context(), func(o *directives.Directives) error {
							first := v
							first.Scope, more.Scope = scope, scope
							o.Override(first)
							return o.Override(more)
						})
						return err
					}
					err = order(directives.Override{})
					if err == nil && scope == "upstream:crm" && name == "a burst" {
						return // of no rate
					}
					burst, perSecond := remedies(t, err)
					var remedies []directives.Override
					if burst > 0 {
						remedies = append(remedies, directives.Override{Limits: directives.Limits{Burst: &burst}})
					}
					if perSecond > 0 {
						remedies = append(remedies, directives.Override{Limits: directives.Limits{PerSecond: &perSecond}})
					}
					s := start(t, opts...)
					for _, remedy := range remedies {
						if err := order(remedy); err != nil {
							t.Errorf("the remedy is refused: %v", err)
						}
						time.Sleep(3 * time.Second)
						if _, got := modern("tools/call", "heavy", `"name":"heavy"`).send(t, s.URL); parse(t, got).code() != 0 {
							t.Errorf("%s", got)
						}
						if _, err := op.Change(t.Context(), func(o *directives.Directives) error { return o.Reset(scope) }); err != nil {
							t.Fatal(err)
						}
					}
				})
			})
		}
	}
}
