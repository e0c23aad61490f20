package redis

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"
	"unicode"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// silent drops what the client library would print of its pool: the governor's log says what it means.
type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

func init() { redis.SetLogger(silent{}) }

// Options say which Redis a client speaks to.
type Options struct {
	URL string // as in REDIS_URL
	// Login is with what a connection begins that is made now, in place of what the URL says; nil: that.
	Login func() Login
	// Token makes the password of a connection, an access token, where the server knows accounts of the platform; nil: it does not.
	Token func(context.Context) (string, error)
	CA    string                                                               // who must have signed its certificate, PEM; "" for those that the system trusts
	Dial  func(ctx context.Context, network, address string) (net.Conn, error) // default: a [net.Dialer]
	// Timeout is how long each connecting, reading and writing may take; default 500 ms.
	Timeout time.Duration
	// Connections are how many may be open at once; default 4.
	Connections int
}

// Open returns counters on a Redis, which they connect to when they are first used.
func Open(options Options) (*Counters, error) {
	client, moves, err := newClient(options)
	if err != nil {
		return nil, err
	}
	return &Counters{client, moves}, nil
}

// Close ends the connections.
func (c *Counters) Close() error {
	if c.moves != nil {
		c.moves.close()
	}
	return c.client.Close()
}

// Connect returns a client, which connects when it is first used. A stalled Redis must never hold up a call: contexts are
// honoured, nothing is retried here, and the pool is small, since one message is under way at a time.
func Connect(options Options) (*redis.Client, error) {
	client, _, err := newClient(options)
	return client, err
}

func newClient(options Options) (*redis.Client, *moves, error) {
	o, err := parse(options.URL)
	if err != nil {
		return nil, nil, err
	}
	if options.CA != "" && o.TLSConfig != nil {
		o.TLSConfig.RootCAs = x509.NewCertPool()
		o.TLSConfig.RootCAs.AppendCertsFromPEM([]byte(options.CA))
	}
	if options.Login != nil {
		o.CredentialsProviderContext = func(context.Context) (user, password string, err error) {
			login := options.Login()
			return login.User, login.password, nil
		}
	}
	if options.Token != nil {
		user := cmp.Or(o.Username, "default")
		o.CredentialsProviderContext = func(ctx context.Context) (string, string, error) {
			token, err := options.Token(ctx)
			return user, token, err
		}
		o.ConnMaxLifetime = tokenLifetime
	}
	o.ContextTimeoutEnabled = true
	o.MaxRetries = -1
	timeout := cmp.Or(options.Timeout, 500*time.Millisecond)
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout = timeout, timeout, timeout
	o.PoolTimeout = timeout / 5
	o.PoolSize = cmp.Or(options.Connections, 4)
	o.DialerRetries = 1
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	m := &moves{make: func(address string) *redis.Client { return redis.NewClient(at(o, address, options.Dial)) }}
	client := redis.NewClient(at(o, o.Addr, options.Dial))
	client.AddHook(m)
	return client, m, nil
}

// tokenLifetime is for how long a connection lasts that began with an access token. Those of Google are good for an hour.
const tokenLifetime = 30 * time.Minute

// at returns the options for a node at an address.
func at(o *redis.Options, address string, dial dialer) *redis.Options {
	node := *o
	node.Addr = address
	if o.TLSConfig != nil {
		node.TLSConfig = o.TLSConfig.Clone()
		// A node that is named by its address shows the certificate of the host that REDIS_URL names.
		if host, _, err := net.SplitHostPort(address); err == nil && net.ParseIP(host) == nil {
			node.TLSConfig.ServerName = host
		}
	}
	node.Dialer = dial
	if dial != nil && node.TLSConfig != nil { // which the library leaves to such a dialer
		node.Dialer = secured(dial, node.TLSConfig)
	}
	return &node
}

// A Login is with what a connection begins. It does not show the password.
type Login struct {
	User     string
	password string
}

// ParseLogin reads the login of a URL. One that names another server, or speaks to it otherwise, than the URL with which the process
// has begun is an error: what instances share would be in two places until the last of them has followed.
func ParseLogin(text, begun string) (Login, error) {
	o, err := parse(text)
	if err != nil {
		return Login{}, err
	}
	if withoutLogin(text) != withoutLogin(begun) {
		return Login{}, errors.New("names another server, or other options, than when the process began, and only user and password are followed: restart the instances to change the rest")
	}
	return Login{o.Username, o.Password}, nil
}

func withoutLogin(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	u.User = nil
	return u.String()
}

// parse reads a URL. Its error quotes nothing that may be a password.
func parse(text string) (*redis.Options, error) {
	const example = ", such as rediss://:password@host:6379"
	if strings.ContainsFunc(text, unicode.IsSpace) {
		return nil, errors.New("has white space in it")
	}
	scheme, rest, ok := strings.Cut(text, "://")
	switch {
	case !ok:
		return nil, errors.New("is not a URL" + example)
	case scheme == "valkey" || scheme == "valkeys":
		return nil, fmt.Errorf("begins with %s://: write redis:// for Valkey, and rediss:// with TLS", scheme)
	case strings.Contains(scheme, "sentinel"):
		return nil, errors.New("is that of a Sentinel, which is not asked here: name the server itself, or what stands before it" + example)
	case scheme != "redis" && scheme != "rediss" && scheme != "unix":
		return nil, errors.New("begins neither with redis:// nor with rediss://" + example)
	}
	u, err := url.Parse(text)
	if err != nil {
		return nil, errors.New("is not a URL" + example + "; what is special in a password is escaped, such as %40 for @")
	}
	if strings.Contains(u.Host, ",") || strings.Count(rest, "@") > 1 && strings.Contains(u.User.String(), ",") {
		return nil, errors.New("names several hosts: name one, from which a cluster's others are found" + example)
	}
	o, err := redis.ParseURL(text)
	if err == nil {
		return o, nil
	}
	if _, options, ok := strings.Cut(err.Error(), "unexpected option: "); ok {
		return nil, fmt.Errorf("has options that are unknown here: %s", options)
	}
	if u.Path != "" && (strings.Contains(err.Error(), "database number") || strings.Contains(err.Error(), "URL path")) {
		return nil, fmt.Errorf("has the path %q, which is not the number of a database", u.Path)
	}
	return nil, errors.New("is not a URL" + example)
}

type dialer = func(ctx context.Context, network, address string) (net.Conn, error)

// secured dials, and then speaks TLS.
func secured(dial dialer, config *tls.Config) dialer {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		secure := tls.Client(c, config)
		if err := secure.HandshakeContext(ctx); err != nil {
			c.Close()
			return nil, err
		}
		return secure, nil
	}
}
