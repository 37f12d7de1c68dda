package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"
)

// A door is how a server is reached: over plain TCP or TLS, mutual where it wants a certificate of ours. Every connection
// to Kafka and ClickHouse goes through one, whichever library asks for it, and what goes wrong is told in words of the
// configuration.

// TLSConfig says how a server is spoken to over TLS. The zero value is plain TCP.
type TLSConfig struct {
	Enabled    bool   `yaml:"enabled"`     // connections are encrypted
	CA         string `yaml:"ca"`          // PEM file of the authorities to trust; empty: those of the system, else those that the program brings
	Cert       string `yaml:"cert"`        // PEM file of our certificate, where the server wants one; read anew for every connection
	Key        string `yaml:"key"`         // PEM file of its key, not encrypted
	ServerName string `yaml:"server_name"` // that the server's certificate must bear; empty: the host of the address
	MinVersion string `yaml:"min_version"` // 1.2 or 1.3; empty: 1.2
}

// SASLConfig says who we are to Kafka. Without a mechanism there is no SASL.
type SASLConfig struct {
	Mechanism    string `yaml:"mechanism"`     // PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512
	User         string `yaml:"user"`          // name at the mechanism
	Password     string `yaml:"password"`      // better: password_file or the environment
	PasswordFile string `yaml:"password_file"` // file that holds the password, in place of it
}

// check reports what is wrong without looking at any file.
func (t *TLSConfig) check(name string) (errs []error) {
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(name+format, args...)) }
	if !t.Enabled {
		if *t != (TLSConfig{}) {
			bad(": settings are given and `enabled: true` is not: connections would be plain")
		}
		return errs
	}
	if (t.Cert == "") != (t.Key == "") {
		bad(": cert and key belong together: give both, or neither")
	}
	if _, ok := tlsVersions[t.MinVersion]; !ok {
		bad(".min_version: %q: want 1.2 or 1.3", t.MinVersion)
	}
	return errs
}

var tlsVersions = map[string]uint16{"": tls.VersionTLS12, "1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}

func (s *SASLConfig) check(name string) (errs []error) {
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(name+format, args...)) }
	switch s.name() {
	case "":
		if *s != (SASLConfig{}) {
			bad(".mechanism: missing: want PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512")
		}
		return errs
	case "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512":
	default:
		bad(".mechanism: %q: want PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512", s.Mechanism)
	}
	if s.User == "" {
		bad(".user: missing")
	}
	if s.Password != "" && s.PasswordFile != "" {
		bad(": password and password_file: give one")
	}
	return errs
}

func (s *SASLConfig) name() string { return strings.ToUpper(s.Mechanism) }

// mechanism is what kafka-go asks for; nil without SASL.
func (s *SASLConfig) mechanism() (sasl.Mechanism, error) {
	if s.Mechanism == "" {
		return nil, nil
	}
	if s.Password == "" {
		return nil, errors.New("kafka.sasl: no password: set AGENTRISK_KAFKA_PASSWORD, or kafka.sasl.password_file")
	}
	switch s.name() {
	case "SCRAM-SHA-256":
		return scram.Mechanism(scram.SHA256, s.User, s.Password)
	case "SCRAM-SHA-512":
		return scram.Mechanism(scram.SHA512, s.User, s.Password)
	}
	return plain.Mechanism{Username: s.User, Password: s.Password}, nil
}

// passwordFrom reads a password file unless the password is known already.
func passwordFrom(name, file string, password *string) error {
	if *password != "" || file == "" {
		return nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	*password = strings.TrimRight(string(b), "\r\n")
	if *password == "" {
		return fmt.Errorf("%s: %s is empty", name, file)
	}
	return nil
}

// readSecrets reads the files that hold passwords. The environment, which was looked at before, stands above them.
func (c *Config) readSecrets() error {
	return errors.Join(
		passwordFrom("kafka.sasl.password_file", c.Kafka.SASL.PasswordFile, &c.Kafka.SASL.Password),
		passwordFrom("clickhouse.password_file", c.ClickHouse.PasswordFile, &c.ClickHouse.Password),
	)
}

// readFiles reads all that the configuration names beside itself, as a command that connects does.
func (c *Config) readFiles() error {
	_, kafkaErr := newDoor("kafka", c.Kafka.TLS)
	_, clickhouseErr := newDoor("clickhouse", c.ClickHouse.TLS)
	return errors.Join(c.readSecrets(), kafkaErr, clickhouseErr)
}

// door connects to servers of one kind.
type door struct {
	name string      // of the configuration's section: kafka or clickhouse
	tls  *tls.Config // nil: plain TCP
}

const (
	dialTimeout = 5 * time.Second
	readBuffer  = 64 << 10 // under TLS, whose records of 16 KiB would be a system call or two each
)

// newDoor reads the files of the configuration and names the one that is missing or wrong.
func newDoor(name string, c TLSConfig) (*door, error) {
	d := &door{name: name}
	if !c.Enabled {
		return d, nil
	}
	fail := func(key string, err error) (*door, error) { return nil, fmt.Errorf("%s.tls.%s: %w", name, key, err) }
	d.tls = &tls.Config{MinVersion: tlsVersions[c.MinVersion], ServerName: c.ServerName}
	if c.CA != "" {
		b, err := os.ReadFile(c.CA)
		if err != nil {
			return fail("ca", err)
		}
		d.tls.RootCAs = x509.NewCertPool()
		if !d.tls.RootCAs.AppendCertsFromPEM(b) {
			return fail("ca", fmt.Errorf("%s holds no certificate in PEM (-----BEGIN CERTIFICATE-----)", c.CA))
		}
	}
	if c.Cert != "" {
		if key, err := clientCertificate(c.Cert, c.Key); err != nil {
			return fail(key, err)
		}
		// A certificate that is renewed on disk is taken up by the next connection.
		d.tls.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(c.Cert, c.Key)
			if err != nil {
				return nil, fmt.Errorf("%s.tls.cert: %w", name, err)
			}
			return &pair, nil
		}
	}
	return d, nil
}

