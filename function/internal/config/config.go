// Package config reads every setting from the environment. Each has a name, a default and a check; all faults are reported
// at once, and what is secret never shows.
package config

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Config holds the settings of one server. The comments name the environment variables.
type Config struct {
	Target               string        // FUNCTION_TARGET
	Port                 int           // PORT
	Health               string        // HEALTH_ENDPOINT
	Ready                string        // READY_ENDPOINT
	MaxConnections       int           // MAX_CONNECTIONS
	ConnectionTimeout    time.Duration // CONNECTION_TIMEOUT: for idle connections, not for open streams
	HeaderTimeout        time.Duration // HEADER_TIMEOUT
	BodyTimeout          time.Duration // BODY_TIMEOUT
	MaxBody              int64         // MAX_REQUEST_BYTES
	DrainTimeout         time.Duration // DRAIN_TIMEOUT
	NodeName             string        // NODE_NAME
	AllowedOrigins       []string      // ALLOWED_ORIGINS
	Keys                 Secret        // SEALING_KEYS: "" where none are given and none are demanded
	KeysFile             string        // SEALING_KEYS_FILE; at most one of the two is set
	Governed             bool          // GOVERNOR_ENABLED
	Standalone           bool          // GOVERNOR_SCOPE=instance, or nothing to share counters by
	Redis                Secret        // REDIS_URL; it may hold a password
	RedisFile            string        // REDIS_URL_FILE; at most one of the two is set
	RedisCA              string        // REDIS_CA: PEM
	RedisAccount         bool          // REDIS_LOGIN=google
	Project              string        // GOOGLE_CLOUD_PROJECT: where the store is, "" for none
	Databases            []string      // FIRESTORE_DATABASE: one or three
	Emulator             string        // FIRESTORE_EMULATOR_HOST: in place of Firestore, "" for none
	StoreFile            string        // STORE_FILE: of a process that is alone, "" for none
	MaxCalls             int           // MAX_CONCURRENT_CALLS
	RatePerSecond        int           // RATE_LIMIT_PER_SECOND
	TenantCalls          int           // TENANT_MAX_CONCURRENT_CALLS: for each tenant; 0 is no limit, as in the next four
	TenantRate           int           // TENANT_RATE_LIMIT_PER_SECOND
	TenantPerDay         int           // TENANT_CALLS_PER_DAY
	ClientCalls          int           // CLIENT_MAX_CONCURRENT_CALLS
	ClientRate           int           // CLIENT_RATE_LIMIT_PER_SECOND
	RefusalErrors        bool          // REFUSALS
	RateOnFailure        string        // RATE_LIMIT_ON_REDIS_FAILURE: closed, local or open
	SlotsOnFailure       string        // CONCURRENT_CALLS_ON_REDIS_FAILURE
	Workers              int           // WORKERS
	Callers              Callers
	Seen                 Seen
	Receipts             string    // RECEIPTS: true, false, or "" for true where there is a store
	ReceiptKeyFile       string    // RECEIPT_KEY_FILE; at most one of it and the next is set
	ReceiptKMSKey        string    // RECEIPT_KMS_KEY: the resource name of a version
	RootKeyFile          string    // RECEIPT_ROOT_KEY_FILE; at most one of it and the next is set
	RootKMSKey           string    // RECEIPT_ROOT_KMS_KEY
	RootsSince           time.Time // RECEIPT_ROOTS_SINCE; zero where there is no key of roots
	ReceiptRetentionDays int       // RECEIPT_RETENTION_DAYS
	ReceiptStoreDays     int       // RECEIPT_STORE_DAYS; fewer where what is older is archived
	BackupPlace          string    // BACKUP_PLACE
	DenyUnknown          bool      // UNKNOWN_TENANTS=deny
	AgentTools           []string  // TAIEA_TOOLS
	Operating            Operating
	PolicyFile           string // POLICY_FILE
	CatalogFile          string // CATALOG_FILE
	CatalogSecrets       string // CATALOG_SECRETS
	EgressAllow          string // EGRESS_ALLOW
	Platform             Platform
}

