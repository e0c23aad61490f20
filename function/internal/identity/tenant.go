package identity

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// Names of tenants are chosen by many: projects of a cloud, namespaces of a cluster, claims of an issuer's tokens. One that a stranger may
// choose must not be that of another's tenant, so a tenant is qualified by the authority that vouches for its name, AUTHORITY:NAME. The
// authority is the method, or the issuer of OAuth tokens. API keys name tenants as the operator wrote them, and an operator may map others
// to such names. One account of Google's may be mapped by its address, apart from all others of its domain or project.

// A TenantMap says which tenants the names of authorities are. nil qualifies all. It is not changed once it is made.
type TenantMap struct {
	names map[string]string // by AUTHORITY:NAME
	all   map[string]string // by AUTHORITY, of all other names; * is the name as it is
}

// ParseTenantMap reads AUTHORITY:NAME=TENANT, separated by commas. NAME may be *, which is any, or an account's address where Google vouches
// for it, and TENANT *, which is the name as it is. The authorities are those that there are. The error lists every fault.
func ParseTenantMap(entries, authorities []string) (*TenantMap, error) {
	m := &TenantMap{names: map[string]string{}, all: map[string]string{}}
	var faults []error
	for _, entry := range entries {
		fault := func(format string, args ...any) {
			faults = append(faults, fmt.Errorf("%.200q: "+format, append([]any{entry}, args...)...))
		}
		from, tenant, ok := strings.Cut(entry, "=")
		authority, name, named := cutAuthority(from, authorities)
		switch {
		case !ok || !strings.Contains(from, ":"):
			fault("is not AUTHORITY:NAME=TENANT, such as google:acme.com=acme")
			continue
		case !named:
			fault("its authority is not one that AUTHENTICATION names: there are %s", strings.Join(authorities, ", "))
			continue
		case name != "*" && !validTenant.MatchString(name):
			fault("its name is not one of 1 to 128 letters, digits, '_', '-', '.', ':' and '@', nor *")
			continue
		}
		if tenant != "*" {
			if err := CheckTenant(tenant); err != nil {
				fault("%w", err)
				continue
			}
		}
		if slices.Contains(Methods, authority) {
			name = strings.ToLower(name) // as domains, projects and namespaces are
		}
		into, key := m.names, authority+":"+name
		if name == "*" {
			into, key = m.all, authority
		}
		if _, twice := into[key]; twice {
			fault("is there twice")
		}
		into[key] = tenant
	}
	return m, errors.Join(faults...)
}

// cutAuthority finds the authority that a text begins with. None has a colon, so that no two names are one tenant.
func cutAuthority(text string, authorities []string) (authority, name string, ok bool) {
	authority, name, _ = strings.Cut(text, ":")
	authority = strings.ToLower(authority)
	return authority, name, slices.Contains(authorities, authority)
}

// Tenant returns the tenant that a name of an authority is. A name with a colon is never left as it is: it could be spelled like another
// authority's.
func (m *TenantMap) Tenant(authority, name string) string {
	qualified := authority + ":" + name
	if m == nil {
		return qualified
	}
	tenant, ok := m.names[qualified]
	if !ok {
		tenant, ok = m.all[authority]
	}
	switch {
	case !ok, tenant == "*" && strings.Contains(name, ":"):
		return qualified
	case tenant == "*":
		return name
	}
	return tenant
}

// account returns the tenant that an account is by its address, if the operator has mapped that. No domain, project or namespace has an @,
// so that none is taken for an address.
func (m *TenantMap) account(i *Issuer, address string) (tenant string, ok bool) {
	if m == nil || !i.Accounts || !strings.Contains(address, "@") {
		return "", false
	}
	address = strings.ToLower(address)
	if tenant, ok = m.names[i.authority()+":"+address]; tenant == "*" {
		tenant = address
	}
	return tenant, ok
}

// only returns the tenant of an authority that vouches for a single one, whose name was that of its host before.
func (m *TenantMap) only(i *Issuer, host string) string {
	if m != nil {
		tenant, ok := m.names[i.authority()+":"+host]
		if !ok {
			tenant, ok = m.all[i.authority()]
		}
		switch {
		case ok && tenant == "*":
			return host
		case ok:
			return tenant
		}
	}
	if u, err := url.Parse(i.URL); err == nil && strings.Trim(u.Path, "/") == "" {
		return host
	}
	return i.authority()
}

