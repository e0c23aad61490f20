package command

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"example.com/erlmcp/function/internal/backend/openapi"
	"example.com/erlmcp/function/internal/catalog"
	"example.com/erlmcp/function/internal/catalogfile"
)

const catalogUsage = `erlmcp catalog works on catalog files, which declare tools, resources and prompts without code.

  erlmcp catalog check [-json] FILE…          say what is offered and what is left out, and why; exits with 1 on a fault
  erlmcp catalog diff [-json] OLD NEW         say what changes for callers; exits with 1 if a call that was taken may be refused
  erlmcp catalog import openapi [-name NAME] URL|FILE
                                              write a first catalog file of a document, to be edited
  erlmcp catalog schema                       print the JSON Schema of catalog files, for editors

An editor with the language server of YAML completes and checks a file that begins with

  # yaml-language-server: $schema=catalog.schema.json

where erlmcp catalog schema has written that file.

`

func (p *Program) catalog(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("catalog", flag.ContinueOnError)
	flags.SetOutput(out)
	if len(args) == 0 || isHelp(args[0]) {
		return p.understand(flags, catalogUsage, []string{"-h"}, 0)
	}
	asJSON := flags.Bool("json", false, "")
	name := flags.String("name", "", "")
	what, rest := args[0], args[1:]
	if what == "import" {
		if len(rest) == 0 || rest[0] != "openapi" {
			return fmt.Errorf("%w: import knows documents of openapi: erlmcp catalog import openapi URL|FILE", errUsage)
		}
		rest = rest[1:]
	}
	if err := p.understand(flags, catalogUsage, rest, -1); err != nil {
		return err
	}
	files := flags.Args()
	c := catalogs{p: p, ctx: ctx, out: out, json: *asJSON}
	switch {
	case *name != "" && what != "import":
		return fmt.Errorf("%w: -name is of import", errUsage)
	case *asJSON && what != "check" && what != "diff":
		return fmt.Errorf("%w: -json is of check and diff", errUsage)
	case what == "schema" && len(files) == 0:
		_, err := out.Write(catalogfile.Schema())
		return err
	case what == "check" && len(files) > 0:
		return c.check(files)
	case what == "diff" && len(files) == 2:
		return c.diff(files[0], files[1])
	case what == "import" && len(files) == 1:
		return c.importOpenAPI(files[0], *name)
	}
	forms := map[string]string{"check": "check FILE…", "diff": "diff OLD NEW", "import": "import openapi URL|FILE", "schema": "schema"}
	if form := forms[what]; form != "" {
		return fmt.Errorf("%w: it is erlmcp catalog %s, and %d files are named", errUsage, form, len(files))
	}
	return fmt.Errorf("%w: there is no %q: there are %s", errUsage, what, strings.Join(slices.Sorted(maps.Keys(forms)), ", "))
}

// catalogs is what the commands on catalog files share.
type catalogs struct {
	p    *Program
	ctx  context.Context
	out  io.Writer
	json bool
}

// read reads a file as far as that can be done without its secrets.
func (c *catalogs) read(file string) (*catalogfile.Catalog, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return catalogfile.Read(c.ctx, text, catalogfile.Options{File: file, Getenv: os.Getenv, Fetch: c.p.Fetch})
}

// A checked file is what check says of it.
type checked struct {
	File    string               `json:"file"`
	Hash    string               `json:"hash,omitempty"`
	Sources []catalogfile.Report `json:"sources,omitempty"`
	Bytes   int                  `json:"bytes,omitempty"`  // of the list of tools
	Tokens  int                  `json:"tokens,omitempty"` // of it, estimated
	Refused []string             `json:"refused,omitempty"`
	Faults  []string             `json:"faults,omitempty"`
}

// bytesOfToken is how many bytes of JSON schemas a token has, about: OpenAI's o200k_base makes 3.6 to 4.2 of them.
const bytesOfToken = 4

func (c *catalogs) check(files []string) error {
	var bad bool
	var all []checked
	for _, file := range files {
		one := c.checkFile(file)
		bad = bad || len(one.Faults) > 0
		if all = append(all, one); !c.json {
			c.show(&one)
		}
	}
	if c.json {
		if err := c.encode(all); err != nil {
			return err
		}
	}
	if bad {
		return errSaid
	}
	return nil
}