// A Secret does not show when it is printed or logged.
type Secret string

func (s Secret) String() string {
	if s == "" {
		return "(not set)"
	}
	return "(set)"
}

// GoString hides the secret from %#v.
func (s Secret) GoString() string { return s.String() }

// LogValue hides the secret from log/slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText hides the secret from encoders.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// FileAge is how old what a mounted file said may become before it is looked at again. Cloud Run reads a mounted secret from Secret Manager
// each time that it is looked at, and each time costs. Elsewhere 0 has the default of those who look.
func (c *Config) FileAge() time.Duration {
	if c.Platform == CloudRun {
		return 30 * time.Second
	}
	return 0
}

// Platform is where the process runs.
type Platform string

// The platforms that differ in what a start demands.
const (
	Local      Platform = "local"
	CloudRun   Platform = "Cloud Run"
	Kubernetes Platform = "Kubernetes"
)

// A Setting documents one environment variable.
type Setting struct {
	Name, Default, Help string
	Secret              bool
}

// Settings lists what [Load] reads.
var Settings = []Setting{
	{"FUNCTION_TARGET", "erlmcp", "the function to serve: erlmcp, or its control plane taiea", false},
	{"PORT", "8080", "port to listen on, HTTP/1.1 and HTTP/2 in the clear", false},
	{"HEALTH_ENDPOINT", "/health", "path that says whether the process is alive", false},
	{"READY_ENDPOINT", "/ready", "path that says whether it can serve", false},
	{"MAX_CONNECTIONS", "50000, or what the limits of open files and memory allow", "connections at a time; where one more comes, those without a request for the longest go", false},
	{"CONNECTION_TIMEOUT", "30s", "time for which a connection may be idle", false},
	{"HEADER_TIMEOUT", "10s", "time for a request's headers", false},
	{"BODY_TIMEOUT", "30s", "time for a request's body; after 5 s it must come at 16 KiB/s", false},
	{"MAX_REQUEST_BYTES", "1048576", "bytes of a request's body", false},
	{"DRAIN_TIMEOUT", "8s (25s on Kubernetes)", "time from SIGTERM to the end of the process, of which running calls get all but 1.35 s", false},
	{"GOVERNOR_ENABLED", "true", "hold the limits; false admits all", false},
	{"GOVERNOR_SCOPE", "fleet where REDIS_URL is set", "where limits are counted: fleet, by all instances together, or instance, by this process alone, for a service of one instance", false},
	{"REDIS_URL", "none; demanded on Cloud Run and Kubernetes unless GOVERNOR_SCOPE is instance", "where the instances share their counters, such as rediss://:password@host:6379; its maxmemory-policy must be noeviction", true},
	{"REDIS_URL_FILE", "none", "file that has it in place of REDIS_URL; it is read again when it changes, and new connections log in with the user and password that it names then; another server needs a restart", false},
	{"REDIS_LOGIN", "url", "with what connections to Redis begin: url, the user and password of REDIS_URL; or google, the account that the process runs as and an access token of it, made anew for each connection, as Memorystore for Valkey has it with IAM authentication. The account needs roles/memorystore.dbConnectionUser", false},
	{"REDIS_CA", "none: the system's", "certificates in PEM that alone may sign that of a rediss:// server, as Memorystore has its own", false},
	{"GOOGLE_CLOUD_PROJECT", "none", "project whose Firestore keeps daily quotas, kill switches and what tells lost counters from new ones; without it there are no quotas, kill switches are lost with Redis, and the first calls on a new Redis wait for 2 s", false},
	{"FIRESTORE_DATABASE", "(default)", "database of that project; or three, separated by commas: of what operators order (tenants, plans, keys, kill switches), of what instances count, and of receipts, so that each function's account has other rights on each", false},
	{"FIRESTORE_EMULATOR_HOST", "none", "address of an emulator in place of Firestore", false},
	{"STORE_FILE", "none", "file in which a process without a project keeps orders, quotas, tenants, plans, API keys and the latest 64 MiB of receipts, as the local run may", false},
	{"MAX_CONCURRENT_CALLS", "1000", "calls at a time, of all tools together", false},
	{"RATE_LIMIT_PER_SECOND", "10000", "calls a second, of all tools, prompts, resources and completions together; to connect, ping and list is no call: each client may do that at a tenth of this rate, and 20 times a second at least", false},
	{"TENANT_MAX_CONCURRENT_CALLS", "no limit", "calls at a time of each tenant", false},
	{"TENANT_RATE_LIMIT_PER_SECOND", "no limit", "calls a second of each tenant", false},
	{"TENANT_CALLS_PER_DAY", "no limit", "calls of each tenant in a UTC day", false},
	{"CLIENT_MAX_CONCURRENT_CALLS", "no limit", "calls at a time of each client", false},
	{"CLIENT_RATE_LIMIT_PER_SECOND", "no limit", "calls a second of each client", false},
	{"REFUSALS", "result", "what a refused call of a tool is answered with: result, which the model reads, or error, with the code and the status that programs read", false},
	{"RATE_LIMIT_ON_REDIS_FAILURE", "local", "what rates do while Redis can't be reached: local (this instance's share), closed or open", false},
	{"CONCURRENT_CALLS_ON_REDIS_FAILURE", "closed", "what limits of calls at a time do while Redis can't be reached: closed, local or open", false},
	{"WORKERS", "20", "calls at a time of one instance to each upstream that tools name", false},
	{"AUTHENTICATION", "none; demanded but on loopback", "who may call, in the order in which credentials are tried: keys, oauth, google, cloudrun, iap, kubernetes, anonymous", false},
	{"PUBLIC_URL", "none; demanded with oauth", "where clients reach the server, such as https://mcp.example.com; with a path, such as https://example.com/tools, behind a gateway that leads from there to here", false},
	{"API_KEYS_FILE", "none; demanded with keys", "file of API keys that erlmcp keys makes; it is read again when it changes", false},
	{"OAUTH_ISSUERS", "none; demanded with oauth", "issuers of access tokens, separated by commas, such as https://login.example.com", false},
	{"OAUTH_AUDIENCES", "PUBLIC_URL, and the same with /mcp", "what tokens must be made for, separated by commas", false},
	{"OAUTH_ALGORITHMS", "RS256,ES256", "signatures that are taken: RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA", false},
	{"OAUTH_SCOPES", "none", "scopes that every call needs, of keys too, separated by commas", false},
	{"OAUTH_TENANT_CLAIM", "none: the issuer is the tenant", "claim of a token that names the tenant", false},
	{"TENANT_MAP", "none: AUTHORITY:NAME", "tenants that callers by other methods than keys are, as AUTHORITY:NAME=TENANT separated by commas, such as google:acme.com=acme; the authority is the method, or host and path of the OAuth issuer with _ for each character but letters, digits, dots and dashes; as NAME * is any, or with google, cloudrun and iap the address of one account, and as TENANT * is the name as it is", false},
	{"GOOGLE_AUDIENCES", "PUBLIC_URL, and the same with /mcp", "what ID tokens of Google must be made for, separated by commas", false},
	{"GOOGLE_DOMAINS", "none; demanded with google, or GOOGLE_ACCOUNTS", "Workspace domains whose accounts may call by google, separated by commas; PROJECT.iam.gserviceaccount.com are the service accounts of a project", false},
	{"GOOGLE_ACCOUNTS", "none; of taiea, those of OPERATORS", "e-mail addresses of accounts that may call by google, separated by commas", false},
	{"IAP_AUDIENCES", "none; demanded with iap", "audiences of the Identity-Aware Proxy, such as /projects/NUMBER/locations/REGION/services/NAME", false},
	{"KUBERNETES_ISSUER", "none; demanded with kubernetes", "issuer of the cluster's service account tokens, whose keys must be readable without credentials", false},
	{"KUBERNETES_AUDIENCES", "PUBLIC_URL, and the same with /mcp", "what service account tokens must be made for, separated by commas", false},
	{"ANONYMOUS_RATE_LIMIT_PER_SECOND", "5", "calls a second of all anonymous callers together; 0 is no limit of their own", false},
	{"ANONYMOUS_MAX_CONCURRENT_CALLS", "5", "calls at a time of all anonymous callers together; 0 is no limit of their own", false},
	{"TRUSTED_PROXIES", "1 on Cloud Run, else 0", "proxies before the server that add to X-Forwarded-For, to find the address of who failed to authenticate", false},
	{"RECEIPTS", "true where there is a store", "record each decision, in chains that can be verified", false},
	{"RECEIPT_KEY_FILE", "none: chains are not signed", "file of the operator's Ed25519 key in PEM, which vouches for the chains, and behind it the public halves of those before; make one with: openssl genpkey -algorithm ed25519; it is read again when it changes", false},
	{"RECEIPT_KMS_KEY", "none", "version of an Ed25519 key in Cloud KMS that vouches for the chains in place of a file, such as projects/P/locations/L/keyRings/R/cryptoKeys/K/cryptoKeyVersions/1; its algorithm is EC_SIGN_ED25519, and the service account needs roles/cloudkms.signerVerifier on it", false},
	{"RECEIPT_ROOT_KEY_FILE", "none: the key of chains vouches for roots too", "file of another Ed25519 key in PEM, which alone vouches for roots, and behind it the public halves of those before. Only a process that has it makes roots: taiea, so that what has been taken over of the data plane can make none. With public keys alone roots are judged, and none is made", false},
	{"RECEIPT_ROOT_KMS_KEY", "none", "version of another Ed25519 key in Cloud KMS that vouches for roots in place of a file", false},
	{"RECEIPT_ROOTS_SINCE", "none; demanded with a key of roots", "time from which on that key alone vouches for roots, such as 2026-12-01T00:00:00Z. All processes have it, those without the key too: they make roots before it, and none from then on", false},
	{"RECEIPT_RETENTION_DAYS", "400", "days for which receipts are kept", false},
	{"RECEIPT_STORE_DAYS", "RECEIPT_RETENTION_DAYS", "days for which Firestore keeps receipts, from 7 on. Where it is less than all days, erlmcp backup, run each day, copies those of the day before to BACKUP_PLACE, from where they are read afterwards. Each process that writes receipts, and the backup, must have the same", false},
	{"BACKUP_PLACE", "none", "where each minute the roots of receipts and the receipts of changes are copied to, so that a store that was rolled back is found out, and revocations are had back: gs://BUCKET/PREFIX, or a folder; the place of erlmcp backup. The service account needs to create, read and list objects there, and nothing more", false},
	{"UNKNOWN_TENANTS", "allow", "allow serves tenants that taiea has not been told of, under the limits of every tenant; deny refuses them", false},
	{"TAIEA_TOOLS", strings.Join(offered, ","), "tools of the governor that agents get, without their prefix taiea_; there is entitlement_apply_event too; none for none", false},
	{"WEBHOOK_SECRETS", "none: no events by webhook", "secrets of the sources of entitlement events, each as SOURCE=whsec_…, separated by commas; two of one source while they change", true},
	{"TAIEA_ROUTES", "all", "what taiea serves: all, or webhook, which is events that are signed with WEBHOOK_SECRETS and nothing else, for a service that everyone reaches", false},
	{"TAIEA_SEALING_KEYS", "SEALING_KEYS", "of taiea: keys that seal the answers which it keeps for idempotency keys, in the form of SEALING_KEYS, which the data plane has, too", true},
	{"TAIEA_SEALING_KEYS_FILE", "none", "file that has them in place of TAIEA_SEALING_KEYS, as erlmcp rotate changes it; it is read again when it changes", false},
	{"OPERATORS", "none", "of taiea: who may do what, as ROLE=WHO separated by commas; the roles are viewer, operator and admin, and WHO is the e-mail address of a person or service account, or * for all other people that authentication lets in, as where a group may call the service; API keys have scopes instead, such as taiea:admin", false},
	{"PUBSUB_SERVICE_ACCOUNT", "none: no events by Pub/Sub", "of taiea: the service account that push deliveries are signed as, or several as SOURCE=ACCOUNT separated by commas, each of which may speak for its sources alone; an account without a source speaks for any, as long as neither here nor in WEBHOOK_SECRETS a source is named", false},
	{"PUBSUB_AUDIENCE", "PUBLIC_URL/v1/events/pubsub", "of taiea: what the tokens of push deliveries must be made for", false},
	{"POLICY_FILE", "none", "file of rules in CEL; it is read again when it changes", false},
	{"CATALOG_FILE", "none", "file that declares tools, resources and prompts: of OpenAPI documents, HTTP requests, Firestore collections and texts; it is read again when it or what it names changes, and a change with a fault leaves in force what was", false},
	{"CATALOG_SECRETS", "none", "folder whose files are the secrets that the catalog file calls secret:NAME; each is read again when it changes", false},
	{"EGRESS_ALLOW", "none", "hosts and address ranges that the server may reach though they are not public, separated by commas, such as 10.0.0.0/8,login.internal", false},
	{"LOG_LEVEL", "info", "debug, info, warning or error", false},
	{"LOG_LEVEL_FILE", "none", "file that has the level in place of LOG_LEVEL; SIGHUP has it read again", false},
	{"LOG_OUTPUT", "stdout", "where the log goes: stdout, stderr, or api for Cloud Logging's API; JSON lines as Google Cloud reads them, or words on a terminal", false},
	{"LOG_FILE", "none", "file to which the log goes too, as JSON lines, rotated at 10 MiB with 7 kept", false},
	{"LOG_SAMPLE", "1", "part of the records of requests that went well that is written, from 0.001 to 1; all others always are", false},
	{"OTEL_SDK_DISABLED", "false", "true sends nothing to a collector or agent, whatever else is set for that", false},
	{"OTEL_EXPORTER_OTLP_ENDPOINT", "none", "OpenTelemetry collector that gets metrics and traces, such as http://localhost:4318; or https://telemetry.googleapis.com, Google's own, with the account's token", false},
	{"OTEL_RESOURCE_ATTRIBUTES", "none", "what metrics and traces say of where they come from, such as location=us-central1,deployment.environment.name=staging; Google's endpoint demands location", false},
	{"OTEL_EXPORTER_OTLP_HEADERS", "none", "headers for it, such as api-key=…, separated by commas", true},
	{"OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf", "how it is spoken to; there is no other", false},
	{"OTEL_TRACES_SAMPLER", "parentbased_traceidratio", "which requests are traced: always_on, always_off, traceidratio, or these after parentbased_, where callers that are traced decide", false},
	{"OTEL_TRACES_SAMPLER_ARG", "0.02", "part of the requests that is traced, from 0 to 1", false},
	{"OTEL_METRIC_EXPORT_INTERVAL", "60000", "milliseconds between two exports of metrics", false},
	{"DATADOG_AGENT_HOST", "none", "host whose Datadog agent gets metrics and traces, at its port 4318 for OTLP, unless OTEL_EXPORTER_OTLP_ENDPOINT is set", false},
	{"NODE_NAME", "the platform's name of the instance, or the host's", "part of the instance's id", false},
	{"ALLOWED_ORIGINS", "none; on loopback, this machine's", "origins whose pages may call, separated by commas, such as https://app.example.com, chrome-extension://ID or null; or *", false},
	{"SEALING_KEYS", "a new one at each start; demanded on Cloud Run and Kubernetes", "keys of 32 bytes in base64, separated by commas, that seal what travels through clients and key the hashes in receipts; the first seals and keys, all open", true},
	{"SEALING_KEYS_FILE", "none", "file that has them in place of SEALING_KEYS, as erlmcp rotate changes it; it is read again when it changes; hashes in receipts keep the key that the process started with", false},
}

