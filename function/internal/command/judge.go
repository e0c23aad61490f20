package command

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"example.com/erlmcp/function/internal/account"
	"example.com/erlmcp/function/internal/judge"
)

const judgeUsage = `erlmcp judge decides whether a canary may have more of the traffic, by the metrics of canary and baseline in the same minutes.

  erlmcp judge -canary 'version="0.8.0"' -baseline 'version="0.7.0"' [flags]

  -prometheus URL     whose HTTP API is asked, before /api/v1/query. Default: Cloud Monitoring's, of the project of
                      -service or that GOOGLE_CLOUD_PROJECT names
  -canary MATCHERS    which processes are the canary: matchers in PromQL for the labels of the metric erlmcp_build_info, which are version,
  -baseline MATCHERS  job, instance, and what your Prometheus adds. On Cloud Run an instance begins with its revision's name
  -service NAME       in place of both, of a service of Cloud Run such as projects/my-project/locations/us-central1/services/erlmcp: its
                      revision under the tag canary, where Cloud Deploy keeps it, and all others
  -bake DURATION      for how long to look, such as 30m. Default 10m
  -every DURATION     between two readings. Default a sixtieth of the bake, at least 1s
  -least N            requests that each side must have answered for a verdict. Default 100
  -level P            the chance with which a canary that is no worse may fail. Default 0.01
  -undecided VERDICT  what it counts as if too little was seen: undecided, pass or fail. Default undecided
  -load URL           where to send synthetic calls meanwhile, such as https://mcp.example.com/mcp: lists of the tools, and calls of tools
                      that say that they only read (readOnlyHint) and need no arguments, in both eras. Name the address that shares calls
                      out among both versions
  -load-per-second N  of synthetic calls, at most 20. Default 2
  -as ACCOUNT         the service account of Google Cloud whose ID token synthetic calls bring: IAM is asked for it, as probe -as does
  -audience URL       of that token. Default: that of -load, without its path
  -json               print the verdict as JSON

What PROMETHEUS_TOKEN holds is sent to Prometheus as Authorization: Bearer; Cloud Monitoring gets a token of the account that runs the
command. What MCP_TOKEN holds is sent with synthetic calls.

It compares errors by type, how requests of each method and protocol revision end and calls of each tool, how long tools and the server
itself take, the growth of memory, and restarts. It fails as soon as one is worse, and passes at the end of the bake.
Exit status: 0 pass, 1 fail, 2 the command line is wrong, 3 undecided: too few requests, or Prometheus could not be asked.

`

// undecided is the exit status where there is no verdict.
const undecided = 3

// A statusError ends the program with an exit status of its own, after all has been said.
type statusError int

func (e statusError) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// judging is the command line of judge.
type judging struct {
	prometheus, canary, baseline, counts, load string
	as, audience, service                      string
	token                                      func(context.Context) (string, error) // of synthetic calls
	options                                    judge.Options
	perSecond                                  float64
	json                                       bool
}

// mostLoad is of synthetic calls a second.
const mostLoad = 20

