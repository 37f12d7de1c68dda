package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// missingForKafka says what Apache Kafka needs and this machine lacks; "" when nothing.
func missingForKafka() string {
	const without = "; without it the embedded broker kfake serves, and what only Apache Kafka shows is not tested"
	out, err := exec.Command("java", "-version").CombinedOutput()
	if err != nil {
		return "Apache Kafka needs Java 17 or later: apt-get install openjdk-17-jre-headless" + without
	}
	m := regexp.MustCompile(`version "(\d+)`).FindSubmatch(out)
	if m == nil {
		return "cannot read the version of java: " + strings.TrimSpace(string(out)) + without
	}
	if v, _ := strconv.Atoi(string(m[1])); v < 17 {
		return fmt.Sprintf("Apache Kafka needs Java 17 or later, this is %s: apt-get install openjdk-17-jre-headless", m[1]) + without
	}
	if _, err := exec.LookPath("mvn"); err != nil {
		return "Apache Kafka comes through Maven: apt-get install maven" + without
	}
	return ""
}

func (s *stack) kafka() *server {
	srv := &server{name: "kafka", dir: s.dir, ready: func(ctx context.Context) error { return kafkaAnswers(ctx, s.address(0)) }}
	if s.State.Kafka == "kfake" {
		self, _ := os.Executable()
		srv.command = []string{self, "serve-kfake", s.address(0), filepath.Join(s.dir, "kafka")}
		return srv
	}
	srv.command = []string{"java", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", filepath.Join(s.State.Jars, "*"), "kafka.Kafka", filepath.Join(s.dir, "server.properties")}
	return srv
}

// formatKafka writes the broker's settings and makes its storage.
func (s *stack) formatKafka(ctx context.Context) error {
	data, conf := filepath.Join(s.dir, "kafka"), filepath.Join(s.dir, "server.properties")
	lines := []string{
		"process.roles=broker,controller", "node.id=1",
		"controller.quorum.bootstrap.servers=" + s.address(1),
		"listeners=PLAINTEXT://" + s.address(0) + ",CONTROLLER://" + s.address(1),
		"advertised.listeners=PLAINTEXT://" + s.address(0) + ",CONTROLLER://" + s.address(1),
		"controller.listener.names=CONTROLLER", "inter.broker.listener.name=PLAINTEXT",
		"listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
		"log.dirs=" + data,
		"offsets.topic.replication.factor=1", "offsets.topic.num.partitions=4",
		"transaction.state.log.replication.factor=1", "transaction.state.log.min.isr=1", "transaction.state.log.num.partitions=2",
		"share.coordinator.state.topic.replication.factor=1", "share.coordinator.state.topic.min.isr=1",
		"group.initial.rebalance.delay.ms=0", "group.min.session.timeout.ms=1000",
		"auto.create.topics.enable=false", "log.cleaner.dedupe.buffer.size=8388608",
	}
	format := []string{"kafka.tools.StorageTool", "format", "-c", conf, "--standalone"}
	if s.State.Secure {
		lines = append(lines, s.secureKafka()...)
		format = append(format, s.scram()...)
	}
	lines = append(lines, s.State.Set...) // the last of two settings of one name counts
	if err := os.WriteFile(conf, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		return err
	}
	cp := filepath.Join(s.State.Jars, "*")
	out, err := exec.CommandContext(ctx, "java", "-cp", cp, "kafka.tools.StorageTool", "random-uuid").Output()
	if err != nil {
		return fmt.Errorf("kafka: storage id: %w", err)
	}
	words := strings.Fields(string(out))
	if len(words) == 0 {
		return errors.New("kafka: the storage tool printed no id")
	}
	s.State.Cluster = words[len(words)-1]
	if out, err := exec.CommandContext(ctx, "java", append([]string{"-cp", cp}, append(format, "-t", s.State.Cluster)...)...).CombinedOutput(); err != nil {
		return fmt.Errorf("kafka: format: %w\n%s", err, out)
	}
	return nil
}

// kafkaAnswers reports whether broker and group coordinator serve: right after the start they do not.
func kafkaAnswers(ctx context.Context, address string) error {
	c, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.RequestRetries(0), kgo.DialTimeout(time.Second))
	if err != nil {
		return err
	}
	defer c.Close()
	req := kmsg.NewPtrFindCoordinatorRequest()
	req.CoordinatorKey = "devstack"
	req.CoordinatorKeys = []string{"devstack"}
	res, err := req.RequestWith(ctx, c)
	if err != nil {
		return err
	}
	code := res.ErrorCode
	for _, co := range res.Coordinators {
		code = max(code, co.ErrorCode)
	}
	if code != 0 {
		return fmt.Errorf("group coordinator: error %d", code)
	}
	return nil
}

// serveKfake is the child process that serves the embedded broker until it is killed. Its data is on disk.
func serveKfake(args []string) error {
	_, port, err := net.SplitHostPort(args[0])
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return err
	}
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(n), kfake.DataDir(args[1]), kfake.SyncWrites(), kfake.ClusterID("devstack"))
	if err != nil {
		return err
	}
	defer c.Close()
	wait()
	return nil
}
