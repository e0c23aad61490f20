package command

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"example.com/erlmcp/function/internal/account"
	"example.com/erlmcp/function/internal/rotation"
)

const rotateUsage = `erlmcp rotate brings a new sealing key into the fleet, in three steps, and fails no call.

  erlmcp rotate PLACE          show the next step, and what it waits for
  erlmcp rotate PLACE add      OLD becomes OLD,NEW: all instances learn a new key
  erlmcp rotate PLACE use      OLD,NEW becomes NEW,OLD: it seals
  erlmcp rotate PLACE drop     NEW,OLD becomes NEW: what OLD has sealed opens no more

PLACE is the file that SEALING_KEYS_FILE names, or a secret in Secret Manager, such as projects/my-project/secrets/erlmcp-keys. Which step is
next follows from its versions, and any other is refused. In a file they are lines that begin with #.

A step is refused while an instance of the fleet has not taken the one before, and drop for 25 hours after use: list cursors are good for a
day. What receipts of before were hashed under is in the versions: an export of then needs OLD behind NEW in SEALING_KEYS.

  -restarted   all instances were started since the last step, or have been seen to have taken it: the fleet is not asked
  -early       drop before what OLD has sealed is over, as when it is known to others: open questions and cursors fail then
  -api URL     of Secret Manager, such as https://secretmanager.europe-west3.rep.googleapis.com of a regional secret

` + reached

// sealedFor is for how long what is sealed is good at most, which is a day, with time for instances to follow.
const sealedFor = 25 * time.Hour

// rotateTimeout bounds the command.
const rotateTimeout = time.Minute

// A rotateCommand is what the arguments of erlmcp rotate say.
type rotateCommand struct {
	name, api        string
	step             rotation.Step // "" to look
	restarted, early bool
}

func (p *Program) rotate(ctx context.Context, args []string, out io.Writer, now time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, rotateTimeout)
	defer cancel()
	c, err := p.rotateArguments(args)
	if err != nil {
		return err
	}
	place, err := c.place(now)
	if err != nil {
		return err
	}
	state, err := rotation.Read(ctx, place)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s has the keys %s; the next step is %s\n", shown(state.Newest.Name), strings.Join(state.IDs, ","), state.Next)
	if c.step != "" && c.step != state.Next {
		return fmt.Errorf("%s is not the next step: that is %s", c.step, state.Next)
	}
	waits := c.tooEarly(state, now)
	if !c.restarted {
		waits = errors.Join(p.untaken(ctx, out, state.IDs), waits)
	}
	if waits != nil || c.step == "" {
		return waits
	}
	made, err := place.Append(ctx, state.Keys(), state.Newest)
	if err != nil {
		return err
	}
	then, err := rotation.Read(ctx, place)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s: %s has the keys %s", c.step, shown(made.Name), strings.Join(then.IDs, ","))
	if c.step == rotation.Drop {
		fmt.Fprintln(out, "; the rotation is done")
		return nil
	}
	fmt.Fprint(out, p.text(fmt.Sprintf("; once all instances have them: erlmcp rotate %s %s\n", shown(c.name), then.Next)))
	return nil
}

func (p *Program) rotateArguments(args []string) (*rotateCommand, error) {
	c := &rotateCommand{}
	flags := flag.NewFlagSet("rotate", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.Usage = func() { fmt.Fprint(p.out, p.text(rotateUsage)) }
	flags.BoolVar(&c.restarted, "restarted", false, "")
	flags.BoolVar(&c.early, "early", false, "")
	flags.StringVar(&c.api, "api", rotation.SecretManager, "")
	var words []string
	for {
		if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
			return nil, err
		} else if err != nil {
			return nil, fmt.Errorf("%w: %w", errUsage, err)
		}
		if flags.NArg() == 0 {
			break
		}
		words, args = append(words, flags.Arg(0)), flags.Args()[1:]
	}
	switch len(words) {
	case 0:
		return nil, fmt.Errorf("%w: which file, or which secret?", errUsage)
	case 2:
		c.step = rotation.Step(words[1])
		if !slices.Contains([]rotation.Step{rotation.Add, rotation.Use, rotation.Drop}, c.step) {
			return nil, fmt.Errorf("%w: %q is none of the steps add, use and drop", errUsage, words[1])
		}
	case 1:
	default:
		return nil, fmt.Errorf("%w: what is %q?", errUsage, words[2:])
	}
	c.name = words[0]
	return c, nil
}

