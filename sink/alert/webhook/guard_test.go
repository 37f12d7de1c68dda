package webhook

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/agentrisk/agentrisk/sink"
	"github.com/agentrisk/agentrisk/sink/alert/alerttest"
)

func TestInwardAddresses(t *testing.T) {
	for _, tt := range []struct {
		ip   string
		want bool
	}{
		{"127.0.0.1", true}, {"127.255.0.3", true}, {"0.0.0.0", true}, {"0.1.2.3", true},
		{"10.0.0.1", true}, {"172.16.0.1", true}, {"172.31.255.255", true}, {"172.32.0.1", false}, {"192.168.1.1", true},
		{"169.254.169.254", true}, {"100.100.100.200", true}, {"100.63.255.255", false}, {"100.128.0.0", false}, {"168.63.129.16", true},
		{"192.0.0.192", true}, {"198.18.0.1", true}, {"224.0.0.1", true}, {"239.1.1.1", true}, {"255.255.255.255", true},
		{"8.8.8.8", false}, {"47.96.1.1", false}, {"223.5.5.5", false},
		{"::", true}, {"::1", true}, {"::ffff:127.0.0.1", true}, {"::ffff:8.8.8.8", false}, {"::7f00:1", true},
		{"fe80::1", true}, {"fe80::1%eth0", true}, {"fec0::1", true}, {"fc00::1", true}, {"fd00:ec2::254", true}, {"ff02::1", true},
		{"64:ff9b::7f00:1", true}, {"2002:7f00:1::", true}, {"2001::1", true}, {"2001:db8::1", true},
		{"2400:3200::1", false}, {"2606:4700::1111", false},
	} {
		if got := isInward(netip.MustParseAddr(tt.ip)); got != tt.want {
			t.Errorf("%s: inward = %v", tt.ip, got)
		}
	}
}

func TestGuard(t *testing.T) {
	for _, tt := range []struct {
		url   string
		allow string // separated by spaces
		to    string // the address that the name comes to
		ok    bool
	}{
		{"https://hook.example", "", "8.8.8.8", true},
		{"https://hook.example", "", "10.0.0.1", false}, // a name that points inward
		{"https://hook.example", "", "::ffff:10.0.0.1", false},
		{"https://hook.example", "10.0.0.0/8", "10.0.0.1", true},
		{"https://hook.example", "10.0.0.0/8", "192.168.0.1", false},
		{"https://hook.example", "10.0.0.0/8", "::ffff:10.0.0.1", true},
		{"https://hook.example", "hook.example:443", "10.0.0.1", true},
		{"https://HOOK.example:443", "hook.EXAMPLE:443", "10.0.0.1", true},
		{"https://hook.example:8443", "hook.example:443", "10.0.0.1", false}, // another port is another service
		{"http://receiver:8080", "receiver:8080", "172.18.0.4", true},
		{"http://receiver:8080", "172.16.0.0/12", "172.18.0.4", true},
		{"http://receiver:8080", "172.16.0.0/12", "8.8.8.8", false}, // plain text goes nowhere else
		{"http://receiver:8080", "8.8.8.8/32", "8.8.8.8", true},
	} {
		u, err := url.Parse(tt.url)
		if err != nil {
			t.Fatal(err)
		}
		g, err := newGuard(strings.Fields(tt.allow), u)
		if err != nil {
			t.Errorf("%s allowing %q: %v", tt.url, tt.allow, err)
			continue
		}
		if err := g.check(netip.MustParseAddr(tt.to), g.named(address(u))); (err == nil) != tt.ok {
			t.Errorf("%s allowing %q, resolved to %s: %v", tt.url, tt.allow, tt.to, err)
		}
	}
}

// The guard stands where the connection is made: a name that was harmless when it was checked and comes to
// this machine when it is dialled reaches nothing. localhost is such a name.
func TestNameThatResolvesInward(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("an inward address was reached") }))
	defer server.Close()
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	c, err := New(Config{URL: "https://localhost:" + u.Port(), Secrets: []string{newSecret}})
	if err != nil {
		t.Fatal(err)
	}
	a := alerttest.Alert(1)
	err = c.Deliver(t.Context(), &a)
	if err == nil || !strings.Contains(err.Error(), "inward") || sink.IsPermanent(err) {
		t.Errorf("error %v, want one that names the inward address and is tried again", err)
	}
}

// A proxy of the environment would dial for us, past the guard.
func TestProxyOfTheEnvironmentIsNotUsed(t *testing.T) {
	proxy := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the proxy was used") }))
	defer proxy.Close()
	t.Setenv("HTTP_PROXY", proxy.URL)
	t.Setenv("http_proxy", proxy.URL)
	c, err := New(Config{URL: "http://receiver.invalid:8080", Secrets: []string{newSecret}, Allow: []string{"receiver.invalid:8080"}})
	if err != nil {
		t.Fatal(err)
	}
	a := alerttest.Alert(1)
	if err := c.Deliver(t.Context(), &a); err == nil {
		t.Error("delivered to a name that does not exist")
	}
}
