// Devstack runs Kafka and ClickHouse on a laptop, for the demo and for tests: real servers without containers.
//
// Kafka is Apache Kafka in KRaft mode from Maven's jars where Java 17 and Maven are present, and kfake, a broker in Go
// that speaks the same protocol, where they are not. ClickHouse is the one on the PATH, else the engine that npm ships
// as a library. Archives are checked against the digests in pins.go and unpacked once into the user's cache.
//
// A folder holds everything of one stack: data, settings, logs, process ids and ports. Servers run detached, each in a
// session of its own, and are found again by process id and start time.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	err := run(ctx, os.Args[1:])
	switch {
	case err == nil:
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		fmt.Fprintln(os.Stderr, "devstack: interrupted; what this call had started is stopped")
		os.Exit(130)
	default:
		fmt.Fprintln(os.Stderr, "devstack:", err)
		os.Exit(1)
	}
}

// run carries out one command line.
func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		fmt.Print(overview())
		return nil
	}
	if isHelp(args[0]) {
		if len(args) == 1 {
			fmt.Print(overview())
			return nil
		}
		args = []string{args[1], "--help"}
	}
	for _, c := range commands() {
		if c.name != args[0] {
			continue
		}
		for _, a := range args[1:] {
			if isHelp(a) {
				fmt.Print(c.help())
				return nil
			}
		}
		return c.run(ctx, args[1:])
	}
	return fmt.Errorf("unknown command %q; `devstack help` lists them", args[0])
}

func isHelp(arg string) bool {
	return arg == "help" || arg == "-h" || arg == "-help" || arg == "--help"
}
