// Command module takes another path for the module of this copy of the repository, in every file that names it:
//
//	go run ./local/module github.com/acme/agents
package main

import (
	"bytes"
	"errors"
	"fmt"
	"go/format"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: go run ./local/module NAME, or make module NAME=github.com/acme/agents")
		os.Exit(2)
	}
	n, err := rename(".", os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "module:", err)
		os.Exit(1)
	}
	fmt.Printf("%d files name %s now\n", n, os.Args[1])
}

var (
	// Google's buildpack wants a dot in the first element of the path, and go get a repository behind it.
	valid  = regexp.MustCompile(`^[a-z0-9-]+(\.[a-z0-9-]+)+(/[A-Za-z0-9][A-Za-z0-9._~-]*)+$`)
	module = regexp.MustCompile(`(?m)^module (\S+)$`)
	// left are folders of tools and of what is built.
	left = []string{".git", ".tools", "bin", "dist", "node_modules", "vendor", ".terraform"}
)

// rename returns in how many files it has replaced the module's path.
func rename(root, name string) (int, error) {
	if !valid.MatchString(name) {
		return 0, fmt.Errorf("%q is no module path such as github.com/acme/agents, whose first part has a dot", name)
	}
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		return 0, err
	}
	old := module.FindSubmatch(mod)
	if old == nil {
		return 0, errors.New("go.mod names no module")
	}
	// Neither as a part of a longer name, nor of a host's.
	mention := regexp.MustCompile(`(^|[^A-Za-z0-9._/-])` + regexp.QuoteMeta(string(old[1])) + `($|[^A-Za-z0-9_-])`)
	changed := 0
	err = filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && slices.Contains(left, d.Name()) {
			return filepath.SkipDir
		}
		if !d.Type().IsRegular() {
			return nil
		}
		before, err := os.ReadFile(file)
		if err != nil || bytes.IndexByte(before[:min(len(before), 8000)], 0) >= 0 || !mention.Match(before) {
			return err
		}
		after := mention.ReplaceAll(before, []byte("${1}"+name+"${2}"))
		if strings.HasSuffix(file, ".go") {
			if after, err = format.Source(after); err != nil { // puts imports in order
				return fmt.Errorf("%s: %w", file, err)
			}
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		changed++
		return os.WriteFile(file, after, info.Mode().Perm())
	})
	return changed, err
}