// Load reads the settings through getenv, for a process on the machine. The error lists all faults, one a line.
func Load(getenv func(string) string, m Machine) (*Config, error) {
	// What mounts and pastes settings often leaves a newline at their end.
	r := reader{getenv: func(name string) string { return strings.TrimSpace(getenv(name)) }}
	c := &Config{Platform: Local}
	switch {
	case getenv("K_SERVICE") != "":
		c.Platform = CloudRun
	case getenv("KUBERNETES_SERVICE_HOST") != "":
		c.Platform = Kubernetes
	}
	if c.Target = r.text("FUNCTION_TARGET", "erlmcp"); c.Target != "erlmcp" && c.Target != "taiea" {
		r.fault("FUNCTION_TARGET", "there is no function %q: there is erlmcp, and its control plane taiea", c.Target)
	}
	c.Port = r.integer("PORT", 8080, 0, 65535)
	c.Health = r.path("HEALTH_ENDPOINT", "/health")
	c.Ready = r.path("READY_ENDPOINT", "/ready")
	if c.Health == c.Ready {
		r.fault("READY_ENDPOINT", "is the same path as HEALTH_ENDPOINT, %s", c.Ready)
	}
	r.connections(c, m)
	drain := 8 * time.Second
	if c.Platform == Kubernetes {
		drain = 25 * time.Second
	}
	c.DrainTimeout = r.duration("DRAIN_TIMEOUT", drain, 0, time.Hour)
	c.Governed = r.boolean("GOVERNOR_ENABLED", true)
	r.scope(c)
	c.MaxCalls = r.integer("MAX_CONCURRENT_CALLS", 1000, 1, 1e6)
	c.RatePerSecond = r.integer("RATE_LIMIT_PER_SECOND", 10000, 1, 250_000)
	c.TenantCalls = r.integer("TENANT_MAX_CONCURRENT_CALLS", 0, 0, 1e6)
	c.TenantRate = r.integer("TENANT_RATE_LIMIT_PER_SECOND", 0, 0, 250_000)
	c.TenantPerDay = r.integer("TENANT_CALLS_PER_DAY", 0, 0, 1e12)
	c.ClientCalls = r.integer("CLIENT_MAX_CONCURRENT_CALLS", 0, 0, 1e6)
	c.ClientRate = r.integer("CLIENT_RATE_LIMIT_PER_SECOND", 0, 0, 250_000)
	c.RefusalErrors = r.choice("REFUSALS", "result", "result", "error") == "error"
	c.RateOnFailure = r.choice("RATE_LIMIT_ON_REDIS_FAILURE", "local", "closed", "local", "open")
	c.SlotsOnFailure = r.choice("CONCURRENT_CALLS_ON_REDIS_FAILURE", "closed", "closed", "local", "open")
	c.Workers = r.integer("WORKERS", 20, 1, 1e6)
	r.callers(c)
	r.receipts(c)
	c.DenyUnknown = r.choice("UNKNOWN_TENANTS", "allow", "allow", "deny") == "deny"
	r.agentTools(c)
	r.operating(c)
	c.PolicyFile = r.text("POLICY_FILE", "")
	c.CatalogFile, c.CatalogSecrets = r.text("CATALOG_FILE", ""), r.text("CATALOG_SECRETS", "")
	c.EgressAllow = r.text("EGRESS_ALLOW", "")
	r.seen(c)
	c.NodeName = r.text("NODE_NAME", nodeName(r.getenv))
	c.AllowedOrigins = r.list("ALLOWED_ORIGINS", "")
	c.Keys, c.KeysFile = r.secret("SEALING_KEYS")
	if c.Keys == "" && c.KeysFile == "" && c.Platform != Local {
		r.fault("SEALING_KEYS", "is not set, and the instances on %s must share it; make one with: openssl rand -base64 32", c.Platform)
	}
	r.renamed()
	return c, errors.Join(r.faults...)
}

