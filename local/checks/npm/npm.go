// Package npm finds what the checks take from npm.
package npm

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// Modules has node/node_modules of the test's package lead to what node/package.json names, which local/checks/built installs
// once, and returns a Node that is new enough for it.
func Modules(t *testing.T, name string) (node string) {
	t.Helper()
	var fault bytes.Buffer
	cmd := exec.Command("../built", name)
	cmd.Stderr = &fault
	dir, err := cmd.Output()
	if err != nil {
		t.Fatalf("built %s: %v\n%s", name, err, fault.Bytes())
	}
	const link = "node/node_modules"
	target := strings.TrimSpace(string(dir)) + "/node_modules"
	if was, _ := os.Readlink(link); was != target {
		if err := errors.Join(os.RemoveAll(link), os.Symlink(target, link)); err != nil {
			t.Fatal(err)
		}
	}
	arch := map[string]string{"amd64": "x64", "arm64": "arm64"}[runtime.GOARCH]
	node, err = filepath.Abs("node/node_modules/node-" + runtime.GOOS + "-" + arch + "/bin/node")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(node); err != nil {
		node = "node" // a system without a packaged one: it must be 24 or later
	}
	return node
}
