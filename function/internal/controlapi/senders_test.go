package controlapi_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"example.com/erlmcp/function/internal/controlapi"
	"example.com/erlmcp/function/internal/entitlement"
	"example.com/erlmcp/function/internal/receipt"
)

// TestSendersSpeakForTheirSources is a table of which sender may send events of which source: where it may not, the event is refused
// and recorded, and changes nothing.
func TestSendersSpeakForTheirSources(t *testing.T) {
	const second = "second@project.iam.gserviceaccount.com"
	secret := func(source string, key []byte) entitlement.WebhookSecret {
		return entitlement.WebhookSecret{Source: source, Key: key}
	}
	push := func(account string, sources ...string) entitlement.Publisher {
		return entitlement.Publisher{Account: account, Sources: sources}
	}
	for _, c := range []struct {
		name       string
		secrets    []entitlement.WebhookSecret
		publishers []entitlement.Publisher
		may        string // source as sender, each
		mayNot     string
	}{
		{"one account, of no source", nil, []entitlement.Publisher{push(pushAccount)}, "market@push billing@push", "operator@push"},
		{"one account, of a source", nil, []entitlement.Publisher{push(pushAccount, "billing")}, "billing@push", "market@push Billing@push billing2@push operator@push"},
		{"one account, of two", nil, []entitlement.Publisher{push(pushAccount, "billing", "market")}, "billing@push market@push", "partner@push operator@push"},
		{"two accounts", nil, []entitlement.Publisher{push(pushAccount, "billing"), push(second, "market")}, "billing@push market@second", "market@push billing@second partner@second"},
		{"an account of no source beside a secret of one", []entitlement.WebhookSecret{secret("market", marketKey)}, []entitlement.Publisher{push(pushAccount)},
			"market@webhook", "market@push billing@push billing@webhook"},
		{"a secret of no source beside an account of one", []entitlement.WebhookSecret{secret("", marketKey)}, []entitlement.Publisher{push(pushAccount, "billing")},
			"billing@push", "billing@webhook market@webhook market@push"},
		{"both of none", []entitlement.WebhookSecret{secret("", marketKey)}, []entitlement.Publisher{push(pushAccount)}, "market@push market@webhook", "operator@push operator@webhook"},
		{"both of one each", []entitlement.WebhookSecret{secret("market", marketKey)}, []entitlement.Publisher{push(pushAccount, "billing")}, "market@webhook billing@push", "billing@webhook market@push"},
		{"both of the same", []entitlement.WebhookSecret{secret("market", marketKey)}, []entitlement.Publisher{push(pushAccount, "market")}, "market@webhook market@push", "billing@push"},
	} {
		f := newFixture(t, func(o *controlapi.Options) { o.Secrets, o.Publishers = c.secrets, c.publishers })
		n := 0
		send := func(what string) (*reply, []receipt.Receipt) {
			n++
			source, sender, _ := strings.Cut(what, "@")
			id := fmt.Sprint(n)
			body := f.text(id, source, entitlement.Grant, time.Duration(n), `,"plan":"base"`)
			var a ask
			switch sender {
			case "webhook":
				a = f.signed(marketKey, id, body)
			case "push":
				a = f.pushed(body)
			default:
				a = f.pushed(body)
				a.as = f.pushToken(second, "https://taiea.example", googleKey())
			}
			before := f.journal.count()
			return f.do(a), f.journal.since(before)
		}
		for _, what := range strings.Fields(c.mayNot) {
			got, recorded := send(what)
			if got.status != 403 && !(got.status == 400 && strings.HasPrefix(what, "operator@")) {
				t.Errorf("%s: %s: %d %s", c.name, what, got.status, got.body)
			}
			if len(recorded) != 1 || recorded[0].Kind != receipt.Refused || got.status == 403 && recorded[0].Reason != "other_source" {
				t.Errorf("%s: %s: receipts %+v", c.name, what, recorded)
			}
			if _, shop := f.standing("shop"); shop != nil {
				t.Fatalf("%s: %s is applied: %+v", c.name, what, shop)
			}
		}
		for _, what := range strings.Fields(c.may) {
			if got, _ := send(what); got.status >= 300 {
				t.Errorf("%s: %s: %d %s", c.name, what, got.status, got.body)
			}
		}
	}
}

