package chaos

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/agentrisk/agentrisk/deploy/chaos/disk"
	"github.com/agentrisk/agentrisk/deploy/chaos/wire"
	"github.com/agentrisk/agentrisk/deploy/stacktest"
)

var program string // the built program

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "agentrisk-chaos-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		program = filepath.Join(dir, "agentrisk")
		clock, err := overlay(dir)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		if out, err := exec.Command("go", "build", "-overlay", clock, "-o", program, "../../cmd/agentrisk").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
			return 1
		}
		return stacktest.Main(m)
	}())
}

// deployment is the servers, the proxies before them, and the processes under attack.
type deployment struct {
	t     *testing.T
	stack *stacktest.Stack
	dir   string
	kafka *wire.Proxy // what the processes think is the broker
	click *wire.Proxy
	disk  *disk.Disk // ClickHouse's, when it is to fail

	attacked, quiet string // configurations
	procs           []*process
	peak            int // MiB resident of one process, at most

	remaking sync.Mutex // held while gamma is deleted and made again: nobody publishes into it
	epoch    int        // of gamma
}

// newDeployment starts servers behind proxies. The broker listens twice: directly for the publisher and the quiet run, and
// on a listener whose advertised address is the proxy's.
func newDeployment(t *testing.T, s size) *deployment {
	t.Helper()
	partitions, processes := s.partitions, s.processes
	d := &deployment{t: t, dir: t.TempDir(), stack: stacktest.StartOwn(t)}
	d.stack.NeedApache(t, "second listener to break")
	inner := freePort(t)
	var err error
	if d.kafka, err = wire.Listen(inner, wire.Kafka); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.kafka.Close)
	if d.click, err = wire.Listen(d.stack.ClickHouseNative, wire.ClickHouse); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.click.Close)

	d.stack.Stop(t, "kafka")
	properties := filepath.Join(d.stack.Dir, "server.properties")
	b, err := os.ReadFile(properties)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for line := range strings.Lines(string(b)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch name {
		case "listeners":
			value += ",PROXIED://" + inner
		case "advertised.listeners":
			value += ",PROXIED://" + d.kafka.Addr
		case "log.dirs":
			value += "," + d.secondDir()
		case "listener.security.protocol.map":
			value += ",PROXIED:PLAINTEXT"
		}
		out = append(out, name+"="+value)
	}
	if err := os.WriteFile(properties, []byte(strings.Join(out, "\n")+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	d.makeSecondDir()
	d.stack.Start(t, "kafka")
	if slices.ContainsFunc(s.kinds, onDisk) {
		d.mountDisk()
	}

	d.attacked = d.configure("attacked", d.kafka.Addr, d.click.Addr, "127.0.0.1:0", partitions)
	d.quiet = d.configure("quiet", d.stack.Brokers[0], d.stack.ClickHouseNative, "127.0.0.1:0", partitions)
	for _, c := range []string{d.attacked, d.quiet} {
		d.must("migrate", "--config", c)
	}
	d.stack.KeepDoubles(t, "attacked")
	for i := range processes {
		at := freePort(t)
		config := d.configure(fmt.Sprintf("attacked-%d", i), d.kafka.Addr, d.click.Addr, at, partitions)
		d.procs = append(d.procs, &process{d: d, config: config, metrics: "http://" + at + "/metrics"})
	}
	t.Cleanup(func() {
		for _, p := range d.procs {
			p.end(syscall.SIGKILL)
		}
	})
	return d
}

func freePort(t *testing.T) string {
	t.Helper()
	p, err := wire.Listen("", wire.Kafka)
	if err != nil {
		t.Fatal(err)
	}
	p.Close()
	return p.Addr
}

// configure writes the configuration of one of the two deployments, which share topics and nothing else.
func (d *deployment) configure(file, broker, click, listen string, partitions int) string {
	d.t.Helper()
	path := filepath.Join(d.dir, file+".yaml")
	name, _, _ := strings.Cut(file, "-")
	text := fmt.Sprintf(`kafka: {brokers: [%q], group: %s}
clickhouse: {addresses: [%q], database: %s}
bindings: [{topics: %q, provider: gamma, partitions: %d, epoch: 0}, {topics: "agent.events.*", partitions: %d}]
providers: [alpha, beta, gamma]
alerts: {topic: "%s.alerts"}
dead_letters: {topic: "%s.dead"}
memory: {budget: 96MiB, state: 64MiB}
batch: {min_age: 200ms, max_age: 2s}
http: {listen: %q, pprof: true}
`, broker, name, click, name, gamma, gammaLanes, partitions/2, name, name, listen)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		d.t.Fatal(err)
	}
	return path
}

