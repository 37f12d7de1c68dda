// Containers runs the tests' Kafka and ClickHouse in containers, by testcontainers-go, with the verbs of cmd/devstack:
//
//	containers up DIR [--kafka-set KEY=VALUE]...   start both, data in the containers; writes DIR/env and DIR/agentrisk.yaml
//	containers down DIR                            remove both
//	containers ctl DIR stop|kill|pause|resume|start kafka|clickhouse
//
// Package stacktest takes it for cmd/devstack where AGENTRISK_TEST_STACK=containers. KAFKA_IMAGE and CLICKHOUSE_IMAGE name
// the images. It is a module of its own, so that the program depends on nothing of this. The reaper of testcontainers-go is
// off, because the containers outlive this process: `down` removes them, and what a killed test leaves carries the label
// agentrisk.stack.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/wait"
)

// startWait bounds how long a server may take to answer, also on a machine with other work.
const startWait = 4 * time.Minute

// state is DIR/state.json.
type state struct {
	Kafka, ClickHouse string // ids of the containers
	Ports             []int  // on 127.0.0.1: kafka, clickhouse native, clickhouse http
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Setenv("TESTCONTAINERS_RYUK_DISABLED", "true")
	if host := os.Getenv("DOCKER_HOST"); os.Getenv("TESTCONTAINERS_HOST_OVERRIDE") == "" && (host == "" || strings.HasPrefix(host, "unix:")) {
		os.Setenv("TESTCONTAINERS_HOST_OVERRIDE", "127.0.0.1") // ports are bound there, whatever the gateway is
	}
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "containers:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) < 2 {
		return errors.New("want: containers up|down|ctl DIR ...")
	}
	dir := args[1]
	switch args[0] {
	case "up":
		return up(ctx, dir, args[2:])
	case "down":
		return down(ctx, dir)
	case "ctl":
		if len(args) != 4 {
			return errors.New("want: containers ctl DIR stop|kill|pause|resume|start kafka|clickhouse")
		}
		return ctl(ctx, dir, args[2], args[3])
	}
	return fmt.Errorf("unknown verb %q", args[0])
}

func image(variable, standard string) string {
	if v := os.Getenv(variable); v != "" {
		return v
	}
	return standard
}

