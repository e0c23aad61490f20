package function

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"example.com/erlmcp/function/internal/app"
	"example.com/erlmcp/function/internal/app/controlplane"
	"example.com/erlmcp/function/internal/app/dataplane"
	"example.com/erlmcp/function/internal/command"
	"example.com/erlmcp/function/internal/config"
	"example.com/erlmcp/function/internal/serve"
	"example.com/erlmcp/function/internal/stdio"
)

// Main is a program's main: without arguments it serves until SIGTERM or SIGINT, drains, and returns; a fault stops the start with
// status 1 and all faults listed. With arguments it is the command that they name, as erlmcp help lists them, and exits with 2 if
// there is none. Settings come from the environment (infra/docs/settings.md has the table).
func Main(o Options) {
	p := &command.Program{
		Name:    strings.TrimSuffix(filepath.Base(os.Args[0]), ".exe"),
		Version: cmp.Or(o.Catalog.Info.Version, Version),
		Product: Version,
		Serve:   func() error { return run(o) },
		Stdio:   func(ctx context.Context) error { return runStdio(ctx, o) },
		OpenOperator: func(ctx context.Context) (command.Operator, error) {
			return controlplane.OpenLocal(ctx, o.app())
		},
		OpenRecords: func(ctx context.Context, keyFile string) (command.Records, error) {
			return app.OpenRecords(ctx, keyFile, o.app())
		},
		OpenRecovery: func(ctx context.Context, keyFile string) (command.Recovery, error) {
			return app.OpenRecovery(ctx, keyFile, o.app())
		},
		ListBackups:  app.ListBackups,
		Lint:         o.Catalog.Lint,
		PublicKeys:   app.PublicKeys,
		VerifyExport: app.VerifyExport,
		Fetch:        app.Fetch,
		HealthURL:    healthURL,
	}
	if status := p.Run(os.Args[1:], os.Stdout, os.Stderr); status != 0 {
		os.Exit(status)
	}
}

// healthURL is where a server with the settings at hand answers for its health on this machine.
func healthURL() (string, error) {
	c, err := config.Load(os.Getenv, config.Machine{})
	if err != nil {
		return "", &StartError{Faults: err}
	}
	return fmt.Sprintf("http://127.0.0.1:%d%s", c.Port, c.Health), nil
}

// runStdio serves who has started the program, and nobody else: no credentials are asked for, and the log goes to standard error.
func runStdio(ctx context.Context, o Options) error {
	serve.LimitMemory(os.Getenv)
	o.Loopback, o.LogOutput = true, os.Stderr
	o.set(map[string]string{"AUTHENTICATION": "", "FUNCTION_TARGET": app.Target})
	s, err := dataplane.New(ctx, o.app())
	if err != nil {
		return err
	}
	defer s.Close()
	return stdio.Serve(ctx, stdio.Options{Handler: s, Mirrors: s.Headers}, os.Stdin, os.Stdout)
}
