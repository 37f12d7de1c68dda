package webhook

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"
)

// inward lists what no webhook may reach unless it is allowed: addresses of this machine, of networks behind
// it, of cloud metadata, and those that carry another address inside. The IANA special-purpose registries
// (RFC 6890 and its successors), and 168.63.129.16, which is public in form and Azure's host in fact.
var inward = prefixes(
	"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "168.63.129.16/32", "169.254.0.0/16", "172.16.0.0/12",
	"192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24",
	"203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
	"2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20",
)

// outward is what IPv6 has given to the public; all else is inward: loopback, fe80::/10, fc00::/7, ff00::/8,
// IPv4 inside 64:ff9b::/96.
var outward = netip.MustParsePrefix("2000::/3")

func prefixes(list ...string) (p []netip.Prefix) {
	for _, s := range list {
		p = append(p, netip.MustParsePrefix(s))
	}
	return p
}

// isInward judges an address as it would be dialled.
func isInward(ip netip.Addr) bool {
	ip = ip.Unmap()
	if ip.Is6() && (ip.Zone() != "" || !outward.Contains(ip)) {
		return true
	}
	return slices.ContainsFunc(inward, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// guard dials outward addresses, and those that an operator allows. It judges the address that the name came
// to, at the moment of connecting, so that no later answer of a name server can differ.
type guard struct {
	hosts    []string // host:port, lower-case, as the URL says it
	networks []netip.Prefix
	plain    bool // http: only what is allowed
}

// newGuard reads the list and refuses a URL that cannot be allowed.
func newGuard(allow []string, u *url.URL) (*guard, error) {
	g := &guard{plain: u.Scheme == "http"}
	for _, s := range allow {
		s = strings.TrimSpace(s)
		if p, err := netip.ParsePrefix(s); err == nil {
			g.networks = append(g.networks, p.Masked())
			continue
		}
		host, port, err := net.SplitHostPort(s)
		if err != nil || host == "" || port == "" {
			return nil, fmt.Errorf("allow %q: want a network as in 10.1.0.0/16, or host:port", s)
		}
		g.hosts = append(g.hosts, strings.ToLower(s))
	}
	if ip, err := netip.ParseAddr(u.Hostname()); err == nil {
		return g, g.check(ip, g.named(address(u)))
	}
	if g.plain && len(g.networks) == 0 && !g.named(address(u)) {
		return nil, errPlain
	}
	return g, nil
}

var errPlain = errors.New("http is for allowed addresses only: use https, or add the address to allow")

// address is host:port as the transport dials it.
func address(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"https": "443", "http": "80"}[u.Scheme]
	}
	return net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}

// named reports whether the operator allowed this very host and port.
func (g *guard) named(hostPort string) bool {
	return slices.Contains(g.hosts, strings.ToLower(hostPort))
}

// check says why ip may not be reached, or nil.
func (g *guard) check(ip netip.Addr, named bool) error {
	ip = ip.Unmap()
	switch {
	case named, slices.ContainsFunc(g.networks, func(p netip.Prefix) bool { return p.Contains(ip) }):
		return nil
	case g.plain:
		return errPlain
	case isInward(ip):
		return fmt.Errorf("%s is an inward address: add it to allow if it is meant", ip)
	}
	return nil
}

// dial connects to hostPort if what it resolves to may be reached.
func (g *guard) dial(ctx context.Context, network, hostPort string) (net.Conn, error) {
	named := g.named(hostPort)
	d := net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second, Control: func(_, resolved string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(resolved)
		if err != nil {
			return fmt.Errorf("address %q cannot be read: %w", resolved, err)
		}
		return g.check(at.Addr(), named)
	}}
	return d.DialContext(ctx, network, hostPort)
}
