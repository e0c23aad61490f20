package dataplane

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/erlmcp/function/internal/app"
	"example.com/erlmcp/function/internal/memnet"
)

const pathsOf = `{"openapi":"3.0.3","info":{"title":"T","version":"1"},"servers":[{"url":"https://a.example"}],"paths":{"/a":{"get":{"operationId":"%s","summary":"A.","responses":{"200":{"description":"ok"}}}}}}`

// TestDocumentAtURL brings a catalog before the document that it wants is there: what was in force stays so, and the document is asked for again until it
// is the one that is wanted. A document over which the program fails is refused like another fault.
func TestDocumentAtURL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var network memnet.Network
		served := fmt.Sprintf(pathsOf, "one")
		url := network.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(served)) }))
		file := filepath.Join(t.TempDir(), "catalog.yaml")
		catalog := func(document string) {
			text := fmt.Sprintf("catalog: 1\nsources:\n- {name: x, openapi: '%s/openapi.json', sha256: %x, tools: [{match: '*'}]}\n", url, sha256.Sum256([]byte(document)))
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		catalog(served)
		p, err := New(t.Context(), app.Options{
			Loopback: true, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)), WithoutTelemetry: true, Stand: app.StandIns{Dial: network.Dial},
			Getenv: func(name string) string {
				return map[string]string{"GOVERNOR_SCOPE": "instance", "CATALOG_FILE": file, "EGRESS_ALLOW": "127.0.0.1"}[name]
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		after := func(wait time.Duration, tool, fault string) {
			t.Helper()
			time.Sleep(wait)
			p.file.look()
			synctest.Wait()
			if got := strings.Join(p.Tools(), " "); got != tool {
				t.Errorf("%q, want %q", got, tool)
			}
			if got := strings.Join(p.Degraded(), " "); fault == "" && got != "" || !strings.Contains(got, fault) {
				t.Errorf("%q, want %q", got, fault)
			}
		}
		after(10*time.Second, "x_one", "")
		two := fmt.Sprintf(pathsOf, "two")
		catalog(two)
		after(10*time.Second, "x_one", "the document's sha256 is")
		served = two
		after(retryAge+10*time.Second, "x_two", "")
		p.file.options.Fetch = func(context.Context, string, string) ([]byte, error) { panic("over this document") }
		catalog("three")
		after(10*time.Second, "x_two", "over this document")
		catalog(two)
		p.file.options.Fetch = p.file.fetch
		after(10*time.Second, "x_two", "")
	})
}
