// Package every has a test that fails in every second run, which it knows by a file.
package every

import (
	"os"
	"testing"
)

func TestSecond(t *testing.T) {
	path := os.Getenv("DAYS_FILE")
	if os.Remove(path) == nil {
		t.Fatal("the file is there")
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}
