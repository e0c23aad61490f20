package config

import (
	"errors"
	"net/mail"
	"net/netip"
	"net/url"
	gopath "path"
	"regexp"
	"slices"
	"strings"
)

// Callers are the settings of who may call.
type Callers struct {
	Chain               []string // AUTHENTICATION
	PublicURL           string   // PUBLIC_URL, as such addresses are compared: without a slash at its end
	PublicPath          string   // the path in it, such as /tools, or ""
	KeysFile            string   // API_KEYS_FILE
	Issuers             []string // OAUTH_ISSUERS
	Audiences           []string // OAUTH_AUDIENCES
	Algorithms          []string // OAUTH_ALGORITHMS
	Scopes              []string // OAUTH_SCOPES
	TenantClaim         string   // OAUTH_TENANT_CLAIM
	TenantMap           []string // TENANT_MAP
	GoogleAudiences     []string // GOOGLE_AUDIENCES
	GoogleDomains       []string // GOOGLE_DOMAINS, in lower case
	GoogleAccounts      []string // GOOGLE_ACCOUNTS, in lower case
	IAPAudiences        []string // IAP_AUDIENCES
	KubernetesIssuer    string   // KUBERNETES_ISSUER
	KubernetesAudiences []string // KUBERNETES_AUDIENCES
	AnonymousRate       int      // ANONYMOUS_RATE_LIMIT_PER_SECOND
	AnonymousCalls      int      // ANONYMOUS_MAX_CONCURRENT_CALLS
	TrustedProxies      int      // TRUSTED_PROXIES
}

var methods = []string{"keys", "oauth", "google", "cloudrun", "iap", "kubernetes", "anonymous"}

// Asymmetric signatures alone: who can check one must not be able to make it.
var algorithms = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}

// ErrNoCallers is the fault of a server that others can reach and that no one may call.
var ErrNoCallers = errors.New("AUTHENTICATION: is not set, and says who may call: keys (make one with: erlmcp keys add), oauth, google, cloudrun " +
	"(a service that demands authentication), iap, kubernetes, several of them separated by commas, or anonymous for anyone; go run ./local serves this machine alone, and asks for nothing")

// CheckPublic checks that someone may call a server that is not on loopback.
func (c *Config) CheckPublic() error {
	if len(c.Callers.Chain) == 0 {
		return ErrNoCallers
	}
	return nil
}

func (r *reader) callers(cfg *Config) {
	c := &cfg.Callers
	r.chain(c)
	c.PublicURL, c.PublicPath = r.publicURL("PUBLIC_URL")
	own := ""
	if c.PublicURL != "" {
		own = c.PublicURL + "," + c.PublicURL + "/mcp"
	}
	c.KeysFile = r.text("API_KEYS_FILE", "")
	r.demand(c, "keys", "API_KEYS_FILE", c.KeysFile == "" && cfg.Project == "", "it is where the keys are; make one with: erlmcp keys add; or set GOOGLE_CLOUD_PROJECT, whose Firestore keeps those that taiea makes")
	if cfg.Target == "taiea" {
		r.demand(c, "keys", "API_KEYS_FILE", c.KeysFile == "", "operators' keys are in a file of their own; make one with: erlmcp keys add -tenant operators -subject alice -scopes taiea:admin")
	}
	r.oauth(c, own)
	c.GoogleAudiences = r.list("GOOGLE_AUDIENCES", own)
	r.demand(c, "google", "GOOGLE_AUDIENCES", len(c.GoogleAudiences) == 0, "it says what tokens must be made for; or set PUBLIC_URL")
	r.google(cfg)
	c.TenantMap = r.list("TENANT_MAP", "")
	c.IAPAudiences = r.list("IAP_AUDIENCES", "")
	r.demand(c, "iap", "IAP_AUDIENCES", len(c.IAPAudiences) == 0, "without it the proxy of anyone's service would do")
	r.kubernetes(c, own)
	if slices.Contains(c.Chain, "cloudrun") && cfg.Platform != CloudRun {
		r.fault("AUTHENTICATION", "cloudrun trusts that Cloud Run has checked the caller, and this is not Cloud Run")
	}
	c.AnonymousRate = r.integer("ANONYMOUS_RATE_LIMIT_PER_SECOND", 5, 0, 250_000)
	c.AnonymousCalls = r.integer("ANONYMOUS_MAX_CONCURRENT_CALLS", 5, 0, 1e6)
	proxies := 0
	if cfg.Platform == CloudRun {
		proxies = 1
	}
	c.TrustedProxies = r.integer("TRUSTED_PROXIES", proxies, 0, 10)
}

