package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// A secure stack has, beside the plain ports for its owner on loopback, doors as in production: Kafka asks for TLS and
// SASL, or for a client's certificate, and lets each user do only what an ACL allows; ClickHouse serves TLS. Certificates
// and passwords are made for the folder and stay in it.

// secureUsers have a password to Kafka, in DIR/secrets, and a certificate of that common name, in DIR/tls. After those of
// the roles come producers: one for tests, and those of the configuration.
var secureUsers = []string{"agentrisk-pipeline", "agentrisk-notifier", "agentrisk-operator", "agentrisk-alpha",
	"agentrisk-alibaba_cloud", "agentrisk-huawei_cloud", "agentrisk-tencent_cloud"}

// Ports of a secure stack after those of every stack.
const (
	portSASL       = iota + 6 // SASL over TLS
	portMTLS                  // TLS with a client's certificate
	portSASLMTLS              // both
	portSCRAM512              // SASL over TLS, of this mechanism only
	portNativeTLS             // ClickHouse, native, over TLS
	portNativeMTLS            // the same, with a client's certificate
	portHTTPS                 // ClickHouse, HTTP over TLS
	numPorts
)

func (s *stack) tlsFile(name string) string    { return filepath.Join(s.dir, "tls", name) }
func (s *stack) secretFile(name string) string { return filepath.Join(s.dir, "secrets", name) }

// secrets makes certificates and passwords.
func (s *stack) secrets() error {
	for _, dir := range []string{"tls", "secrets", "users.d"} {
		if err := os.MkdirAll(filepath.Join(s.dir, dir), 0o700); err != nil {
			return err
		}
	}
	for _, user := range secureUsers {
		var b [12]byte
		_, _ = rand.Read(b[:]) // never fails, see crypto/rand
		if err := os.WriteFile(s.secretFile(user), []byte(hex.EncodeToString(b[:])+"\n"), 0o600); err != nil {
			return err
		}
	}
	ca, err := newAuthority("devstack CA")
	if err != nil {
		return err
	}
	if err := os.WriteFile(s.tlsFile("ca.pem"), ca.pem, 0o644); err != nil {
		return err
	}
	for _, name := range append([]string{"server"}, secureUsers...) {
		cert, key, err := ca.issue(name, name == "server")
		if err != nil {
			return err
		}
		if err := os.WriteFile(s.tlsFile(name+".pem"), cert, 0o644); err != nil {
			return err
		}
		if err := os.WriteFile(s.tlsFile(name+".key"), key, 0o600); err != nil {
			return err
		}
		if name == "server" { // Kafka wants both in one file
			if err := os.WriteFile(s.tlsFile("kafka.pem"), append(key, cert...), 0o600); err != nil {
				return err
			}
		}
	}
	return nil
}

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(name string) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	t := template(name)
	t.IsCA, t.BasicConstraintsValid, t.KeyUsage = true, true, x509.KeyUsageCertSign|x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &authority{cert, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}, nil
}

func template(name string) *x509.Certificate {
	serial, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	return &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0)}
}

// issue returns a certificate and its key, in PEM: a server's for loopback, or a client's.
func (a *authority) issue(name string, server bool) (cert, private []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	t := template(name)
	t.KeyUsage, t.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if server {
		t.ExtKeyUsage = append(t.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
		t.DNSNames, t.IPAddresses = []string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1)}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, a.cert, key.Public(), a.key)
	if err != nil {
		return nil, nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), nil
}

// password reads a user's.
func (s *stack) password(user string) string {
	b, _ := os.ReadFile(s.secretFile(user))
	return strings.TrimSpace(string(b))
}

