package backup_test

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"example.com/erlmcp/function/internal/backup"
	"example.com/erlmcp/function/internal/backup/backuptest"
	"example.com/erlmcp/function/internal/receipt"
	"example.com/erlmcp/function/internal/store/memory"
)

func signer(seed byte) receipt.Signer {
	return receipt.NewSigner(ed25519.NewKeyFromSeed([]byte(strings.Repeat(string(rune(seed)), ed25519.SeedSize))))
}

// TestFind takes the newest backup that has a manifest, whatever lies beside it.
func TestFind(t *testing.T) {
	ctx, place := t.Context(), backuptest.NewObjects()
	if _, err := backup.Find(ctx, place, ""); !errors.Is(err, backup.ErrNoBackup) {
		t.Errorf("of an empty place: %v", err)
	}
	store := memory.NewRecords(memory.New(), memory.NewReceipts(0))
	var names []string
	for i := range 3 {
		m, err := backup.Write(ctx, store, place, backup.Options{At: time.Date(2026, 11, 28+i, 23, 59, 59, 0, time.UTC), Signer: signer('a')})
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, m.Name)
		if at, err := backup.TimeOf(m.Name); err != nil || !at.Equal(m.Time) {
			t.Errorf("%s is of %v (%v), want %v", m.Name, at, err, m.Time)
		}
	}
	place.Replace("backups/20261201T000000.000000Z/keys-000001.ndjson.gz", []byte("x"))
	if m, err := backup.Find(ctx, place, ""); err != nil || m.Name != names[2] {
		t.Errorf("the newest: %+v %v", m, err)
	}
	if m, err := backup.Find(ctx, place, names[0]); err != nil || m.Name != names[0] {
		t.Errorf("by its name: %+v %v", m, err)
	}
	for _, name := range []string{"20261201T000000.000000Z", "none", "../x", "a/b"} {
		if _, err := backup.Find(ctx, place, name); err == nil {
			t.Errorf("%q is taken for a backup", name)
		}
	}
	all, unfinished, err := backup.List(ctx, place, 2)
	if err != nil || len(all) != 2 || all[0].Name != names[2] || fmt.Sprint(unfinished) != "[20261201T000000.000000Z]" {
		t.Errorf("listed: %v %v %v", all, unfinished, err)
	}
}

// TestManifest wants one that is as it was signed, of a format that is known, and in its place.
func TestManifest(t *testing.T) {
	ctx, place := t.Context(), backuptest.NewObjects()
	s := memory.New()
	receipts := memory.NewReceipts(0)
	m, err := backup.Write(ctx, memory.NewRecords(s, receipts), place, backup.Options{Version: "1.2.3", Signer: signer('a')})
	if err != nil {
		t.Fatal(err)
	}
	at := "backups/" + m.Name + "/manifest.json"
	text := string(place.All()[at])
	ring := func(seeds ...byte) receipt.Keyring {
		var keys []ed25519.PublicKey
		for _, seed := range seeds {
			keys = append(keys, signer(seed).Public())
		}
		return receipt.NewKeyring(keys)
	}
	for _, c := range []struct {
		name, old, new string
		keys           receipt.Keyring
		fails          string
	}{
		{"as it was", "", "", ring('a'), ""},
		{"with the key of before", "", "", ring('b', 'a'), ""},
		{"with another key", "", "", ring('b'), "not one of yours"},
		{"of another version", "1.2.3", "1.2.4", ring('a'), "did not make"},
		{"unsigned", `"operator": "` + m.Operator + `"`, `"operator": ""`, ring('a'), "not signed"},
		{"of a newer format", `"format": 1`, `"format": 2`, ring('a'), "restore with the newer version"},
		{"of another name", m.Name, strings.Replace(m.Name, "2", "3", 1), ring('a'), "is damaged"},
		{"cut off", "}\n", "", ring('a'), "is damaged"},
	} {
		place.Replace(at, []byte(strings.Replace(text, c.old, c.new, 1)))
		found, err := backup.Find(ctx, place, m.Name)
		if err == nil {
			err = found.Verify(c.keys)
		}
		if c.fails == "" && err != nil || c.fails != "" && (err == nil || !strings.Contains(err.Error(), c.fails)) {
			t.Errorf("%s: %v, want %q", c.name, err, c.fails)
		}
	}
}
