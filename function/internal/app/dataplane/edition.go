package dataplane

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"example.com/erlmcp/function/internal/admission"
	"example.com/erlmcp/function/internal/catalog"
	"example.com/erlmcp/function/internal/directives"
	"example.com/erlmcp/function/internal/fleet"
	"example.com/erlmcp/function/internal/mcp"
)

// An edition is what is served of one version of the catalog: what decides on it and the engine that calls from it. It is never changed, and
// an HTTP message is served by one edition to its end. What outlives it is shared by all editions: counters, breakers, what operators have
// ordered, and what is known of callers.
type edition struct {
	catalog *catalog.Catalog
	gate    *admission.Gate
	engine  *mcp.Server
	scopes  []string // of OAuth, that the settings and the entries ask for
	served  struct { // to the fleet
		note []byte
		name string
	}
}

// edition completes an edition of a catalog and its gate.
func (p *Plane) edition(c *catalog.Catalog, gate *admission.Gate) *edition {
	e := &edition{catalog: c, gate: gate, scopes: slices.Clone(p.Config.Callers.Scopes)}
	o := p.engine
	o.Catalog, o.Gate = c, gate
	e.engine = mcp.NewServer(o)
	for scope := range c.Scopes() {
		if !slices.Contains(e.scopes, scope) {
			e.scopes = append(e.scopes, scope)
		}
	}
	slices.Sort(e.scopes)
	limits, _ := admission.ConfiguredLimits(p.Config, c, p.Stores.Quotas != nil, &directives.Directives{}) // the gate's faults are those
	serves := fleet.Served{Scopes: c.LimitScopes(), Former: c.FormerScopes(), Limits: limits}
	e.served.note, e.served.name = serves.Note()
	return e
}

// declared is the state of what was declared.
type declared struct {
	mu       sync.Mutex // held while a declaration is taken
	taken    atomic.Int64
	rejected atomic.Int64
	fault    atomic.Pointer[error] // of the last one, which is not in force
}

// Declare has a declaration be served in place of the one before: the next HTTP message is served by it, and those under way end as they
// began. A declaration with any fault changes nothing: what was in force stays so, and the error, which lists every fault, is in Degraded, the
// metrics and the log until another declaration is taken.
func (p *Plane) Declare(d catalog.Declaration) error {
	p.declared.mu.Lock()
	defer p.declared.mu.Unlock()
	if d.Hash != "" && d.Hash == p.Catalog().Hash() { // back to what is in force
		p.declared.fault.Store(nil)
		return nil
	}
	next, err := p.declare(&d)
	if err != nil {
		p.reject(err)
		return err
	}
	p.current.Store(next)
	p.declared.taken.Add(1)
	p.declared.fault.Store(nil)
	p.Telemetry.Keep(next.catalog.Lists)
	p.WarnOfNames(next.catalog)
	p.Logger.Info("another catalog is in force", "catalog", next.catalog.Version(), "hash", d.Hash)
	return nil
}

// Reject tells that what should be declared can't be: it can't be read, or is no declaration. What is in force stays so.
func (p *Plane) Reject(err error) {
	p.declared.mu.Lock()
	defer p.declared.mu.Unlock()
	p.reject(err)
}

// reject tells of a fault, and in the log once for each.
func (p *Plane) reject(err error) {
	p.declared.rejected.Add(1)
	if before := p.declared.fault.Swap(&err); before == nil || (*before).Error() != err.Error() {
		p.Logger.Error("what is declared can't be served, and the catalog before stays in force", "error", err)
	}
}

// declare makes the edition of a declaration. Its error lists every fault.
func (p *Plane) declare(d *catalog.Declaration) (*edition, error) {
	entries, err := p.collect(d)
	if err != nil {
		return nil, err
	}
	gate, err := p.Gate().Over(entries)
	if err = errors.Join(err, needStore(p.Config, entries, p.Stores)); err != nil {
		return nil, err
	}
	return p.edition(entries, gate), nil
}

// collect makes a catalog of the program's own entries, those of the governor, and what is declared, and warns of what others refuse of it.
func (p *Plane) collect(d *catalog.Declaration) (*catalog.Catalog, error) {
	entries, err := d.Build(p.own...)
	if err != nil {
		return nil, err
	}
	for _, finding := range entries.Lint() {
		if finding.Rule.AtStart {
			p.Logger.Warn("some models' interfaces refuse a tool, and the list that it is in", "finding", finding.String())
		}
	}
	return entries, nil
}

// degraded says why what is declared is not in force.
func (d *declared) degraded() []string {
	err := d.fault.Load()
	if err == nil {
		return nil
	}
	return []string{fmt.Sprintf("catalog: what was in force stays so: %s", strings.ReplaceAll((*err).Error(), "\n", "; "))}
}
