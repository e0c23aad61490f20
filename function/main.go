package function

import (
	"cmp"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"example.com/erlmcp/function/internal/command"
	"example.com/erlmcp/function/internal/stdio"
)

// Main is a program's main: without arguments it serves until SIGTERM or SIGINT, drains, and returns; a fault stops the start with
// status 1 and all faults listed. With arguments it is the command that they name, as erlmcp help lists them, and exits with 2 if
// there is none. Settings come from the environment (README.md has the table).
func Main(opts ...Option) {
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	p := &command.Program{
		Name:    strings.TrimSuffix(filepath.Base(os.Args[0]), ".exe"),
		Version: cmp.Or(o.info.Version, Version),
		Product: Version,
		Serve:   func() error { return run(opts) },
		Stdio:   func(ctx context.Context) error { return runStdio(ctx, opts) },
		OpenOperator: func(ctx context.Context) (command.Operator, error) {
			return OpenOperator(ctx, opts...)
		},
		OpenRecords: func(ctx context.Context, keyFile string) (command.Records, error) {
			return OpenRecords(ctx, keyFile, opts...)
		},
		Lint:         func() ([]string, error) { return Lint(opts...) },
		PublicKeys:   PublicKeys,
		VerifyExport: VerifyExport,
		HealthURL:    func() (string, error) { return HealthURL(os.Getenv) },
	}
	if status := p.Run(os.Args[1:], os.Stdout, os.Stderr); status != 0 {
		os.Exit(status)
	}
}

// runStdio serves who has started the program, and nobody else: no credentials are asked for, and the log goes to standard error.
func runStdio(ctx context.Context, opts []Option) error {
	limitMemory(os.Getenv)
	s, err := New(ctx, append(slices.Clip(opts), WithLoopback(), WithLogOutput(os.Stderr), Changing(func(name, value string) string {
		switch name {
		case "AUTHENTICATION":
			return ""
		case "FUNCTION_TARGET":
			return Target
		}
		return value
	}))...)
	if err != nil {
		return err
	}
	defer s.Close()
	return stdio.Serve(ctx, stdio.Options{Handler: s, Mirrors: s.observer.catalog.Headers}, os.Stdin, os.Stdout)
}