func (c *catalogs) checkFile(file string) checked {
	one := checked{File: file}
	read, err := c.read(file)
	var built *catalog.Catalog
	if err == nil {
		built, err = catalog.Build(read.Entries...)
	}
	if err != nil {
		one.Faults = strings.Split(err.Error(), "\n")
		return one
	}
	one.Hash, one.Sources = read.Hash, read.Sources
	for name, size := range built.Sizes() {
		one.Bytes += size
		for i := range one.Sources {
			for j := range one.Sources[i].Offered {
				if o := &one.Sources[i].Offered[j]; o.Tool == name {
					o.Bytes = size
				}
			}
		}
	}
	one.Tokens = one.Bytes / bytesOfToken
	for _, finding := range built.Lint() {
		one.Refused = append(one.Refused, finding.String())
	}
	return one
}

// show says what was found in words.
func (c *catalogs) show(one *checked) {
	if len(one.Faults) > 0 {
		fmt.Fprintf(c.out, "%s is refused:\n", one.File)
		for _, fault := range one.Faults {
			fmt.Fprintf(c.out, "  %s\n", fault)
		}
		return
	}
	tools := 0
	for _, s := range one.Sources {
		fmt.Fprintf(c.out, "%s (%s %s)\n", s.Source, s.Kind, s.From)
		for _, o := range s.Offered {
			fmt.Fprintf(c.out, "  %-48s %s  %d bytes\n", o.Tool, o.From, o.Bytes)
			for _, note := range o.Notes {
				fmt.Fprintf(c.out, "      note: %s\n", note)
			}
			tools++
		}
		for _, l := range s.LeftOut {
			fmt.Fprintf(c.out, "  left out: %s, %s: %s\n", l.Operation, l.Place, l.Reason)
		}
		if s.Unmatched > 0 {
			fmt.Fprintf(c.out, "  %d operations are named by no line\n", s.Unmatched)
		}
		for _, note := range s.Notes {
			fmt.Fprintf(c.out, "  note: %s\n", note)
		}
	}
	for _, refused := range one.Refused {
		fmt.Fprintf(c.out, "refused elsewhere: %s\n", refused)
	}
	fmt.Fprintf(c.out, "%s: %d tools, whose list has %d bytes, some %d tokens; catalog %s\n", one.File, tools, one.Bytes, one.Tokens, one.Hash)
}

func (c *catalogs) diff(before, after string) error {
	was, err := c.read(before)
	is, err2 := c.read(after)
	if err := errors.Join(wrap(before, err), wrap(after, err2)); err != nil {
		return err
	}
	changes := catalogfile.Diff(was, is)
	breaking := false
	for _, change := range changes {
		if breaking = breaking || change.Breaking; !c.json {
			fmt.Fprintln(c.out, change)
		}
	}
	if c.json {
		if err := c.encode(changes); err != nil {
			return err
		}
	} else if len(changes) == 0 {
		fmt.Fprintln(c.out, "nothing changes for callers")
	}
	if breaking {
		return errSaid
	}
	return nil
}

func wrap(file string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}

func (c *catalogs) encode(v any) error {
	e := json.NewEncoder(c.out)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// importOpenAPI writes a first catalog of a document.
func (c *catalogs) importOpenAPI(where, name string) error {
	var sum string
	o := openapi.Options{Fetch: func(ctx context.Context, url string) ([]byte, error) {
		text, err := c.p.Fetch(ctx, url, "")
		if err == nil && url == where {
			hash := sha256.Sum256(text)
			sum = hex.EncodeToString(hash[:])
		}
		return text, err
	}}
	d, err := openapi.Read(c.ctx, where, o)
	if err == nil && len(d.Operations) == 0 && len(d.LeftOut) > 0 { // perhaps for want of a server
		o.Server = unknownServer
		d, err = openapi.Read(c.ctx, where, o)
	}
	if err != nil {
		return err
	}
	text, err := catalogfile.Import(d, catalogfile.Imported{Name: name, From: where, SHA256: sum, Server: o.Server})
	if err == nil {
		_, err = c.out.Write(text)
	}
	return err
}

// unknownServer stands for the one that a document does not name.
const unknownServer = "https://api.example.com"