// place is where the keys are.
func (c *rotateCommand) place(now time.Time) (rotation.Place, error) {
	if !rotation.IsSecret(c.name) {
		return &keyText{c.name, now}, nil
	}
	u, err := url.Parse(c.api)
	local := err == nil && (u.Hostname() == "localhost" || u.Hostname() == "127.0.0.1")
	if err != nil || u.Host == "" || u.Scheme != "https" && !local {
		return nil, fmt.Errorf("%w: -api is not an address such as %s", errUsage, rotation.SecretManager)
	}
	s := &rotation.Secret{API: strings.TrimSuffix(c.api, "/"), Name: c.name, Client: http.DefaultClient}
	if !local { // where a stand-in is
		s.Token = account.Tokens("https://www.googleapis.com/auth/cloud-platform")
	}
	return s, nil
}

// tooEarly says why it is too early to drop a key.
func (c *rotateCommand) tooEarly(s *rotation.State, now time.Time) error {
	until := s.Newest.At.Add(sealedFor)
	if s.Next != rotation.Drop || c.early || !now.Before(until) {
		return nil
	}
	return fmt.Errorf("what the old key has sealed is good until %s: drop it then, or with -early, which fails open questions and cursors", until.UTC().Format(time.RFC3339))
}

// untaken says which instances have other keys than these.
func (p *Program) untaken(ctx context.Context, out io.Writer, ids []string) error {
	const otherwise = "; if all instances were started since the last step, say -restarted"
	f, err := p.reach(ctx)
	if err != nil {
		return fmt.Errorf("the fleet can't be asked whether it has these keys: %w%s", err, otherwise)
	}
	defer f.close()
	all, _, err := f.instances(ctx)
	if err != nil {
		return fmt.Errorf("the fleet can't be asked whether it has these keys: %w%s", err, otherwise)
	}
	// Where these are a control plane's own, the others don't have them.
	own := slices.ContainsFunc(ids, func(id string) bool {
		return slices.ContainsFunc(all, func(i instance) bool { return slices.Contains(i.Own, id) })
	})
	var faults []error
	asked := 0
	for _, i := range all {
		has := i.SealingKeys
		if own {
			has = i.Own
		}
		if own && has == nil {
			continue
		}
		asked++
		switch {
		case has == nil:
			faults = append(faults, fmt.Errorf("the instance %s does not say which keys it has: it is of an earlier version%s", shown(i.Name), otherwise))
		case !slices.Equal(has, ids):
			faults = append(faults, fmt.Errorf("the instance %s had the keys %s at %s, and not yet these; one that was killed is forgotten after 20 minutes",
				shown(i.Name), shown(strings.Join(has, ",")), i.Seen.Format(time.RFC3339)))
		}
	}
	if len(all) == 0 {
		return errors.New("no instance says that it runs, as when Redis has just begun anew: try again in some seconds" + otherwise)
	}
	if faults == nil {
		fmt.Fprintf(out, "all %d instances that run have them\n", asked)
	}
	return errors.Join(faults...)
}

// A keyText is a file with keys. It implements [rotation.Place].
type keyText struct {
	path string
	now  time.Time
}

// Versions implements [rotation.Place].
func (k *keyText) Versions(context.Context) iter.Seq2[rotation.Version, error] {
	return func(yield func(rotation.Version, error) bool) {
		text, err := os.ReadFile(k.path)
		if err != nil {
			yield(rotation.Version{}, err)
			return
		}
		all, err := rotation.ReadFile(string(text), k.path)
		if err != nil {
			yield(rotation.Version{}, err)
			return
		}
		for _, v := range all {
			if !yield(v, nil) {
				return
			}
		}
	}
}

// Append implements [rotation.Place].
func (k *keyText) Append(_ context.Context, keys string, behind rotation.Version) (v rotation.Version, err error) {
	err = changeFile(k.path, func(text []byte, err error) ([]byte, error) {
		if err != nil {
			return nil, err
		}
		var made string
		made, v, err = rotation.WriteFile(string(text), keys, behind, k.now)
		return []byte(made), err
	})
	return v, err
}
