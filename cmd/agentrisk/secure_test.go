package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/segmentio/kafka-go"

	"github.com/agentrisk/agentrisk/deploy/stacktest"
)

// Tests of doors, rights and readers share one secure stack. ClickHouse reads its users when it starts, so the databases
// that they have rights on are named before that.
var secureDatabase = struct{ rights, reader string }{stacktest.Unique("rights_"), stacktest.Unique("reader_")}

const userSecret = "correct horse battery staple" // of every user of ClickHouse here

// startSecure returns the stack, with the users that `agentrisk access clickhouse` prints.
func startSecure(t *testing.T) *stacktest.Secure {
	t.Helper()
	x := stacktest.StartSecure(t, func() map[string]string {
		dir := t.TempDir()
		secret := filepath.Join(dir, "secret")
		if err := os.WriteFile(secret, []byte(userSecret+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		files := map[string]string{"reader.xml": printAccess(t, secureDatabase.reader, "clickhouse", "--provider", "alpha", "--password-file", secret)}
		for _, role := range clickHouseRoles {
			files[role+".xml"] = printAccess(t, secureDatabase.rights, "clickhouse", "--role", role, "--password-file", secret)
		}
		for _, less := range writersWithLess(files["writer.xml"]) {
			files[less.user+".xml"] = less.xml
		}
		return files
	})
	t.Cleanup(func() {
		if b, err := os.ReadFile(filepath.Join(x.Dir, "clickhouse.log")); t.Failed() && err == nil {
			for line := range strings.Lines(string(b)) {
				if strings.Contains(line, "<Fatal>") || strings.Contains(line, "devstack:") {
					t.Log(strings.TrimSpace(line[:min(len(line), 400)]))
				}
			}
		}
	})
	return x
}

// printAccess runs `agentrisk access` for a configuration whose passwords and certificates do not exist.
func printAccess(t *testing.T, database string, args ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "c.yaml")
	text := fmt.Sprintf(`kafka: {brokers: ["k:9092"], tls: {enabled: true, ca: nowhere}, sasl: {mechanism: PLAIN, user: agentrisk-pipeline, password_file: nowhere}}
clickhouse: {addresses: ["c:9000"], database: %s, password_file: nowhere}
bindings: [{topics: "ev.*"}]
`, database)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(program, append(append([]string{"access"}, args...), "--config", path)...).Output()
	if err != nil {
		t.Fatalf("access %v: %v", args, err)
	}
	return string(out)
}

// lesser is the writer without one of its rights.
type lesser struct{ user, right, xml string }

var grantElement = regexp.MustCompile(`<query>GRANT ([^<]*)</query>`)

// writersWithLess makes a user for each right of the writer, who lacks it.
func writersWithLess(xml string) (list []lesser) {
	for _, m := range grantElement.FindAllStringSubmatch(xml, -1) {
		what, on, _ := strings.Cut(m[1], " ON ")
		rights := strings.Split(what, ", ")
		for i := range rights {
			user := fmt.Sprintf("agentrisk_less_%d", len(list))
			var rest []string
			rest = append(append(rest, rights[:i]...), rights[i+1:]...)
			grant := ""
			if len(rest) > 0 {
				grant = "<query>GRANT " + strings.Join(rest, ", ") + " ON " + on + "</query>"
			}
			less := strings.Replace(xml, m[0], grant, 1)
			list = append(list, lesser{user, rights[i] + " ON " + on, strings.ReplaceAll(less, "agentrisk_writer", user)})
		}
	}
	return list
}

// secureSystem is a deployment on the secure stack whose own configuration goes through the plain ports, for what the
// owner of the servers does.
func secureSystem(t *testing.T, x *stacktest.Secure, database string) *system {
	t.Helper()
	if database == "" {
		return newSystem(t, x.Stack, "")
	}
	s := &system{t: t, stack: x.Stack, dir: t.TempDir(), database: database, prefix: stacktest.Unique("ev") + ".", group: stacktest.Unique("g")}
	s.config = filepath.Join(s.dir, "agentrisk.yaml")
	s.configure(s.group, "")
	return s
}

// through returns the same deployment whose configuration goes through other doors: the sections are YAML members.
func (s *system) through(name, kafkaSection, clickHouseSection string) *system {
	s.t.Helper()
	b, err := os.ReadFile(s.config)
	if err != nil {
		s.t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(b)) {
		switch {
		case strings.HasPrefix(line, "kafka:"):
			line = fmt.Sprintf("kafka: {group: %q, %s}\n", s.group, kafkaSection)
		case strings.HasPrefix(line, "clickhouse:"):
			line = fmt.Sprintf("clickhouse: {database: %q, %s}\n", s.database, clickHouseSection)
		}
		lines = append(lines, line)
	}
	other := *s
	other.config = filepath.Join(s.dir, name+".yaml")
	if err := os.WriteFile(other.config, []byte(strings.Join(lines, "")), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return &other
}

// Members of the sections.
func brokers(list ...string) string { return fmt.Sprintf("brokers: [%s]", quoted(list)) }

func addresses(list ...string) string { return fmt.Sprintf("addresses: [%s]", quoted(list)) }

func quoted(list []string) string {
	var out []string
	for _, s := range list {
		out = append(out, fmt.Sprintf("%q", s))
	}
	return strings.Join(out, ", ")
}

func tlsMember(x *stacktest.Secure, user string) string {
	if user == "" {
		return fmt.Sprintf(", tls: {enabled: true, ca: %q}", x.CA())
	}
	return fmt.Sprintf(", tls: {enabled: true, ca: %q, cert: %q, key: %q, min_version: \"1.3\"}", x.CA(), x.Cert(user), x.Key(user))
}

func saslMember(x *stacktest.Secure, mechanism, user string) string {
	return fmt.Sprintf(", sasl: {mechanism: %s, user: %q, password_file: %q}", mechanism, user, x.PasswordFile(user))
}

func asUser(name string) string { return fmt.Sprintf(", user: %s, password: %q", name, userSecret) }

// acls grants and takes away rights, as the owner of the cluster.
type acls struct {
	t *testing.T
	c *kafka.Client
}

func newACLs(t *testing.T, x *stacktest.Secure) *acls {
	transport := &kafka.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &acls{t, &kafka.Client{Addr: kafka.TCP(x.Brokers...), Transport: transport}}
}

// right is what a printed command says.
type right struct{ principal, operation, resource, name, pattern string }

var aclCommand = regexp.MustCompile(`--add --allow-principal '?([^' ]+)'? --operation (\w+) --(topic|group) (\S+) --resource-pattern-type (\w+)`)

// parseACLs reads the commands that `agentrisk access kafka` prints.
func parseACLs(t *testing.T, text string) (list []right) {
	t.Helper()
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		m := aclCommand.FindStringSubmatch(line)
		if m == nil {
			t.Fatalf("not a command: %s", line)
		}
		list = append(list, right{m[1], m[2], m[3], m[4], m[5]})
	}
	return list
}

func (a *acls) entry(r right) kafka.ACLEntry {
	a.t.Helper()
	e := kafka.ACLEntry{ResourceName: r.name, Principal: r.principal, Host: "*", PermissionType: kafka.ACLPermissionTypeAllow}
	if err := errors.Join(e.ResourceType.UnmarshalText([]byte(r.resource)), e.Operation.UnmarshalText([]byte(r.operation)), e.ResourcePatternType.UnmarshalText([]byte(r.pattern))); err != nil {
		a.t.Fatalf("%+v: %v", r, err)
	}
	return e
}

func (a *acls) grant(rights ...right) {
	a.t.Helper()
	req := &kafka.CreateACLsRequest{}
	for _, r := range rights {
		req.ACLs = append(req.ACLs, a.entry(r))
	}
	res, err := a.c.CreateACLs(soon(a.t), req)
	if err == nil {
		err = errors.Join(res.Errors...)
	}
	if err != nil {
		a.t.Fatalf("grant: %v", err)
	}
	for _, r := range rights {
		a.wait(r, true)
	}
}

func (a *acls) take(r right) {
	a.t.Helper()
	e := a.entry(r)
	res, err := a.c.DeleteACLs(soon(a.t), &kafka.DeleteACLsRequest{Filters: []kafka.DeleteACLsFilter{{ResourceTypeFilter: e.ResourceType, ResourceNameFilter: e.ResourceName,
		ResourcePatternTypeFilter: e.ResourcePatternType, PrincipalFilter: e.Principal, HostFilter: e.Host, Operation: e.Operation, PermissionType: e.PermissionType}}})
	if err != nil {
		a.t.Fatalf("take away %+v: %v", r, err)
	}
	if len(res.Results) != 1 || len(res.Results[0].MatchingACLs) != 1 {
		a.t.Fatalf("take away %+v: %+v", r, res.Results)
	}
	a.wait(r, false)
}

// wait returns when the broker goes by what was changed.
func (a *acls) wait(r right, there bool) {
	a.t.Helper()
	e := a.entry(r)
	eventually(a.t, fmt.Sprintf("the broker knows that %+v is %v", r, there), func() bool {
		res, err := a.c.DescribeACLs(context.WithoutCancel(a.t.Context()), &kafka.DescribeACLsRequest{Filter: kafka.ACLFilter{ResourceTypeFilter: e.ResourceType, ResourceNameFilter: e.ResourceName,
			ResourcePatternTypeFilter: e.ResourcePatternType, PrincipalFilter: e.Principal, HostFilter: e.Host, Operation: e.Operation, PermissionType: e.PermissionType}})
		return err == nil && res.Error == nil && (len(res.Resources) > 0) == there
	})
}

// says waits until a command of the program has said all of want, and then ends it.
func (s *system) says(want []string, args ...string) {
	s.t.Helper()
	cmd := exec.Command(program, append(args, "--config", s.config)...)
	var out lockedText
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { _ = cmd.Wait(); close(done) }()
	defer func() { _ = cmd.Process.Kill(); <-done }()
	missing := func() (list []string) {
		for _, w := range want {
			if !strings.Contains(out.String(), w) {
				list = append(list, w)
			}
		}
		return list
	}
	ended := func() bool {
		select {
		case <-done:
			return true
		default:
			return false
		}
	}
	eventually(s.t, fmt.Sprintf("agentrisk %s says %q, or ends", strings.Join(args, " "), want), func() bool { return ended() || len(missing()) == 0 })
	if m := missing(); len(m) > 0 {
		s.t.Errorf("agentrisk %s does not say %q:\n%s", strings.Join(args, " "), m, out.String())
	}
}

// lockedText gathers what a process writes.
type lockedText struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
