package egress

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// An Allowed is an address range or a host that may be reached though it is not public, on one port or on all.
type Allowed struct {
	prefix netip.Prefix
	host   string
	port   string
}

// ParseAllowed reads a list such as 10.0.0.0/8,login.internal,127.0.0.1:9000. The error lists every fault.
func ParseAllowed(list string) ([]Allowed, error) {
	var out []Allowed
	var faults []error
	for item := range strings.SplitSeq(list, ",") {
		if item = strings.TrimSpace(item); item == "" {
			continue
		}
		a, err := parseAllowed(item)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		out = append(out, a)
	}
	return out, errors.Join(faults...)
}

func parseAllowed(item string) (Allowed, error) {
	if p, err := netip.ParsePrefix(item); err == nil {
		return allowedRange(item, p, "")
	}
	host, port := item, ""
	if h, p, err := net.SplitHostPort(item); err == nil {
		if strings.Contains(p, "/") {
			return Allowed{}, errNotAllowed(item)
		}
		n, err := strconv.Atoi(p)
		if err != nil || n < 1 || n > 65535 {
			return Allowed{}, fmt.Errorf("%q has no port from 1 to 65535", item)
		}
		host, port = h, strconv.Itoa(n)
	}
	if p, err := netip.ParsePrefix(host); err == nil {
		return allowedRange(item, p, port)
	}
	if len(host) > 1 && host[0] == '[' && host[len(host)-1] == ']' {
		host = host[1 : len(host)-1]
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		if addr.Zone() != "" {
			return Allowed{}, fmt.Errorf("%q has an IPv6 zone, and those are never reached: leave it out", item)
		}
		addr = addr.Unmap()
		return Allowed{prefix: netip.PrefixFrom(addr, addr.BitLen()), port: port}, nil
	}
	host = strings.ToLower(strings.TrimSuffix(host, ".")) // as allowed compares them
	if numeric(host) || !hostName(host) {
		return Allowed{}, errNotAllowed(item)
	}
	return Allowed{host: host, port: port}, nil
}

func allowedRange(item string, p netip.Prefix, port string) (Allowed, error) {
	if p.Addr().Is4In6() {
		return Allowed{}, fmt.Errorf("%q is a range of IPv4 in IPv6: write it as IPv4, such as 10.0.0.0/8", item)
	}
	return Allowed{prefix: p.Masked(), port: port}, nil
}

func errNotAllowed(item string) error {
	return fmt.Errorf("%q is neither an address range such as 10.0.0.0/8 nor a host such as login.internal, each without a scheme or path", item)
}

func hostName(host string) bool {
	return host != "" && !strings.ContainsFunc(host, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '.' || r == '_')
	})
}

// allowed tells whether the operator lets the host, or the address that it has, be reached. A name does not stand for a
// link-local address, where clouds have their metadata: whoever answers for the name must not choose that.
func (c *Client) allowed(host string, addr netip.Addr, port string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	for _, a := range c.opts.Allow {
		if a.port != "" && a.port != port {
			continue
		}
		if a.host != "" && a.host == host && !addr.Unmap().IsLinkLocalUnicast() || a.prefix.IsValid() && addr.IsValid() && a.prefix.Contains(addr.Unmap().WithZone("")) {
			return true
		}
	}
	return false
}

// reserved are the ranges that are not of the public Internet (RFC 6890 and its registries), or that carry other addresses.
var reserved = []struct {
	prefix netip.Prefix
	what   string
}{
	{netip.MustParsePrefix("0.0.0.0/8"), "of this host"},
	{netip.MustParsePrefix("100.64.0.0/10"), "private (shared by a carrier)"},
	{netip.MustParsePrefix("168.63.129.16/32"), "that of a cloud's metadata"},
	{netip.MustParsePrefix("192.0.0.0/24"), "reserved"},
	{netip.MustParsePrefix("192.0.2.0/24"), "for documentation"},
	{netip.MustParsePrefix("192.88.99.0/24"), "reserved"},
	{netip.MustParsePrefix("198.18.0.0/15"), "for benchmarks"},
	{netip.MustParsePrefix("198.51.100.0/24"), "for documentation"},
	{netip.MustParsePrefix("203.0.113.0/24"), "for documentation"},
	{netip.MustParsePrefix("240.0.0.0/4"), "reserved"},
	{netip.MustParsePrefix("2001::/23"), "reserved (Teredo among them)"},
	{netip.MustParsePrefix("2001:db8::/32"), "for documentation"},
	{netip.MustParsePrefix("2002::/16"), "an IPv4 address in IPv6 (6to4)"},
	{netip.MustParsePrefix("3fff::/20"), "for documentation"},
}

var global = netip.MustParsePrefix("2000::/3")

// forbidden says what an address is that is not public, or "".
func forbidden(addr netip.Addr) string {
	if !addr.IsValid() {
		return "none"
	}
	if addr.Zone() != "" {
		return "bound to a zone"
	}
	addr = addr.Unmap()
	switch {
	case addr.IsUnspecified():
		return "of this host"
	case addr.IsLoopback():
		return "loopback"
	case addr.IsPrivate():
		return "private"
	case addr.IsLinkLocalUnicast():
		return "link-local, where clouds have their metadata"
	case addr.IsMulticast():
		return "multicast"
	}
	for _, r := range reserved {
		if r.prefix.Contains(addr) {
			return r.what
		}
	}
	if addr.Is6() && !global.Contains(addr) {
		return "not of the public Internet"
	}
	return ""
}

// internal says why a name can't be that of a public host, or "".
func internal(host string) string {
	name := strings.ToLower(strings.TrimSuffix(host, "."))
	switch {
	case !hostName(host):
		return "its host has letters that names don't have"
	case name == "localhost" || strings.HasSuffix(name, ".localhost"):
		return "its host is this machine"
	case !strings.Contains(name, "."):
		return "its host is a name of a local network"
	case strings.HasSuffix(name, ".internal") || strings.HasSuffix(name, ".local"):
		return "its host is a name of a private network"
	}
	return ""
}

// numeric tells whether a resolver might take the name for an IPv4 address written in another way (inet_aton): in decimal,
// octal or hexadecimal, or with fewer parts.
func numeric(host string) bool {
	labels := strings.Split(strings.TrimSuffix(host, "."), ".")
	last := strings.ToLower(labels[len(labels)-1])
	if last == "" {
		return true
	}
	if rest, ok := strings.CutPrefix(last, "0x"); ok {
		return strings.Trim(rest, "0123456789abcdef") == ""
	}
	return strings.Trim(last, "0123456789") == "" // no top-level domain is a number
}
