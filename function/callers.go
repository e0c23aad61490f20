package function

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"example.com/erlmcp/function/internal/catalog"
	"example.com/erlmcp/function/internal/config"
	"example.com/erlmcp/function/internal/identity"
	"example.com/erlmcp/function/internal/mounted"
	"example.com/erlmcp/function/internal/outbound"
	"example.com/erlmcp/function/internal/policy"
	"example.com/erlmcp/function/internal/redisdb"
)

// callers are who may call, and what they may do.
type callers struct {
	authenticator *identity.Authenticator
	policy        func() *policy.Set // nil for none
	callable      []string           // what their tenants can be
	faults        []func() error     // of the files, as they are now
	out           *outbound.Client   // to what issuers publish
	tools         *http.Client       // to what tools call
}

// metadataPath is where clients learn whose tokens are taken (RFC 9728).
const metadataPath = "/.well-known/oauth-protected-resource"

// metadataURL is where the document about the endpoint is: between the host and the path (RFC 9728, section 3.1).
func metadataURL(c *config.Callers) string {
	return strings.TrimSuffix(c.PublicURL, c.PublicPath) + metadataPath + c.PublicPath + "/mcp"
}

// newCallers reads the files that the settings name. Its error lists every fault. The entries are those that rules are about, nil where there
// are none.
func newCallers(o *options, cfg *config.Config, redis *redisdb.Counters, e *entitled, entries *catalog.Catalog) (*callers, error) {
	var faults []error
	settings := &cfg.Callers
	if !o.loopback {
		faults = append(faults, cfg.CheckPublic())
	}
	allowed, err := outbound.ParseAllowed(cfg.OutboundAllow)
	if err != nil {
		faults = append(faults, fmt.Errorf("OUTBOUND_ALLOW: %w", err))
	}
	outside := outbound.Options{Allow: allowed, Resolver: o.resolver, Dial: o.dial}
	c := &callers{out: outbound.NewClient(outside), tools: toolsClient(outside)}
	options := identity.Options{
		Chain: settings.Chain, Local: o.loopback, Proxies: settings.Proxies, Logger: o.logger,
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
	c.callable = append([]string{}, options.Tenants.Callable(settings.Chain, options.Issuers)...)
	if o.loopback {
		c.callable = append(c.callable, identity.TenantLocal)
	}
	if redis != nil {
		options.Attempts = attempts{redis}
	}
	if slices.Contains(settings.Chain, identity.APIKeys) {
		if settings.KeysFile != "" {
			file, err := mounted.Open(settings.KeysFile, identity.ParseKeys, time.Now, o.logger)
			if err != nil {
				faults = append(faults, fmt.Errorf("API_KEYS_FILE: %w", err))
			} else {
				options.Keys = file.Value
				c.faults = append(c.faults, file.Fault)
			}
		}
		if e != nil {
			options.Stored = e.storedKeys
		}
	}
	if cfg.PolicyFile != "" {
		parse := func(text []byte) (*policy.Set, error) {
			rules, err := policy.Parse(text)
			if err == nil && entries != nil {
				warnOfNames(o.logger, rules, entries)
			}
			return rules, err
		}
		file, err := mounted.Open(cfg.PolicyFile, parse, time.Now, o.logger)
		if err != nil {
			faults = append(faults, fmt.Errorf("POLICY_FILE: %w", err))
		} else {
			c.policy = file.Value
			c.faults = append(c.faults, file.Fault)
		}
	}
	c.authenticator = identity.New(options)
	return c, errors.Join(faults...)
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
		g.Addresses = slices.AppendSeq(g.Addresses, maps.Keys(cfg.Operating.Operators))
	}
	return g
}

// degraded lists the files that changed for the worse.
func (c *callers) degraded() (out []string) {
	for _, fault := range c.faults {
		if err := fault(); err != nil {
			out = append(out, "files: what a file said before stays in force: "+err.Error())
		}
	}
	return out
}

// signIn says how clients are signed in, for the person who reads it.
func signIn(c *config.Callers) string {
	bearer := map[string]string{
		identity.APIKeys:    "an API key, which the server's operator gives out",
		identity.OAuth:      "an access token of " + strings.Join(c.Issuers, " or ") + ", as " + c.PublicURL + metadataPath + "/mcp says",
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
type attempts struct{ redis *redisdb.Counters }

func (a attempts) Failed(ctx context.Context, key string, perMinute int) (time.Duration, error) {
	return a.redis.Slow("failed:"+key, perMinute, perMinute).Allow(ctx)
}

// protectedResource answers RFC 9728 metadata: of the endpoint, or of the whole host at the root.
func (s *Server) protectedResource(path string) http.HandlerFunc {
	settings := &s.config.Callers
	scopes := slices.Clone(settings.Scopes)
	for scope := range s.scopes {
		if !slices.Contains(scopes, scope) {
			scopes = append(scopes, scope)
		}
	}
	slices.Sort(scopes)
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", "*") // it is public
		w.Header().Set("Allow", "GET, HEAD, OPTIONS")
		switch r.Method {
		case http.MethodGet, http.MethodHead:
		case http.MethodOptions: // clients in browsers send headers that must be allowed first
			w.Header().Set("Access-Control-Allow-Methods", "GET")
			w.Header().Set("Access-Control-Allow-Headers", "*")
			w.WriteHeader(http.StatusNoContent)
			return
		default:
			answer(w, http.StatusMethodNotAllowed, map[string]string{"error": "there is only something to GET here"})
			return
		}
		if !slices.Contains(settings.Chain, identity.OAuth) {
			s.nothing(w, "no access tokens are taken here")
			return
		}
		answer(w, http.StatusOK, struct {
			Resource string   `json:"resource"`
			Name     string   `json:"resource_name"`
			Servers  []string `json:"authorization_servers"`
			Scopes   []string `json:"scopes_supported,omitempty"`
			Methods  []string `json:"bearer_methods_supported"`
		}{settings.PublicURL + path, s.name, settings.Issuers, scopes, []string{"header"}})
	}
}

// A KeyFile is a file of API keys, and a Key one entry of it.
type (
	KeyFile = identity.KeyFile
	Key     = identity.Key
)

// NewKey makes an API key: the text that its bearer sends, and the entry for the file, which has its hash alone.
func NewKey(k Key) (text string, entry Key) { return identity.NewKey(k) }

// ReadKeyFile decodes a file of API keys. Its error lists every fault.
func ReadKeyFile(text []byte) (*KeyFile, error) { return identity.ReadKeyFile(text) }
