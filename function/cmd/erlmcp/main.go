// Command erlmcp is the container's main: it serves the function, and holds the operator's commands.
package main

import (
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"example.com/erlmcp/function"
)

const usage = `erlmcp %s: a governed MCP server

Usage:
  erlmcp [serve]    serve until SIGTERM; settings come from the environment
  erlmcp probe      exit 0 if the server at PORT is healthy; erlmcp probe -h: whether one elsewhere serves
  erlmcp settings   list the settings
  erlmcp version    print the version
  erlmcp keys       make, list and revoke API keys: erlmcp keys -h
  erlmcp kill       stop a tool, a tenant, an upstream or everything, on all instances: erlmcp kill -h
  erlmcp limits     show and change the limits of the running fleet: erlmcp limits -h
  erlmcp receipts   read and export the record of decisions: erlmcp receipts -h
  erlmcp verify     prove that the record is whole: erlmcp verify -h
`

func main() {
	command := "serve"
	if len(os.Args) > 1 {
		command = os.Args[1]
	}
	switch command {
	case "keys":
		if err := keys(os.Args[2:], os.Stdout, time.Now()); err != nil {
			fail(err)
		}
		return
	case "kill", "limits":
		operate(command, os.Args[2:])
		return
	case "receipts", "verify":
		records(command, os.Args[2:])
		return
	case "probe":
		if err := probe(os.Args[2:], os.Stdout); err != nil {
			fail(err)
		}
		return
	}
	if len(os.Args) > 2 {
		fail(fmt.Errorf("erlmcp %s takes no arguments", command))
	}
	switch command {
	case "serve":
		function.Main(function.WithTools(function.Tools()...))
	case "settings":
		settings(os.Stdout)
	case "version":
		fmt.Println(function.Version)
	case "help", "-h", "--help":
		fmt.Printf(usage, function.Version)
	default:
		fmt.Fprintf(os.Stderr, "erlmcp: unknown command %q\n\n", command)
		fmt.Fprintf(os.Stderr, usage, function.Version)
		os.Exit(2)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "erlmcp:", err)
	os.Exit(1)
}

func settings(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, s := range function.Settings() {
		fmt.Fprintf(t, "%s\t%s\n\tdefault: %s\n", s.Name, s.Help, s.Default)
	}
	t.Flush()
}
