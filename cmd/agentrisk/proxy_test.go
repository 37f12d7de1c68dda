package main

import (
	"bytes"
	"os"
	"testing"
	"time"

	proxy "github.com/agentrisk/agentrisk/deploy/chaos/wire" // the program has a wire of its own
)

// behindProxy has the processes to come reach the database through a proxy that can hold up their inserts.
func (s *system) behindProxy() *proxy.Proxy {
	s.t.Helper()
	p, err := proxy.Listen(s.stack.ClickHouseNative, proxy.ClickHouse)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(p.Close)
	text := bytes.ReplaceAll(read(s.t, s.config), []byte(s.stack.ClickHouseNative), []byte(p.Addr))
	if err := os.WriteFile(s.config, text, 0o644); err != nil {
		s.t.Fatal(err)
	}
	return p
}

// arm arms faults and returns what waits until all of them struck.
func arm(t *testing.T, p *proxy.Proxy, faults ...proxy.Fault) (struck func()) {
	t.Helper()
	done := make(chan bool, len(faults))
	for _, f := range faults {
		go func() { done <- p.Strike(soon(t), f) }()
	}
	return func() {
		t.Helper()
		for range faults {
			if !<-done {
				t.Fatal("a fault found nothing to strike")
			}
		}
	}
}

const forLong = time.Hour // until the test lets go
