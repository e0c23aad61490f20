package redis

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"regexp"
	"strings"
	"syscall"

	"github.com/redis/go-redis/v9"
)

// said is what errors of Redis mean to whoever set REDIS_URL, by what is in them.
var said = []struct{ text, means string }{
	{"WRONGPASS", "it does not take the user and password of REDIS_URL"},
	{"invalid password", "it does not take the password of REDIS_URL"},
	{"NOAUTH", "it demands a password, and REDIS_URL has none"},
	{"without any password configured", "REDIS_URL has a password, and it demands none"},
	{"no password is set", "REDIS_URL has a password, and it demands none"},
	{"SELECT is not allowed in cluster mode", "it is a cluster, and REDIS_URL names a database: leave the number at its end out"},
	{"DB index is out of range", "it does not have the database that REDIS_URL names"},
	{"MOVED", "it is a cluster whose nodes do not agree on where the keys are"},
	{"ASK", "it is a cluster that is moving the keys from one node to another"},
	{"TRYAGAIN", "it is a cluster that is moving the keys from one node to another"},
	{"CLUSTERDOWN", "it is a cluster that does not work: too many of its nodes are away"},
	{"READONLY", "it is a replica: REDIS_URL must name the primary"},
	{"MASTERDOWN", "it is a replica without its primary: REDIS_URL must name the primary"},
	{"LOADING", "it is still loading its data"},
	{"OOM", "it has no memory left: raise maxmemory"},
	{"MISCONF", "it takes no writes since it can't save them"},
	{"NOREPLICAS", "it takes no writes since it has too few replicas"},
	{"BUSY", "it is busy with a script"},
	{"unknown command", "it lacks a command: it must be Redis 6.2 or later"},
}

// denied finds what a user may not do.
var denied = regexp.MustCompile(`'([A-Za-z|_-]+)' command`)

// Explain says in words for operators why a message to Redis failed, and "" where it knows no better than the error. It quotes neither
// addresses nor credentials.
func Explain(err error) string {
	var answer redis.Error
	var unknown x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	var plain tls.RecordHeaderError
	var name *net.DNSError
	var timeout net.Error
	switch {
	case err == nil:
		return ""
	case strings.Contains(err.Error(), "NOPERM"):
		what := "what is needed"
		if m := denied.FindStringSubmatch(err.Error()); m != nil {
			what = m[1]
		} else if strings.Contains(err.Error(), "key") {
			what = "commands on the keys that are needed"
		}
		return "it does not let the user of REDIS_URL run " + what + ": allow it all commands on the keys {erlmcp}:* and rate:{erlmcp}:* (ACL SETUSER)"
	case errors.As(err, &unknown):
		return "its certificate is signed by someone unknown: set REDIS_CA"
	case errors.As(err, &host):
		return "its certificate is for another host than REDIS_URL names"
	case errors.As(err, &invalid):
		return "its certificate is not valid"
	case errors.As(err, &plain):
		return "it does not speak TLS: REDIS_URL begins with rediss://"
	}
	for _, s := range said {
		if strings.Contains(err.Error(), s.text) {
			return s.means
		}
	}
	switch {
	case errors.As(err, &answer):
		return ""
	case errors.As(err, &name):
		return "its host is not found"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "it refuses connections"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		return "it ends connections at once: where it demands TLS, REDIS_URL begins with rediss://"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "it does not answer"
	}
	return ""
}

// Evicts returns the policy by which Redis throws keys away where its memory is full, "" where it does not. All that it has must be
// kept, what ends by itself too. Where it does not say, that is not known.
func (c *Counters) Evicts(ctx context.Context) (policy string, err error) {
	text, err := c.client.Info(ctx, "memory").Result()
	if err != nil {
		return "", err
	}
	return evicts(text), nil
}

func evicts(info string) string {
	for line := range strings.Lines(info) {
		if policy, ok := strings.CutPrefix(strings.TrimSpace(line), "maxmemory_policy:"); ok && policy != "noeviction" {
			return policy
		}
	}
	return ""
}

// AtStake says what an operator can lose under a policy that [Counters.Evicts] returns. By volatile ones only keys go that end by
// themselves: rates of single callers, those of operators' changes, and which answers of people were used.
func AtStake(policy string) string {
	if strings.HasPrefix(policy, "volatile-") {
		return "an answer of a person that was used can be used again, and rates of single callers begin anew"
	}
	return "calls are refused until limits and orders are known again, what instances announced of receipts is lost, an answer of a person that was used can be used again, and rates of single callers begin anew"
}