// chain reads the methods by which callers are known, in their order.
func (r *reader) chain(c *Callers) {
	c.Chain = r.list("AUTHENTICATION", "")
	for i, m := range c.Chain {
		switch {
		case !slices.Contains(methods, m):
			r.fault("AUTHENTICATION", "%q is not one of %s", m, strings.Join(methods, ", "))
		case slices.Contains(c.Chain[:i], m):
			r.fault("AUTHENTICATION", "%s is named twice", m)
		case m == "anonymous" && i < len(c.Chain)-1:
			r.fault("AUTHENTICATION", "anonymous must come last")
		}
	}
}

// demand faults a setting that a method of the chain can't do without.
func (r *reader) demand(c *Callers, method, name string, missing bool, what string) {
	if missing && slices.Contains(c.Chain, method) {
		r.fault(name, "is not set, and AUTHENTICATION names %s: %s", method, what)
	}
}

// oauth reads whose tokens are taken. Own is what they are made for, unless the settings say otherwise.
func (r *reader) oauth(c *Callers, own string) {
	c.Issuers = r.issuers("OAUTH_ISSUERS")
	r.demand(c, "oauth", "OAUTH_ISSUERS", len(c.Issuers) == 0, "it says whose tokens are taken")
	r.demand(c, "oauth", "PUBLIC_URL", c.PublicURL == "", "clients are told where to learn of the issuers")
	c.Audiences = r.list("OAUTH_AUDIENCES", own)
	r.demand(c, "oauth", "OAUTH_AUDIENCES", c.PublicURL != "" && len(c.Audiences) == 0, "it says what tokens must be made for")
	c.Algorithms = r.list("OAUTH_ALGORITHMS", "RS256,ES256")
	for _, a := range c.Algorithms {
		if !slices.Contains(algorithms, a) {
			r.fault("OAUTH_ALGORITHMS", "%q is not one of %s", a, strings.Join(algorithms, ", "))
		}
	}
	c.Scopes = r.list("OAUTH_SCOPES", "")
	for _, s := range c.Scopes {
		if strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c > '~' || c == '"' || c == '\\' }) {
			r.fault("OAUTH_SCOPES", "%q is not a scope of one word", s)
		}
	}
	c.TenantClaim = r.text("OAUTH_TENANT_CLAIM", "")
}

// kubernetes reads the cluster whose tokens are taken.
func (r *reader) kubernetes(c *Callers, own string) {
	if list := r.issuers("KUBERNETES_ISSUER"); len(list) > 1 {
		r.fault("KUBERNETES_ISSUER", "is one issuer, not %d", len(list))
	} else if len(list) == 1 {
		c.KubernetesIssuer = list[0]
	}
	r.demand(c, "kubernetes", "KUBERNETES_ISSUER", c.KubernetesIssuer == "", "it is the iss of the cluster's tokens")
	c.KubernetesAudiences = r.list("KUBERNETES_AUDIENCES", own)
	r.demand(c, "kubernetes", "KUBERNETES_AUDIENCES", len(c.KubernetesAudiences) == 0, "it says what tokens must be made for; or set PUBLIC_URL")
}

