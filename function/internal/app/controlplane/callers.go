package controlplane

import (
	"slices"
	"strings"

	"example.com/erlmcp/function/internal/config"
	"example.com/erlmcp/function/internal/controlapi"
	"example.com/erlmcp/function/internal/egress"
	"example.com/erlmcp/function/internal/entitlement"
	"example.com/erlmcp/function/internal/identity"
)

// operatorScope begins the scopes of API keys and tokens that make their bearer an operator. The scope * does not: it is everything
// on the data plane.
const operatorScope = "taiea:"

var operatorRoles = map[string]controlapi.Role{"viewer": controlapi.Viewer, "operator": controlapi.Operator, "admin": controlapi.Admin}

// roleOf says what a caller may do: by its scopes, or by its address, where Google vouches for that.
func roleOf(operators map[string]string) func(*identity.Principal) controlapi.Role {
	return func(p *identity.Principal) controlapi.Role {
		if p == &identity.Local {
			return controlapi.Admin // of its own machine
		}
		role := controlapi.None
		for _, s := range p.Scopes {
			if name, ok := strings.CutPrefix(s, operatorScope); ok {
				role = max(role, operatorRoles[name])
			}
		}
		if slices.Contains([]string{identity.Google, identity.IAP, identity.CloudRun}, p.Method) {
			who := strings.ToLower(p.Subject)
			if operators[who] == "" && !strings.HasSuffix(who, ".gserviceaccount.com") { // Pub/Sub's and others' accounts are let in, too
				who = config.Everyone
			}
			role = max(role, operatorRoles[operators[who]])
		}
		return role
	}
}

// pushCallers takes the tokens of Pub/Sub's push deliveries. A service that demands authentication gets them without their signature:
// the platform has verified it.
func (p *Plane) pushCallers() *identity.Authenticator {
	cfg := p.Config
	chain := []string{identity.Google}
	if slices.Contains(cfg.Callers.Chain, identity.CloudRun) {
		chain = append(chain, identity.CloudRun)
	}
	return identity.New(identity.Options{
		Chain: chain, Issuers: []identity.Issuer{identity.GoogleIssuer([]string{cfg.Operating.PushAudience})},
		Get: egress.NewClient(egress.Options{Resolver: p.Options.Stand.Resolver, Dial: p.Options.Stand.Dial}).Get, Proxies: cfg.Callers.TrustedProxies, Logger: p.Logger,
	})
}

// pushedBy returns which account of push deliveries a caller is, or nil. What the platform has verified may be meant for something
// else here.
func pushedBy(publishers []entitlement.Publisher, audience string) func(*identity.Principal) *entitlement.Publisher {
	return func(who *identity.Principal) *entitlement.Publisher {
		i := slices.IndexFunc(publishers, func(one entitlement.Publisher) bool { return strings.EqualFold(who.Subject, one.Account) })
		if i < 0 || who.Method == identity.CloudRun && !madeFor(who, audience) {
			return nil
		}
		return &publishers[i]
	}
}

func madeFor(p *identity.Principal, audience string) bool {
	aud, ok := p.Claims["aud"].(string)
	return ok && identity.SameURI(aud, audience)
}
