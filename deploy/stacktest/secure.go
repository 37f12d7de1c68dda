package stacktest

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Secure is a stack with doors as in production, beside the plain ports of the stack, whose Kafka lets everybody who comes
// over them do everything. Only Apache Kafka has such doors.
type Secure struct {
	*Stack
	SASL, MTLS, SASLMTLS string // Kafka over TLS: user and password, our certificate, both
	SCRAM512             string // user and password, SCRAM-SHA-512 only
	ClickHouseTLS        string // native
	ClickHouseMTLS       string // native, with our certificate
	ClickHouseHTTPS      string
	tls, secrets         string
}

var (
	secure    *Secure
	secureErr error // once it cannot be started, nobody waits for it again
)

// StartSecure returns the secure stack that the tests of this process share. users are the files of ClickHouse's
// users.d by name, which the server reads when it starts: those of the first call count.
func StartSecure(t testing.TB, users func() map[string]string) *Secure {
	t.Helper()
	mu.Lock()
	defer mu.Unlock()
	if secure != nil {
		return secure
	}
	if secureErr == nil {
		secure, secureErr = beginSecure(users())
	}
	if err := secureErr; err != nil {
		if strings.Contains(err.Error(), "has neither these listeners") {
			(&Stack{KafkaKind: "kfake"}).NeedApache(t, "TLS, SASL and ACLs as Apache Kafka has them")
		}
		t.Fatalf("secure stack: %v", err)
	}
	return secure
}

func beginSecure(users map[string]string) (*Secure, error) {
	program, err := build()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "agentrisk-secure-")
	if err != nil {
		return nil, err
	}
	fail := func(err error) (*Secure, error) { _ = os.RemoveAll(dir); return nil, err }
	if err := os.MkdirAll(filepath.Join(dir, "users.d"), 0o700); err != nil {
		return fail(err)
	}
	for name, text := range users {
		if err := os.WriteFile(filepath.Join(dir, "users.d", name), []byte(text), 0o600); err != nil {
			return fail(err)
		}
	}
	s, err := bring(program, dir, "--secure")
	if err != nil {
		return fail(err)
	}
	x := &Secure{Stack: s}
	b, err := os.ReadFile(filepath.Join(dir, "env"))
	if err != nil {
		return fail(err)
	}
	for in := bufio.NewScanner(strings.NewReader(string(b))); in.Scan(); {
		name, value, _ := strings.Cut(in.Text(), "=")
		for n, field := range map[string]*string{"KAFKA_SASL": &x.SASL, "KAFKA_MTLS": &x.MTLS, "KAFKA_SASL_MTLS": &x.SASLMTLS, "KAFKA_SCRAM512": &x.SCRAM512,
			"CLICKHOUSE_NATIVE_TLS": &x.ClickHouseTLS, "CLICKHOUSE_NATIVE_MTLS": &x.ClickHouseMTLS, "CLICKHOUSE_HTTPS": &x.ClickHouseHTTPS,
			"TLS_DIR": &x.tls, "SECRETS_DIR": &x.secrets} {
			if n == name {
				*field = value
			}
		}
	}
	return x, nil
}

// CA is the PEM file of the authority that the servers' certificates are signed by.
func (s *Secure) CA() string { return filepath.Join(s.tls, "ca.pem") }

// Cert and Key are the PEM files of a user's certificate.
func (s *Secure) Cert(user string) string { return filepath.Join(s.tls, user+".pem") }
func (s *Secure) Key(user string) string  { return filepath.Join(s.tls, user+".key") }

// PasswordFile holds a Kafka user's password.
func (s *Secure) PasswordFile(user string) string { return filepath.Join(s.secrets, user) }

// stopSecure is called by Main.
func stopSecure() {
	if secure != nil {
		_ = exec.Command(secure.program, "down", secure.Dir).Run()
		_ = os.RemoveAll(secure.Dir)
	}
}
