package controlplane

import (
	"testing"

	"example.com/erlmcp/function/internal/config"
	"example.com/erlmcp/function/internal/controlapi"
	"example.com/erlmcp/function/internal/identity"
)

// TestRoles: who is named has the role that is named, and the rest of the people whom a platform lets in has that of everyone. Accounts of
// services that are let in for their own work have none.
func TestRoles(t *testing.T) {
	operators := map[string]string{"alice@example.com": "admin", "bob@example.com": "viewer", "ci@my-project.iam.gserviceaccount.com": "operator", config.Everyone: "operator"}
	for _, c := range []struct {
		method, subject, scope string
		with, without          controlapi.Role // with the role of everyone, and without
	}{
		{identity.CloudRun, "alice@example.com", "", controlapi.Admin, controlapi.Admin},
		{identity.CloudRun, "Alice@Example.com", "", controlapi.Admin, controlapi.Admin},
		{identity.Google, "bob@example.com", "", controlapi.Viewer, controlapi.Viewer},
		{identity.IAP, "carol@example.com", "", controlapi.Operator, controlapi.None},
		{identity.CloudRun, "ci@my-project.iam.gserviceaccount.com", "", controlapi.Operator, controlapi.Operator},
		{identity.CloudRun, "erlmcp-push@my-project.iam.gserviceaccount.com", "", controlapi.None, controlapi.None},
		{identity.CloudRun, "service-1@gcp-sa-monitoring.iam.gserviceaccount.com", "", controlapi.None, controlapi.None},
		{identity.OAuth, "carol@example.com", "", controlapi.None, controlapi.None},
		{"keys", "agent", "taiea:viewer", controlapi.Viewer, controlapi.Viewer},
		{"keys", "*", "", controlapi.None, controlapi.None},
	} {
		p := &identity.Principal{Method: c.method, Subject: c.subject, Scopes: []string{c.scope}}
		for _, everyone := range []bool{true, false} {
			want := c.with
			if !everyone {
				delete(operators, config.Everyone)
				want = c.without
			}
			if got := roleOf(operators)(p); got != want {
				t.Errorf("%s %s, everyone %v: role %v, want %v", c.method, c.subject, everyone, got, want)
			}
			operators[config.Everyone] = "operator"
		}
	}
}