func up(ctx context.Context, dir string, args []string) (err error) {
	f := flag.NewFlagSet("up", flag.ContinueOnError)
	f.String("kafka", "apache", "for cmd/devstack's sake: Apache Kafka serves whatever it says")
	secure := f.Bool("secure", false, "not here")
	settings := map[string]string{}
	f.Func("kafka-set", "a broker setting, KEY=VALUE; may be repeated", func(v string) error {
		key, value, ok := strings.Cut(v, "=")
		if !ok {
			return errors.New("want KEY=VALUE")
		}
		settings["KAFKA_"+strings.ToUpper(strings.NewReplacer(".", "_", "_", "__", "-", "___").Replace(key))] = value
		return nil
	})
	if err := f.Parse(args); err != nil {
		return err
	}
	if *secure {
		return errors.New("--secure: TLS, SASL and ACLs are served by cmd/devstack only: unset AGENTRISK_TEST_STACK")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	var s state
	if s.Ports, err = freePorts(3); err != nil {
		return err
	}
	defer func() {
		if err != nil { // nothing stays that `down` would not find
			_ = remove(context.WithoutCancel(ctx), s)
		}
	}()
	failed := make(chan error, 2)
	go func() { var err error; s.Kafka, err = startKafka(ctx, s.Ports[0], settings); failed <- err }()
	go func() { var err error; s.ClickHouse, err = startClickHouse(ctx, s.Ports[1], s.Ports[2]); failed <- err }()
	if err = errors.Join(<-failed, <-failed); err != nil {
		return err
	}
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	for name, text := range map[string]string{
		"state.json": string(text),
		"env": fmt.Sprintf("KAFKA_BROKERS=127.0.0.1:%d\nKAFKA_KIND=apache\nCLICKHOUSE_NATIVE=127.0.0.1:%d\nCLICKHOUSE_HTTP=127.0.0.1:%d\n",
			s.Ports[0], s.Ports[1], s.Ports[2]),
		"agentrisk.yaml": fmt.Sprintf("kafka: {brokers: [\"127.0.0.1:%d\"], group: agentrisk}\nclickhouse: {addresses: [\"127.0.0.1:%d\"], database: agentrisk, user: default}\n"+
			"bindings: [{topics: \"agent.events.*\", partitions: 4}]\nproviders: [alibaba_cloud, huawei_cloud, tencent_cloud]\nhttp: {listen: \"127.0.0.1:0\"}\n", s.Ports[0], s.Ports[1]),
	} {
		if err = os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func freePorts(n int) (ports []int, err error) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

// start runs a container whose ports are those of 127.0.0.1 that were chosen, so that they stay over a restart.
func start(ctx context.Context, req testcontainers.ContainerRequest, ports map[string]int) (string, error) {
	req.Labels = map[string]string{"agentrisk.stack": "test"}
	bindings := network.PortMap{}
	for inside, outside := range ports {
		req.ExposedPorts = append(req.ExposedPorts, inside)
		bindings[network.MustParsePort(inside)] = []network.PortBinding{{HostIP: netip.MustParseAddr("127.0.0.1"), HostPort: strconv.Itoa(outside)}}
	}
	req.HostConfigModifier = func(h *container.HostConfig) { h.PortBindings = bindings }
	c, err := testcontainers.GenericContainer(ctx, testcontainers.GenericContainerRequest{ContainerRequest: req, Started: true})
	id := ""
	if c != nil {
		id = c.GetContainerID()
	}
	if err != nil {
		return id, fmt.Errorf("%s: %w", req.Image, err)
	}
	return id, nil
}

func startKafka(ctx context.Context, port int, settings map[string]string) (string, error) {
	env := map[string]string{
		"KAFKA_NODE_ID":                                  "1",
		"KAFKA_PROCESS_ROLES":                            "broker,controller",
		"KAFKA_LISTENERS":                                "PLAINTEXT://:19092,CONTROLLER://:9093,HOST://:9092",
		"KAFKA_ADVERTISED_LISTENERS":                     fmt.Sprintf("PLAINTEXT://localhost:19092,HOST://127.0.0.1:%d", port),
		"KAFKA_LISTENER_SECURITY_PROTOCOL_MAP":           "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,HOST:PLAINTEXT",
		"KAFKA_INTER_BROKER_LISTENER_NAME":               "PLAINTEXT",
		"KAFKA_CONTROLLER_LISTENER_NAMES":                "CONTROLLER",
		"KAFKA_CONTROLLER_QUORUM_VOTERS":                 "1@localhost:9093",
		"KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR":         "1",
		"KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS":             "4",
		"KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
		"KAFKA_TRANSACTION_STATE_LOG_MIN_ISR":            "1",
		"KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS":         "0",
		"KAFKA_HEAP_OPTS":                                "-Xmx512m",
	}
	for k, v := range settings {
		env[k] = v
	}
	return start(ctx, testcontainers.ContainerRequest{
		Image: image("KAFKA_IMAGE", "apache/kafka:4.3.1"), Env: env,
		WaitingFor: wait.ForAll(wait.ForLog("Kafka Server started").WithStartupTimeout(startWait), wait.ForListeningPort("9092/tcp").WithStartupTimeout(startWait)),
	}, map[string]int{"9092/tcp": port})
}

func startClickHouse(ctx context.Context, native, web int) (string, error) {
	return start(ctx, testcontainers.ContainerRequest{
		Image:      image("CLICKHOUSE_IMAGE", "clickhouse/clickhouse-server:26.7"),
		Env:        map[string]string{"CLICKHOUSE_SKIP_USER_SETUP": "1"}, // the tests come as default, without a password
		WaitingFor: wait.ForAll(wait.ForHTTP("/ping").WithPort("8123/tcp").WithStartupTimeout(startWait), wait.ForListeningPort("9000/tcp").WithStartupTimeout(startWait)),
	}, map[string]int{"9000/tcp": native, "8123/tcp": web})
}

func load(dir string) (s state, err error) {
	text, err := os.ReadFile(filepath.Join(dir, "state.json"))
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(text, &s)
}

func down(ctx context.Context, dir string) error {
	s, err := load(dir)
	if err != nil {
		return err
	}
	return remove(ctx, s)
}

func remove(ctx context.Context, s state) error {
	docker, err := testcontainers.NewDockerClientWithOpts(ctx)
	if err != nil {
		return err
	}
	defer docker.Close()
	var errs []error
	for _, id := range []string{s.Kafka, s.ClickHouse} {
		if id != "" {
			_, err := docker.ContainerRemove(ctx, id, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func ctl(ctx context.Context, dir, how, server string) error {
	s, err := load(dir)
	if err != nil {
		return err
	}
	id, port, ping := s.Kafka, s.Ports[0], pingKafka
	switch server {
	case "kafka":
	case "clickhouse":
		id, port, ping = s.ClickHouse, s.Ports[2], pingClickHouse
	default:
		return fmt.Errorf("unknown server %q: kafka or clickhouse", server)
	}
	docker, err := testcontainers.NewDockerClientWithOpts(ctx)
	if err != nil {
		return err
	}
	defer docker.Close()
	switch how {
	case "stop":
		_, err = docker.ContainerStop(ctx, id, client.ContainerStopOptions{})
	case "kill":
		_, err = docker.ContainerKill(ctx, id, client.ContainerKillOptions{Signal: "KILL"})
	case "pause":
		_, err = docker.ContainerPause(ctx, id, client.ContainerPauseOptions{})
	case "resume":
		_, err = docker.ContainerUnpause(ctx, id, client.ContainerUnpauseOptions{})
	case "start":
		if _, err = docker.ContainerStart(ctx, id, client.ContainerStartOptions{}); err == nil {
			err = answers(ctx, ping, port)
		}
	default:
		return fmt.Errorf("unknown treatment %q: stop, kill, pause, resume or start", how)
	}
	return err
}

// pingKafka asks the broker which requests it knows.
func pingKafka(ctx context.Context, port int) error {
	var dial net.Dialer
	c, err := dial.DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return err
	}
	defer c.Close()
	deadline, _ := ctx.Deadline()
	_ = c.SetDeadline(deadline)
	// ApiVersions, version 0, correlation 1, no client id, after its length.
	if _, err := c.Write([]byte{0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xff}); err != nil {
		return err
	}
	_, err = io.ReadFull(c, make([]byte, 8))
	return err
}

func pingClickHouse(ctx context.Context, port int) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/ping", port), nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return errors.New(res.Status)
	}
	return nil
}

// answers waits until the server itself does: the engine's own proxy takes connections before it.
func answers(ctx context.Context, ping func(context.Context, int) error, port int) error {
	ctx, cancel := context.WithTimeout(ctx, startWait)
	defer cancel()
	for {
		try, end := context.WithTimeout(ctx, 5*time.Second)
		err := ping(try, port)
		end()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("port %d does not answer: %w", port, err)
		case <-time.After(200 * time.Millisecond):
		}
	}
}
