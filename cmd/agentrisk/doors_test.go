package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/agentrisk/agentrisk/deploy/stacktest"
)

// Every door of Kafka, TLS and mutual TLS with each mechanism, leads through the whole pipeline to rows in ClickHouse over
// TLS and mutual TLS. Seven processes of one group, each through another door, take a lane each; the first address of each
// list is dead.
func TestDoors(t *testing.T) {
	t.Parallel()
	x := startSecure(t)
	owner := secureSystem(t, x, stacktest.Unique("doors_"))
	text, err := os.ReadFile(owner.config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(owner.config, bytes.Replace(text, []byte("partitions: 3"), []byte("partitions: 4"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	owner.migrate()
	const me = "agentrisk-pipeline"
	newACLs(t, x).grant(parseACLs(t, owner.must("access", "kafka", "--config", owner.config, "--role", "pipeline", "--principal", "User:"+me))...)

	const dead = "127.0.0.1:1"
	plainTLS, mutualTLS := tlsMember(x, ""), tlsMember(x, me)
	kafkaDoors := []string{brokers(dead, x.MTLS) + mutualTLS}
	for _, mechanism := range []string{"PLAIN", "SCRAM-SHA-256", "scram-sha-512"} {
		kafkaDoors = append(kafkaDoors, brokers(dead, x.SASL)+plainTLS+saslMember(x, mechanism, me), brokers(dead, x.SASLMTLS)+mutualTLS+saslMember(x, mechanism, me))
	}
	clickHouseDoors := []string{addresses(dead, x.ClickHouseTLS) + plainTLS, addresses(dead, x.ClickHouseMTLS) + mutualTLS}
	var running []*process
	for i, d := range kafkaDoors {
		running = append(running, owner.through(fmt.Sprint("door", i), d, clickHouseDoors[i%2]).run())
	}
	for i, p := range running {
		eventually(t, fmt.Sprintf("the process behind door %d has joined: %s", i, kafkaDoors[i]), func() bool { return strings.Contains(p.text(), "group joined") })
	}
	// Whoever came last has a lane once the group has joined anew; until then others take its events.
	const events = 210
	rounds := 0
	eventually(t, "every process stores rows", func() bool {
		rounds++
		owner.publish(owner.fleet(events, rounds))
		owner.stored(rounds * events)
		return owner.stack.Query(t, "SELECT uniqExactIf(incarnation, rows > 0) FROM "+owner.database+".batches") == fmt.Sprint(len(kafkaDoors))
	})
	for _, p := range running {
		p.stop(t)
	}
	owner.settled(rounds * events)
}

// A CloudEvents producer and an OpenTelemetry one write over SASL and TLS, the pipeline reads so: rows as of our own JSON.
func TestProducersOverSASLAndTLS(t *testing.T) {
	t.Parallel()
	x := startSecure(t)
	const me = "agentrisk-pipeline"
	for form, format := range map[string]string{"cloudevents_binary": "cloudevents", "otlp_proto": "otlp_proto"} {
		t.Run(form, func(t *testing.T) {
			owner := newSystem(t, x.Stack, ", format: "+format)
			rights := newACLs(t, x)
			for _, role := range [][]string{{"pipeline"}, {"operator"}, {"producer", "--provider", "alpha"}, {"producer", "--provider", "beta"}} {
				rights.grant(parseACLs(t, owner.must(append([]string{"access", "kafka", "--config", owner.config, "--principal", "User:" + me, "--role"}, role...)...))...)
			}
			s := owner.through("secure", brokers(x.SASL)+tlsMember(x, "")+saslMember(x, "SCRAM-SHA-256", me), addresses(x.ClickHouseTLS)+tlsMember(x, ""))
			path := s.fleet(600, 8)
			s.must("simulate", "--config", s.config, "--to", "kafka", "--file", path, "--format", form)
			p := s.run()
			owner.settled(600)
			owner.sameVerdicts(path)
			p.stop(t)
		})
	}
}

// Who knocks wrongly at a door is told what to change.
func TestDoorsRefuse(t *testing.T) {
	t.Parallel()
	x := startSecure(t)
	s := secureSystem(t, x, "")
	const me = "agentrisk-pipeline"
	wrong := func(mechanism string) string {
		return fmt.Sprintf(", sasl: {mechanism: %s, user: %s, password: wrong}", mechanism, me)
	}
	mine := func(mechanism string) string { return saslMember(x, mechanism, me) }
	tls, mutual, untrusted := tlsMember(x, ""), tlsMember(x, me), ", tls: {enabled: true}"
	goodKafka, goodClickHouse := brokers(x.SASL)+tls+mine("PLAIN"), addresses(x.ClickHouseTLS)+tls
	for name, tt := range map[string]struct{ kafka, clickhouse, want string }{
		"wrong password, PLAIN":         {brokers(x.SASL) + tls + wrong("PLAIN"), goodClickHouse, `no user "agentrisk-pipeline" with this password under PLAIN`},
		"wrong password, SCRAM-SHA-256": {brokers(x.SASL) + tls + wrong("SCRAM-SHA-256"), goodClickHouse, `no user "agentrisk-pipeline" with this password under SCRAM-SHA-256`},
		"wrong password, SCRAM-SHA-512": {brokers(x.SASL) + tls + wrong("SCRAM-SHA-512"), goodClickHouse, `no user "agentrisk-pipeline" with this password under SCRAM-SHA-512`},
		"wrong mechanism":               {brokers(x.SCRAM512) + tls + mine("PLAIN"), goodClickHouse, "the broker does not offer PLAIN on this port"},
		"SASL where none is":            {brokers(x.Brokers...) + mine("PLAIN"), goodClickHouse, "the broker wants no SASL on this port"},
		"no SASL where it is wanted":    {brokers(x.SASL) + tls, goodClickHouse, "does this port want SASL (kafka.sasl)?"},
		"plain client":                  {brokers(x.SASL), goodClickHouse, "the server speaks TLS on this port and we do not: set kafka.tls.enabled: true"},
		"plain server":                  {brokers(x.Brokers...) + tls, goodClickHouse, "does it speak TLS on this port? If not, leave kafka.tls out"},
		"another authority":             {brokers(x.SASL) + untrusted + mine("PLAIN"), goodClickHouse, "is kafka.tls.ca the authority of this server?"},
		"no certificate":                {brokers(x.SASLMTLS) + tls + mine("PLAIN"), goodClickHouse, "the server wants a certificate of ours: set kafka.tls.cert and .key"},
		"nobody is there":               {brokers("127.0.0.1:1") + mutual, goodClickHouse, "connection refused"},
		"ClickHouse: wrong password":    {goodKafka, addresses(x.ClickHouseTLS) + tls + ", user: agentrisk_writer, password: wrong", "see clickhouse.user and clickhouse.password"},
		"ClickHouse: plain client":      {goodKafka, addresses(x.ClickHouseTLS), "does it want TLS (clickhouse.tls.enabled)?"},
		"ClickHouse: plain server":      {goodKafka, addresses(x.ClickHouseNative) + tls, "does not speak TLS on this port"},
		"ClickHouse: another authority": {goodKafka, addresses(x.ClickHouseTLS) + untrusted, "is clickhouse.tls.ca the authority of this server?"},
		"ClickHouse: no certificate":    {goodKafka, addresses(x.ClickHouseMTLS) + tls, "set clickhouse.tls.cert and .key"},
	} {
		t.Run(name, func(t *testing.T) {
			knocking := *s
			knocking.t = t
			knocking.through(strings.ReplaceAll(name, " ", "-"), tt.kafka, tt.clickhouse).says([]string{tt.want}, "run")
		})
	}
}
