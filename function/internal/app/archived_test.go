package app

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/erlmcp/function/internal/receipt"
	"example.com/erlmcp/function/internal/receipt/journal"
	"example.com/erlmcp/function/internal/receipt/receipttest"
)

// TestArchived archives what a store has, as the daily backup does, and reads it where the store has forgotten it.
func TestArchived(t *testing.T) {
	dir := t.TempDir()
	settings := map[string]string{"STORE_FILE": filepath.Join(dir, "store"), "BACKUP_PLACE": filepath.Join(dir, "place"), "RECEIPT_STORE_DAYS": "30", "GOVERNOR_SCOPE": "instance"}
	options := Options{Getenv: func(name string) string { return settings[name] }}
	ctx := t.Context()
	m, err := OpenMemory(settings["STORE_FILE"])
	if err != nil {
		t.Fatal(err)
	}
	earlier := time.Now().Add(-72 * time.Hour)
	j := receipttest.Open(t, m.Receipts, func(o *journal.Options) { o.Now = func() time.Time { return earlier } })
	made := receipttest.Receipt(j, receipt.Completed)
	j.Append(made)
	receipttest.Close(t, j)
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}

	r, err := OpenRecovery(ctx, "", options)
	if err != nil {
		t.Fatal(err)
	}
	if done, err := r.Archive(ctx, filepath.Join(dir, "elsewhere")); done != nil || err != nil {
		t.Errorf("archived in a place that is not read: %+v (%v)", done, err)
	}
	done, err := r.Archive(ctx, settings["BACKUP_PLACE"])
	if err != nil || done.Segments != 1 {
		t.Fatalf("%+v (%v)", done, err)
	}
	r.Close()

	settings["STORE_FILE"] = filepath.Join(dir, "forgot")
	read := func() (found []string, verified string, err error) {
		records, err := OpenRecords(ctx, "", options)
		if err != nil {
			t.Fatal(err)
		}
		defer records.Close()
		report, err := records.Verify(ctx, "", time.Time{}, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		for one, err := range records.Newest(ctx, "", time.Time{}, time.Time{}) {
			if err != nil {
				return found, report.String(), err
			}
			found = append(found, one.ID)
		}
		some, _, err := records.Find(ctx, made.ID)
		if len(some) != 1 {
			t.Errorf("%v is found of %s", some, made.ID)
		}
		return found, report.String(), err
	}
	found, verified, err := read()
	if err != nil || !slices.Contains(found, made.ID) || !strings.Contains(verified, "2 receipts in 1 segments") || strings.Contains(verified, "FAULT") {
		t.Errorf("%q %v %s", found, err, verified)
	}
	files, err := filepath.Glob(filepath.Join(settings["BACKUP_PLACE"], "archive", "contents", "*", "*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%q %v", files, err)
	}
	if err := os.Truncate(files[0], 100); err != nil {
		t.Fatal(err)
	}
	name := filepath.Base(files[0])
	records, err := OpenRecords(ctx, "", options)
	if err != nil {
		t.Fatal(err)
	}
	defer records.Close()
	report, err := records.Verify(ctx, "", time.Time{}, time.Time{})
	if err != nil || report.OK() || !strings.Contains(report.String(), name) {
		t.Errorf("an object is damaged: %v %v", err, report)
	}
	for _, err := range records.Select(ctx, "", time.Time{}, time.Time{}) {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("an object is damaged, and what is read has %v", err)
		}
	}
}
