package function

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/erlmcp/function/internal/agenttools"
	"example.com/erlmcp/function/internal/entitlement"
	"example.com/erlmcp/function/internal/identity"
	"example.com/erlmcp/function/internal/receipt"
)

// agent calls tools of the governor with a key, and returns the structured content, or the text of what went wrong.
func agent(t *testing.T, url, key string) func(tool, arguments string) (map[string]any, string) {
	return func(tool, arguments string) (map[string]any, string) {
		t.Helper()
		tool = "taiea_" + strings.ReplaceAll(tool, ".", "_")
		_, body := modern("tools/call", tool, `"name":"`+tool+`","arguments":`+arguments).with("Authorization", "Bearer "+key).send(t, url)
		var answer struct {
			Result struct {
				StructuredContent map[string]any
				IsError           bool
			}
			Error json.RawMessage
		}
		if err := json.Unmarshal([]byte(body), &answer); err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		if answer.Result.IsError || answer.Error != nil {
			return nil, body
		}
		return answer.Result.StructuredContent, ""
	}
}

func TestAgentTools(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		redis := network.Redis(t)
		memory := NewInMemoryStore()
		file, keys := keyFile(t, identity.Key{Tenant: "acme", Subject: "ci", Scopes: []string{"*"}}, identity.Key{Tenant: "other", Subject: "ci", Scopes: []string{"*"}})
		secret := []byte(strings.Repeat("s", 32))
		var altered atomic.Bool
		s := start(t, WithMemory(memory), WithTools(packedTools()...),
			func(o *Options) {
				o.stand.Receipts = func(s receipt.Store) receipt.Store { return tampered{s, &altered} }
			},
			WithGetenv(env("AUTHENTICATION", "keys", "API_KEYS_FILE", file, "REDIS_URL", redis.URL,
				"TAIEA_TOOLS", "health.check,receipts.verify_chain,support.model,entitlement.apply_event", "WEBHOOK_SECRETS", "shop=whsec_"+base64.StdEncoding.EncodeToString(secret))))
		call, other := agent(t, s.URL, keys[0]), agent(t, s.URL, keys[1])

		signed := func(e entitlement.Event, with []byte) string {
			payload, _ := json.Marshal(e)
			at := strconv.FormatInt(time.Now().Unix(), 10)
			mac := hmac.New(sha256.New, with)
			fmt.Fprintf(mac, "%s.%s.%s", e.ID, at, payload)
			arguments, _ := json.Marshal(agenttools.SignedEvent{ID: e.ID, Timestamp: at, Signature: "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)), Payload: string(payload)})
			return string(arguments)
		}
		grant := entitlement.Event{ID: "g1", Source: "shop", Type: entitlement.Grant, Tenant: "acme", Time: time.Now(), Plan: "professional", Expires: time.Now().Add(time.Hour)}
		if _, fault := call("entitlement.apply_event", signed(grant, []byte("another secret, another secret, an"))); !strings.Contains(fault, "signature") {
			t.Errorf("forged: %s", fault)
		}
		if out, fault := call("entitlement.apply_event", signed(grant, secret)); out["effect"] != "applied" || out["to"] != "warning" {
			t.Fatalf("a grant: %v %s", out, fault)
		}
		if out, fault := call("entitlement.apply_event", signed(grant, secret)); out["effect"] != "seen" {
			t.Errorf("the same grant again: %v %s", out, fault)
		}
		within(t, inForce, func() (wrong string) {
			out, fault := call("health.check", `{}`)
			standing, _ := out["caller"].(map[string]any)
			if out["status"] == "ok" && standing["state"] == "warning" && standing["plan"] == "professional" && standing["tenant"] == "acme" && out["scope"] == "fleet" {
				return ""
			}
			return fmt.Sprintf("health: %v %s", out, fault)
		})
		out, fault := call("support.model", `{}`)
		if help, _ := out["support"].(map[string]any); help["level"] != "business" {
			t.Errorf("support: %v %s", out, fault)
		}
		if out, _ := other("support.model", `{}`); out["support"] != nil {
			t.Errorf("support of a tenant without a plan: %v", out)
		}

		time.Sleep(1200 * time.Millisecond) // and the receipts are stored
		out, fault = call("receipts.verify_chain", `{}`)
		if out["whole"] != true || out["receipts"].(float64) < 5 {
			t.Errorf("verified: %v %s", out, fault)
		}
		if theirs, _ := other("receipts.verify_chain", `{}`); theirs["receipts"].(float64) >= out["receipts"].(float64) {
			t.Errorf("another tenant reads receipts that are not its own: %v", theirs)
		}
		for _, bad := range []string{`{"from":"1999-11-30T00:00:00Z"}`, `{"from":"1999-12-31T00:00:00Z","to":"1999-12-30T00:00:00Z"}`} { // it is the first of January 2000
			if _, fault := call("receipts.verify_chain", bad); !strings.Contains(fault, "is not a range of at most 31 days") {
				t.Errorf("%s: %s", bad, fault)
			}
		}
		altered.Store(true)
		time.Sleep(time.Second) // a range is verified twice a second, and four at once
		out, fault = call("receipts.verify_chain", `{}`)
		if faults, _ := json.Marshal(out["faults"]); out["whole"] != false || !strings.Contains(string(faults), "altered") {
			t.Errorf("with altered receipts: %v %s", out, fault)
		}
	})
}

