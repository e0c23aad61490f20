// Package command is the program's command line: a table of commands, with a file for each kind of them. What they work on the
// program brings along, so that a repository of its own has them too.
package command

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"iter"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"example.com/erlmcp/function/internal/backup"
	"example.com/erlmcp/function/internal/receipt"
	"example.com/erlmcp/function/internal/receipt/archive"
	"example.com/erlmcp/function/internal/receipt/verify"
	"example.com/erlmcp/function/internal/recovery"
)

// A Program is what has the commands.
type Program struct {
	Name    string // of its file
	Version string
	Product string // the version of erlmcp that it is made with

	Serve        func() error
	Stdio        func(context.Context) error // serves standard input and output
	OpenOperator func(context.Context) (Operator, error)
	OpenRecords  func(ctx context.Context, keyFile string) (Records, error)
	OpenRecovery func(ctx context.Context, keyFile string) (Recovery, error)
	ListBackups  func(ctx context.Context, place string, most int) (all []*backup.Manifest, unfinished []string, err error)
	Lint         func() ([]string, error) // says what models' interfaces and clients refuse or drop of the tools
	PublicKeys   func(file string) (receipt.PublicKeys, error)
	VerifyExport func(context.Context, io.Reader, receipt.PublicKeys, ...verify.Witness) (*verify.Report, error)
	Fetch        func(ctx context.Context, url, sha256 string) ([]byte, error) // a document of the outside
	HealthURL    func() (string, error)                                        // of the server with the settings at hand

	out, errs io.Writer
}

// An Operator shows and changes what holds while the fleet runs.
type Operator interface {
	// Order asks one of the control plane's routes.
	Order(ctx context.Context, method, path, etag string, body []byte) (status int, answer []byte, err error)
	Stored() bool   // tells whether orders go to a store
	Recorded() bool // tells whether they leave receipts
	Close()
}

// Records are the receipts of the fleet.
type Records interface {
	Verify(ctx context.Context, tenant string, from, to time.Time) (*verify.Report, error)
	Expect(...verify.Witness)
	Hold(ctx context.Context, place string, from time.Time) error
	Export(ctx context.Context, w io.Writer, tenant string, from, to time.Time) (int64, error)
	Find(ctx context.Context, id string) ([]receipt.Receipt, *verify.Report, error)
	Select(ctx context.Context, tenant string, from, to time.Time) iter.Seq2[receipt.Receipt, error]
	Close()
}

// A Recovery backs the store up to a place, and has it back from there.
type Recovery interface {
	Backup(ctx context.Context, place string, at time.Time, progress func(backup.Kind, int64)) (*backup.Manifest, error)
	Archive(ctx context.Context, place string) (*archive.Done, error) // nil where nothing is to be archived there
	Ship(ctx context.Context, place string) (*recovery.Shipped, error)
	Restore(ctx context.Context, place, name string, progress func(backup.Kind, int64)) (*recovery.Restored, error)
	Adopt(ctx context.Context, place string) (*recovery.Restored, error)
	Confirm(ctx context.Context, place string, replay bool) (*recovery.Confirm, *recovery.Plan, error)
	Drill(ctx context.Context, place string, what recovery.DrillOptions) (*recovery.Report, error)
	Close()
}

// A command is a row of the table.
type command struct {
	name, help string
	more       bool // it takes arguments, and -h says which
	run        func(p *Program, ctx context.Context, args []string, out io.Writer) error
}

// table is made when it is used, as help is one of its rows.
func table() []command {
	return []command{
		{"serve", "serve until SIGTERM; settings come from the environment; it is the default", false,
			func(p *Program, _ context.Context, _ []string, _ io.Writer) error { return p.Serve() }},
		{"stdio", "serve standard input and output, for a client that starts programs, until the input ends", false,
			func(p *Program, ctx context.Context, _ []string, _ io.Writer) error { return p.Stdio(ctx) }},
		{"tools", "list the tools of a server", true, (*Program).tools},
		{"call", "call a tool of a server", true, (*Program).call},
		{"probe", "exit with 0 if the server at PORT is healthy, or one elsewhere serves", true, (*Program).probe},
		{"judge", "say whether a canary may have more of the traffic, by its metrics beside the baseline's", true, (*Program).judge},
		{"keys", "make, list and revoke API keys", true,
			func(p *Program, _ context.Context, args []string, out io.Writer) error {
				return p.keys(args, out, time.Now())
			}},
		{"rotate", "bring a new sealing key into the fleet, in three steps", true,
			func(p *Program, ctx context.Context, args []string, out io.Writer) error {
				return p.rotate(ctx, args, out, time.Now())
			}},
		{"kill", "stop a tool, a tenant, an upstream or everything, on all instances", true, (*Program).kill},
		{"limits", "show and change the limits of the running fleet", true, (*Program).limits},
		{"receipts", "read and export the record of decisions", true, (*Program).receipts},
		{"verify", "prove that the record is whole", true, (*Program).verify},
		{"backup", "copy the store to a folder or a bucket, and each minute what shows that it was rolled back", true, (*Program).backup},
		{"restore", "have a store back from a backup, closed until what was ordered since is replayed", true, (*Program).restore},
		{"drill", "show that the store can be had back, in another one, and in what time", true, (*Program).drill},
		{"catalog", "check, compare and begin catalog files, which declare tools without code", true, (*Program).catalog},
		{"new", "make a repository of your own", true, (*Program).newRepository},
		{"settings", "list the settings", true, (*Program).settings},
		{"lint", "say what models' interfaces and clients refuse or drop of the tools, and exit with 1 if there is any", false, (*Program).lint},
		{"version", "print the version", false, func(p *Program, _ context.Context, _ []string, out io.Writer) error {
			fmt.Fprintln(out, p.Version)
			return nil
		}},
	}
}