func (p *Program) judge(ctx context.Context, args []string, out io.Writer) error {
	j := judging{}
	flags := flag.NewFlagSet("judge", flag.ContinueOnError)
	flags.StringVar(&j.prometheus, "prometheus", "", "")
	flags.StringVar(&j.canary, "canary", "", "")
	flags.StringVar(&j.baseline, "baseline", "", "")
	flags.DurationVar(&j.options.Bake, "bake", 10*time.Minute, "")
	flags.DurationVar(&j.options.Every, "every", 0, "")
	flags.IntVar(&j.options.Least, "least", 100, "")
	flags.Float64Var(&j.options.Level, "level", 0.01, "")
	flags.StringVar(&j.counts, "undecided", judge.Undecided, "")
	flags.StringVar(&j.load, "load", "", "")
	flags.StringVar(&j.service, "service", "", "")
	flags.StringVar(&j.as, "as", "", "")
	flags.StringVar(&j.audience, "audience", "", "")
	flags.Float64Var(&j.perSecond, "load-per-second", 2, "")
	flags.BoolVar(&j.json, "json", false, "")
	if err := p.understand(flags, judgeUsage, args, 0); err != nil {
		return err
	}
	if j.service != "" {
		if j.canary != "" || j.baseline != "" {
			return fmt.Errorf("%w: -service finds canary and baseline: leave -canary and -baseline out", errUsage)
		}
		service, err := judge.ParseService(j.service)
		if err != nil {
			return fmt.Errorf("%w: -service %w", errUsage, err)
		}
		service.Token = account.Tokens("https://www.googleapis.com/auth/cloud-platform")
		revision, err := service.Revision(ctx, judge.CanaryTag)
		if err != nil {
			fmt.Fprintf(p.errs, "%s judge: there is no verdict: %s\n", p.Name, shown(err.Error()))
			return statusError(undecided)
		}
		j.onCloudRun(service, revision)
	}
	if err := j.complete(os.Getenv("GOOGLE_CLOUD_PROJECT")); err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	token, err := bearer(j.prometheus, os.Getenv("PROMETHEUS_TOKEN"))
	if err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	if err := j.identify(os.Getenv("MCP_TOKEN")); err != nil {
		return err
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }} // no one else gets the token
	j.options.Source = &judge.Prometheus{URL: j.prometheus, Client: client, Token: token}
	j.options.Canary, j.options.Baseline = j.canary, j.baseline
	j.options.Told = func(line string) { fmt.Fprintln(p.errs, shown(line)) }
	return p.judged(ctx, &j, out)
}

// judged runs the bake, and the load beside it.
func (p *Program) judged(ctx context.Context, j *judging, out io.Writer) error {
	var sent judge.Sent
	loading, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if j.load != "" {
			l := judge.Load{URL: j.load, Token: j.token, PerSecond: j.perSecond, Name: p.Name + "-judge", Release: p.Version, Decided: isDecided}
			sent = l.Run(loading)
		}
	}()
	v, err := judge.Run(ctx, j.options)
	stop()
	<-done
	var query *judge.QueryError
	var overlap *judge.OverlapError
	switch {
	case errors.As(err, &query), errors.As(err, &overlap):
		return fmt.Errorf("%w: %w", errUsage, err)
	case err != nil:
		fmt.Fprintf(p.errs, "%s judge: there is no verdict: %s\n", p.Name, shown(err.Error()))
		return statusError(undecided)
	}
	if j.load != "" {
		note := fmt.Sprintf("%d synthetic calls were sent, and %d found no answer or an error", sent.Calls, sent.Failed)
		if sent.Fault != nil {
			note += ", the last one: " + sent.Fault.Error()
		}
		v.Notes = append(v.Notes, note+".")
		if sent.Refused > 0 {
			v.Notes = append(v.Notes, fmt.Sprintf("Of the synthetic calls %d were refused by what operators have decided, and so tried no tool, the last one: %s.", sent.Refused, sent.Refusal.Message))
		}
	}
	if v.Verdict == judge.Undecided && j.counts != judge.Undecided {
		v.Because = append(v.Because, fmt.Sprintf("That counts as %s (-undecided).", j.counts))
		v.Verdict = j.counts
	}
	text := v.Words()
	if j.json {
		b, err := json.MarshalIndent(v, "", "  ")
		if err != nil {
			return err
		}
		text = string(b) + "\n"
	}
	io.WriteString(out, shownLines(text))
	switch v.Verdict {
	case judge.Pass:
		return nil
	case judge.Fail:
		return errSaid
	}
	return statusError(undecided)
}

// identify finds what synthetic calls bring.
func (j *judging) identify(token string) error {
	if j.as == "" {
		if token != "" {
			j.token = func(context.Context) (string, error) { return token, nil }
		}
		return nil
	}
	audience := j.audience
	if to, err := url.Parse(j.load); err == nil && audience == "" {
		audience = to.Scheme + "://" + to.Host
	}
	var err error
	j.token, err = account.IDTokens(nil, j.as, audience)
	return err
}

