package app

import (
	"crypto/x509"
	"encoding/pem"
	"time"

	"example.com/erlmcp/function/internal/identity"
	"example.com/erlmcp/function/internal/telemetry"
)

// ends tells for how long what this instance goes by is still good, of what has an end.
func (a *App) ends() telemetry.Metric {
	ca, hasCA := lastEnd(a.Config.RedisCA)
	return telemetry.Metric{
		Name: "erlmcp_expires_in_seconds",
		Help: "Time until the first of the callers by API keys has none that is good (api_keys), and until the last certificate of REDIS_CA ends (redis_ca). Less than 0: since then.",
		Kind: telemetry.Gauge, Labels: []string{"what"},
		Read: func(emit func(float64, ...string)) {
			now := time.Now()
			if at, ok := identity.FirstEnd(now, a.Callers.apiKeys()...); ok {
				emit(at.Sub(now).Seconds(), "api_keys")
			}
			if hasCA {
				emit(ca.Sub(now).Seconds(), "redis_ca")
			}
		},
	}
}

// lastEnd returns when the last of some certificates in PEM ends. While a server gets another certificate, they are more than one.
func lastEnd(certificates string) (last time.Time, ok bool) {
	for rest := []byte(certificates); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return last, ok
		}
		if c, err := x509.ParseCertificate(block.Bytes); err == nil && c.NotAfter.After(last) {
			last, ok = c.NotAfter, true
		}
	}
}