func (p *Program) lint(_ context.Context, _ []string, out io.Writer) error {
	findings, err := p.Lint()
	if err != nil {
		return err
	}
	for _, finding := range findings {
		fmt.Fprintln(out, finding)
	}
	if len(findings) > 0 {
		return errSaid
	}
	return nil
}

var (
	errUsage = errors.New("the command line is wrong")
	// errSaid is that a command has said what is wrong.
	errSaid = errors.New("said")
)

// Run runs the command that the arguments name and returns the exit status: 1 if it failed, 2 if it was not understood; judge has 3 for
// that there is no verdict.
func (p *Program) Run(args []string, out, errs io.Writer) int {
	p.out, p.errs = out, errs
	name := "serve"
	if len(args) > 0 {
		name, args = args[0], args[1:]
	}
	switch {
	case name == "--version" || name == "-version":
		name = "version"
	case isHelp(name) && len(args) == 0:
		p.usage(out)
		return 0
	case isHelp(name):
		name, args = args[0], []string{"-h"}
	}
	c := find(name)
	if c == nil {
		fmt.Fprintf(errs, "%s: unknown command %q\n\n", p.Name, name)
		p.usage(errs)
		return 2
	}
	if !c.more && len(args) > 0 {
		if isHelp(args[0]) {
			fmt.Fprintf(out, "%s %s: %s\n", p.Name, c.name, c.help)
			return 0
		}
		fmt.Fprintf(errs, "%s %s takes no arguments: %q\n", p.Name, name, args)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var status statusError
	switch err := c.run(p, ctx, args, out); {
	case errors.As(err, &status):
		return int(status)
	case err == nil || errors.Is(err, flag.ErrHelp):
		return 0
	case errors.Is(err, errUsage):
		fmt.Fprintf(errs, "%s %s: %s\n\n%[1]s %[2]s -h says how.\n", p.Name, name, shownLines(p.text(err.Error())))
		return 2
	case c.name == "serve" || c.name == "stdio": // whose faults are said in whole sentences
		fmt.Fprintln(errs, err)
	case !errors.Is(err, errSaid):
		fmt.Fprintf(errs, "%s: %s\n", p.Name, shownLines(p.text(err.Error())))
	}
	return 1
}

func find(name string) *command {
	for _, c := range table() {
		if c.name == name {
			return &c
		}
	}
	return nil
}

func isHelp(word string) bool {
	return word == "help" || word == "-h" || word == "-help" || word == "--help"
}

func (p *Program) usage(w io.Writer) {
	with := ""
	if p.Version != p.Product {
		with = ", made with erlmcp " + p.Product
	}
	fmt.Fprintf(w, "%s %s: a governed MCP server%s\n\nUsage:\n", p.Name, p.Version, with)
	t := tabwriter.NewWriter(w, 0, 0, 4, ' ', 0)
	for _, c := range table() {
		more := ""
		if c.more {
			more = fmt.Sprintf(": %s %s -h", p.Name, c.name)
		}
		fmt.Fprintf(t, "  %s %s\t%s%s\n", p.Name, c.name, c.help, more)
	}
	t.Flush()
}

// mention finds where a text may speak of a command.
var mention = regexp.MustCompile(`\berlmcp ([a-z]+)\b`)

// text is a text in which the program goes by its own name.
func (p *Program) text(s string) string {
	return mention.ReplaceAllStringFunc(s, func(words string) string {
		if name := strings.TrimPrefix(words, "erlmcp "); find(name) != nil {
			return p.Name + " " + name
		}
		return words
	})
}