// cloudMonitoring answers queries in PromQL: https://cloud.google.com/stackdriver/docs/managed-prometheus/query-api-ui.
const cloudMonitoring = "https://monitoring.googleapis.com/v1/projects/%s/location/global/prometheus"

// onCloudRun takes a revision of a service of Cloud Run for the canary, and all others of the service for the baseline. An instance has
// its revision's name and a random part.
func (j *judging) onCloudRun(service *judge.Service, revision string) {
	j.prometheus = cmp.Or(j.prometheus, fmt.Sprintf(cloudMonitoring, service.Project))
	pattern := regexp.QuoteMeta(revision) + "-[0-9a-f]{8}"
	j.canary = fmt.Sprintf("job=%q,instance=~%q", service.Name, pattern)
	j.baseline = fmt.Sprintf("job=%q,instance!~%q", service.Name, pattern)
}

// complete fills in what the environment says of a project, and checks it all.
func (j *judging) complete(project string) error {
	if j.prometheus == "" && project != "" {
		j.prometheus = fmt.Sprintf(cloudMonitoring, url.PathEscape(project))
	}
	for _, matchers := range []*string{&j.canary, &j.baseline} { // with or without the braces that they have in queries
		if inner, ok := strings.CutPrefix(*matchers, "{"); ok {
			*matchers = strings.TrimSuffix(inner, "}")
		}
	}
	u, err := url.Parse(j.prometheus)
	switch {
	case j.prometheus == "":
		return errors.New("-prometheus is not set: it is the URL of a Prometheus, such as http://localhost:9090, and without it Cloud Monitoring of the project in GOOGLE_CLOUD_PROJECT is asked")
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return fmt.Errorf("-prometheus %q is no URL such as http://localhost:9090", j.prometheus)
	case j.canary == "" || j.baseline == "":
		return errors.New(`-canary and -baseline say which processes are whose, such as -canary 'version="0.8.0"' -baseline 'version="0.7.0"'; with -service both are left out`)
	case j.canary == j.baseline:
		return errors.New("-canary and -baseline are the same: they must say which processes are whose")
	case j.options.Bake <= 0 || j.options.Every < 0 || j.options.Every > j.options.Bake:
		return fmt.Errorf("-bake %s must be more than nothing, and -every %s not longer", j.options.Bake, j.options.Every)
	case j.options.Level <= 0 || j.options.Level >= 1:
		return fmt.Errorf("-level %g is no chance above 0 and below 1", j.options.Level)
	case j.options.Least < 1:
		return fmt.Errorf("-least %d: at least 1 request is wanted for a verdict", j.options.Least)
	case !slices.Contains([]string{judge.Undecided, judge.Pass, judge.Fail}, j.counts):
		return fmt.Errorf("-undecided %q is not one of undecided, pass, fail", j.counts)
	case j.perSecond <= 0 || j.perSecond > mostLoad:
		return fmt.Errorf("-load-per-second %g is not above 0 and at most %d", j.perSecond, mostLoad)
	}
	if to, err := url.Parse(j.load); j.load != "" && (err != nil || to.Host == "" || to.Scheme != "http" && to.Scheme != "https") {
		return fmt.Errorf("-load %q is no URL such as https://mcp.example.com/mcp", j.load)
	}
	return nil
}

// bearer returns what makes the tokens for a Prometheus, nil for none. None leaves this machine in the clear.
func bearer(prometheus, token string) (func(context.Context) (string, error), error) {
	u, err := url.Parse(prometheus)
	if err != nil {
		return nil, err
	}
	local := u.Hostname() == "localhost" || u.Hostname() == "127.0.0.1" || u.Hostname() == "::1"
	switch {
	case token != "" && u.Scheme != "https" && !local:
		return nil, fmt.Errorf("-prometheus %q is http, and PROMETHEUS_TOKEN would be sent in the clear: use https", prometheus)
	case token != "":
		return func(context.Context) (string, error) { return strings.TrimSpace(token), nil }, nil
	case u.Scheme == "https" && u.Host == "monitoring.googleapis.com":
		return account.Tokens("https://www.googleapis.com/auth/monitoring.read"), nil
	}
	return nil, nil
}
