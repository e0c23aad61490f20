package command

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"example.com/erlmcp/function/internal/identity"
)

const keysUsage = `Make, list and revoke API keys.

Usage:
  erlmcp keys add -tenant NAME [-subject NAME] [-scopes a,b] [-expires 90d]
  erlmcp keys rotate ID [-overlap 24h]    a new key for the same caller; the old one ends after the overlap
  erlmcp keys revoke ID
  erlmcp keys list

The keys are in the file that API_KEYS_FILE names, or -file: with hashes, never the keys themselves, so that it may lie where
secrets do. It is replaced in one step, and keeps its mode and owner; a link is followed, and of several commands at once each waits
for the others. A server that has it mounted follows a change within seconds. A key is printed once, when it is made; its bearer
sends it as Authorization: Bearer KEY.

A key has no scopes unless -scopes says so. Without any it may call what needs none; tools that are declared with Scopes, and all calls
where OAUTH_SCOPES is set, need theirs.

`

// A keysCommand is what the arguments of erlmcp keys say.
type keysCommand struct {
	action           string
	path             string
	key              identity.Key // that is made
	scopes           string
	expires, overlap time.Duration
	ids              []string
}

func (p *Program) keys(args []string, out io.Writer, now time.Time) error {
	if len(args) == 0 || isHelp(args[0]) {
		fmt.Fprint(out, p.text(keysUsage))
		return nil
	}
	c := keysCommand{action: args[0], key: identity.Key{Created: now.UTC().Truncate(time.Second)}}
	flags, err := c.flags()
	if err != nil {
		return err
	}
	for args = args[1:]; ; {
		if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
			fmt.Fprint(out, p.text(keysUsage))
			flags.SetOutput(out)
			flags.PrintDefaults()
			return nil
		} else if err != nil {
			return fmt.Errorf("%w: %w", errUsage, err)
		}
		if flags.NArg() == 0 {
			break
		}
		c.ids, args = append(c.ids, flags.Arg(0)), flags.Args()[1:]
	}
	switch {
	case c.path == "":
		return errors.New("which file? Set API_KEYS_FILE, or give -file keys.json")
	case c.action == "list":
		text, err := os.ReadFile(c.path)
		if err != nil {
			return err
		}
		file, err := readKeys(text, c.path)
		if err != nil {
			return err
		}
		return listKeys(out, file, now)
	case c.action == "add":
		return c.add(out)
	case len(c.ids) != 1:
		return fmt.Errorf("erlmcp keys %s takes the id of one key: erlmcp keys list shows them", c.action)
	case c.action == "revoke":
		return c.revoke(out, now)
	}
	return addKey(out, c.path, func(file *identity.KeyFile) (identity.Key, error) { return c.rotate(file, now) })
}

// flags are those of the action.
func (c *keysCommand) flags() (*flag.FlagSet, error) {
	flags := flag.NewFlagSet("keys "+c.action, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&c.path, "file", os.Getenv("API_KEYS_FILE"), "the file of keys")
	switch c.action {
	case "add":
		flags.StringVar(&c.key.Tenant, "tenant", "", "whom the caller belongs to")
		flags.StringVar(&c.key.Subject, "subject", "default", "the caller within the tenant")
		flags.StringVar(&c.scopes, "scopes", "", "what its bearer may do beyond calling what needs no scope, separated by commas; * is everything")
		flags.Func("expires", "time after which the key ends, such as 90d or 12h; default never", days(&c.expires))
	case "rotate":
		c.overlap = 24 * time.Hour
		flags.Func("overlap", "time for which the old key goes on, such as 24h or 7d; default 24h", days(&c.overlap))
	case "revoke", "list":
	default:
		return nil, fmt.Errorf("%w: there is no erlmcp keys %s: there are add, rotate, revoke and list", errUsage, c.action)
	}
	return flags, nil
}

