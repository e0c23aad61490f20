package control

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	mathrand "math/rand/v2"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/erlmcp/local/checks/world"
)

// An event is one of the webhook's, as the OpenAPI document has it.
type event struct {
	ID      string         `json:"id"`
	Source  string         `json:"source"`
	Type    string         `json:"type"`
	Tenant  string         `json:"tenant"`
	Time    time.Time      `json:"time"`
	Plan    string         `json:"plan,omitempty"`
	Packs   []string       `json:"packs,omitempty"`
	Limits  map[string]any `json:"limits,omitempty"`
	Expires time.Time      `json:"expires,omitzero"`
	Reason  string         `json:"reason,omitempty"`
}

// keyring has the secrets of sources.
type keyring map[string][]byte

func newKeyring(sources ...string) keyring {
	k := keyring{}
	for _, s := range sources {
		k[s] = make([]byte, 32)
		rand.Read(k[s])
	}
	return k
}

func (k keyring) setting() string {
	var out []string
	for source, secret := range k {
		out = append(out, source+"=whsec_"+base64.StdEncoding.EncodeToString(secret))
	}
	return "WEBHOOK_SECRETS=" + strings.Join(out, ",")
}

// signed are the headers of a message (https://www.standardwebhooks.com).
func signed(secret []byte, id string, at time.Time, body string) map[string]string {
	stamp := strconv.FormatInt(at.Unix(), 10)
	mac := hmac.New(sha256.New, secret)
	fmt.Fprintf(mac, "%s.%s.%s", id, stamp, body)
	return map[string]string{"webhook-id": id, "webhook-timestamp": stamp, "webhook-signature": "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))}
}

func (e *event) body() string {
	text, err := json.Marshal(e)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// send delivers an event as sources do: again, until it is taken. It returns the effect, and how often it was sent.
func (p *plane) send(secret []byte, e *event) (effect string, times int) {
	for begin := time.Now(); ; {
		body := e.body()
		a, err := p.ask("POST", "/v1/events/webhook", body, signed(secret, e.ID, time.Now(), body))
		times++
		switch {
		case err == nil && a.status == 200:
			return a.text(p.t, "effect"), times
		case err == nil && a.status != 503 && a.status != 429 || time.Since(begin) > 30*time.Second:
			p.t.Errorf("event %s: %v %+v", e.ID, err, a)
			return "", times
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// of are the events of one tenant, in the order in which they were made.
func of(tenant string, begin time.Time) (all []*event) {
	for i, e := range []event{
		{Source: "market", Type: "grant", Plan: "base"},
		{Source: "shop", Type: "grant", Plan: "professional", Limits: map[string]any{"perDay": 1000}},
		{Source: "crm", Type: "suspend", Reason: "unpaid"},
		{Source: "partner", Type: "grant", Plan: "enterprise", Expires: begin.Add(1000 * time.Hour)},
		{Source: "market", Type: "suspend", Reason: "fraud"},
		{Source: "shop", Type: "revoke", Reason: "cancelled"},
		{Source: "crm", Type: "resume"},
		{Source: "partner", Type: "suspend", Reason: "asked to"},
		{Source: "market", Type: "resume"},
		{Source: "shop", Type: "grant", Plan: "professional", Packs: []string{"reports"}, Limits: map[string]any{"perSecond": 20}},
		{Source: "crm", Type: "suspend", Reason: "unpaid again"},
		{Source: "partner", Type: "resume"},
		{Source: "market", Type: "grant", Plan: "enterprise"},
		{Source: "shop", Type: "suspend"},
		{Source: "partner", Type: "revoke", Reason: "left"},
		{Source: "crm", Type: "resume"},
		{Source: "shop", Type: "resume"},
		{Source: "partner", Type: "grant", Plan: "professional", Expires: begin.Add(2000 * time.Hour)},
	} {
		e.Tenant, e.Time = tenant, begin.Add(time.Duration(i)*time.Minute)
		e.ID = fmt.Sprintf("%s-%d", tenant, i)
		all = append(all, &e)
	}
	// Made at the same time as the one before: the stricter holds, in whatever order they come.
	last := *all[len(all)-1]
	last.ID, last.Expires = tenant+"-tie", begin.Add(1500*time.Hour)
	return append(all, &last)
}

// events has sources send what they have to say over HTTP, repeated, reordered and forged, to four control planes at the same time.
// What Pub/Sub pushes is held against a played issuer by the tests of the control plane alone: Google's keys can't be had here.
func events(t *testing.T, emulator *world.Daemon) {
	const each = 25
	var crowd []string
	for i := range nodes * each {
		crowd = append(crowd, fmt.Sprintf("s%d", i))
	}
	secrets := newKeyring(append(crowd, "market", "shop", "crm", "partner")...)
	w := world.New(t, emulator, "events", secrets.setting()).Guarded(emulator)
	var planes []*plane
	for i := range nodes {
		planes = append(planes, control(t, w, fmt.Sprint("taiea", i+1)))
	}
	begin := time.Now().UTC().Truncate(time.Second).Add(-time.Hour)

	for _, e := range of("in-order", begin) {
		planes[0].send(secrets[e.Source], e)
	}
	var mu sync.Mutex
	taken, sent := map[string]int{}, map[string]int{}
	var wg sync.WaitGroup
	for _, p := range planes {
		wg.Go(func() {
			mine := of("reordered", begin)
			mathrand.Shuffle(len(mine), func(i, j int) { mine[i], mine[j] = mine[j], mine[i] })
			for _, e := range mine {
				effect, times := p.send(secrets[e.Source], e)
				mu.Lock()
				if sent[e.ID] += times; effect != "seen" {
					taken[e.ID]++
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	deliveries := 0
	for id, n := range sent {
		deliveries += n
		if taken[id] > 1 || taken[id] == 0 && n == nodes { // an answer may be lost
			t.Errorf("event %s was sent %d times and taken for new %d times", id, n, taken[id])
		}
	}
	type standing struct{ Sources, Noted, Standing any }
	read := func(tenant string) (s standing) {
		if err := json.Unmarshal(planes[0].order(200, "GET", "/v1/tenants/"+tenant, "").body, &s); err != nil {
			t.Fatal(err)
		}
		return s
	}
	want := read("in-order")
	if got := read("reordered"); !reflect.DeepEqual(got, want) {
		t.Errorf("repeated and reordered: %+v\nin order: %+v", got, want)
	}
	t.Logf("%d events, delivered %d times in different orders by %d senders: the tenant is as after the events in order", len(sent), deliveries, nodes)

	forge(t, planes[1], secrets, begin)
	if got := read("reordered"); !reflect.DeepEqual(got, want) {
		t.Errorf("after forged events: %+v\nbefore: %+v", got, want)
	}

	contended := time.Now()
	for i, p := range planes {
		wg.Go(func() {
			for _, source := range crowd[i*each : (i+1)*each] {
				p.send(secrets[source], &event{ID: source, Source: source, Type: "grant", Tenant: "busy", Time: begin, Plan: "base"})
			}
		})
	}
	wg.Wait()
	took := time.Since(contended)
	busy := planes[2].order(200, "GET", "/v1/tenants/busy", "")
	if n := len(busy.value(t, "sources").(map[string]any)); n != nodes*each {
		t.Errorf("%d events of %d are in the tenant", n, nodes*each)
	}
	t.Logf("%d control planes: %d events on one tenant in %v, %.0f events/s", nodes, nodes*each, took.Round(time.Millisecond), nodes*each/took.Seconds())

	all := planes[3].receipts(w, "")
	outcomes := map[string]int{}
	forged := false
	for _, r := range all {
		if r.Kind == "entitled" {
			outcomes[r.Tenant]++
		}
		forged = forged || r.Kind == "refused" && r.Reason == "forged"
	}
	if outcomes["busy"] < nodes*each || !forged {
		t.Errorf("receipts: %v, of what is forged %v", outcomes, forged)
	}
}

// forge sends what is not of its source, or not what it was.
func forge(t *testing.T, p *plane, secrets keyring, begin time.Time) {
	mine := event{ID: "forged", Source: "market", Type: "revoke", Tenant: "reordered", Time: begin.Add(2 * time.Hour), Reason: "forged"}
	body, now := mine.body(), time.Now()
	with := func(change func(h map[string]string)) map[string]string {
		h := signed(secrets["market"], mine.ID, now, body)
		change(h)
		return h
	}
	operators := mine
	operators.Source = "operator"
	known := *of("reordered", begin)[0]
	known.Plan = "enterprise"
	for _, c := range []struct {
		name   string
		body   string
		header map[string]string
		status int
	}{
		{"not signed", body, map[string]string{"webhook-id": "forged"}, 401},
		{"signed with a secret that is not known", body, signed(slices.Repeat([]byte{7}, 32), mine.ID, now, body), 401},
		{"signed with the secret of another source", body, signed(secrets["shop"], mine.ID, now, body), 403},
		{"another body", strings.Replace(body, "revoke", "resume", 1), with(func(map[string]string) {}), 401},
		{"another id", body, with(func(h map[string]string) { h["webhook-id"] = "other" }), 401},
		{"another time", body, with(func(h map[string]string) { h["webhook-timestamp"] = strconv.FormatInt(now.Unix()+1, 10) }), 401},
		{"half a signature", body, with(func(h map[string]string) { h["webhook-signature"] = h["webhook-signature"][:20] }), 401},
		{"signed an hour ago", body, signed(secrets["market"], mine.ID, now.Add(-time.Hour), body), 401},
		{"the id of another message", body, signed(secrets["market"], "other", now, body), 400},
		{"of the operators", operators.body(), signed(secrets["market"], operators.ID, now, operators.body()), 403},
		{"the id of an event that said something else", known.body(), signed(secrets["market"], known.ID, now, known.body()), 409},
	} {
		a, err := p.ask("POST", "/v1/events/webhook", c.body, c.header)
		if err != nil {
			t.Fatal(err)
		}
		if a.status != c.status || a.header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %d, want %d: %s", c.name, a.status, c.status, a.body)
		}
	}
}