// google reads whose ID tokens are taken: everyone can have an account of Google's.
func (r *reader) google(cfg *Config) {
	c := &cfg.Callers
	c.GoogleDomains, c.GoogleAccounts = lower(r.list("GOOGLE_DOMAINS", "")), lower(r.list("GOOGLE_ACCOUNTS", ""))
	for _, d := range c.GoogleDomains {
		project, service := strings.CutSuffix(d, "gserviceaccount.com")
		switch {
		case d == "gmail.com" || d == "googlemail.com":
			r.fault("GOOGLE_DOMAINS", "%s is everyone's: name accounts in GOOGLE_ACCOUNTS", d)
		case service && (!strings.HasSuffix(project, ".iam.") || project == ".iam."):
			r.fault("GOOGLE_DOMAINS", "%s is of service accounts of any project: name PROJECT.iam.gserviceaccount.com, or accounts in GOOGLE_ACCOUNTS", d)
		case !domain.MatchString(d):
			r.fault("GOOGLE_DOMAINS", "%q is not a domain such as example.com, or PROJECT.iam.gserviceaccount.com", d)
		}
	}
	for _, a := range c.GoogleAccounts {
		if address, err := mail.ParseAddress(a); err != nil || address.Address != a {
			r.fault("GOOGLE_ACCOUNTS", "%q is not an e-mail address", a)
		}
	}
	// Of taiea they are those of OPERATORS.
	if slices.Contains(c.Chain, "google") && len(c.GoogleDomains)+len(c.GoogleAccounts) == 0 && cfg.Target != "taiea" {
		r.fault("GOOGLE_DOMAINS", "is not set, nor is GOOGLE_ACCOUNTS, and AUTHENTICATION names google: anyone can have an account of Google's; name the Workspace domains, or the accounts, that may call")
	}
}

var domain = regexp.MustCompile(`^[a-z0-9-]+(\.[a-z0-9-]+)+$`)

func lower(list []string) []string {
	for i := range list {
		list[i] = strings.ToLower(list[i])
	}
	return list
}

// list reads words that commas separate.
func (r *reader) list(name, fallback string) []string {
	var out []string
	for item := range strings.SplitSeq(r.text(name, fallback), ",") {
		if item = strings.TrimSpace(item); item != "" {
			out = append(out, item)
		}
	}
	return out
}

// publicPath is what a gateway may put before the paths here.
var publicPath = regexp.MustCompile(`^(/[A-Za-z0-9._~-]+)*$`)

// publicURL reads an address, and its path, in the form in which they are compared: scheme and host in lower case, without the default
// port and a slash at the end.
func (r *reader) publicURL(name string) (address, path string) {
	v := r.text(name, "")
	if v == "" {
		return "", ""
	}
	u, err := url.Parse(v)
	if err != nil || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || strings.Contains(v, "#") || u.Scheme != "https" && !(u.Scheme == "http" && loopback(u.Hostname())) {
		r.fault(name, "%q is not an address such as https://mcp.example.com", v)
		return "", ""
	}
	path = strings.TrimRight(u.EscapedPath(), "/")
	switch {
	case path == "/mcp" || strings.HasSuffix(path, "/mcp"):
		r.fault(name, "%q ends with the path of the endpoint: leave /mcp out, clients connect to the address with /mcp behind it", v)
		return "", ""
	case strings.HasPrefix(path, "/.well-known"):
		r.fault(name, "%q has a path that is taken", v)
		return "", ""
	case !publicPath.MatchString(path) || path != "" && gopath.Clean(path) != path:
		r.fault(name, "%q has a path that is not one such as /tools", v)
		return "", ""
	}
	host := strings.TrimSuffix(strings.ToLower(u.Host), map[string]string{"http": ":80", "https": ":443"}[u.Scheme])
	return u.Scheme + "://" + strings.TrimSuffix(host, ":") + path, path
}

// issuers reads addresses that are compared byte by byte with what tokens say.
func (r *reader) issuers(name string) []string {
	list := r.list(name, "")
	for _, v := range list {
		u, err := url.Parse(v)
		if err != nil || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http" {
			r.fault(name, "%q is not the address of an issuer, such as https://login.example.com", v)
		}
	}
	return list
}

func loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}
