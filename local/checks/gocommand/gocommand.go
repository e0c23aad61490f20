// Package gocommand runs the go command, and the test programs that it builds, for checks that need to do so many times.
// What a process starts ends with it: a test that is cut off would else leave its servers behind.
package gocommand

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// A Package is what go list says of a package.
type Package struct {
	ImportPath, Dir                    string
	GoFiles, TestGoFiles, XTestGoFiles []string
	Imports, TestImports, XTestImports []string
}

// Tested is true where the package has tests.
func (p Package) Tested() bool { return len(p.TestGoFiles)+len(p.XTestGoFiles) > 0 }

// List returns the packages that match patterns in a checkout, without those below a folder testdata.
func List(ctx context.Context, root string, patterns ...string) ([]Package, error) {
	fields := "-json=ImportPath,Dir,GoFiles,TestGoFiles,XTestGoFiles,Imports,TestImports,XTestImports"
	cmd := New(ctx, root, "go", append([]string{"list", fields}, patterns...)...)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := run(cmd); err != nil {
		return nil, fmt.Errorf("go list %s in %s: %w: %s", strings.Join(patterns, " "), root, err, &said)
	}
	var all []Package
	for d := json.NewDecoder(&out); ; {
		var p Package
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, fmt.Errorf("go list %s in %s: %w", strings.Join(patterns, " "), root, err)
		}
		all = append(all, p)
	}
}

// Name is the package's folder as it is called in a checkout.
func (p Package) Name(root string) string {
	if name, err := filepath.Rel(root, p.Dir); err == nil {
		return filepath.ToSlash(name)
	}
	return p.ImportPath
}

// New returns a command that has a process group of its own, all of which is killed once the context is done.
func New(ctx context.Context, dir, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second // for what the command has started and what holds its output open
	return cmd
}

// Output runs a command and returns what it wrote, its errors included.
func Output(cmd *exec.Cmd) ([]byte, error) {
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := run(cmd)
	return out.Bytes(), err
}

// run runs a command and ends what it leaves behind.
func run(cmd *exec.Cmd) error {
	if err := cmd.Start(); err != nil {
		return err
	}
	err := cmd.Wait()
	syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	if errors.Is(err, exec.ErrWaitDelay) { // it ended well, but something it left behind held its output open
		return nil
	}
	return err
}
