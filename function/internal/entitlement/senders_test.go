package entitlement_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"

	"example.com/erlmcp/function/internal/entitlement"
)

func TestWebhookSecrets(t *testing.T) {
	long := base64.StdEncoding.EncodeToString(make([]byte, 32))
	got, err := entitlement.ParseWebhookSecrets("shop=whsec_" + long + " , market=whsec_" + strings.TrimRight(long, "=") + ",,market=whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 24)))
	if err != nil || len(got) != 3 || got[0].Source != "shop" || got[1].Source != "market" || len(got[1].Key) != 32 || len(got[2].Key) != 24 {
		t.Errorf("%+v %v", got, err)
	}
	if got, err := entitlement.ParseWebhookSecrets(""); len(got) != 0 || err != nil {
		t.Errorf("%v %v", got, err)
	}
	if got, err := entitlement.ParseWebhookSecrets("whsec_" + long + ",whsec_" + long); len(got) != 2 || got[0].Source != "" || err != nil {
		t.Errorf("two secrets without a source: %v %v", got, err)
	}
	if _, err := entitlement.ParseWebhookSecrets("market=whsec_" + long + ",whsec_" + long); err == nil || !strings.Contains(err.Error(), "secret 2: does not say for which source") {
		t.Errorf("one with a source and one without: %v", err)
	}
	secret := "whsec_" + base64.StdEncoding.EncodeToString([]byte("short and known"))
	_, err = entitlement.ParseWebhookSecrets("operator=whsec_" + long + ",Market=whsec_" + long + ",market=" + long + ",whsec_*," + secret + ",x=whsec_" + strings.Repeat("AAAA", 30))
	want := []string{"secret 1: the source operator", "secret 2: its source", "secret 3: does not begin", "secret 4: is not base64", "secret 5: has 15 bytes", "secret 6: has 90 bytes"}
	if err == nil || len(strings.Split(err.Error(), "\n")) != len(want) {
		t.Fatalf("%v", err)
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("the faults lack %q: %v", w, err)
		}
	}
	if strings.Contains(err.Error(), secret[6:]) || strings.Contains(err.Error(), long) {
		t.Errorf("the error tells a secret: %v", err)
	}
}