// tampered alters what it returns of a tenant.
type tampered struct {
	receipt.Store
	on *atomic.Bool
}

func (s tampered) OfTenant(ctx context.Context, tenant string, from, to time.Time) iter.Seq2[*receipt.Segment, error] {
	return func(yield func(*receipt.Segment, error) bool) {
		for seg, err := range s.Store.OfTenant(ctx, tenant, from, to) {
			if seg != nil && s.on.Load() {
				other := *seg
				other.Receipts = bytes.Replace(seg.Receipts, []byte("tools/call"), []byte("tools/cull"), 1)
				seg = &other
			}
			if !yield(seg, err) {
				return
			}
		}
	}
}

// TestAgentToolsAreChosen looks at what is offered under which settings.
func TestAgentToolsAreChosen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			pairs []string
			want  string
			fault string
		}{
			{[]string{"TAIEA_TOOLS", ""}, "health.check receipts.verify_chain support.model", ""},
			{[]string{"TAIEA_TOOLS", "none"}, "", ""},
			{[]string{"TAIEA_TOOLS", "health.check"}, "health.check", ""},
			{[]string{"TAIEA_TOOLS", "", "RECEIPTS", "false"}, "health.check support.model", ""},
			{[]string{"TAIEA_TOOLS", "entitlement.apply_event", "WEBHOOK_SECRETS", "shop=whsec_" + testKey(2)}, "entitlement.apply_event", ""},
			{[]string{"TAIEA_TOOLS", "entitlement.apply_event"}, "", "TAIEA_TOOLS: names entitlement_apply_event, which takes events that are signed: set WEBHOOK_SECRETS"},
			{[]string{"TAIEA_TOOLS", "health.chekc"}, "", `"health.chekc" is not one of`},
		} {
			s, err := assemble(t.Context(), WithLogger(logTo(t)), onNetwork, WithGetenv(env(c.pairs...)))
			if c.fault != "" {
				if err == nil || !strings.Contains(err.Error(), c.fault) {
					t.Errorf("%v: %v, want %s", c.pairs, err, c.fault)
				}
				continue
			}
			if err != nil {
				t.Fatalf("%v: %v", c.pairs, err)
			}
			_, body := modern("tools/list", "", "").send(t, network.Serve(t, s))
			var names []string
			for _, name := range []string{"entitlement.apply_event", "health.check", "receipts.verify_chain", "support.model"} {
				if strings.Contains(body, `"name":"taiea_`+strings.ReplaceAll(name, ".", "_")+`"`) {
					names = append(names, name)
				}
			}
			if strings.Join(names, " ") != c.want {
				t.Errorf("%v: %v, want %s", c.pairs, names, c.want)
			}
			s.Close()
		}
	})
}
