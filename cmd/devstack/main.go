// Devstack runs Kafka and ClickHouse on a laptop, for the demo and for tests: real servers without containers.
//
// Kafka is Apache Kafka in KRaft mode from Maven's jars where Java 17 and Maven are present, and kfake, a broker in Go
// that speaks the same protocol, where they are not. ClickHouse is the one on the PATH, else the engine that npm ships
// as a library. Archives are checked against the digests in pins.go and unpacked once into the user's cache.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

const usage = `devstack runs Kafka and ClickHouse on this machine, on 127.0.0.1 and free ports.

  devstack up DIR [--kafka auto|apache|kfake] [--kafka-set KEY=VALUE]... [--secure]
                      start both, data in DIR; writes DIR/env and DIR/agentrisk.yaml
                      --secure (Apache Kafka only): TLS, mutual TLS, SASL and ACLs as in production beside the plain
                      ports for the owner of this machine; certificates in DIR/tls, passwords in DIR/secrets,
                      ClickHouse's users in DIR/users.d, Kafka's tool for ACLs as DIR/kafka-acls.sh
  devstack down DIR   stop both
  devstack status DIR say what runs
  devstack ctl DIR stop|kill|pause|resume|start|restart kafka|clickhouse
                      treat one of them badly: SIGTERM, SIGKILL, SIGSTOP, SIGCONT, start again on the same data and port
  devstack fetch [kafka|clickhouse]
                      only bring what is missing into the cache

What is missing is said with the command that brings it. Ctrl-C leaves no process and no half-written cache.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "devstack:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 || args[0] == "help" || args[0] == "-h" || args[0] == "--help" {
		fmt.Print(usage)
		return nil
	}
	switch verb, rest := args[0], args[1:]; verb {
	case "up":
		return up(ctx, rest)
	case "down":
		s, err := openStack(rest)
		if err != nil {
			return err
		}
		return s.down()
	case "status":
		s, err := openStack(rest)
		if err != nil {
			return err
		}
		for _, srv := range s.servers() {
			fmt.Println(srv.name, srv.state())
		}
		return nil
	case "ctl":
		return ctl(ctx, rest)
	case "fetch":
		return fetch(ctx, rest)
	case "demo":
		return demo(ctx, rest)
	case "serve-kfake":
		return serveKfake(rest)
	case "serve-behind-tls":
		return serveBehindTLS(rest)
	case "serve-clickhouse":
		return superviseClickHouse(rest)
	case "serve-clickhouse-library":
		return serveClickHouse(rest)
	}
	return fmt.Errorf("unknown command %q; see devstack --help", args[0])
}

// settings collects repeated --kafka-set flags.
type settings []string

func (s *settings) String() string { return strings.Join(*s, ",") }

func (s *settings) Set(v string) error {
	if !strings.Contains(v, "=") {
		return errors.New("want KEY=VALUE")
	}
	*s = append(*s, v)
	return nil
}

func up(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("up", flag.ContinueOnError)
	kind := f.String("kafka", "auto", "auto, apache or kfake")
	secure := f.Bool("secure", false, "TLS, SASL and ACLs")
	var set settings
	f.Var(&set, "kafka-set", "a broker setting, KEY=VALUE; may be repeated")
	dir, args := positional(args)
	if err := f.Parse(args); err != nil {
		return err
	}
	if dir == "" {
		dir = f.Arg(0)
	}
	s, err := openStack([]string{dir})
	if err != nil {
		return err
	}
	return s.up(ctx, *kind, *secure, set)
}

// positional takes a leading argument that is no flag.
func positional(args []string) (string, []string) {
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		return args[0], args[1:]
	}
	return "", args
}

func ctl(ctx context.Context, args []string) error {
	if len(args) != 3 {
		return errors.New("want: devstack ctl DIR stop|kill|pause|resume|start|restart kafka|clickhouse")
	}
	s, err := openStack(args[:1])
	if err != nil {
		return err
	}
	if err := s.load(); err != nil {
		return err
	}
	for _, srv := range s.servers() {
		if srv.name == args[2] {
			return srv.treat(ctx, args[1])
		}
	}
	return fmt.Errorf("unknown server %q: kafka or clickhouse", args[2])
}

func fetch(ctx context.Context, args []string) error {
	if len(args) == 0 {
		args = []string{"kafka", "clickhouse"}
	}
	for _, name := range args {
		var err error
		switch name {
		case "kafka":
			if missing := missingForKafka(); missing != "" {
				return errors.New(missing)
			}
			_, err = fetchKafka(ctx)
		case "clickhouse":
			_, err = findClickHouse(ctx)
		default:
			err = fmt.Errorf("unknown server %q: kafka or clickhouse", name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
