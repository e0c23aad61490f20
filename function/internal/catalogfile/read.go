package catalogfile

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"path/filepath"
	"strings"
	"time"

	"example.com/erlmcp/function/internal/backend/firestore/documents"
	"example.com/erlmcp/function/internal/backend/rest"
	"example.com/erlmcp/function/internal/catalog"
	"example.com/erlmcp/function/internal/governor"
	"example.com/erlmcp/function/internal/policy"
)

// Options say where what a file names is had.
type Options struct {
	File   string // path of the file: paths in it begin at its folder
	Getenv func(string) string
	// Secret returns what a [Reference] stands for, as it is when it is used; nil for a file that is only checked.
	Secret func(reference string) (func(context.Context) (string, error), error)
	// Tokens are kept over all files that a process reads.
	Tokens *rest.Tokens
	// IDTokens and AccessToken are of the process's own Google account.
	IDTokens    rest.Minter
	AccessToken func(ctx context.Context, scopes string) (string, error)
	// Fetch gets a document at an https URL. The SHA-256 is the one that is wanted, in hexadecimal, or "".
	Fetch func(ctx context.Context, url, sha256 string) ([]byte, error)
	// Collections opens a database of Firestore, "" for the default one; nil for a file that is only checked.
	Collections func(database string) (func(path string) documents.Collection, error)
	// Files takes note of what the catalog is made of, beside the catalog file, though it is at fault.
	Files *Files
}

// A Catalog is what a file offers.
type Catalog struct {
	Entries []catalog.Entry
	Sources []Report
	Hash    string // of the file and of all that it names: 16 hexadecimal digits
}

// A Report says what became of a source.
type Report struct {
	Source    string    `json:"source"`
	Kind      string    `json:"kind"`
	From      string    `json:"from"`
	Offered   []Offered `json:"offered,omitempty"`
	LeftOut   []LeftOut `json:"leftOut,omitempty"`   // operations that a line names, and of which no tool can be made
	Unmatched int       `json:"unmatched,omitempty"` // operations that no line names
	Notes     []string  `json:"notes,omitempty"`
}

// Offered is a tool, and what it was made of.
type Offered struct {
	Tool  string   `json:"tool"`
	From  string   `json:"from"`
	Line  int      `json:"line"`            // of the catalog file
	Bytes int      `json:"bytes,omitempty"` // of the tool in the list, where that was made
	Notes []string `json:"notes,omitempty"`
}

// LeftOut is an operation that is not offered.
type LeftOut struct {
	Operation string `json:"operation"`
	Place     string `json:"place"`
	Reason    string `json:"reason"`
}

// Read makes what a file declares. Its error lists every fault, each with its line.
func Read(ctx context.Context, text []byte, o Options) (*Catalog, error) {
	f, err := Parse(text)
	if err != nil {
		return nil, err
	}
	r := &reader{ctx: ctx, Options: o, file: f, out: &Catalog{}, hash: sha256.New()}
	r.hash.Write(text)
	for i := range f.Sources {
		r.source(&f.Sources[i])
	}
	if f.Search != nil {
		r.out.Entries = append(r.out.Entries, &catalog.Search{Above: f.Search.Above})
	}
	if err := errors.Join(r.faults...); err != nil {
		return nil, err
	}
	r.out.Hash = hex.EncodeToString(r.hash.Sum(nil)[:8])
	return r.out, nil
}

// A reader makes entries of a file's sources, and keeps all faults.
type reader struct {
	Options
	ctx    context.Context
	file   *File
	out    *Catalog
	hash   hash.Hash
	faults []error
}

func (r *reader) fault(line int, format string, args ...any) {
	r.faults = append(r.faults, &Fault{Line: line, Text: fmt.Sprintf(format, args...)})
}

// faultsOf takes note of each line of an error, which is about something that stands at a line of the file.
func (r *reader) faultsOf(line int, what string, err error) {
	for text := range strings.SplitSeq(err.Error(), "\n") {
		r.fault(line, "%s: %s", what, text)
	}
}

// path is where a path of the file leads: relative ones begin at its folder.
func (r *reader) path(at string) string {
	if filepath.IsAbs(at) {
		return at
	}
	return filepath.Join(filepath.Dir(r.File), at)
}

// defaultTimeout is for a call of a tool, retries included.
const defaultTimeout = 20 * time.Second

// govern says what a tool is held to: what it says itself, before its source and the defaults.
func (r *reader) govern(s *Source, t *Tool) Governance {
	g := t.Governance
	d := r.file.Defaults
	if d == nil {
		d = &Defaults{}
	}
	g.Timeout = cmp.Or(g.Timeout, s.Timeout, d.Timeout, defaultTimeout)
	g.Limits = cmp.Or(g.Limits, s.Limits, d.Limits, &Limits{})
	g.Result = cmp.Or(g.Result, s.Result, d.Result, &Result{})
	g.Toolset = cmp.Or(g.Toolset, s.Toolset)
	g.RequireReceipt = cmp.Or(g.RequireReceipt, s.RequireReceipt)
	if g.Scopes == nil {
		g.Scopes = s.Scopes
	}
	// Conditions add up: a tool's own never lift those of its source.
	g.Allow = append(append([]Condition{}, s.Allow...), g.Allow...)
	g.Confirm = append(append([]Condition{}, s.Confirm...), g.Confirm...)
	return g
}

// terms are a tool's as the catalog has them.
func (r *reader) terms(g *Governance, s *Source, tool string, line int) catalog.Terms {
	l := g.Limits
	t := catalog.Terms{
		Place: fmt.Sprintf("%s:%d", filepath.Base(r.File), line), Timeout: g.Timeout, Weight: l.Weight, Upstream: s.Name, Pack: g.Toolset, Scopes: g.Scopes, Strict: g.RequireReceipt != nil && *g.RequireReceipt,
		Limits:  governor.Limit{PerSecond: l.PerSecond, Burst: float64(l.Burst), Concurrency: int64(l.Concurrent), PerDay: l.PerDay, DryRun: l.DryRun},
		Breaker: governor.Breaker{Failures: 5, Rest: 10 * time.Second},
	}
	if b := s.Breaker; b != nil {
		t.Breaker = governor.Breaker{Failures: b.Failures, Rest: b.Rest}
	}
	for _, c := range g.Allow {
		t.Rules = append(t.Rules, policy.Rule{When: "!(" + c.When + ")", Then: policy.Deny, Message: c.Message})
	}
	for _, c := range g.Confirm {
		t.Rules = append(t.Rules, policy.Rule{When: c.When, Then: policy.Confirm, Message: c.Message})
	}
	for i := range t.Rules {
		t.Rules[i].Name = fmt.Sprintf("%s-%d", tool, i+1)
	}
	return t
}