// Callable lists what the tenants of these methods and issuers can be: names, and patterns whose last character is *.
func (m *TenantMap) Callable(chain []string, issuers []Issuer) (out []string) {
	add := func(tenant string) {
		if !slices.Contains(out, tenant) {
			out = append(out, tenant)
		}
	}
	for _, method := range chain {
		switch method {
		case APIKeys:
			add("*") // whatever a key names
			continue
		case Anonymous:
			add(TenantAnonymous)
			continue
		case CloudRun:
			m.callable(&Issuer{Method: CloudRun}, add)
			continue
		}
		for i := range issuers {
			if issuers[i].Method == method {
				m.callable(&issuers[i], add)
			}
		}
	}
	slices.Sort(out)
	return out
}

func (m *TenantMap) callable(i *Issuer, add func(string)) {
	if i.Only {
		add(m.only(i, HostTenant(i.URL)))
		return
	}
	authority, all := i.authority(), ""
	if m != nil {
		all = m.all[authority]
		for from, tenant := range m.names {
			switch a, name, _ := strings.Cut(from, ":"); {
			case a != authority:
			case tenant == "*":
				add(name)
			default:
				add(tenant)
			}
		}
	}
	switch all {
	case "":
		add(authority + ":*")
	case "*":
		add("*")
	default:
		add(all)
	}
}

// Authority names an issuer of OAuth tokens in tenants: its host and path, in what tenants' names are made of.
func Authority(issuer string) string {
	u, err := url.Parse(issuer)
	if err != nil {
		return ""
	}
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '-' || r == '_' {
			return r
		}
		return '_'
	}, strings.ToLower(u.Host)+strings.TrimSuffix(u.EscapedPath(), "/"))
}

// Authorities lists those of methods and issuers. Its error says which issuers would be one.
func Authorities(chain []string, issuers []Issuer) (out []string, err error) {
	of := map[string]string{}
	var faults []error
	for _, method := range chain {
		switch method {
		case APIKeys, Anonymous: // which name tenants themselves
		case OAuth:
			for i := range issuers {
				if issuers[i].Method != OAuth {
					continue
				}
				a := issuers[i].authority()
				switch other, twice := of[a]; {
				case slices.Contains(Methods, a):
					faults = append(faults, fmt.Errorf("the issuer %s would have the tenants of the method %s", issuers[i].URL, a))
				case twice:
					faults = append(faults, fmt.Errorf("the issuers %s and %s would have the same tenants: both are %s", other, issuers[i].URL, a))
				}
				of[a] = issuers[i].URL
				out = append(out, a)
			}
		default:
			out = append(out, method)
		}
	}
	return out, errors.Join(faults...)
}

// authority qualifies the tenants of the issuer's tokens.
func (i *Issuer) authority() string {
	if i.Method == OAuth {
		return Authority(i.URL)
	}
	return i.Method
}

// GoogleAccounts are those of Google's that may call.
type GoogleAccounts struct {
	Domains   []string // of Workspace, or PROJECT.iam.gserviceaccount.com of service accounts; in lower case
	Addresses []string // e-mail addresses, in lower case
}

// Admits returns why an account may not call. Whose domain an account is of, Google says in a claim of its own: anyone may have an account
// of any address, but for those of service accounts.
func (g *GoogleAccounts) Admits(c Claims) error {
	address := strings.ToLower(c.text("email"))
	_, host, _ := strings.Cut(address, "@")
	domain := strings.ToLower(c.text("hd"))
	if domain == "" && strings.HasSuffix(host, serviceAccounts) {
		domain = host
	}
	if slices.Contains(g.Addresses, address) || domain != "" && slices.Contains(g.Domains, domain) {
		return nil
	}
	return fmt.Errorf("the account %s is neither in GOOGLE_ACCOUNTS nor of GOOGLE_DOMAINS", cut(c.text("email")))
}

const serviceAccounts = ".iam.gserviceaccount.com"
