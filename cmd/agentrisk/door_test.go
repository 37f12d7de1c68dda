package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// authority signs certificates for a test.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	ca   string // PEM file
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{t: t, dir: t.TempDir(), key: key}
	a.cert = &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, a.cert, a.cert, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	a.ca = a.write("ca.pem", "CERTIFICATE", der)
	return a
}

func (a *authority) write(name, kind string, der []byte) string {
	a.t.Helper()
	path := filepath.Join(a.dir, name)
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		a.t.Fatal(err)
	}
	return path
}

// issue writes a certificate for name, valid for so long, and its key.
func (a *authority) issue(name string, valid time.Duration) (cert, key string) {
	a.t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	serial, _ := rand.Int(rand.Reader, big.NewInt(1<<62))
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(valid), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}, a.cert, k.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		a.t.Fatal(err)
	}
	return a.write(name+".pem", "CERTIFICATE", der), a.write(name+".key", "PRIVATE KEY", keyDER)
}

// echo serves TLS on loopback and answers with the name in the client's certificate, or "nobody".
func (a *authority) echo(cfg *tls.Config, cert, key string) string {
	a.t.Helper()
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		a.t.Fatal(err)
	}
	cfg.Certificates = []tls.Certificate{pair}
	cfg.ClientCAs = x509.NewCertPool()
	cfg.ClientCAs.AddCert(a.parsed())
	return serve(a.t, func(raw net.Conn) {
		c := tls.Server(raw, cfg)
		if c.Handshake() != nil {
			return
		}
		name := "nobody"
		if peers := c.ConnectionState().PeerCertificates; len(peers) > 0 {
			name = peers[0].Subject.CommonName
		}
		_, _ = io.WriteString(c, name)
		c.Close()
	})
}

func (a *authority) parsed() *x509.Certificate {
	b, err := os.ReadFile(a.ca)
	if err != nil {
		a.t.Fatal(err)
	}
	block, _ := pem.Decode(b)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert
}

func serve(t *testing.T, handle func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); handle(c) }()
		}
	}()
	return l.Addr().String()
}

// knock goes through a door and returns what stands behind it.
func knock(t *testing.T, c TLSConfig, address string) (string, error) {
	t.Helper()
	d, err := newDoor("kafka", c)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	conn, err := d.dialWary(ctx, "tcp", address)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "hello, who is there?"); err != nil {
		return "", err
	}
	b, err := io.ReadAll(conn)
	return string(b), err
}

// Whatever is wrong at a TLS door is told in words of the configuration, and a certificate that is renewed on disk is
// taken up.
func TestDoorsTeach(t *testing.T) {
	t.Parallel()
	a, other := newAuthority(t), newAuthority(t)
	cert, key := a.issue("server", time.Hour)
	mutual := a.echo(&tls.Config{ClientAuth: tls.RequireAndVerifyClientCert}, cert, key)
	old := a.echo(&tls.Config{MaxVersion: tls.VersionTLS12}, cert, key)
	lateCert, lateKey := a.issue("late", -time.Hour)
	late := a.echo(&tls.Config{}, lateCert, lateKey)
	plain := serve(t, func(c net.Conn) { _, _ = io.WriteString(c, "SSH-2.0-not-TLS\r\n") })
	silent := serve(t, func(net.Conn) {})
	mine, mineKey := a.issue("mine", time.Hour)
	theirs, theirsKey := other.issue("theirs", time.Hour)

	good := TLSConfig{Enabled: true, CA: a.ca, ServerName: "server", Cert: mine, Key: mineKey}
	with := func(change func(*TLSConfig)) TLSConfig { c := good; change(&c); return c }
	for name, tt := range map[string]struct {
		config  TLSConfig
		address string
		want    string // in the answer, or in the error
	}{
		"good":                {good, mutual, "mine"},
		"another authority":   {with(func(c *TLSConfig) { c.CA = other.ca }), mutual, "is kafka.tls.ca the authority of this server?"},
		"the system's roots":  {with(func(c *TLSConfig) { c.CA = "" }), mutual, "is kafka.tls.ca the authority of this server?"},
		"another name":        {with(func(c *TLSConfig) { c.ServerName = "" }), mutual, "set kafka.tls.server_name"},
		"expired":             {with(func(c *TLSConfig) { c.ServerName = "late" }), late, "renew it"},
		"too old":             {with(func(c *TLSConfig) { c.MinVersion = "1.3" }), old, "see kafka.tls.min_version"},
		"old is enough":       {good, old, "nobody"},
		"no certificate":      {with(func(c *TLSConfig) { c.Cert, c.Key = "", "" }), mutual, "set kafka.tls.cert and .key"},
		"not their authority": {with(func(c *TLSConfig) { c.Cert, c.Key = theirs, theirsKey }), mutual, "is kafka.tls.cert signed by the authority that it trusts?"},
		"not its key":         {with(func(c *TLSConfig) { c.Key = theirsKey }), mutual, "kafka.tls.cert and key"},
		"we are late":         {with(func(c *TLSConfig) { c.Cert, c.Key = lateCert, lateKey }), mutual, "expired on"},
		"plain server":        {good, plain, "does not speak TLS on this port"},
		"it hangs up":         {good, silent, "does it speak TLS on this port?"},
		"plain client":        {TLSConfig{}, mutual, "does it want TLS (kafka.tls)?"},
		"plain, it hangs up":  {TLSConfig{}, silent, "the server ended the connection without a word"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := knock(t, tt.config, tt.address)
			if err != nil {
				got = err.Error()
			}
			if !strings.Contains(got, tt.want) {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}

	t.Run("renewed", func(t *testing.T) {
		d, err := newDoor("kafka", good)
		if err != nil {
			t.Fatal(err)
		}
		renewed, renewedKey := a.issue("renewed", time.Hour)
		for from, to := range map[string]string{renewed: mine, renewedKey: mineKey} {
			if err := os.Rename(from, to); err != nil {
				t.Fatal(err)
			}
		}
		conn, err := d.dialWary(t.Context(), "tcp", mutual)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if b, err := io.ReadAll(conn); string(b) != "renewed" {
			t.Errorf("the server saw %q: %v", b, err)
		}
	})
}
