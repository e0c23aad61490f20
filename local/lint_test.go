package main

import (
	"testing"

	"example.com/erlmcp/function"
	"example.com/erlmcp/function/tools"
	"example.com/erlmcp/local/sample"
)

// TestLint wants nothing in the catalogs that a local run serves that an interface refuses or drops.
func TestLint(t *testing.T) {
	for name, served := range map[string][]function.Option{"function/tools": tools.Catalog(), "local/sample": sample.Catalog()} {
		findings, err := function.Lint(served...)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, finding := range findings {
			t.Errorf("%s: %s", name, finding)
		}
	}
}
