package admission

import (
	"slices"

	"example.com/erlmcp/function/internal/catalog"
	"example.com/erlmcp/function/internal/config"
	"example.com/erlmcp/function/internal/directives"
	"example.com/erlmcp/function/internal/governor"
	"example.com/erlmcp/function/internal/identity"
)

// Configured returns options with the limits of the settings. Quotas tells whether there is a store to keep daily ones in.
func Configured(cfg *config.Config, entries *catalog.Catalog, quotas bool) Options {
	var anonymous governor.Limit
	if slices.Contains(cfg.Callers.Chain, identity.Anonymous) {
		anonymous = governor.Limit{PerSecond: float64(cfg.Callers.AnonymousRate), Concurrency: int64(cfg.Callers.AnonymousCalls)}
	}
	return Options{
		Catalog:    entries,
		Quotas:     quotas,
		Everything: governor.Limit{PerSecond: float64(cfg.RatePerSecond), Concurrency: int64(cfg.MaxCalls)},
		EachTenant: governor.Limit{PerSecond: float64(cfg.TenantRate), Concurrency: int64(cfg.TenantCalls), PerDay: int64(cfg.TenantPerDay)},
		EachClient: governor.Limit{PerSecond: float64(cfg.ClientRate), Concurrency: int64(cfg.ClientCalls)},
		Anonymous:  anonymous,
	}
}

// ConfiguredLimits lists the limits that servers with these settings hold under directives.
func ConfiguredLimits(cfg *config.Config, entries *catalog.Catalog, quotas bool, directives *directives.Directives) ([]governor.Limit, error) {
	return Limits(Configured(cfg, entries, quotas), directives)
}