func (d *deployment) must(args ...string) string {
	d.t.Helper()
	out, err := exec.Command(program, args...).CombinedOutput()
	if err != nil {
		d.t.Fatalf("agentrisk %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// process is one pipeline, started again whenever it ends, as whoever runs it would.
type process struct {
	d       *deployment
	config  string
	metrics string // URL

	mu     sync.Mutex
	cmd    *exec.Cmd
	done   chan struct{}
	wanted bool
	starts int
	exits  []string // of its own accord
}

func (p *process) start() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wanted = true
	p.launch()
}

func (p *process) launch() {
	log, err := os.OpenFile(filepath.Join(p.d.dir, "run.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		p.d.t.Error(err)
		return
	}
	cmd := exec.Command(program, "run", "--config", p.config)
	var last lastWords
	cmd.Stdout, cmd.Stderr = log, io.MultiWriter(log, &last)
	cmd.Env = append(os.Environ(), "GOMEMLIMIT=400MiB", clockVariable+"="+p.clockFile())
	if err = cmd.Start(); err != nil {
		_ = log.Close()
		p.d.t.Error(err)
		return
	}
	done := make(chan struct{})
	p.cmd, p.done, p.starts = cmd, done, p.starts+1
	go func() {
		err := cmd.Wait()
		_ = log.Close()
		close(done)
		p.mu.Lock()
		again := p.wanted && p.cmd == cmd
		if again {
			p.exits = append(p.exits, fmt.Sprintf("%v: %s", err, last))
		}
		p.mu.Unlock()
		if again {
			time.Sleep(time.Second)
			p.mu.Lock()
			if p.wanted && p.cmd == cmd {
				p.launch()
			}
			p.mu.Unlock()
		}
	}()
}

// lastWords keeps the end of what a process says.
type lastWords []byte

func (l *lastWords) Write(b []byte) (int, error) {
	*l = append(*l, b...)
	*l = (*l)[max(0, len(*l)-600):]
	return len(b), nil
}

func (p *process) signal(sig syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		_ = p.cmd.Process.Signal(sig)
	}
}

// end stops it and does not start it again; false when it had to be killed.
func (p *process) end(sig syscall.Signal) bool {
	p.mu.Lock()
	p.wanted = false
	cmd, done := p.cmd, p.done
	p.mu.Unlock()
	if cmd == nil {
		return true
	}
	_ = cmd.Process.Signal(syscall.SIGCONT)
	_ = cmd.Process.Signal(sig)
	select {
	case <-done:
		return true
	case <-time.After(time.Minute):
		_ = cmd.Process.Kill()
		<-done
		return false
	}
}

// memory is what it has resident, in MiB, 0 when it does not run.
func (p *process) memory() int {
	p.mu.Lock()
	cmd := p.cmd
	p.mu.Unlock()
	if cmd == nil {
		return 0
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(b), "VmRSS:")
	kib, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	n, _ := strconv.Atoi(kib)
	return n / 1024
}

// watch samples memory until ctx ends.
func (d *deployment) watch(ctx context.Context) {
	for ctx.Err() == nil {
		for _, p := range d.procs {
			d.peak = max(d.peak, p.memory())
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}