// clientCertificate tries certificate and key, and says which of the two is to blame.
func clientCertificate(cert, key string) (which string, err error) {
	certPEM, err := os.ReadFile(cert)
	if err != nil {
		return "cert", err
	}
	keyPEM, err := os.ReadFile(key)
	if err != nil {
		return "key", err
	}
	if block, _ := pem.Decode(keyPEM); block != nil && (strings.Contains(block.Type, "ENCRYPTED") || block.Headers["DEK-Info"] != "") {
		return "key", fmt.Errorf("%s is encrypted: `openssl pkey -in %s -out key.pem` asks for its password and writes one that is not", key, key)
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return "cert and key", fmt.Errorf("%s, %s: %w", cert, key, err)
	}
	if leaf, err := x509.ParseCertificate(pair.Certificate[0]); err == nil && time.Now().After(leaf.NotAfter) {
		return "cert", fmt.Errorf("%s expired on %s: no server takes it", cert, leaf.NotAfter.UTC().Format(time.DateOnly))
	}
	return "", nil
}

// DialContext connects to one address; the handshake is done when it returns.
func (d *door) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	raw, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	if d.tls == nil {
		return raw, nil // as it is: ch-go writes all columns of a block with one call
	}
	cfg := d.tls
	if cfg.ServerName == "" {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			raw.Close()
			return nil, err
		}
		cfg = cfg.Clone()
		cfg.ServerName = host
	}
	conn := tls.Client(&bufferedConn{raw, bufio.NewReaderSize(raw, readBuffer)}, cfg)
	bounded, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	if err := conn.HandshakeContext(bounded); err != nil {
		raw.Close()
		return nil, d.explain(address, err)
	}
	return &doorConn{Conn: conn, door: d, address: address}, nil
}

// dialWary is DialContext whose plain connections, too, tell a wrong port.
func (d *door) dialWary(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := d.DialContext(ctx, network, address)
	if err == nil && d.tls == nil {
		c = &doorConn{Conn: c, door: d, address: address}
	}
	return c, err
}

// bufferedConn reads ahead.
type bufferedConn struct {
	net.Conn
	r *bufio.Reader
}

func (c *bufferedConn) Read(p []byte) (int, error) { return c.r.Read(p) }

// doorConn explains how a connection ends that never said anything: most often it is the wrong door.
type doorConn struct {
	net.Conn
	door    *door
	address string
	heard   bool
}

const tlsAlert = 0x15 // the first byte of what a TLS server answers to a plain client

func (c *doorConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.heard {
		return n, err
	}
	switch {
	case n > 0 && c.door.tls == nil && p[0] == tlsAlert && (n < 2 || p[1] == 3):
		return 0, &closedError{fmt.Errorf("%s: the server speaks TLS on this port and we do not: set %s.tls.enabled: true, or use its plain port", c.address, c.door.name)}
	case n > 0:
		c.heard = true
	case hungUp(err):
		return n, fmt.Errorf("%s: the server ended the connection without a word: is this its port, and does it want TLS (%s.tls)? %w", c.address, c.door.name, err)
	case err != nil:
		return n, c.door.explain(c.address, err)
	}
	return n, err
}

// explain says what an error of TLS means here and which setting is to look at.
func (d *door) explain(address string, err error) error {
	var (
		authority x509.UnknownAuthorityError
		host      x509.HostnameError
		invalid   x509.CertificateInvalidError
		header    tls.RecordHeaderError
		hint      string
	)
	switch text := err.Error(); {
	case errors.As(err, &authority):
		hint = "the server's certificate is signed by nobody we trust: is " + d.name + ".tls.ca the authority of this server?"
	case errors.As(err, &host):
		hint = "the server's certificate bears another name: connect by a name that it bears, or set " + d.name + ".tls.server_name"
	case errors.As(err, &invalid):
		hint = "the server's certificate is not valid: renew it, and check the clock of this machine"
	case errors.As(err, &header):
		hint = "the server does not speak TLS on this port: use its TLS port, or leave " + d.name + ".tls out"
	case strings.Contains(text, "remote error: tls: protocol version"), strings.Contains(text, "no supported versions"):
		hint = "the server takes no version of TLS that we offer: see " + d.name + ".tls.min_version"
	case strings.Contains(text, "remote error: tls:") && d.tls.GetClientCertificate == nil:
		hint = "the server wants a certificate of ours: set " + d.name + ".tls.cert and .key"
	case strings.Contains(text, "remote error: tls:"):
		hint = "the server refuses our certificate: is " + d.name + ".tls.cert signed by the authority that it trusts?"
	case hungUp(err):
		hint = "the server ended the handshake: does it speak TLS on this port? If not, leave " + d.name + ".tls out"
	default:
		return err
	}
	err = fmt.Errorf("%s: %s: %w", address, hint, err)
	if hungUp(err) {
		return err // a server that goes down looks the same
	}
	return &closedError{err}
}

// hungUp reports an end without a word; with bytes of ours unread it is a reset.
func hungUp(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) }

// closedError says that the door stays closed however often one knocks: the configuration is wrong, or a certificate.
type closedError struct{ error }

func (e *closedError) Unwrap() error { return e.error }