func (c *keysCommand) add(out io.Writer) error {
	if len(c.ids) > 0 {
		return fmt.Errorf("keys add takes no arguments, only flags: %q", c.ids)
	}
	if c.key.Tenant == "" {
		return errors.New("whose key? Give -tenant NAME")
	}
	for s := range strings.SplitSeq(c.scopes, ",") {
		if s = strings.TrimSpace(s); s != "" {
			c.key.Scopes = append(c.key.Scopes, s)
		}
	}
	if c.expires > 0 {
		c.key.Expires = c.key.Created.Add(c.expires)
	}
	return addKey(out, c.path, func(*identity.KeyFile) (identity.Key, error) { return c.key, nil })
}

// old is the key that the arguments name.
func (c *keysCommand) old(file *identity.KeyFile) (*identity.Key, error) {
	i := slices.IndexFunc(file.Keys, func(k identity.Key) bool { return k.ID == c.ids[0] })
	if i < 0 {
		return nil, fmt.Errorf("there is no key %q in %s: erlmcp keys list shows them", c.ids[0], c.path)
	}
	return &file.Keys[i], nil
}

func (c *keysCommand) revoke(out io.Writer, now time.Time) error {
	var old *identity.Key
	err := changeKeys(c.path, func(file *identity.KeyFile) (err error) {
		if old, err = c.old(file); err == nil {
			old.Revoked = now.UTC().Truncate(time.Second)
		}
		return err
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "revoked %s of %s/%s\n", old.ID, shown(old.Tenant), shown(old.Subject))
	return nil
}

// rotate returns a key for the same caller, and has the old one end after the overlap.
func (c *keysCommand) rotate(file *identity.KeyFile, now time.Time) (identity.Key, error) {
	old, err := c.old(file)
	if err != nil {
		return identity.Key{}, err
	}
	if state := old.State(now); state != "valid" {
		return identity.Key{}, fmt.Errorf("the key %s is %s: make another with erlmcp keys add", old.ID, state)
	}
	k := old.Next(c.key.Created)
	if end := k.Created.Add(c.overlap); old.Expires.IsZero() || end.Before(old.Expires) {
		old.Expires = end
	}
	return k, nil
}

// days reads a duration that may be in days.
func days(into *time.Duration) func(string) error {
	return func(text string) error {
		unit := time.Duration(1)
		if n, ok := strings.CutSuffix(text, "d"); ok {
			text, unit = n+"h", 24
		}
		d, err := time.ParseDuration(text)
		if err != nil || d < 0 {
			return errors.New("it is no time such as 90d or 12h")
		}
		*into = d * unit
		return nil
	}
}

// addKey makes a key of what is said of it, which may change others in the file, and prints its text.
func addKey(out io.Writer, path string, say func(*identity.KeyFile) (identity.Key, error)) error {
	var text string
	var k identity.Key
	err := changeKeys(path, func(file *identity.KeyFile) (err error) {
		if k, err = say(file); err == nil {
			text, k = identity.NewKey(k)
			file.Keys = append(file.Keys, k)
		}
		return err
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "the key %s of %s/%s, with %s, is in %s; this is the only time that it is shown:\n", k.ID, shown(k.Tenant), shown(k.Subject), scopesOf(&k), path)
	fmt.Fprintln(out, text)
	return nil
}

func scopesOf(k *identity.Key) string {
	if len(k.Scopes) == 0 {
		return "no scopes"
	}
	return "the scopes " + strings.Join(k.Scopes, ",")
}

func listKeys(out io.Writer, file *identity.KeyFile, now time.Time) error {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ID\tTENANT\tSUBJECT\tSCOPES\tCREATED\tEXPIRES\tSTATE")
	date := func(at time.Time) string {
		if at.IsZero() {
			return "never"
		}
		return at.UTC().Format(time.DateOnly)
	}
	for _, k := range file.Keys {
		fmt.Fprintln(t, row(k.ID, k.Tenant, k.Subject, cmp.Or(strings.Join(k.Scopes, ","), "none"), date(k.Created), date(k.Expires), k.State(now)))
	}
	return t.Flush()
}