// former are names that settings had, and those that they have.
var former = []struct{ had, has string }{
	{"ERLMCP_KEYS", "SEALING_KEYS"},
	{"TENANTS", "UNKNOWN_TENANTS, with allow in place of open, and deny in place of listed"},
	{"PROXIES", "TRUSTED_PROXIES"},
	{"OUTBOUND_ALLOW", "EGRESS_ALLOW"},
	{"RECEIPT_DAYS", "RECEIPT_RETENTION_DAYS"},
	{"RATE_LIMIT_OUTAGE", "RATE_LIMIT_ON_REDIS_FAILURE"},
	{"CONCURRENT_CALLS_OUTAGE", "CONCURRENT_CALLS_ON_REDIS_FAILURE"},
}

// renamed faults settings by names that they had: what an operator has set must not be left out without a word.
func (r *reader) renamed() {
	for _, s := range former {
		if r.getenv(s.had) != "" {
			r.fault(s.had, "is called %s: set that, and leave %s out", s.has, s.had)
		}
	}
}

func nodeName(getenv func(string) string) string {
	if rev := getenv("K_REVISION"); rev != "" {
		return rev
	}
	host, err := os.Hostname()
	if err != nil {
		return "unnamed"
	}
	return host
}

type reader struct {
	getenv func(string) string
	faults []error
}

