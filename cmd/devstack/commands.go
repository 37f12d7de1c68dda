package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
)

// command is one verb of the program.
type command struct {
	name, args, short string
	long              string // what --help teaches beyond short; a command without short is internal and not listed
	run               func(ctx context.Context, args []string) error
}

func (c command) help() string {
	return fmt.Sprintf("devstack %s %s\n%s.\n\n%s", c.name, c.args, c.short, c.long)
}

func overview() string {
	var b strings.Builder
	b.WriteString("devstack runs Kafka and ClickHouse on this machine, on 127.0.0.1 and ports that were free.\n\n")
	for _, c := range commands() {
		if c.short != "" {
			fmt.Fprintf(&b, "  devstack %s %s\n        %s\n", c.name, c.args, c.short)
		}
	}
	b.WriteString("\n`devstack COMMAND --help` says more. What is missing is named with the command that brings it.\n")
	return b.String()
}

func commands() []command {
	return []command{
		{"up", "DIR [--kafka auto|apache|kfake] [--kafka-set KEY=VALUE]...", "start both servers, data in DIR", helpUp, upCommand},
		{"down", "DIR", "stop both servers, keep the data", helpDown, onStack((*stack).down)},
		{"status", "DIR", "say what runs, and where", helpStatus, onStack((*stack).status)},
		{"ctl", "DIR stop|kill|pause|resume|start|restart kafka|clickhouse", "treat one server badly, or bring it back", helpCtl, ctlCommand},
		{"fetch", "[kafka|clickhouse]...", "bring what is missing into the cache, start nothing", helpFetch, fetchCommand},
		{"demo", "PROGRAM", "show the whole system at work (make demo calls it)", helpDemo, demo},
		{"hold", "DIR", "stop the servers of DIR and remove it once standard input ends", helpHold, onStack((*stack).hold)},
		{name: "serve-kfake", run: serveKfake},
		{name: "serve-clickhouse", run: serveClickHouse},
	}
}

const helpUp = `Returns once both really answer: Kafka with a group coordinator, ClickHouse on its native and its HTTP port.
Writes DIR/env (KAFKA_BROKERS, KAFKA_KIND, CLICKHOUSE_NATIVE, CLICKHOUSE_HTTP) and, unless it is there already,
DIR/agentrisk.yaml, a complete configuration. On a folder that is up it changes nothing; what died is started again on
the same data and port. Ctrl-C stops what this call has started.

  --kafka auto      Apache Kafka where Java 17 and Maven are there, else kfake (the default)
  --kafka apache    Apache Kafka or an error that says what is missing
  --kafka kfake     the embedded broker: starts in no time and shows less
  --kafka-set K=V   a broker setting over ours, such as offsets.retention.minutes=1; may be repeated

Kind and settings are chosen when the folder is new. Logs: DIR/kafka.log, DIR/clickhouse.log. More ClickHouse users:
put XML files into DIR/users.d, then SYSTEM RELOAD USERS.

  devstack up /tmp/stack && . /tmp/stack/env && curl "http://$CLICKHOUSE_HTTP/?query=SELECT+version()"
`

const helpDown = `SIGTERM, and SIGKILL to what has not ended after 10 seconds. Data stays: up starts it again, rm -r DIR removes it.
On a folder where nothing runs it does nothing.
`

const helpStatus = `One line a server: name, running, paused or stopped, process id, address.
`

const helpCtl = `What tests attack with:

  stop      SIGTERM, and wait until it has ended
  kill      SIGKILL, and wait until it is gone
  pause     SIGSTOP: connections stay open and nothing answers
  resume    SIGCONT
  start     start again on the same data and port; returns once it answers
  restart   stop and start
`

const helpFetch = `Without a name, both. Apache Kafka comes through Maven and needs java (17 or later) and mvn; the ClickHouse engine
comes through npm unless clickhouse is on the PATH. Both go through whatever registries these tools are set up for, are
checked against digests pinned in this program, and appear in the cache whole or not at all.
`

const helpDemo = `KEEP=1 leaves everything up, SAMPLE=file streams recorded events, EVENTS=n says how many are simulated otherwise.
`

const helpHold = `For whoever starts a stack and may die without stopping it: give it a pipe as standard input, start the stack, and
when the pipe closes, for whatever reason, the servers are stopped and DIR is removed.
`

// onStack is a command that works on the stack of DIR.
func onStack(f func(*stack, context.Context) error) func(context.Context, []string) error {
	return func(ctx context.Context, args []string) error {
		if len(args) != 1 {
			return fmt.Errorf("want one folder, got %d arguments", len(args))
		}
		s, err := openStack(args)
		if err != nil {
			return err
		}
		return f(s, ctx)
	}
}

// settings collects repeated --kafka-set flags.
type settings []string

func (s *settings) String() string { return strings.Join(*s, ",") }

func (s *settings) Set(v string) error {
	if key, _, ok := strings.Cut(v, "="); !ok || strings.TrimSpace(key) == "" || strings.ContainsAny(v, "\r\n") {
		return errors.New("want KEY=VALUE")
	}
	*s = append(*s, v)
	return nil
}

func upCommand(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("up", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	kind := f.String("kafka", "auto", "")
	var set settings
	f.Var(&set, "kafka-set", "")
	var dirs []string
	for len(args) > 0 { // flags may stand before and after the folder
		if err := f.Parse(args); err != nil {
			return fmt.Errorf("%w; see devstack up --help", err)
		}
		if args = f.Args(); len(args) > 0 {
			dirs, args = append(dirs, args[0]), args[1:]
		}
	}
	if len(dirs) != 1 {
		return fmt.Errorf("want one folder: devstack up DIR, got %q", dirs)
	}
	s, err := openStack(dirs)
	if err != nil {
		return err
	}
	return s.up(ctx, *kind, set)
}

func ctlCommand(ctx context.Context, args []string) error {
	if len(args) != 3 {
		return errors.New("want: devstack ctl DIR stop|kill|pause|resume|start|restart kafka|clickhouse")
	}
	s, err := openStack(args[:1])
	if err != nil {
		return err
	}
	if len(s.State.Ports) == 0 {
		return fmt.Errorf("no stack in %s; devstack up makes one", s.dir)
	}
	for _, srv := range s.servers() {
		if srv.name == args[2] {
			return srv.treat(ctx, args[1])
		}
	}
	return fmt.Errorf("unknown server %q: kafka or clickhouse", args[2])
}

func fetchCommand(ctx context.Context, args []string) error {
	if len(args) == 0 {
		args = []string{"kafka", "clickhouse"}
	}
	var errs []error
	for _, name := range args {
		var path string
		var err error
		switch name {
		case "kafka":
			path, err = fetchKafka(ctx)
		case "clickhouse":
			path, err = findClickHouse(ctx)
		default:
			err = fmt.Errorf("unknown server %q: kafka or clickhouse", name)
		}
		if err == nil {
			fmt.Fprintf(os.Stderr, "devstack: %s is there: %s\n", name, path)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
