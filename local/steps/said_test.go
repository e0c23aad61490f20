package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestSaid has go test itself print failures among other noise, with and without -v.
func TestSaid(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod": "module m\n\ngo 1.26.0\n",
		"m_test.go": `package m

import "testing"

func TestGood(t *testing.T) { t.Log("all is well") }

func TestBad(t *testing.T) {
	t.Cleanup(func() { t.Log("noise 1"); t.Log("noise 2"); t.Log("noise 3") })
	t.Error("the reason")
	println("something else")
}

func TestParts(t *testing.T) {
	for _, name := range []string{"a", "b"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if name == "b" {
				t.Errorf("not %s", name)
			}
		})
	}
}
`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	running := regexp.MustCompile(`(?m)^=== .*\n`)
	for _, c := range []struct{ name, flag, without string }{{"plain", "-v=false", ""}, {"all is told", "-v", ""}, {"as the Makefile prints it", "-v", "==="}} {
		cmd := exec.Command("go", "test", c.flag)
		cmd.Dir = dir
		printed, err := cmd.CombinedOutput()
		if err == nil {
			t.Fatal("go test found nothing")
		}
		out := string(printed)
		if c.without != "" {
			out = running.ReplaceAllString(out, "")
		}
		got := strings.Join(said(strings.Split(out, "\n")), "|")
		for _, want := range []string{"failed: TestBad", "m_test.go:9: the reason|    m_test.go:8: noise 1|", "failed: TestParts/b", "not b"} {
			if !strings.Contains(got, want) {
				t.Errorf("%s: %q is not in %s, from\n%s", c.name, want, got, out)
			}
		}
		for _, not := range []string{"all is well", "noise 3", "TestGood", "TestParts/a"} {
			if strings.Contains(got, not) {
				t.Errorf("%s: %q is in %s", c.name, not, got)
			}
		}
	}
}
