package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// stack is what DIR holds: the two servers, their ports, their data.
type stack struct {
	dir   string
	State state
}

// state is DIR/state.json: everything that a later start must find unchanged.
type state struct {
	Kafka      string   `json:"kafka"` // apache or kfake
	Secure     bool     `json:"secure,omitempty"`
	Set        settings `json:"set,omitempty"`
	Jars       string   `json:"jars,omitempty"`
	Cluster    string   `json:"cluster"`
	ClickHouse string   `json:"clickhouse"` // program or library
	Ports      []int    `json:"ports"`      // kafka, controller, clickhouse native, clickhouse http, the same two behind the library's front, those of secure.go
}

func openStack(args []string) (*stack, error) {
	if len(args) == 0 || args[0] == "" {
		return nil, errors.New("want a folder: devstack up DIR")
	}
	dir, err := filepath.Abs(args[0])
	if err != nil {
		return nil, err
	}
	s := &stack{dir: dir}
	if err := s.load(); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	return s, nil
}

func (s *stack) load() error {
	b, err := os.ReadFile(filepath.Join(s.dir, "state.json"))
	if err != nil {
		return err
	}
	return json.Unmarshal(b, &s.State)
}

func (s *stack) save() error {
	b, err := json.MarshalIndent(s.State, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(s.dir, "state.json"), b, 0o644)
}

func (s *stack) address(i int) string { return fmt.Sprintf("127.0.0.1:%d", s.State.Ports[i]) }

func (s *stack) servers() []*server {
	if len(s.State.Ports) == 0 {
		return nil
	}
	return []*server{s.kafka(), s.clickhouse()}
}

// up starts what does not run. When it fails or is interrupted, what it started is stopped again.
func (s *stack) up(ctx context.Context, kind string, secure bool, set settings) (err error) {
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return err
	}
	if len(s.State.Ports) == 0 {
		if err := s.choose(ctx, kind, secure, set); err != nil {
			return err
		}
	}
	var started []*server
	defer func() {
		if err != nil {
			for _, srv := range started {
				_ = srv.stop(syscall.SIGKILL)
			}
		}
	}()
	for _, srv := range s.servers() {
		if srv.pid() == 0 {
			started = append(started, srv)
		}
	}
	failed := make(chan error, 2)
	for _, srv := range s.servers() {
		go func() { failed <- srv.start(ctx) }()
	}
	if err := errors.Join(<-failed, <-failed); err != nil {
		return err
	}
	if len(started) == 0 {
		fmt.Fprintln(os.Stderr, "devstack: already up in", s.dir)
	}
	return s.tell()
}

// choose settles what runs and where.
func (s *stack) choose(ctx context.Context, kind string, secure bool, set settings) (err error) {
	missing := missingForKafka()
	switch kind {
	case "auto":
		if kind = "apache"; missing != "" {
			kind = "kfake"
			fmt.Fprintf(os.Stderr, "devstack: %s\n", missing)
		}
	case "apache":
		if missing != "" {
			return errors.New(missing)
		}
	case "kfake":
	default:
		return fmt.Errorf("--kafka %q: want auto, apache or kfake", kind)
	}
	if secure && kind != "apache" {
		return fmt.Errorf("--secure: %s has neither these listeners nor these ACLs; %s", kind, missing)
	}
	s.State.Kafka, s.State.Set, s.State.Secure = kind, set, secure
	if kind == "apache" {
		if s.State.Jars, err = fetchKafka(ctx); err != nil {
			return err
		}
	}
	if s.State.ClickHouse, err = findClickHouse(ctx); err != nil {
		return err
	}
	ports := 6
	if secure {
		ports = numPorts
	}
	if s.State.Ports, err = freePorts(ports); err != nil {
		return err
	}
	if secure {
		if err := s.secrets(); err != nil {
			return err
		}
	}
	if kind == "apache" {
		if err := s.formatKafka(ctx); err != nil {
			return err
		}
	}
	return s.save()
}

// tell writes the files that others read and says what runs.
func (s *stack) tell() error {
	env := fmt.Sprintf("KAFKA_BROKERS=%s\nKAFKA_KIND=%s\nCLICKHOUSE_NATIVE=%s\nCLICKHOUSE_HTTP=%s\n", s.address(0), s.State.Kafka, s.address(2), s.address(3))
	config := fmt.Appendf(nil, configuration, fmt.Sprintf("%q", s.address(0)), "", fmt.Sprintf("%q", s.address(2)), "")
	if s.State.Secure {
		env += s.secureEnv()
		config = s.secureConfiguration()
		if err := s.aclTool(); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(s.dir, "env"), []byte(env), 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(s.dir, "agentrisk.yaml"), config, 0o644); err != nil {
		return err
	}
	what := "Apache Kafka " + kafkaVersion
	if s.State.Kafka == "kfake" {
		what = "kfake, NOT Apache Kafka: log append time, coordinator failover and leader changes are not shown"
	}
	fmt.Fprintf(os.Stderr, "devstack: Kafka at %s (%s)\ndevstack: ClickHouse at %s, console http://%s/play\ndevstack: configuration in %s\n",
		s.address(0), what, s.address(2), s.address(3), filepath.Join(s.dir, "agentrisk.yaml"))
	return nil
}

func (s *stack) down() error {
	var errs []error
	for _, srv := range s.servers() {
		errs = append(errs, srv.stop(syscall.SIGTERM))
	}
	return errors.Join(errs...)
}

const configuration = `# A complete configuration of agentrisk for the servers of this folder.

# Where events come from.
kafka:
  brokers: [%s]
  group: agentrisk
%s
# Where verdicts go.
clickhouse:
  addresses: [%s]
  database: agentrisk
  user: default
%s
# What the topics are: each provider's events in a topic of its own, keyed by tenant/agent.
bindings:
  - topics: "agent.events.*"
    provider: last-part
    format: json
    keyed_by: agent
    partitions: 4

# Whose topics migrate and simulate make.
providers: [alibaba_cloud, huawei_cloud, tencent_cloud]

# Metrics and health; port 0 takes a free one and the log says which.
http:
  listen: "127.0.0.1:0"
`
