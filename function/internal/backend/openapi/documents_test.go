package openapi

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/jsonschema-go/jsonschema"

	"example.com/erlmcp/function/internal/backend/rest"
	"example.com/erlmcp/function/internal/catalog"
	"example.com/erlmcp/function/internal/mcp"
	"example.com/erlmcp/function/internal/value"
)

// TestDocuments reads the documents in the folder that OPENAPI_DOCUMENTS names, which local/checks/openapi sets, and writes what it made of them
// into the folder that OPENAPI_DUMP names. That check holds the schemas against other validators, and the operations against other readers; here they are held
// against what needs this module's rooms: the checker of calls, the plan of requests, and the rules of models' providers.
func TestDocuments(t *testing.T) {
	from := os.Getenv("OPENAPI_DOCUMENTS")
	if from == "" {
		t.Skip("OPENAPI_DOCUMENTS names no folder: (cd local/checks && go test ./openapi) runs this")
	}
	packed, err := filepath.Glob(filepath.Join(from, "*.gz"))
	if err != nil || len(packed) == 0 {
		t.Fatalf("there are no documents in %s: %v", from, err)
	}
	for _, at := range packed {
		name := strings.TrimSuffix(filepath.Base(at), ".gz")
		t.Run(name, func(t *testing.T) {
			file := unpacked(t, at, name)
			start := time.Now()
			d, err := Read(t.Context(), file, Options{Server: "https://api.example.com", Outputs: true})
			took := time.Since(start)
			if err != nil {
				t.Fatal(err)
			}
			hold(t, d)
			reasons := map[string]int{}
			for _, l := range d.LeftOut {
				reasons[l.Reason]++
				if l.Reason == "" || l.Place.Line == 0 {
					t.Errorf("%s %s is left out without a reason or a place: %+v", l.Method, l.Path, l)
				}
			}
			size := 0
			for _, o := range d.Operations {
				size += len(o.Shown)
			}
			fmt.Printf("| %s | %d | %d | %d | %d | %d |", name, len(d.Operations)+len(d.LeftOut), len(d.Operations), len(d.LeftOut), size, took.Milliseconds())
			for _, r := range slices.Sorted(maps.Keys(reasons)) {
				fmt.Printf(" %d: %s", reasons[r], r)
			}
			fmt.Println()
			dump(t, name, d)
		})
	}
}

// hold has each schema compile, each request be one that can be planned, and no tool refused by an interface of models.
func hold(t *testing.T, d *Document) {
	names := map[string]bool{}
	var tools []catalog.Entry
	for i := range d.Operations {
		o := &d.Operations[i]
		if names[o.Name] || len(o.Name) > maxName || len(o.Description) > maxDescription || len(o.Shown) > maxShown {
			t.Errorf("%s: its name is there twice, or is too long, or its description (%d) or schema (%d) is", o.Name, len(o.Description), len(o.Shown))
		}
		names[o.Name] = true
		for what, raw := range map[string]json.RawMessage{"input": o.Input, "shown": o.Shown, "output": o.Output} {
			if raw == nil {
				continue
			}
			var s jsonschema.Schema
			err := json.Unmarshal(raw, &s)
			if err == nil {
				_, err = value.NewChecker(&s)
			}
			if err != nil {
				t.Errorf("%s: %s: %v", o.Name, what, err)
			}
		}
		if _, err := (&rest.API{Name: "api"}).Tool(&o.Request, rest.Answer{}); err != nil {
			t.Errorf("%s: %v", o.Name, err)
		}
		tools = append(tools, &catalog.Tool{Name: o.Name, Title: o.Title, Description: o.Description, Input: o.Input, Shown: o.Shown,
			Call: func(context.Context, *mcp.Call) (*mcp.Result, error) { return nil, nil }})
	}
	built, err := catalog.Build(tools...)
	if err != nil {
		t.Error(err)
		return
	}
	for _, f := range built.Lint() {
		if f.Rule.What != "at most 128 tools" { // which a catalog chooses
			t.Error(f)
		}
	}
}

func unpacked(t *testing.T, at, name string) string {
	t.Helper()
	in, err := os.Open(at)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	plain, err := gzip.NewReader(in)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if !strings.HasSuffix(name, ".tar") {
		raw, err := io.ReadAll(plain)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), raw, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		return filepath.Join(dir, name)
	}
	main := ""
	for files := tar.NewReader(plain); ; {
		h, err := files.Next()
		if err == io.EOF {
			return main
		}
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(dir, filepath.FromSlash(h.Name))
		if h.FileInfo().IsDir() || !filepath.IsLocal(filepath.FromSlash(h.Name)) {
			continue
		}
		raw, err := io.ReadAll(files)
		if err == nil {
			err = os.MkdirAll(filepath.Dir(to), 0o700)
		}
		if err == nil {
			err = os.WriteFile(to, raw, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		if filepath.Base(to) == "openapi.yaml" {
			main = to
		}
	}
}

// A dumped operation is what checks outside of this module read.
type dumped struct {
	ID, Method, Path, Name, Description, File string
	Line                                      int
	Input, Shown, Output                      json.RawMessage   `json:",omitempty"`
	Parameters, Withheld                      []string          // place and name on the wire
	Arguments                                 map[string]string // place and name on the wire of each
	MediaType                                 string
	Members                                   []string // of the body, on the wire
	Whole                                     bool     // the body is one argument
	Notes                                     []string
}

func dump(t *testing.T, name string, d *Document) {
	dir := os.Getenv("OPENAPI_DUMP")
	if dir == "" {
		return
	}
	var out struct {
		Operations []dumped
		LeftOut    []LeftOut
	}
	out.LeftOut = d.LeftOut
	at := map[rest.Place]string{rest.Path: "path", rest.Query: "query", rest.Header: "header", rest.Cookie: "cookie"}
	for i := range d.Operations {
		o := &d.Operations[i]
		to := dumped{ID: o.ID, Method: o.Method, Path: o.Path, Name: o.Name, Description: o.Description, File: o.Place.File, Line: o.Place.Line, Input: o.Input, Shown: o.Shown, Output: o.Output, Notes: o.Notes, Arguments: map[string]string{}}
		for _, p := range o.Request.Parameters {
			to.Parameters = append(to.Parameters, at[p.In]+" "+p.Name)
			to.Arguments[p.Argument] = at[p.In] + " " + p.Name
		}
		for _, p := range o.Withheld {
			to.Withheld = append(to.Withheld, at[p.In]+" "+p.Name)
		}
		if b := o.Request.Body; b != nil {
			to.MediaType, to.Whole = b.MediaType, b.Argument != ""
			if to.Whole {
				to.Arguments[b.Argument] = "body "
			}
			for _, m := range b.Members {
				to.Members = append(to.Members, m.Name)
				to.Arguments[m.Argument] = "body " + m.Name
			}
		}
		out.Operations = append(out.Operations, to)
	}
	raw, err := json.Marshal(out)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name+".json"), raw, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestOne reads the document at OPENAPI_DOCUMENT, so that local/checks/openapi can measure a process that does that and nothing else.
func TestOne(t *testing.T) {
	at := os.Getenv("OPENAPI_DOCUMENT")
	if at == "" {
		t.Skip("OPENAPI_DOCUMENT names no file: (cd local/checks && go test ./openapi) runs this")
	}
	d, err := Read(t.Context(), at, Options{Server: "https://api.example.com"})
	if err != nil || len(d.Operations) == 0 {
		t.Fatal(err)
	}
	if status, err := os.ReadFile("/proc/self/status"); err == nil { // with the most memory that the process has had
		t.Logf("%s", status)
	}
}
