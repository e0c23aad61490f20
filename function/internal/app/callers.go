package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"example.com/erlmcp/function/internal/catalog"
	"example.com/erlmcp/function/internal/config"
	"example.com/erlmcp/function/internal/egress"
	"example.com/erlmcp/function/internal/identity"
	"example.com/erlmcp/function/internal/policy"
	"example.com/erlmcp/function/internal/store/redis"
)

// Callers are who may call, and what they may do.
type Callers struct {
	Authenticator *identity.Authenticator
	Policy        func() *policy.Set // nil for none
	Tenants       []string           // what their tenants can be
	keys          []func() *identity.Keys
	out           *egress.Client // to what issuers publish
	Tools         *http.Client   // to what tools call
}

// MetadataPath is where clients learn whose tokens are taken (RFC 9728).
const MetadataPath = "/.well-known/oauth-protected-resource"

// MetadataURL is where the document about the endpoint is: between the host and the path (RFC 9728, section 3.1).
func MetadataURL(c *config.Callers) string {
	return strings.TrimSuffix(c.PublicURL, c.PublicPath) + MetadataPath + c.PublicPath + "/mcp"
}

// newCallers reads the files that the settings name. Its error lists every fault.
func newCallers(a *App, e *Entitled, entries func() *catalog.Catalog) (*Callers, error) {
	var faults []error
	cfg, o := a.Config, a.Options
	settings := &cfg.Callers
	if !o.Loopback {
		faults = append(faults, cfg.CheckPublic())
	}
	allowed, err := egress.ParseAllowed(cfg.EgressAllow)
	if err != nil {
		faults = append(faults, fmt.Errorf("EGRESS_ALLOW: %w", err))
	}
	outside := egress.Options{Allow: allowed, Resolver: o.Stand.Resolver, Dial: o.Stand.Dial}
	c := &Callers{out: egress.NewClient(outside), Tools: ToolsClient(outside)}
	options := identity.Options{
		Chain: settings.Chain, Local: o.Loopback, Proxies: settings.TrustedProxies, Logger: a.Logger,
		Get: c.out.Get,
	}
	for _, url := range settings.Issuers {
		options.Issuers = append(options.Issuers, identity.OAuthIssuer(url, settings.Audiences, settings.Algorithms, settings.TenantClaim))
	}
	google := identity.GoogleIssuer(settings.GoogleAudiences)
	google.Admits = googleAccounts(cfg).Admits
	options.Issuers = append(options.Issuers, google, identity.IAPIssuer(settings.IAPAudiences),
		identity.KubernetesIssuer(settings.KubernetesIssuer, settings.KubernetesAudiences))
	authorities, err := identity.Authorities(settings.Chain, options.Issuers)
	if err != nil {
		faults = append(faults, fmt.Errorf("OAUTH_ISSUERS: %w", err))
	}
	if options.Tenants, err = identity.ParseTenantMap(settings.TenantMap, authorities); err != nil {
		faults = append(faults, fmt.Errorf("TENANT_MAP: %w", err))
	}
	c.Tenants = append([]string{}, options.Tenants.Callable(settings.Chain, options.Issuers)...)
	if o.Loopback {
		c.Tenants = append(c.Tenants, identity.TenantLocal)
	}
	if counters := a.Stores.Redis; counters != nil {
		options.Attempts = attempts{counters}
	}
	if slices.Contains(settings.Chain, identity.APIKeys) {
		if settings.KeysFile != "" {
			if options.Keys, err = readFile(o.files, settings.KeysFile, identity.ParseKeys); err != nil {
				faults = append(faults, fmt.Errorf("API_KEYS_FILE: %w", err))
			}
			c.keys = append(c.keys, options.Keys)
		}
		if e != nil {
			options.Stored = e.Keys
			c.keys = append(c.keys, e.lastKeys)
		}
	}
	if cfg.PolicyFile != "" {
		if c.Policy, err = readFile(o.files, cfg.PolicyFile, a.rules(entries)); err != nil {
			faults = append(faults, fmt.Errorf("POLICY_FILE: %w", err))
		}
	}
	c.Authenticator = identity.New(options)
	return c, errors.Join(faults...)
}

// rules reads the operator's rules on the entries, where there are any.
func (a *App) rules(entries func() *catalog.Catalog) func([]byte) (*policy.Set, error) {
	return func(text []byte) (*policy.Set, error) {
		rules, err := policy.Parse(text)
		if err == nil && entries != nil && entries() != nil {
			warnOfNames(a.Logger, rules, entries())
		}
		return rules, err
	}
}

// WarnOfNames does so for the rules in force, where the entries are others from now on.
func (a *App) WarnOfNames(entries *catalog.Catalog) {
	if rules := a.Callers.Policy; rules != nil {
		warnOfNames(a.Logger, rules(), entries)
	}
}

// warnOfNames tells of rules that mean tools by names that they had.
func warnOfNames(logger *slog.Logger, rules *policy.Set, entries *catalog.Catalog) {
	for _, t := range entries.Renamed() {
		for _, rule := range rules.Meaning(&t.Object) {
			logger.Warn("a rule means a tool by the name that it had, and holds for it: write the name that it has", "setting", "POLICY_FILE", "rule", rule, "had", t.Formerly, "has", t.Name)
		}
	}
}

// googleAccounts are those that may call by google. Those of operators are named where their roles are.
func googleAccounts(cfg *config.Config) *identity.GoogleAccounts {
	g := &identity.GoogleAccounts{Domains: cfg.Callers.GoogleDomains, Addresses: slices.Clone(cfg.Callers.GoogleAccounts)}
	if cfg.Target == ControlTarget {
		for who := range cfg.Operating.Operators {
			if who != config.Everyone {
				g.Addresses = append(g.Addresses, who)
			}
		}
	}
	return g
}

// apiKeys are those that are taken, as far as they are known: of the file, and behind them of the store.
func (c *Callers) apiKeys() (sets []*identity.Keys) {
	for _, keys := range c.keys {
		sets = append(sets, keys())
	}
	return sets
}

func (c *Callers) close() {
	if c.out != nil {
		c.out.Close()
		c.Tools.CloseIdleConnections()
	}
}

// SignIn says how clients are signed in, for the person who reads it.
func SignIn(c *config.Callers) string {
	bearer := map[string]string{
		identity.APIKeys:    "an API key, which the server's operator gives out",
		identity.OAuth:      "an access token of " + strings.Join(c.Issuers, " or ") + ", as " + c.PublicURL + MetadataPath + "/mcp says",
		identity.Google:     "an ID token that Google signed",
		identity.CloudRun:   "an ID token of an account that may invoke this service of Cloud Run",
		identity.Kubernetes: "a token of a Kubernetes service account",
	}
	var ways []string
	for _, method := range c.Chain {
		switch method {
		case identity.IAP:
			ways = append(ways, "come through the Identity-Aware Proxy")
		case identity.Anonymous:
			ways = append(ways, "call without credentials")
		default:
			ways = append(ways, "send the header Authorization: Bearer with "+bearer[method])
		}
	}
	if len(c.Chain) == 0 || slices.Equal(c.Chain, []string{identity.Anonymous}) {
		return "no credentials are needed, and clients can't register here"
	}
	return "to sign in, " + strings.Join(ways, ", or ") + "; clients can't register here"
}

// attempts count failures over the fleet.
type attempts struct{ redis *redis.Counters }

func (a attempts) Failed(ctx context.Context, key string, perMinute int) (time.Duration, error) {
	return a.redis.Slow("failed:"+key, perMinute, perMinute).Allow(ctx)
}