func (r *reader) fault(name, format string, args ...any) {
	r.faults = append(r.faults, fmt.Errorf("%s: "+format, append([]any{name}, args...)...))
}

func (r *reader) text(name, fallback string) string {
	if v := r.getenv(name); v != "" {
		return v
	}
	return fallback
}

func (r *reader) integer(name string, fallback, least, most int) int {
	v := r.getenv(name)
	if v == "" {
		return fallback
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < least || n > most {
		r.fault(name, "%q is not a whole number from %d to %d", v, least, most)
	}
	return n
}

func (r *reader) choice(name, fallback string, of ...string) string {
	v := r.text(name, fallback)
	if !slices.Contains(of, v) {
		r.fault(name, "%q is not one of %s", v, strings.Join(of, ", "))
	}
	return v
}

func (r *reader) boolean(name string, fallback bool) bool {
	switch v := r.getenv(name); v {
	case "":
		return fallback
	case "true":
		return true
	case "false":
		return false
	default:
		r.fault(name, "%q is not true or false", v)
		return fallback
	}
}

func (r *reader) duration(name string, fallback, least, most time.Duration) time.Duration {
	v := r.getenv(name)
	if v == "" {
		return fallback
	}
	d, err := time.ParseDuration(v)
	if err != nil || d < least || d > most {
		r.fault(name, "%q is not a duration from %v to %v, such as 30s", v, least, most)
	}
	return d
}

func (r *reader) path(name, fallback string) string {
	v := r.text(name, fallback)
	switch {
	case !strings.HasPrefix(v, "/") || strings.ContainsAny(v, " ?#{}"):
		r.fault(name, "%q is not a path such as %s", v, fallback)
	case path.Clean(v) != v:
		r.fault(name, "%q is not a clean path such as %s", v, fallback)
	case v == "/" || v == "/mcp":
		r.fault(name, "%q is taken", v)
	case strings.HasSuffix(v, "z"):
		r.fault(name, "%q ends in z, which Cloud Run keeps for itself", v)
	}
	return v
}

func (r *reader) level(name string, fallback slog.Level) slog.Level {
	switch v := r.getenv(name); v {
	case "":
		return fallback
	case "debug":
		return slog.LevelDebug
	case "info":
		return slog.LevelInfo
	case "warning":
		return slog.LevelWarn
	case "error":
		return slog.LevelError
	default:
		r.fault(name, "%q is not one of debug, info, warning, error", v)
		return fallback
	}
}
