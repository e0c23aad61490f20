package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"example.com/erlmcp/function"
)

const keysUsage = `Make, list and revoke API keys.

Usage:
  erlmcp keys add -tenant NAME [-subject NAME] [-scopes a,b] [-expires 90d]
  erlmcp keys rotate ID [-overlap 24h]    a new key for the same caller; the old one ends after the overlap
  erlmcp keys revoke ID
  erlmcp keys list

The keys are in the file that API_KEYS_FILE names, or -file: with hashes, never the keys themselves, so that it may lie where
secrets do. A server that has it mounted follows a change within seconds. A key is printed once, when it is made; its bearer
sends it as Authorization: Bearer KEY.

`

func keys(args []string, out io.Writer, now time.Time) error {
	if len(args) == 0 || args[0] == "-h" || args[0] == "--help" || args[0] == "help" {
		fmt.Fprint(out, keysUsage)
		return nil
	}
	action := args[0]
	flags := flag.NewFlagSet("keys "+action, flag.ContinueOnError)
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), keysUsage)
		flags.PrintDefaults()
	}
	path := flags.String("file", os.Getenv("API_KEYS_FILE"), "the file of keys")
	k := function.Key{Created: now.UTC().Truncate(time.Second)}
	var expires, overlap time.Duration
	scopes := "*"
	switch action {
	case "add":
		flags.StringVar(&k.Tenant, "tenant", "", "whom the caller belongs to")
		flags.StringVar(&k.Subject, "subject", "default", "the caller within the tenant")
		flags.StringVar(&scopes, "scopes", "*", "what its bearer may do, separated by commas; * is everything")
		flags.Func("expires", "time after which the key ends, such as 90d or 12h; default never", days(&expires))
	case "rotate":
		overlap = 24 * time.Hour
		flags.Func("overlap", "time for which the old key goes on, such as 24h or 7d; default 24h", days(&overlap))
	case "revoke", "list":
	default:
		return fmt.Errorf("there is no erlmcp keys %s: there are add, rotate, revoke and list", action)
	}
	var rest []string
	for args = args[1:]; ; {
		if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
			return nil
		} else if err != nil {
			return err
		}
		if flags.NArg() == 0 {
			break
		}
		rest, args = append(rest, flags.Arg(0)), flags.Args()[1:]
	}
	if *path == "" {
		return errors.New("which file? Set API_KEYS_FILE, or give -file keys.json")
	}
	file, err := readKeys(*path, action == "add")
	if err != nil {
		return err
	}
	switch action {
	case "list":
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
		return addKey(out, *path, file, k)
	}
	if len(rest) != 1 {
		return fmt.Errorf("erlmcp keys %s takes the id of one key: erlmcp keys list shows them", action)
	}
	i := slices.IndexFunc(file.Keys, func(k function.Key) bool { return k.ID == rest[0] })
	if i < 0 {
		return fmt.Errorf("there is no key %q in %s: erlmcp keys list shows them", rest[0], *path)
	}
	old := &file.Keys[i]
	if action == "revoke" {
		old.Revoked = now.UTC().Truncate(time.Second)
		if err := writeKeys(*path, file); err != nil {
			return err
		}
		fmt.Fprintf(out, "revoked %s of %s/%s\n", old.ID, old.Tenant, old.Subject)
		return nil
	}
	if state := old.State(now); state != "valid" {
		return fmt.Errorf("the key %s is %s: make another with erlmcp keys add", old.ID, state)
	}
	k.Tenant, k.Subject, k.Scopes = old.Tenant, old.Subject, old.Scopes
	if !old.Expires.IsZero() && !old.Created.IsZero() {
		k.Expires = k.Created.Add(old.Expires.Sub(old.Created)) // as long as the old one
	}
	if end := k.Created.Add(overlap); old.Expires.IsZero() || end.Before(old.Expires) {
		old.Expires = end
	}
	return addKey(out, *path, file, k)
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

func readKeys(path string, orNew bool) (*function.KeyFile, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) && orNew {
		return &function.KeyFile{}, nil
	}
	if err != nil {
		return nil, err
	}
	file, err := function.ReadKeyFile(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return file, nil
}

// writeKeys replaces the file in one step, so that a server never reads half of it.
func writeKeys(path string, file *function.KeyFile) error {
	text, err := json.MarshalIndent(file, "", "  ")
	if err != nil {
		return err
	}
	if _, err := function.ReadKeyFile(text); err != nil {
		return err
	}
	temporary, err := os.CreateTemp(filepath.Dir(path), ".keys-*")
	if err != nil {
		return err
	}
	defer os.Remove(temporary.Name())
	_, err = temporary.Write(append(text, '\n'))
	if err = errors.Join(err, temporary.Sync(), temporary.Close()); err != nil {
		return err
	}
	return os.Rename(temporary.Name(), path)
}

func addKey(out io.Writer, path string, file *function.KeyFile, k function.Key) error {
	text, k := function.NewKey(k)
	file.Keys = append(file.Keys, k)
	if err := writeKeys(path, file); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "the key %s of %s/%s is in %s; this is the only time that it is shown:\n", k.ID, k.Tenant, k.Subject, path)
	fmt.Fprintln(out, text)
	return nil
}

func listKeys(out io.Writer, file *function.KeyFile, now time.Time) error {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ID\tTENANT\tSUBJECT\tSCOPES\tCREATED\tEXPIRES\tSTATE")
	date := func(at time.Time) string {
		if at.IsZero() {
			return "never"
		}
		return at.UTC().Format(time.DateOnly)
	}
	for _, k := range file.Keys {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", k.ID, k.Tenant, k.Subject, cmp.Or(strings.Join(k.Scopes, ","), "none"), date(k.Created), date(k.Expires), k.State(now))
	}
	return t.Flush()
}
