package verify_test

import (
	"bytes"
	"crypto/ed25519"
	"testing"
	"time"

	"example.com/erlmcp/function/internal/receipt"
	"example.com/erlmcp/function/internal/receipt/receipttest"
	"example.com/erlmcp/function/internal/receipt/verify"
)

// rootMaker vouches for roots, and for nothing else.
var rootMaker = receipt.NewSigner(ed25519.NewKeyFromSeed([]byte("the key of roots, 32 bytes long.")))

// remade are the roots of a world, made anew from a time on by who has a key: each follows the one before it.
func (w *hours) remade(t *testing.T, from time.Time, by receipt.Signer, dated func(time.Time) time.Time) {
	t.Helper()
	var last *receipt.Heads
	for i, r := range w.roots {
		h, err := receipt.ReadHeads(r.Text)
		if err != nil {
			t.Fatal(err)
		}
		if !h.Time.Before(from) {
			h.Time, h.Previous = dated(h.Time), receipt.Hash{}
			if last != nil {
				h.Previous = last.Hash()
			}
			if err := h.Sign(t.Context(), by); err != nil {
				t.Fatal(err)
			}
			w.roots[i] = &receipt.Root{Number: h.Number, Time: h.Time, Text: h.Append(nil)}
		}
		last = h
	}
}

// TestRootsApart has roots made with the key of chains for an hour, and then with one of their own, as where a fleet is told to do so. Who has the
// key of chains, and the database, can make roots as well as the fleet did before, and none that is believed from then on.
func TestRootsApart(t *testing.T) {
	var since time.Time
	make := func(t *testing.T) *hours {
		return makeHoursBy(t, func(at time.Time) (receipt.Signer, bool) {
			if since.IsZero() {
				since = at.Add(time.Hour)
			}
			if at.Before(since) {
				return operator, true
			}
			return rootMaker, true
		})
	}
	same := func(at time.Time) time.Time { return at }
	apart := func() receipt.RootKeys {
		return receipt.RootKeys{Keys: []ed25519.PublicKey{rootMaker.Public()}, Since: since}
	}
	for _, c := range []struct {
		name string
		edit func(t *testing.T, w *hours)
		opts func(o *verify.Options)
		kind verify.FaultKind // "": nothing is wrong
		word string
	}{
		{"as it was", nil, nil, "", ""},
		{"the hour before alone", nil, func(o *verify.Options) { o.To = since.Add(-time.Second) }, "", ""},
		{"the time since alone", nil, func(o *verify.Options) { o.From = since }, "", ""},
		{"verified by an earlier version, which knows no purposes", nil, func(o *verify.Options) {
			o.Keys, o.Roots = append(o.Keys[:1:1], rootMaker.Public()), receipt.RootKeys{}
		}, "", ""},
		{"where the key of roots is not known", nil, func(o *verify.Options) { o.Roots.Keys = nil }, "", "is not verified: the key is not known here"},
		{"by the key of chains alone", nil, func(o *verify.Options) { o.Roots = receipt.RootKeys{} }, verify.Forged, "not one of yours"},
		{"made anew with the key of chains", func(t *testing.T, w *hours) { w.remade(t, since, operator, same) }, nil, verify.Forged, "which vouches for chains, and for no root since"},
		{"one of them", func(t *testing.T, w *hours) { w.remade(t, w.roots[len(w.roots)-1].Time, operator, same) }, nil, verify.Forged, "root 180 is signed with the key"},
		{"dated back", func(t *testing.T, w *hours) {
			n := time.Duration(0)
			w.remade(t, since, operator, func(time.Time) time.Time { n++; return since.Add(-time.Second + n*time.Microsecond) })
		}, nil, verify.Missing, "no root between"},
		{"the last one dated back", func(t *testing.T, w *hours) {
			w.remade(t, w.roots[len(w.roots)-1].Time, operator, func(time.Time) time.Time { return since.Add(-time.Microsecond) })
		}, nil, verify.Forged, "root 180 is signed with the key"},
		{"unsigned", func(t *testing.T, w *hours) {
			w.remade(t, since, rootMaker, same)
			h, _ := receipt.ReadHeads(w.roots[100].Text)
			h.Operator, h.Signature = "", nil
			w.roots[100].Text = h.Append(nil)
		}, nil, verify.Unsigned, "root 101 is not signed"},
		{"with the key of roots before its time", func(t *testing.T, w *hours) { w.remade(t, w.roots[0].Time, rootMaker, same) }, nil, verify.Forged, "which vouches for roots since"},
		{"no root since", func(t *testing.T, w *hours) { w.roots = w.roots[:55] }, nil, verify.Missing, "no root between"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := make(t)
			if c.edit != nil {
				c.edit(t, w)
			}
			o := verify.Options{Keys: keys, Roots: apart(), Now: w.end.Add(time.Minute)}
			if c.opts != nil {
				c.opts(&o)
			}
			store := w.left(t, nil, nil)
			var out bytes.Buffer
			if _, err := verify.WriteExport(t.Context(), store, &out, verify.ExportOptions{From: o.From, To: o.To, Signer: operator, Now: o.Now}); err != nil {
				t.Fatal(err)
			}
			stored, err := verify.Store(t.Context(), store, o)
			if err != nil {
				t.Fatal(err)
			}
			exported, err := verify.Export(t.Context(), &out, o)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range []*verify.Report{stored, exported} {
				switch {
				case c.kind != "":
					named(t, r, c.kind, c.word)
				case !r.OK() || r.Roots < 50 || (len(r.Notes) > 0) != (c.word != "") || c.word != "" && !bytes.Contains([]byte(r.Notes[0]), []byte(c.word)):
					t.Errorf("%v, notes %q", r, r.Notes)
				}
			}
		})
	}
}

// TestCertificatesOfTheRootKey: the key of roots vouches for no chain.
func TestCertificatesOfTheRootKey(t *testing.T) {
	w := makeHours(t)
	o := verify.Options{Keys: []ed25519.PublicKey{rootMaker.Public()}, Roots: receipt.RootKeys{Keys: receipttest.Keys}, Now: w.end.Add(time.Minute)}
	r, err := verify.Store(t.Context(), w.left(t, nil, nil), o)
	if err != nil {
		t.Fatal(err)
	}
	named(t, r, verify.Forged, "certificate of chain", "not one of yours")
	for _, f := range r.Faults {
		if f.Chain == "" {
			t.Errorf("the roots, which are its own: %s", f.Words)
		}
	}
}