// TestWebhookVector is a message that the reference implementation has signed, whole and altered in each part:
// https://github.com/standard-webhooks/standard-webhooks.
func TestWebhookVector(t *testing.T) {
	secrets, err := entitlement.ParseWebhookSecrets("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	const id, at, good, body = "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", `{"test": 2432232314}`
	// The signature is good where the message is found to be no event.
	for _, c := range []struct {
		name               string
		id, at, sign, body string
		clock              int64
		want               entitlement.Reason
	}{
		{"as it is", id, at, good, body, 1614265330, entitlement.ReasonInvalid},
		{"five minutes later", id, at, good, body, 1614265330 + 300, entitlement.ReasonInvalid},
		{"by a clock five minutes behind", id, at, good, body, 1614265330 - 300, entitlement.ReasonInvalid},
		{"beside others", id, at, "v1a,AAAA v1,AAAA v1, " + good, body, 1614265330, entitlement.ReasonInvalid},
		{"too late", id, at, good, body, 1614265330 + 301, entitlement.ReasonForged},
		{"too early", id, at, good, body, 1614265330 - 301, entitlement.ReasonForged},
		{"another id", "msg_p5jXN8AQM9LWM0D4loKWxJel", at, good, body, 1614265330, entitlement.ReasonForged},
		{"another time", id, "1614265331", good, body, 1614265330, entitlement.ReasonForged},
		{"another body", id, at, good, body + " ", 1614265330, entitlement.ReasonForged},
		{"another signature", id, at, strings.Replace(good, "g0", "g1", 1), body, 1614265330, entitlement.ReasonForged},
		{"a part of the signature", id, at, good[:len(good)-4], body, 1614265330, entitlement.ReasonForged},
		{"another version", id, at, "v2" + good[2:], body, 1614265330, entitlement.ReasonForged},
		{"a time and a point moved", id + "." + at[:1], at[1:], good, body, 1614265330, entitlement.ReasonForged},
		{"no id", "", at, good, body, 1614265330, entitlement.ReasonForged},
		{"no time", id, "", good, body, 1614265330, entitlement.ReasonForged},
		{"no signature", id, at, "", body, 1614265330, entitlement.ReasonForged},
	} {
		p := entitlement.NewProcessor(entitlement.ProcessorOptions{Secrets: secrets, Now: func() time.Time { return time.Unix(c.clock, 0) }})
		_, err := p.Verify(c.id, c.at, c.sign, []byte(c.body))
		if fault, ok := errors.AsType[*entitlement.Fault](err); !ok || fault.Reason != c.want {
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		}
	}
	_, err = entitlement.NewProcessor(entitlement.ProcessorOptions{}).Verify(id, at, good, []byte(body))
	if fault, ok := errors.AsType[*entitlement.Fault](err); !ok || fault.Reason != entitlement.ReasonOff {
		t.Errorf("without secrets: %v", err)
	}
}

// TestVerify signs events with secrets of sources: each is for those of its own alone.
func TestVerify(t *testing.T) {
	key := func(n byte) []byte { return []byte(strings.Repeat(string('a'+rune(n)), 32)) }
	secret := func(source string, n byte) entitlement.WebhookSecret {
		return entitlement.WebhookSecret{Source: source, Key: key(n)}
	}
	of := func(source string) string {
		return fmt.Sprintf(`{"id":"1","source":%q,"type":"revoke","tenant":"acme","time":"2026-11-24T12:00:00Z"}`, source)
	}
	for _, c := range []struct {
		name    string
		secrets []entitlement.WebhookSecret
		by      byte // whose key signs
		id      string
		body    string
		want    entitlement.Reason // "" is the event
	}{
		{"the source's", []entitlement.WebhookSecret{secret("market", 0), secret("shop", 1)}, 0, "1", of("market"), ""},
		{"the source's next", []entitlement.WebhookSecret{secret("market", 0), secret("market", 1)}, 1, "1", of("market"), ""},
		{"another's", []entitlement.WebhookSecret{secret("market", 0), secret("shop", 1)}, 1, "1", of("market"), entitlement.ReasonOtherSource},
		{"one key that two have", []entitlement.WebhookSecret{secret("market", 0), secret("shop", 0)}, 0, "1", of("shop"), ""},
		{"of no source, alone", []entitlement.WebhookSecret{secret("", 0)}, 0, "1", of("market"), ""},
		{"nobody's", []entitlement.WebhookSecret{secret("market", 0)}, 2, "1", of("market"), entitlement.ReasonForged},
		{"an id that is another", []entitlement.WebhookSecret{secret("market", 0)}, 0, "2", of("market"), entitlement.ReasonInvalid},
		{"two events", []entitlement.WebhookSecret{secret("market", 0)}, 0, "1", of("market") + of("market"), entitlement.ReasonInvalid},
	} {
		p := entitlement.NewProcessor(entitlement.ProcessorOptions{Secrets: c.secrets, Now: func() time.Time { return noon }})
		at := fmt.Sprint(noon.Unix())
		mac := hmac.New(sha256.New, key(c.by))
		mac.Write([]byte(c.id + "." + at + "." + c.body))
		e, err := p.Verify(c.id, at, "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)), []byte(c.body))
		if fault, ok := errors.AsType[*entitlement.Fault](err); ok != (c.want != "") || ok && fault.Reason != c.want || !ok && (err != nil || e.Tenant != "acme") {
			t.Errorf("%s: %+v, %v, want %s", c.name, e, err, c.want)
		}
	}
}

func TestParsePublishers(t *testing.T) {
	for text, want := range map[string][]entitlement.Publisher{
		"":                    nil,
		" p@x.example ":       {{Account: "p@x.example"}},
		"P@X.example,":        {{Account: "p@x.example"}},
		"billing=p@x.example": {{Account: "p@x.example", Sources: []string{"billing"}}},
		"a=p@x.example,b=p@x.example, c=q@x.example": {{Account: "p@x.example", Sources: []string{"a", "b"}}, {Account: "q@x.example", Sources: []string{"c"}}},
	} {
		if got, err := entitlement.ParsePublishers(text); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %+v, %v, want %+v", text, got, err, want)
		}
	}
	for text, want := range map[string][]string{
		"push":                               {"is not the e-mail address"},
		"billing=":                           {"is not the e-mail address"},
		"Push <p@x.example>":                 {"is not the e-mail address"},
		"=p@x.example":                       {"its source is"},
		"Billing=p@x.example":                {"its source is"},
		"operator=p@x.example":               {"the source operator is not for events"},
		"p@x.example,q@x.example":            {`"p@x.example": does not say for which source`, `"q@x.example": does not say`},
		"billing=p@x.example,q@x.example, x": {`"x": is not the e-mail address`, `"q@x.example": does not say for which source`},
	} {
		_, err := entitlement.ParsePublishers(text)
		lines := strings.Split(fmt.Sprint(err), "\n")
		if len(lines) != len(want) {
			t.Errorf("%q: %v, want %q", text, err, want)
			continue
		}
		for i := range want {
			if !strings.Contains(lines[i], want[i]) {
				t.Errorf("%q: %q, want %q", text, lines[i], want[i])
			}
		}
	}
}

// TestMaySpeak is a table of senders and of the sources for which they speak.
func TestMaySpeak(t *testing.T) {
	secret := func(source string) entitlement.WebhookSecret { return entitlement.WebhookSecret{Source: source} }
	push := func(sources ...string) entitlement.Publisher {
		return entitlement.Publisher{Account: "a@b.example", Sources: sources}
	}
	for _, c := range []struct {
		name       string
		secrets    []entitlement.WebhookSecret
		publishers []entitlement.Publisher
		bound      []string
		source     string
		want       bool
		warnings   int
	}{
		{"bound to none, and nobody is bound", []entitlement.WebhookSecret{secret("")}, []entitlement.Publisher{push()}, nil, "market", true, 0},
		{"bound to none, beside a secret that is bound", []entitlement.WebhookSecret{secret("market")}, []entitlement.Publisher{push()}, nil, "shop", false, 1},
		{"bound to none, beside an account that is bound", []entitlement.WebhookSecret{secret("")}, []entitlement.Publisher{push("market")}, nil, "shop", false, 1},
		{"both bound", []entitlement.WebhookSecret{secret("market")}, []entitlement.Publisher{push("shop")}, []string{"shop"}, "shop", true, 0},
		{"bound to another", []entitlement.WebhookSecret{secret("market")}, nil, []string{"market"}, "market2", false, 0},
	} {
		var log strings.Builder
		p := entitlement.NewProcessor(entitlement.ProcessorOptions{Secrets: c.secrets, Publishers: c.publishers, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		if got := p.MaySpeak(c.bound, c.source); got != c.want || strings.Count(log.String(), "level=WARN") != c.warnings {
			t.Errorf("%s: %t, and the log has %q", c.name, got, log.String())
		}
	}
}

// TestUncallable grants to tenants and suspends them, and wants a warning where no caller is concerned.
func TestUncallable(t *testing.T) {
	for _, c := range []struct {
		name     string
		callable []string // nil is not known
		tenant   string
		warning  string // "" for none
	}{
		{"a key's", []string{"*"}, "acme-prod", ""},
		{"a bare name, where all are qualified", []string{"google:*"}, "acme-prod", "tenants are google:*"},
		{"a qualified one", []string{"google:*"}, "google:acme-prod", ""},
		{"an authority alone", []string{"google:*"}, "google:", "tenants are google:*"},
		{"an authority that is spelled otherwise", []string{"google:*", "iap:*"}, "gogle:acme-prod", "tenants are google:*, iap:*"},
		{"an authority in another case", []string{"google:*"}, "Google:acme-prod", "tenants are google:*"},
		{"a name that another is mapped to", []string{"shop", "google:*"}, "shop", ""},
		{"the same in another case", []string{"shop", "google:*"}, "Shop", "tenants are shop, google:*"},
		{"a name that begins so", []string{"acme"}, "acme-prod", "tenants are acme"},
		{"anonymous, who may not call", []string{"*"}, "anonymous", "tenants are *"},
		{"anonymous, who may", []string{"*", "anonymous"}, "anonymous", ""},
		{"local, elsewhere", []string{"*"}, "local", "tenants are *"},
		{"local, on loopback", []string{"local"}, "local", ""},
		{"not known", nil, "acme-prod", ""},
		{"not known, and anonymous", nil, "anonymous", ""},
		{"a letter that no tenant has", nil, "acme+prod", "is not a name of"},
		{"a letter that no tenant has, where keys may call", []string{"*"}, "acme|prod", "is not a name of"},
	} {
		p := entitlement.NewProcessor(entitlement.ProcessorOptions{Callable: func(context.Context) []string { return c.callable }})
		for kind, want := range map[entitlement.Type]string{
			entitlement.Grant: c.warning, entitlement.Suspend: c.warning,
			entitlement.Resume: "", entitlement.Revoke: "", // what came before was warned of
		} {
			got := strings.Join(p.Uncallable(t.Context(), &entitlement.Event{Type: kind, Tenant: c.tenant}), "\n")
			if !strings.Contains(got, want) || (got == "") != (want == "") {
				t.Errorf("%s: %s: %q, want %q", c.name, kind, got, want)
			}
		}
	}
	late := entitlement.NewProcessor(entitlement.ProcessorOptions{Callable: func(ctx context.Context) []string {
		if _, bounded := ctx.Deadline(); !bounded {
			t.Error("a change waits for the fleet")
		}
		return nil
	}})
	late.Uncallable(t.Context(), event(entitlement.Grant, 0))
}
