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

func (p *Program) keys(args []string, out io.Writer, now time.Time) error {
	if len(args) == 0 || isHelp(args[0]) {
		fmt.Fprint(out, p.text(keysUsage))
		return nil
	}
	action := args[0]
	flags := flag.NewFlagSet("keys "+action, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	path := flags.String("file", os.Getenv("API_KEYS_FILE"), "the file of keys")
	k := identity.Key{Created: now.UTC().Truncate(time.Second)}
	var expires, overlap time.Duration
	scopes := ""
	switch action {
	case "add":
		flags.StringVar(&k.Tenant, "tenant", "", "whom the caller belongs to")
		flags.StringVar(&k.Subject, "subject", "default", "the caller within the tenant")
		flags.StringVar(&scopes, "scopes", "", "what its bearer may do beyond calling what needs no scope, separated by commas; * is everything")
		flags.Func("expires", "time after which the key ends, such as 90d or 12h; default never", days(&expires))
	case "rotate":
		overlap = 24 * time.Hour
		flags.Func("overlap", "time for which the old key goes on, such as 24h or 7d; default 24h", days(&overlap))
	case "revoke", "list":
	default:
		return fmt.Errorf("%w: there is no erlmcp keys %s: there are add, rotate, revoke and list", errUsage, action)
	}
	var rest []string
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
		rest, args = append(rest, flags.Arg(0)), flags.Args()[1:]
	}
	if *path == "" {
		return errors.New("which file? Set API_KEYS_FILE, or give -file keys.json")
	}
	switch action {
	case "list":
		file, err := readKeys(*path)
		if err != nil {
			return err
		}
		return listKeys(out, file, now)
	case "add":
		if len(rest) > 0 {
			return fmt.Errorf("keys add takes no arguments, only flags: %q", rest)
		}
		if k.Tenant == "" {
			return errors.New("whose key? Give -tenant NAME")
		}
		for s := range strings.SplitSeq(scopes, ",") {
			if s = strings.TrimSpace(s); s != "" {
				k.Scopes = append(k.Scopes, s)
			}
		}
		if expires > 0 {
			k.Expires = k.Created.Add(expires)
		}
		return addKey(out, *path, func(*identity.KeyFile) (identity.Key, error) { return k, nil })
	}
	if len(rest) != 1 {
		return fmt.Errorf("erlmcp keys %s takes the id of one key: erlmcp keys list shows them", action)
	}
	find := func(file *identity.KeyFile) (*identity.Key, error) {
		i := slices.IndexFunc(file.Keys, func(k identity.Key) bool { return k.ID == rest[0] })
		if i < 0 {
			return nil, fmt.Errorf("there is no key %q in %s: erlmcp keys list shows them", rest[0], *path)
		}
		return &file.Keys[i], nil
	}
	if action == "revoke" {
		var old *identity.Key
		err := changeKeys(*path, func(file *identity.KeyFile) (err error) {
			if old, err = find(file); err == nil {
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
	return addKey(out, *path, func(file *identity.KeyFile) (identity.Key, error) {
		old, err := find(file)
		if err != nil {
			return k, err
		}
		if state := old.State(now); state != "valid" {
			return k, fmt.Errorf("the key %s is %s: make another with erlmcp keys add", old.ID, state)
		}
		k.Tenant, k.Subject, k.Scopes = old.Tenant, old.Subject, old.Scopes
		if !old.Expires.IsZero() && !old.Created.IsZero() {
			k.Expires = k.Created.Add(old.Expires.Sub(old.Created)) // as long as the old one
		}
		if end := k.Created.Add(overlap); old.Expires.IsZero() || end.Before(old.Expires) {
			old.Expires = end
		}
		return k, nil
	})
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
