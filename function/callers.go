package function

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

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
	faults        []func() error     // of the files, as they are now
}

// metadataPath is where clients learn whose tokens are taken (RFC 9728).
const metadataPath = "/.well-known/oauth-protected-resource"

// newCallers reads the files that the settings name. Its error lists every fault.
func newCallers(o *options, cfg *config.Config, redis *redisdb.Counters, e *entitled) (*callers, error) {
	var faults []error
	c := &callers{}
	settings := &cfg.Callers
	if !o.loopback {
		faults = append(faults, cfg.CheckPublic())
	}
	allowed, err := outbound.ParseAllowed(cfg.OutboundAllow)
	if err != nil {
		faults = append(faults, fmt.Errorf("OUTBOUND_ALLOW: %w", err))
	}
	options := identity.Options{
		Chain: settings.Chain, Local: o.loopback, Proxies: settings.Proxies, Logger: o.logger,
		Get: outbound.NewClient(outbound.Options{Allow: allowed}).Get,
	}
	for _, url := range settings.Issuers {
		options.Issuers = append(options.Issuers, identity.OAuthIssuer(url, settings.Audiences, settings.Algorithms, settings.TenantClaim))
	}
	options.Issuers = append(options.Issuers, identity.GoogleIssuer(settings.GoogleAudiences), identity.IAPIssuer(settings.IAPAudiences),
		identity.KubernetesIssuer(settings.KubernetesIssuer, settings.KubernetesAudiences))
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
		file, err := mounted.Open(cfg.PolicyFile, policy.Parse, time.Now, o.logger)
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

// degraded lists the files that changed for the worse.
func (c *callers) degraded() (out []string) {
	for _, fault := range c.faults {
		if err := fault(); err != nil {
			out = append(out, "what a file said before stays in force: "+err.Error())
		}
	}
	return out
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
			answer(w, http.StatusNotFound, map[string]string{"error": "no access tokens are taken here"})
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
