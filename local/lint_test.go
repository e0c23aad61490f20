package main

import (
	"testing"

	"example.com/erlmcp/local/sample"
)

// TestLint wants nothing in the sample that an interface refuses or drops. Of function/tools, which users edit, make lint says it.
func TestLint(t *testing.T) {
	findings, err := sample.Catalog().Lint()
	if err != nil {
		t.Error(err)
	}
	for _, finding := range findings {
		t.Error(finding)
	}
}
