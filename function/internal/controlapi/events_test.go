package controlapi_test

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/erlmcp/function/internal/entitlement"
	"example.com/erlmcp/function/internal/receipt"
)

func sign(key []byte, id, timestamp, body string) string {
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s.%s", id, timestamp, body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// signed is a webhook with an event.
func (f *fixture) signed(key []byte, id, body string) ask {
	at := fmt.Sprint(f.clock().Unix())
	return ask{method: "POST", path: "/v1/events/webhook", body: body, as: "nobody", header: map[string]string{
		"Webhook-Id": id, "Webhook-Timestamp": at, "Webhook-Signature": sign(key, id, at, body),
	}}
}

// pushed is a delivery of Pub/Sub with an event.
func (f *fixture) pushed(body string) ask {
	return ask{method: "POST", path: "/v1/events/pubsub", body: wrap(body), as: f.pushToken(pushAccount, "https://taiea.example", googleKey())}
}

// text is an event as a source sends it.
func (f *fixture) text(id, source string, kind entitlement.Type, after time.Duration, more string) string {
	return fmt.Sprintf(`{"id":%q,"source":%q,"type":%q,"tenant":"shop","time":%q%s}`, id, source, kind, f.clock().Add(-time.Hour+after).Format(time.RFC3339Nano), more)
}

// A way is how events come.
type way struct {
	name  string
	bring func(f *fixture, id, body string) ask
	done  int // the status of an event that is in force
}

var ways = []way{
	{"webhook", func(f *fixture, id, body string) ask { return f.signed(marketKey, id, body) }, 200},
	{"pubsub", func(f *fixture, _, body string) ask { return f.pushed(body) }, 204},
}

func (f *fixture) standing(id string) (entitlement.Standing, *entitlement.Tenant) {
	f.t.Helper()
	t, err := f.store.Tenant(f.t.Context(), id)
	if errors.Is(err, entitlement.ErrUnknown) {
		return entitlement.Standing{}, nil
	} else if err != nil {
		f.t.Fatal(err)
	}
	return *t.Standing(entitlement.NewDirectory().Plans, f.clock()), t
}

func TestEvents(t *testing.T) {
	for _, w := range ways {
		f := newFixture(t)
		for i, step := range []struct {
			kind   entitlement.Type
			more   string
			after  time.Duration
			state  entitlement.State
			why    string
			effect string
		}{
			{entitlement.Grant, `,"plan":"professional"`, 0, entitlement.Stable, "", "applied"},
			{entitlement.Suspend, `,"reason":"unpaid"`, 2 * time.Second, entitlement.Refusing, "suspended by market: unpaid", "applied"},
			{entitlement.Resume, ``, time.Second, entitlement.Refusing, "suspended by market: unpaid", "late"},
			{entitlement.Resume, ``, 3 * time.Second, entitlement.Stable, "", "applied"},
			{entitlement.Revoke, `,"reason":"cancelled"`, 4 * time.Second, entitlement.Refusing, "revoked by market: cancelled", "applied"},
		} {
			id := fmt.Sprint("e", i)
			body := f.text(id, "market", step.kind, step.after, step.more)
			before := f.journal.count()
			got := f.do(w.bring(f, id, body))
			if got.status != w.done || w.done == 200 && got.object(t)["effect"] != step.effect {
				t.Fatalf("%s, %s: %d %s", w.name, step.kind, got.status, got.body)
			}
			s, _ := f.standing("shop")
			if s.State != step.state || s.Why != step.why {
				t.Errorf("%s, %s: %+v", w.name, step.kind, s)
			}
			r := f.journal.since(before)
			kind, reason := receipt.Entitled, ""
			if step.effect == "late" {
				kind, reason = receipt.Completed, "late"
			}
			if len(r) != 2 || r[0].Kind != receipt.Admitted || r[1].Kind != kind || r[1].Reason != reason || r[1].Tenant != "shop" || r[1].ID != got.id || r[1].Principal == "" || !strings.Contains(r[1].Detail, `"id":"`+id) {
				t.Errorf("%s, %s: receipts %+v", w.name, step.kind, r)
			}
			told := len(f.told)
			again := f.do(w.bring(f, id, body)) // the same event once more
			if again.status != w.done || w.done == 200 && again.object(t)["effect"] != "seen" || len(f.told) != told {
				t.Errorf("%s, %s again: %d %s", w.name, step.kind, again.status, again.body)
			}
			other := f.do(w.bring(f, id, strings.Replace(body, `"shop"`, `"shop2"`, 1)))
			if other.status != 409 {
				t.Errorf("%s, %s of another tenant by the same id: %d %s", w.name, step.kind, other.status, other.body)
			}
		}
		if _, other := f.standing("shop2"); other != nil {
			t.Errorf("%s: there is %+v", w.name, other)
		}
		var transitions []string
		for _, r := range f.journal.since(0) {
			var d struct{ From, To string }
			if json.Unmarshal([]byte(r.Detail), &d); r.Kind == receipt.Entitled && d.From != "" {
				transitions = append(transitions, d.From+" "+d.To)
			}
		}
		if got := strings.Join(transitions, ", "); got != "boot stable, stable refusing, refusing stable, stable refusing" {
			t.Errorf("%s: transitions %s", w.name, got)
		}
	}
}

func permutations[T any](all []T) iter.Seq[[]T] {
	return func(yield func([]T) bool) {
		var walk func(done, left []T) bool
		walk = func(done, left []T) bool {
			if len(left) == 0 {
				return yield(done)
			}
			for i := range left {
				if !walk(append(slices.Clip(done), left[i]), append(slices.Clone(left[:i]), left[i+1:]...)) {
					return false
				}
			}
			return true
		}
		walk(nil, all)
	}
}

// TestEventsInAnyOrder: all permutations of a set, each event twice, lead to the same tenant.
func TestEventsInAnyOrder(t *testing.T) {
	type said struct{ id, text string }
	for _, w := range ways {
		f := newFixture(t)
		bring := func(f *fixture, id, body string) ask {
			if strings.Contains(body, `"source":"partner"`) {
				return f.signed(otherKey, id, body)
			}
			return f.signed(marketKey, id, body)
		}
		if w.name == "pubsub" {
			a := f.pushed("") // to sign a token takes longer than all else
			bring = func(_ *fixture, _, body string) ask { a.body = wrap(body); return a }
		}
		events := []said{
			{"1", f.text("1", "market", entitlement.Grant, 0, `,"plan":"base","packs":["old"]`)},
			{"2", f.text("2", "market", entitlement.Revoke, time.Second, `,"reason":"cancelled"`)},
			{"3", f.text("3", "market", entitlement.Grant, time.Second, `,"plan":"enterprise"`)}, // of the same time, and less strict
			{"4", f.text("4", "partner", entitlement.Grant, 2*time.Second, `,"plan":"professional","expires":"2099-01-01T00:00:00Z"`)},
			{"5", f.text("5", "partner", entitlement.Suspend, 3*time.Second, `,"reason":"abuse"`)},
		}
		var want *entitlement.Tenant
		var standing entitlement.Standing
		n := 0
		for order := range permutations(events) {
			n++
			fresh := newFixture(t)
			fresh.now = f.now
			for i, e := range order {
				if got := fresh.do(bring(fresh, e.id, e.text)); got.status != w.done {
					t.Fatalf("%d %s", got.status, got.body)
				}
				before := order[i/2]
				if got := fresh.do(bring(fresh, before.id, before.text)); got.status != w.done {
					t.Fatalf("%d %s", got.status, got.body)
				}
			}
			s, have := fresh.standing("shop")
			have.Revision, have.Created = 0, time.Time{}
			if want == nil {
				want, standing = have, s
			}
			if !reflect.DeepEqual(have, want) || !reflect.DeepEqual(s, standing) {
				t.Fatalf("%s, %v: %+v %+v\nwant %+v %+v", w.name, order, have, s, want, standing)
			}
		}
		if n != 120 || standing.State != entitlement.Refusing {
			t.Errorf("%s: %d orders lead to %+v", w.name, n, standing)
		}
	}
}

// TestForgedWebhooks are refused and recorded, each way, and change nothing.
func TestForgedWebhooks(t *testing.T) {
	f := newFixture(t)
	body := f.text("1", "market", entitlement.Grant, 0, `,"plan":"base"`)
	at := fmt.Sprint(f.clock().Unix())
	for _, c := range []struct {
		name   string
		change func(a *ask)
		status int
		reason string
	}{
		{"no signature", func(a *ask) { delete(a.header, "Webhook-Signature") }, 401, "forged"},
		{"no id", func(a *ask) { delete(a.header, "Webhook-Id") }, 401, "forged"},
		{"no timestamp", func(a *ask) { delete(a.header, "Webhook-Timestamp") }, 401, "forged"},
		{"a secret that is not known", func(a *ask) { a.header["Webhook-Signature"] = sign(make([]byte, 32), "1", at, body) }, 401, "forged"},
		{"the secret of another source", func(a *ask) { a.header["Webhook-Signature"] = sign(otherKey, "1", at, body) }, 403, "other_source"},
		{"an altered body", func(a *ask) { a.body = strings.Replace(body, `"base"`, `"enterprise"`, 1) }, 401, "forged"},
		{"a body with one more space", func(a *ask) { a.body += " " }, 401, "forged"},
		{"another id", func(a *ask) { a.header["Webhook-Id"] = "2" }, 401, "forged"},
		{"another timestamp", func(a *ask) { a.header["Webhook-Timestamp"] = fmt.Sprint(f.clock().Unix() + 1) }, 401, "forged"},
		{"an old timestamp", func(a *ask) {
			old := fmt.Sprint(f.clock().Unix() - 301)
			a.header["Webhook-Timestamp"], a.header["Webhook-Signature"] = old, sign(marketKey, "1", old, body)
		}, 401, "forged"},
		{"a timestamp ahead", func(a *ask) {
			ahead := fmt.Sprint(f.clock().Unix() + 302)
			a.header["Webhook-Timestamp"], a.header["Webhook-Signature"] = ahead, sign(marketKey, "1", ahead, body)
		}, 401, "forged"},
		{"no number", func(a *ask) {
			a.header["Webhook-Timestamp"], a.header["Webhook-Signature"] = "now", sign(marketKey, "1", "now", body)
		}, 401, "forged"},
		{"another version", func(a *ask) { a.header["Webhook-Signature"] = "v2" + a.header["Webhook-Signature"][2:] }, 401, "forged"},
		{"hexadecimal", func(a *ask) { a.header["Webhook-Signature"] = "v1," + strings.Repeat("ab", 32) }, 401, "forged"},
		{"an empty signature", func(a *ask) { a.header["Webhook-Signature"] = "v1," }, 401, "forged"},
		{"a good one after ten bad", func(a *ask) {
			a.header["Webhook-Signature"] = strings.Repeat(sign(make([]byte, 32), "1", at, body)+" ", 10) + a.header["Webhook-Signature"]
		}, 401, "forged"},
		{"an id in the body that is another", func(a *ask) {
			a.header["Webhook-Id"], a.header["Webhook-Signature"] = "2", sign(marketKey, "2", at, body)
		}, 400, "invalid"},
		{"the source operator", func(a *ask) {
			a.body = strings.Replace(body, "market", "operator", 1)
			a.header["Webhook-Signature"] = sign(marketKey, "1", at, a.body)
		}, 403, "other_source"},
		{"an operator's key, and no signature", func(a *ask) { delete(a.header, "Webhook-Signature"); a.as = "admin" }, 401, "forged"},
		{"no event", func(a *ask) { a.body = "{"; a.header["Webhook-Signature"] = sign(marketKey, "1", at, a.body) }, 400, "invalid"},
		{"a member that is not known", func(a *ask) {
			a.body = strings.Replace(body, `"plan"`, `"role":"admin","plan"`, 1)
			a.header["Webhook-Signature"] = sign(marketKey, "1", at, a.body)
		}, 400, "invalid"},
		{"two events", func(a *ask) { a.body += body; a.header["Webhook-Signature"] = sign(marketKey, "1", at, a.body) }, 400, "invalid"},
	} {
		a := f.signed(marketKey, "1", body)
		c.change(&a)
		before := f.journal.count()
		got := f.do(a)
		if got.status != c.status {
			t.Errorf("%s: %d %s", c.name, got.status, got.body)
		}
		if r := f.journal.since(before); len(r) != 1 || r[0].Kind != receipt.Refused || r[0].Reason != c.reason || r[0].ID != got.id {
			t.Errorf("%s: receipts %+v", c.name, r)
		}
		if _, shop := f.standing("shop"); shop != nil {
			t.Fatalf("%s: it is applied: %+v", c.name, shop)
		}
	}
	for name, a := range map[string]ask{
		"the secret that comes after": f.signed(newKey, "1", body),
		"several signatures": func() ask {
			a := f.signed(marketKey, "1", body)
			a.header["Webhook-Signature"] = "v1a,xyz " + sign(make([]byte, 32), "1", at, body) + " " + a.header["Webhook-Signature"]
			return a
		}(),
	} {
		if got := f.do(a); got.status != 200 {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
}

// TestForgedPushes are deliveries that are not Pub/Sub's, or hold no event.
func TestForgedPushes(t *testing.T) {
	f := newFixture(t)
	stranger, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	body := f.text("1", "market", entitlement.Grant, 0, `,"plan":"base"`)
	good := f.pushed(body)
	encoded := base64.StdEncoding.EncodeToString([]byte(body))
	for _, c := range []struct {
		name   string
		change func(a *ask)
		status int
	}{
		{"no token", func(a *ask) { a.as = "nobody" }, 401},
		{"an operator's key", func(a *ask) { a.as = "admin" }, 401},
		{"another account", func(a *ask) {
			a.as = f.pushToken("other@project.iam.gserviceaccount.com", "https://taiea.example", googleKey())
		}, 403},
		{"another audience", func(a *ask) { a.as = f.pushToken(pushAccount, "https://erlmcp.example", googleKey()) }, 401},
		{"another key", func(a *ask) { a.as = f.pushToken(pushAccount, "https://taiea.example", stranger) }, 401},
		{"an altered token", func(a *ask) { a.as = a.as[:len(a.as)-4] + "AAAA" }, 401},
		{"no wrapper", func(a *ask) { a.body = body }, 400},
		{"no JSON", func(a *ask) { a.body = "{" }, 400},
		{"no message", func(a *ask) { a.body = `{"subscription":"s"}` }, 400},
		{"no data", func(a *ask) { a.body = `{"message":{"messageId":"1"}}` }, 400},
		{"data that is no text", func(a *ask) { a.body = `{"message":{"data":7}}` }, 400},
		{"data that is not base64", func(a *ask) { a.body = `{"message":{"data":"*` + encoded + `"}}` }, 400},
		{"data that is cut", func(a *ask) { a.body = `{"message":{"data":"` + encoded[:len(encoded)-3] + `"}}` }, 400},
		{"data that is no event", func(a *ask) { a.body = wrap("hello") }, 400},
		{"data that is empty", func(a *ask) { a.body = `{"message":{"data":""}}` }, 400},
		{"the source operator", func(a *ask) { a.body = wrap(strings.Replace(body, "market", "operator", 1)) }, 403},
		{"an event that has faults", func(a *ask) { a.body = wrap(`{"id":"1","source":"market","type":"gift","tenant":"shop"}`) }, 400},
		{"an event of tomorrow", func(a *ask) { a.body = wrap(f.text("1", "market", entitlement.Grant, 25*time.Hour, `,"plan":"base"`)) }, 400},
		{"a plan that is not there", func(a *ask) { a.body = wrap(strings.Replace(body, `"base"`, `"silver"`, 1)) }, 422},
	} {
		a := good
		c.change(&a)
		before := f.journal.count()
		got := f.do(a)
		if got.status != c.status {
			t.Errorf("%s: %d %s", c.name, got.status, got.body)
		}
		if r := f.journal.since(before); len(r) != 1 || r[0].Kind != receipt.Refused || r[0].ID != got.id {
			t.Errorf("%s: receipts %+v", c.name, r)
		}
		if _, shop := f.standing("shop"); shop != nil {
			t.Fatalf("%s: it is applied: %+v", c.name, shop)
		}
	}
	// The plan comes to be, and the event comes again.
	f.do(ask{method: "PUT", path: "/v1/plans/silver", body: `{}`})
	a := good
	a.body = wrap(strings.Replace(body, `"base"`, `"silver"`, 1))
	if got := f.do(a); got.status != 204 {
		t.Errorf("once there is a plan: %d %s", got.status, got.body)
	}
}

// TestEventsWhileTheStoreIsAway: 503 and Retry-After, so that they come again; then they are applied once.
func TestEventsWhileTheStoreIsAway(t *testing.T) {
	for _, w := range ways {
		for _, what := range []string{"tenants", "change", "records"} {
			f := newFixture(t)
			body := f.text("1", "market", entitlement.Grant, 0, `,"plan":"base"`)
			putBack := f.take(what)
			got := f.do(w.bring(f, "1", body))
			if got.status != 503 || got.header.Get("Retry-After") == "" {
				t.Errorf("%s, %s: %d %v %s", w.name, what, got.status, got.header, got.body)
			}
			if _, shop := f.standing("shop"); shop != nil {
				t.Errorf("%s, %s: it is applied", w.name, what)
			}
			putBack()
			if got := f.do(w.bring(f, "1", body)); got.status != w.done {
				t.Errorf("%s, %s is back: %d %s", w.name, what, got.status, got.body)
			}
			if s, _ := f.standing("shop"); s.State != entitlement.Stable {
				t.Errorf("%s, %s is back: %+v", w.name, what, s)
			}
		}
		// It is applied, and the answer is lost: the next delivery says so.
		f := newFixture(t)
		body := f.text("1", "market", entitlement.Grant, 0, `,"plan":"base"`)
		f.after = true
		putBack := f.take("change")
		if got := f.do(w.bring(f, "1", body)); got.status != 503 {
			t.Errorf("%s: %d %s", w.name, got.status, got.body)
		}
		putBack()
		if got := f.do(w.bring(f, "1", body)); got.status != w.done || w.done == 200 && got.object(t)["effect"] != "seen" {
			t.Errorf("%s: %d %s", w.name, got.status, got.body)
		}
	}
}

func TestSourcesAreLimited(t *testing.T) {
	for _, w := range ways {
		f := newFixture(t)
		f.wait = time.Second
		if got := f.do(w.bring(f, "1", f.text("1", "market", entitlement.Grant, 0, `,"plan":"base"`))); got.status != 429 || got.header.Get("Retry-After") != "1" {
			t.Errorf("%s: %d %s", w.name, got.status, got.body)
		}
		if !slices.Equal(f.asked, []string{"source:market"}) {
			t.Errorf("%s: asked by %q", w.name, f.asked)
		}
	}
}

// TestSvixHeaders has messages with the headers of Svix, in place of those of Standard Webhooks or beside them.
func TestSvixHeaders(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(h map[string]string, id, at, good string)
		status int
	}{
		{"Svix's", func(h map[string]string, id, at, good string) {
			h["Svix-Id"], h["Svix-Timestamp"], h["Svix-Signature"] = id, at, good
		}, 200},
		{"both", func(h map[string]string, id, at, good string) {
			h["Svix-Id"], h["Svix-Timestamp"], h["Svix-Signature"] = id, at, good
			h["Webhook-Id"], h["Webhook-Timestamp"], h["Webhook-Signature"] = id, at, good
		}, 200},
		{"both, and Svix's are another's", func(h map[string]string, id, at, good string) {
			h["Svix-Id"], h["Svix-Timestamp"], h["Svix-Signature"] = "other", "1", "v1,x"
			h["Webhook-Id"], h["Webhook-Timestamp"], h["Webhook-Signature"] = id, at, good
		}, 200},
		{"Svix's, forged", func(h map[string]string, id, at, _ string) {
			h["Svix-Id"], h["Svix-Timestamp"], h["Svix-Signature"] = id, at, sign(make([]byte, 32), id, at, "{}")
		}, 401},
		{"Svix's, of another id", func(h map[string]string, id, at, good string) {
			h["Svix-Id"], h["Svix-Timestamp"], h["Svix-Signature"] = id+"x", at, good
		}, 401},
		{"Svix's without a time", func(h map[string]string, id, at, good string) { h["Svix-Id"], h["Svix-Signature"] = id, good }, 401},
		{"a set of both", func(h map[string]string, id, at, good string) {
			h["Webhook-Id"], h["Svix-Timestamp"], h["Svix-Signature"] = id, at, good
		}, 401},
		{"none", func(map[string]string, string, string, string) {}, 401},
	} {
		f := newFixture(t)
		body := f.text("1", "market", entitlement.Grant, 0, `,"plan":"base"`)
		a := f.signed(marketKey, "1", body)
		signed := a.header
		a.header = map[string]string{}
		c.change(a.header, signed["Webhook-Id"], signed["Webhook-Timestamp"], signed["Webhook-Signature"])
		if got := f.do(a); got.status != c.status {
			t.Errorf("%s: %d %s", c.name, got.status, got.body)
		}
	}
}