// spoilt are texts that two readers could read in two ways, made of one that none can: with a name in another case or given twice.
func spoilt(good string) map[string]string {
	out := map[string]string{}
	for name, more := range map[string]string{
		"another tenant in capitals":      `"TENANT":"victim"`,
		"another tenant, capitalized":     `"Tenant":"victim"`,
		"the tenant twice":                `"tenant":"victim"`,
		"the tenant twice, escaped":       `"\u0074enant":"victim"`,
		"a source in capitals":            `"SOURCE":"partner"`,
		"a source with the long s":        "\"\u017fource\":\"partner\"",
		"the type twice":                  `"type":"revoke"`,
		"another plan in another case":    `"pLan":"enterprise"`,
		"limits with a name in capitals":  `"limits":{"PERSECOND":1000}`,
		"limits with a name twice":        `"limits":{"perSecond":1,"perSecond":1000}`,
		"limits twice, in another case":   `"limits":{"perSecond":1},"Limits":{"perSecond":1000}`,
		"the tenant twice, and the same":  `"tenant":"shop"`,
		"an expiry with the case changed": `"EXPIRES":"2099-01-01T00:00:00Z"`,
	} {
		out[name+", after"] = strings.TrimSuffix(good, "}") + "," + more + "}"
		out[name+", before"] = "{" + more + "," + strings.TrimPrefix(good, "{")
	}
	out["text after it"] = good + ` {"tenant":"victim"}`
	out["a byte after it"] = good + "\x00"
	return out
}

// TestEventsAreReadOneWay sends events that encoding/json would take, and others would read otherwise.
func TestEventsAreReadOneWay(t *testing.T) {
	for _, w := range ways {
		f := newFixture(t)
		for name, body := range spoilt(f.text("1", "market", entitlement.Grant, 0, `,"plan":"base"`)) {
			if got := f.do(w.bring(f, "1", body)); got.status != 400 {
				t.Errorf("%s, %s: %d %s", w.name, name, got.status, got.body)
			}
		}
		for _, id := range []string{"shop", "victim"} {
			if _, x := f.standing(id); x != nil {
				t.Errorf("%s: there is %+v", w.name, x)
			}
		}
	}
	// The wrapping of Pub/Sub is read the same way, and may come to have more members.
	f := newFixture(t)
	good := f.pushed(f.text("1", "market", entitlement.Grant, 0, `,"plan":"base"`))
	other := strings.TrimSuffix(strings.TrimPrefix(wrap(f.text("2", "market", entitlement.Grant, 0, `,"plan":"enterprise"`)), "{"), "}")
	for name, body := range map[string]string{
		"two messages":                  strings.TrimSuffix(good.body, "}") + "," + other + "}",
		"a message in another case":     strings.TrimSuffix(good.body, "}") + "," + strings.Replace(other, "message", "MESSAGE", 1) + "}",
		"a message in another case yet": "{" + strings.Replace(other, "message", "Message", 1) + "," + strings.TrimPrefix(good.body, "{"),
		"two data":                      strings.Replace(good.body, `"data":`, `"data":"e30=","data":`, 1),
		"data in another case":          strings.Replace(good.body, `"data":`, `"Data":"e30=","data":`, 1),
		"two deliveries":                good.body + good.body,
	} {
		a := good
		if a.body = body; f.do(a).status != 400 {
			t.Errorf("%s is taken", name)
		}
	}
	good.body = strings.Replace(good.body, `"data":`, `"publish_time":"2026-11-25T12:00:00Z","orderingKey":"","data":`, 1)
	if got := f.do(good); got.status != 204 {
		t.Errorf("more members: %d %s", got.status, got.body)
	}
}

// TestOrdersAreReadOneWay does the same to bodies of operators.
func TestOrdersAreReadOneWay(t *testing.T) {
	for _, c := range []struct{ method, path, body string }{
		{"PUT", "/v1/tenants/t", `{"plan":"base","PLAN":"enterprise"}`},
		{"PUT", "/v1/tenants/t", `{"plan":"base","plan":"enterprise"}`},
		{"PUT", "/v1/tenants/t", `{"plan":"base","limits":{"perSecond":1,"persecond":1000}}`},
		{"PUT", "/v1/plans/p", `{"packs":["a"],"Packs":["*"]}`},
		{"PUT", "/v1/plans/p", `{"support":{"hours":"x","HOURS":"y"}}`},
		{"PUT", "/v1/limits/tool:x", `{"perSecond":1,"perSecond":1000}`},
		{"PUT", "/v1/limits/tool:x", `{"PerSecond":1000}`},
		{"PUT", "/v1/kills/tool:x", `{"reason":"r","Until":"2099-01-01T00:00:00Z"}`},
		{"POST", "/v1/keys", `{"tenant":"acme","subject":"s","Scopes":["admin"]}`},
		{"POST", "/v1/keys", `{"tenant":"acme","TENANT":"other","subject":"s"}`},
		{"POST", "/v1/keys", "{\"tenant\":\"acme\",\"subject\":\"s\",\"\u017fcopes\":[\"admin\"]}"},
		{"POST", "/v1/tenants/acme/suspend", `{"reason":"r"} {"reason":"other"}`},
	} {
		f := newFixture(t)
		before := f.state()
		if got := f.do(ask{method: c.method, path: c.path, body: c.body}); got.status != 400 || f.state() != before {
			t.Errorf("%s %s %s: %d %s", c.method, c.path, c.body, got.status, got.body)
		}
	}
}