// secureKafka are the broker's settings beside the usual ones, which they stand above.
func (s *stack) secureKafka() []string {
	plain := "org.apache.kafka.common.security.plain.PlainLoginModule required"
	for _, u := range secureUsers {
		plain += fmt.Sprintf(" user_%s=%q", u, s.password(u))
	}
	listeners := fmt.Sprintf("PLAINTEXT://%s,CONTROLLER://%s,SASL://%s,MTLS://%s,SASLMTLS://%s,SCRAM512://%s",
		s.address(0), s.address(1), s.address(portSASL), s.address(portMTLS), s.address(portSASLMTLS), s.address(portSCRAM512))
	lines := []string{
		"listeners=" + listeners, "advertised.listeners=" + listeners,
		"listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL:SASL_SSL,MTLS:SSL,SASLMTLS:SASL_SSL,SCRAM512:SASL_SSL",
		"ssl.keystore.type=PEM", "ssl.keystore.location=" + s.tlsFile("kafka.pem"),
		"ssl.truststore.type=PEM", "ssl.truststore.location=" + s.tlsFile("ca.pem"),
		"ssl.principal.mapping.rules=RULE:^CN=([^,]+).*$/$1/,DEFAULT",
		"listener.name.mtls.ssl.client.auth=required", "listener.name.saslmtls.ssl.client.auth=required",
		"sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512", "listener.name.scram512.sasl.enabled.mechanisms=SCRAM-SHA-512",
		// Who comes over the plain port is the owner of the machine; everybody else needs an ACL.
		"authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer", "super.users=User:ANONYMOUS",
	}
	for _, l := range []string{"sasl", "saslmtls", "scram512"} {
		if l != "scram512" {
			lines = append(lines, "listener.name."+l+".plain.sasl.jaas.config="+plain+";")
		}
		for _, m := range []string{"scram-sha-256", "scram-sha-512"} {
			lines = append(lines, "listener.name."+l+"."+m+".sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;")
		}
	}
	return lines
}

// scram are the arguments that give the storage its SCRAM users.
func (s *stack) scram() (args []string) {
	for _, u := range secureUsers {
		for _, m := range []string{"SCRAM-SHA-256", "SCRAM-SHA-512"} {
			args = append(args, "--add-scram", fmt.Sprintf("%s=[name=%s,password=%s]", m, u, s.password(u)))
		}
	}
	return args
}

// secureClickHouse is what the server's configuration has beside the usual: the access settings of the official image's
// configuration.
const secureClickHouse = `
    <access_control_improvements>
        <users_without_row_policies_can_read_rows>true</users_without_row_policies_can_read_rows>
        <on_cluster_queries_require_cluster_grant>true</on_cluster_queries_require_cluster_grant>
        <select_from_system_db_requires_grant>true</select_from_system_db_requires_grant>
        <select_from_information_schema_requires_grant>true</select_from_information_schema_requires_grant>
        <settings_constraints_replace_previous>true</settings_constraints_replace_previous>
        <table_engines_require_grant>true</table_engines_require_grant>
    </access_control_improvements>`

// secureEnv are lines of DIR/env.
func (s *stack) secureEnv() string {
	return fmt.Sprintf("KAFKA_SASL=%s\nKAFKA_MTLS=%s\nKAFKA_SASL_MTLS=%s\nKAFKA_SCRAM512=%s\nCLICKHOUSE_NATIVE_TLS=%s\nCLICKHOUSE_NATIVE_MTLS=%s\nCLICKHOUSE_HTTPS=%s\nTLS_DIR=%s\nSECRETS_DIR=%s\nUSERS_D=%s\n",
		s.address(portSASL), s.address(portMTLS), s.address(portSASLMTLS), s.address(portSCRAM512), s.address(portNativeTLS), s.address(portNativeMTLS), s.address(portHTTPS),
		filepath.Join(s.dir, "tls"), filepath.Join(s.dir, "secrets"), filepath.Join(s.dir, "users.d"))
}

// aclTool writes DIR/kafka-acls.sh, Kafka's own tool from the jars that the broker runs.
func (s *stack) aclTool() error {
	text := fmt.Sprintf("#!/bin/sh\nexec java -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp '%s' org.apache.kafka.tools.AclCommand \"$@\"\n", filepath.Join(s.State.Jars, "*"))
	return os.WriteFile(filepath.Join(s.dir, "kafka-acls.sh"), []byte(text), 0o755)
}

// secureConfiguration goes through the secure doors. Nobody has an ACL yet: `agentrisk access kafka` prints them.
func (s *stack) secureConfiguration() []byte {
	user := secureUsers[0]
	return fmt.Appendf(nil, configuration,
		fmt.Sprintf("%q", s.address(portSASL)),
		fmt.Sprintf("  tls: {enabled: true, ca: %q}\n  sasl: {mechanism: SCRAM-SHA-512, user: %q, password_file: %q}\n", s.tlsFile("ca.pem"), user, s.secretFile(user)),
		fmt.Sprintf("%q", s.address(portNativeTLS)),
		fmt.Sprintf("  tls: {enabled: true, ca: %q}\n", s.tlsFile("ca.pem")))
}
