package config

import (
	"net/mail"
	"slices"
	"strings"
)

// Operating are the settings of the control plane, and of what it shares with the data plane.
type Operating struct {
	Operators      map[string]string // OPERATORS: role by e-mail address in lower case, and by [Everyone]
	PushAccounts   string            // PUBSUB_SERVICE_ACCOUNT
	PushAudience   string            // PUBSUB_AUDIENCE
	WebhookSecrets Secret            // WEBHOOK_SECRETS
	SignedOnly     bool              // TAIEA_ROUTES=webhook
	Keys           Secret            // TAIEA_SEALING_KEYS
	KeysFile       string            // TAIEA_SEALING_KEYS_FILE; at most one of the two is set
}

// Everyone stands in OPERATORS for all people that authentication lets in and that are not named.
const Everyone = "*"

var roles = []string{"viewer", "operator", "admin"}

func (r *reader) operating(c *Config) {
	o := &c.Operating
	o.Operators = map[string]string{}
	for _, item := range r.list("OPERATORS", "") {
		role, who, _ := strings.Cut(item, "=")
		address, err := mail.ParseAddress(who)
		switch {
		case !slices.Contains(roles, role) || who != Everyone && (err != nil || address.Address != who):
			r.fault("OPERATORS", "%q is not ROLE=WHO, such as admin=alice@example.com, with a role of %s", item, strings.Join(roles, ", "))
		case o.Operators[strings.ToLower(who)] != "":
			r.fault("OPERATORS", "%s is named twice", who)
		}
		o.Operators[strings.ToLower(who)] = role
	}
	o.PushAccounts = r.text("PUBSUB_SERVICE_ACCOUNT", "")
	own := ""
	if c.Callers.PublicURL != "" {
		own = c.Callers.PublicURL + "/v1/events/pubsub"
	}
	if o.PushAudience = r.text("PUBSUB_AUDIENCE", own); o.PushAudience == "" && o.PushAccounts != "" {
		r.fault("PUBSUB_AUDIENCE", "is not set, and PUBSUB_SERVICE_ACCOUNT needs it, or PUBLIC_URL")
	}
	o.WebhookSecrets = Secret(r.getenv("WEBHOOK_SECRETS"))
	if o.SignedOnly = r.choice("TAIEA_ROUTES", "all", "all", "webhook") == "webhook"; o.SignedOnly && o.WebhookSecrets == "" && c.Target == "taiea" {
		r.fault("WEBHOOK_SECRETS", "is not set, and with TAIEA_ROUTES=webhook nothing but events that are signed is served")
	}
	o.Keys, o.KeysFile = r.secret("TAIEA_SEALING_KEYS")
}

// AgentTools are the names that TAIEA_TOOLS may have. Where it is not set it has those that are offered.
var AgentTools = append([]string{ApplyEvent}, offered...)

// ApplyEvent is what TAIEA_TOOLS calls the tool that applies events.
const ApplyEvent = "entitlement_apply_event"

var offered = []string{"health_check", "receipts_verify_chain", "support_model"}

func (r *reader) agentTools(c *Config) {
	names := r.list("TAIEA_TOOLS", strings.Join(offered, ","))
	if len(names) == 1 && names[0] == "none" {
		return
	}
	for i, name := range names {
		names[i] = strings.ReplaceAll(name, ".", "_") // as they were called
		if !slices.Contains(AgentTools, names[i]) {
			r.fault("TAIEA_TOOLS", "%q is not one of %s, or none", name, strings.Join(AgentTools, ", "))
		}
	}
	if slices.Contains(names, ApplyEvent) && r.getenv("WEBHOOK_SECRETS") == "" {
		r.fault("TAIEA_TOOLS", "names %s, which takes events that are signed: set WEBHOOK_SECRETS", ApplyEvent)
	}
	c.AgentTools = names
}
