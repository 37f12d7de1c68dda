package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/agentrisk/agentrisk/deploy/stacktest"
	"github.com/agentrisk/agentrisk/ingest"
	"github.com/agentrisk/agentrisk/ingest/kafka"
)

// answer is what ClickHouse says over HTTPS.
type answer struct {
	status int
	text   string
	header http.Header
}

// askAs asks ClickHouse over HTTPS as a user; a library that aborted is waited for.
func askAs(t *testing.T, x *stacktest.Secure, user, password, sql string, settings url.Values) (a answer) {
	t.Helper()
	ca, err := os.ReadFile(x.CA())
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true}, Timeout: time.Minute}
	eventually(t, "ClickHouse answers "+sql, func() bool {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+x.ClickHouseHTTPS+"/?"+settings.Encode(), strings.NewReader(sql))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-ClickHouse-User", user)
		req.Header.Set("X-ClickHouse-Key", password)
		res, err := client.Do(req)
		if err != nil {
			return false
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		a = answer{res.StatusCode, string(b), res.Header}
		return err == nil && !strings.Contains(a.text, "Code: 236.")
	})
	return a
}

// The rights that `agentrisk access` prints are enough, and each is needed: with them every role does its work, over TLS,
// and without one of them the program names it, the resource and the operation.
func TestExactRights(t *testing.T) {
	t.Parallel()
	x := startSecure(t)
	owner := secureSystem(t, x, secureDatabase.rights)
	t.Cleanup(func() { x.Query(t, "DROP DATABASE IF EXISTS "+owner.database+" SYNC") })
	a := newACLs(t, x)
	printed := func(args ...string) []right {
		list := parseACLs(t, owner.must(append([]string{"access", "kafka", "--config", owner.config}, args...)...))
		a.grant(list...)
		return list
	}
	secured := tlsMember(x, "")
	as := func(role, kafkaUser, clickHouseUser string) *system {
		return owner.through(role, brokers(x.SASL)+secured+saslMember(x, "SCRAM-SHA-512", kafkaUser), addresses(x.ClickHouseTLS)+secured+asUser(clickHouseUser))
	}

	// An operator migrates.
	operatorRights := printed("--role", "operator")
	operator := as("operator", "agentrisk-operator", "agentrisk_operator")
	operator.migrate()

	// A provider publishes to its own topic and to no other.
	printed("--provider", "alpha")
	d, err := newDoor("kafka", TLSConfig{Enabled: true, CA: x.CA()})
	if err != nil {
		t.Fatal(err)
	}
	who := SASLConfig{Mechanism: "SCRAM-SHA-256", User: "agentrisk-alpha", PasswordFile: x.PasswordFile("agentrisk-alpha")}
	if err := passwordFrom("password", who.PasswordFile, &who.Password); err != nil {
		t.Fatal(err)
	}
	mechanism, err := who.mechanism()
	if err != nil {
		t.Fatal(err)
	}
	client, err := kafka.NewClient(kafka.Config{Brokers: []string{x.SASL}, Dial: d.dialWary, SASL: mechanism, User: who.User})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	var messages []kafka.Message
	b, err := os.ReadFile(owner.fleet(600, 3))
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(b) {
		if bytes.Contains(line, []byte(`"alpha"`)) {
			messages = append(messages, kafka.Message{Key: []byte("k"), Value: bytes.TrimSpace(line)})
		}
	}
	producer := client.NewProducer(kafka.LZ4)
	eventually(t, "alpha publishes", func() bool {
		err := producer.Produce(soon(t), owner.prefix+"alpha", messages)
		if err != nil {
			t.Log(err)
		}
		return err == nil
	})
	if err := producer.Produce(soon(t), owner.prefix+"beta", messages[:1]); err == nil || !strings.Contains(err.Error(), "WRITE") {
		t.Errorf("alpha publishes to beta's topic: %v", err)
	}

	// The pipeline stores, the notifier delivers, the operator finds that all is well.
	pipelineRights := printed("--role", "pipeline")
	pipeline := as("pipeline", "agentrisk-pipeline", "agentrisk_writer")
	running := pipeline.run()
	pipeline.stored(len(messages))
	notifierRights := printed("--role", "notifier")
	notifier := as("notifier", "agentrisk-notifier", "agentrisk_analyst")
	var refuse atomic.Bool
	refuse.Store(true)
	pages := make(chan struct{}, 1)
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if refuse.Load() {
			w.WriteHeader(http.StatusGone)
			return
		}
		select {
		case pages <- struct{}{}:
		default:
		}
	}))
	defer receiver.Close()
	text, err := os.ReadFile(notifier.config)
	if err != nil {
		t.Fatal(err)
	}
	address := strings.TrimPrefix(receiver.URL, "http://")
	webhook := `alerts: {webhook: {url: "` + receiver.URL + `/page", secrets: ["whsec_ZG9vcnMgYW5kIHJpZ2h0cyBvZiB0aGUgbm90aWZpZXI="], allow: ["` + address + `"]}, `
	if err := os.WriteFile(notifier.config, bytes.Replace(text, []byte("alerts: {"), []byte(webhook), 1), 0o600); err != nil {
		t.Fatal(err)
	}

	without := func(s *system, r right, command string, want ...string) {
		t.Helper()
		a.take(r)
		operation := map[string]string{"DescribeConfigs": "DESCRIBE_CONFIGS"}[r.operation]
		if operation == "" {
			operation = strings.ToUpper(r.operation)
		}
		s.says(append(want, operation, r.name), command)
		a.grant(r)
	}
	// While the receiver refuses, so that the notifier needs its topic for what is refused.
	for _, r := range notifierRights {
		without(notifier, r, "notify")
	}
	refuse.Store(false)
	delivers := exec.Command(program, "notify", "--config", notifier.config)
	if err := delivers.Start(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-pages:
	case <-time.After(2 * time.Minute):
		t.Error("no page was delivered with all rights of the notifier")
	}
	_ = delivers.Process.Kill()
	_ = delivers.Wait()
	running.stop(t)
	eventually(t, "the operator reconciles", func() bool {
		out, err := exec.Command(program, "reconcile", "--config", operator.config).CombinedOutput()
		return err == nil && strings.Contains(string(out), " 0 findings")
	})

	// Without one of its rights each says what it lacks.
	for _, r := range pipelineRights {
		without(pipeline, r, "run")
	}
	once := map[string]bool{}
	for _, r := range operatorRights {
		command := map[string]string{"Create topic": "migrate", "DescribeConfigs topic": "migrate", "Read topic": "reconcile"}[r.operation+" "+r.resource]
		if command == "" || once[r.operation] || r.name != owner.prefix && r.operation == "Read" {
			continue
		}
		once[r.operation] = true
		without(operator, r, command)
	}
	if len(once) != 3 {
		t.Errorf("tried rights of the operator: %v", once)
	}

	// The same in ClickHouse: a writer without one right, doing what that right is for.
	database := owner.database
	statements := map[string]string{
		"ALTER DELETE ON":            "DELETE FROM " + database + ".snapshots WHERE id = 'none'",
		"SELECT ON system.processes": "KILL QUERY WHERE startsWith(query_id, 'agentrisk|none') SYNC",
	}
	tried := 0
	for _, less := range writersWithLess(printAccess(t, database, "clickhouse", "--role", "writer")) {
		lacks, _, _ := strings.Cut(less.right, " ON ")
		for prefix, sql := range statements {
			if !strings.HasPrefix(less.right, prefix) {
				continue
			}
			tried++
			if got := askAs(t, x, less.user, userSecret, sql, nil); !strings.Contains(got.text, lacks) || !strings.Contains(got.text, "Not enough privileges") {
				t.Errorf("without %s: %s", less.right, got.text)
			}
			if got := askAs(t, x, "agentrisk_writer", userSecret, sql, nil); got.status != http.StatusOK {
				t.Errorf("with all rights: %s", got.text)
			}
		}
		if (lacks == "SELECT" || lacks == "INSERT") && strings.Contains(less.right, database) {
			tried++
			as(less.user, "agentrisk-pipeline", less.user).says([]string{"Not enough privileges", lacks, database}, "run")
		}
	}
	if tried != 4 {
		t.Errorf("tried %d rights of the writer", tried)
	}
}

// A right that another one covers is not printed.
func TestRightsThatAPatternCovers(t *testing.T) {
	t.Parallel()
	c := &Config{Bindings: []ingest.Binding{{Topics: "ev.a"}, {Topics: "ev.*"}, {Topics: "evening"}}}
	var topics []string
	for _, r := range c.kafkaRights(rolePipeline, "User:p", "") {
		if r.Resource == "topic" {
			topics = append(topics, r.Operation+" "+r.Name+" "+r.Pattern)
		}
	}
	if got, want := strings.Join(topics, ", "), "READ ev. prefixed, READ evening literal"; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}
