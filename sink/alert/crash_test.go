package alert_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/segmentio/kafka-go"

	"github.com/agentrisk/agentrisk/deploy/stacktest"
	"github.com/agentrisk/agentrisk/scoring"
	"github.com/agentrisk/agentrisk/sink/alert"
	"github.com/agentrisk/agentrisk/sink/alert/alerttest"
	"github.com/agentrisk/agentrisk/sink/alert/webhook"
)

// childVariable makes this test's program a notifier: brokers, outbox, dead topic, name and URL, by spaces.
const childVariable = "AGENTRISK_TEST_NOTIFIER"

func TestMain(m *testing.M) {
	if args := strings.Fields(os.Getenv(childVariable)); len(args) == 5 {
		if err := child(args); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(stacktest.Main(m))
}

func child(args []string) error {
	c, err := webhook.New(webhook.Config{URL: args[4], Secrets: []string{secret}, Allow: []string{strings.TrimPrefix(args[4], "http://")}})
	if err != nil {
		return err
	}
	n, err := alert.NewNotifier(alert.NotifierConfig{Brokers: strings.Split(args[0], ","), Topic: args[1], DeadTopic: args[2], Name: args[3], Channel: c,
		Log: slog.New(slog.NewTextHandler(os.Stderr, nil)), MinWait: time.Millisecond, MaxWait: 20 * time.Millisecond})
	if err != nil {
		return err
	}
	return n.Run(context.Background())
}

// A notifier that is killed in the middle, again and again, repeats but never loses.
func TestKilledNotifierLosesNothing(t *testing.T) {
	b := newBench(t, 2)
	b.write(0, 90)
	r := newReceiver(t)
	for round, more := 0, true; more; round++ {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childVariable+"="+strings.Join([]string{strings.Join(b.brokers, ","), b.topic, b.dead, b.name, r.URL}, " "))
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		kill := func() {
			cmd.Process.Kill()
			cmd.Wait()
		}
		t.Cleanup(kill)
		enough := r.has(0, 90)
		if round < 2 {
			before := r.accepts()
			enough = func() bool { return r.accepts() >= before+10 || r.has(0, 90)() }
		} else {
			more = false
		}
		b.until(fmt.Sprintf("round %d gets on", round), enough)
		kill()
		if t.Failed() {
			t.Log(out.String())
		}
	}
	if dead := b.read(b.dead); len(dead) != 0 {
		t.Errorf("%d alerts in the dead topic", len(dead))
	}
}

func (r *receiver) accepts() (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, k := range r.accepted {
		n += k
	}
	return n
}

// gate stands between a notifier and Kafka and can be shut.
type gate struct {
	mu    sync.Mutex
	shut  bool
	conns []net.Conn
}

func (g *gate) dial(ctx context.Context, network, address string) (net.Conn, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut {
		return nil, fmt.Errorf("dial %s: the gate is shut", address)
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, network, address)
	if err == nil {
		g.conns = append(g.conns, c)
	}
	return c, err
}

func (g *gate) set(shut bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = shut
	for _, c := range g.conns {
		c.Close()
	}
	g.conns = nil
}

// Kafka away: the notifier says so, comes back by itself, and delivers what was written meanwhile. It also
// starts when Kafka is away.
func TestKafkaAway(t *testing.T) {
	b := newBench(t, 2)
	g, in, book := &gate{shut: true}, &inbox{}, &logbook{}
	b.notify(alert.NotifierConfig{Channel: in, Log: book.log(), Dialer: &kafka.Dialer{DialFunc: g.dial, Timeout: time.Second},
		Transport: &kafka.Transport{Dial: g.dial, MetadataTTL: 200 * time.Millisecond}})
	b.write(0, 10)
	b.until("it says that Kafka is away", book.says("waits for Kafka"))
	g.set(false)
	b.until("the first arrive", in.has(0, 10))
	for from := 10; from < 40; from += 10 {
		book.clear()
		g.set(true)
		b.write(from, from+10)
		b.until("it notices", book.says("tries again"))
		g.set(false)
		b.until("those written meanwhile arrive", in.has(from, from+10))
	}
}

// A stop while the receiver is away ends at once, and the alert waits for the next start.
func TestStopWhileRetrying(t *testing.T) {
	b := newBench(t, 1)
	b.write(0, 5)
	asked := make(chan struct{})
	var once sync.Once
	down := &inbox{refuse: func(*scoring.Alert) error { once.Do(func() { close(asked) }); return io.ErrUnexpectedEOF }}
	stop := b.notify(alert.NotifierConfig{Channel: down, MinWait: time.Hour, MaxWait: time.Hour})
	<-asked
	stop()
	in := &inbox{}
	b.notify(alert.NotifierConfig{Channel: in})
	b.until("all arrive after the restart", in.has(0, 5))
}

// A delivery under way at a stop may end, and is not repeated after it.
func TestStopLetsADeliveryEnd(t *testing.T) {
	b := newBench(t, 1)
	b.write(0, 1)
	in := &inbox{}
	var stop func()
	began, ended := make(chan struct{}), make(chan struct{})
	in.refuse = func(*scoring.Alert) error {
		close(began)
		<-ended
		return nil
	}
	stop = b.notify(alert.NotifierConfig{Channel: in})
	<-began
	stopped := make(chan struct{})
	go func() { stop(); close(stopped) }()
	time.AfterFunc(100*time.Millisecond, func() { close(ended) })
	<-stopped
	next := &inbox{}
	b.notify(alert.NotifierConfig{Channel: next})
	b.write(1, 2)
	b.until("the next alert arrives", next.has(1, 2))
	if first := alerttest.Alert(0).ID; in.count[first] != 1 || next.count[first] != 0 {
		t.Errorf("delivered %d times before the stop and %d times after it", in.count[first], next.count[first])
	}
}

// What retention took before its turn cannot be delivered: it is counted and said, and the rest goes on.
func TestRetentionTookAlerts(t *testing.T) {
	b := newBench(t, 1)
	b.write(0, 10)
	in := &inbox{}
	stop := b.notify(alert.NotifierConfig{Channel: in})
	b.until("the first arrive", in.has(0, 10))
	stop()
	before := len(b.read(b.topic))
	b.write(10, 20)
	b.trim(before + 4)
	metrics, book := alert.NewMetrics(), &logbook{}
	b.notify(alert.NotifierConfig{Channel: in, Metrics: metrics, Log: book.log()})
	b.until("the rest arrives", in.has(14, 20))
	if got := testutil.ToFloat64(metrics.Lost.WithLabelValues(b.name)); got != 4 || !book.says("alerts are lost")() {
		t.Errorf("%v lost alerts are counted, want 4, and the log must say so", got)
	}
}

// trim deletes the records of partition 0 below the offset.
func (b *bench) trim(below int) {
	b.t.Helper()
	stacktest.Trim(b.t, b.brokers, b.topic, 0, int64(below))
}
