package chaos

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	segmentio "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"

	"github.com/agentrisk/agentrisk/ingest/kafka"
)

// gamma is the topic that is trimmed and made again. It is small, and has a binding and so an epoch of its own.
const (
	gamma      = "agent.events.gamma"
	gammaLanes = 2
)

// topics are all that are judged.
var topics = []string{"agent.events.alpha", "agent.events.beta", gamma}

// epochOf is the epoch under which a topic is judged now.
func (d *deployment) epochOf(topic string) int {
	if topic == gamma {
		return d.epoch
	}
	return 0
}

// roll restarts the attacked processes one after the other, as an operator does.
func (d *deployment) roll() {
	for _, p := range d.procs {
		if !p.end(syscall.SIGTERM) {
			d.t.Error("a process did not end within a minute of SIGTERM")
		}
		p.start()
	}
}

// readQuietly has the quiet process read on until nothing of what missing counts is missing, and ends it again. Nothing
// disturbs it; it reads in pieces, as what it has not read is about to be taken away.
func (d *deployment) readQuietly(missing func() int64) {
	quiet := &process{d: d, config: d.quiet}
	quiet.start()
	defer quiet.end(syscall.SIGKILL)
	d.await("quiet", missing)
	if !quiet.end(syscall.SIGTERM) {
		d.t.Error("the quiet run did not end within a minute of SIGTERM")
	}
}

// trim deletes the records of gamma that both runs have stored, and no more than their state is saved of: from what is
// younger than that a lane whose process dies makes its state again. It reports whether there was something to delete.
func (d *deployment) trim() bool {
	for i := 0; i < 60 && d.stored("attacked", gamma, 0) == 0; i++ { // at the very beginning there is nothing to delete
		time.Sleep(time.Second)
	}
	d.roll() // a clean stop saves the state
	upto, some := map[int32]int64{}, false
	for n := range int32(gammaLanes) {
		upto[n] = d.number("SELECT max(offset) FROM attacked.snapshots WHERE chunk = -1 AND topic = '%s' AND partition = %d AND epoch = %d", gamma, n, d.epoch)
		some = some || upto[n] > 0
	}
	if !some {
		return false
	}
	d.readQuietly(func() (n int64) {
		for p, to := range upto {
			n += max(0, to-d.stored("quiet", gamma, p))
		}
		return n
	})
	req := &deleteRecords{Topics: []deleteTopic{{Name: gamma}}, TimeoutMs: 10_000}
	for n, to := range upto {
		req.Topics[0].Partitions = append(req.Topics[0].Partitions, deletePartition{n, to})
	}
	res := d.ask(req).(*deletedRecords)
	for _, t := range res.Topics {
		for _, p := range t.Partitions {
			if p.ErrorCode != 0 || p.LowWatermark < upto[p.Partition] {
				d.t.Errorf("%s/%d is not trimmed to %d: %v, it begins at %d", t.Name, p.Partition, upto[p.Partition], segmentio.Error(p.ErrorCode), p.LowWatermark)
			}
		}
	}
	return true
}

// makeAgain deletes gamma once both runs have all of it, and makes it again; the publisher goes on into the new one. The
// processes meet it under the old epoch, under which nothing of it may count. Then the operator raises the epoch and
// restarts them.
func (d *deployment) makeAgain(hold func()) {
	d.remaking.Lock()
	unlock := d.remaking.Unlock
	defer func() { unlock() }()
	d.drained("attacked", gamma)
	d.readQuietly(func() int64 { return d.behind("quiet", gamma) })

	ctx, cancel := context.WithTimeout(d.t.Context(), time.Minute)
	defer cancel()
	client := &segmentio.Client{Addr: segmentio.TCP(d.stack.Brokers...)}
	res, err := client.DeleteTopics(ctx, &segmentio.DeleteTopicsRequest{Topics: []string{gamma}})
	if err == nil {
		err = res.Errors[gamma]
	}
	if err != nil {
		d.t.Fatalf("delete %s: %v", gamma, err)
	}
	for gone := false; !gone; time.Sleep(200 * time.Millisecond) {
		m, err := client.Metadata(ctx, &segmentio.MetadataRequest{Topics: []string{gamma}})
		if ctx.Err() != nil {
			d.t.Fatalf("%s does not go: %v", gamma, err)
		}
		gone = err == nil && len(m.Topics) == 1 && errors.Is(m.Topics[0].Error, segmentio.UnknownTopicOrPartition)
	}
	c, err := kafka.NewClient(kafka.Config{Brokers: d.stack.Brokers})
	if err != nil {
		d.t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.CreateTopics(ctx, kafka.NewTopic{Name: gamma, Partitions: gammaLanes}); err != nil {
		d.t.Fatal(err)
	}
	d.remaking.Unlock()
	unlock = func() {}
	hold()

	was, is := fmt.Sprintf("epoch: %d", d.epoch), fmt.Sprintf("epoch: %d", d.epoch+1)
	d.epoch++
	configs, _ := filepath.Glob(filepath.Join(d.dir, "*.yaml")) // the pattern is right
	for _, path := range configs {
		b, err := os.ReadFile(path)
		if err == nil && strings.Count(string(b), was) != 1 {
			err = fmt.Errorf("%q does not stand in it once", was)
		}
		if err == nil {
			err = os.WriteFile(path, []byte(strings.Replace(string(b), was, is, 1)), 0o644)
		}
		if err != nil {
			d.t.Fatalf("%s: %v", path, err)
		}
	}
	d.roll()
}

// secondDir is the broker's second log directory.
func (d *deployment) secondDir() string { return filepath.Join(d.stack.Dir, "kafka-second") }

// makeSecondDir makes it, as the storage tool does: what the first one says of itself, and an id of its own.
func (d *deployment) makeSecondDir() {
	d.t.Helper()
	b, err := os.ReadFile(filepath.Join(d.stack.Dir, "kafka", "meta.properties"))
	if err == nil {
		err = os.Mkdir(d.secondDir(), 0o755)
	}
	var out strings.Builder
	for line := range strings.Lines(string(b)) {
		if strings.HasPrefix(line, "directory.id=") {
			id := [16]byte{6: 0x40, 8: 0x80, 15: 2} // any that no other directory has
			line = "directory.id=" + base64.RawURLEncoding.EncodeToString(id[:]) + "\n"
		}
		out.WriteString(line)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(d.secondDir(), "meta.properties"), []byte(out.String()), 0o644)
	}
	if err != nil {
		d.t.Fatal(err)
	}
}

// move moves one partition, of what is judged, of what the attacked processes write or of the group's offsets, to the
// broker's other log directory, and waits until it is there.
func (d *deployment) move(pick int) {
	type replica struct {
		name, topic, from, to string
		partition             int
	}
	first, second := filepath.Join(d.stack.Dir, "kafka"), d.secondDir()
	var all []replica
	for _, at := range []struct{ from, to string }{{first, second}, {second, first}} {
		list, err := os.ReadDir(at.from)
		if err != nil {
			d.t.Fatal(err)
		}
		for _, e := range list {
			i := strings.LastIndexByte(e.Name(), '-')
			topic := e.Name()[:max(0, i)]
			n, err := strconv.Atoi(e.Name()[i+1:]) // what is on its way ends in a word
			if err == nil && (strings.HasPrefix(topic, "agent.events.") || strings.HasPrefix(topic, "attacked.") || topic == "__consumer_offsets") {
				all = append(all, replica{e.Name(), topic, at.from, at.to, n})
			}
		}
	}
	slices.SortFunc(all, func(a, b replica) int { return strings.Compare(a.name, b.name) })
	r := all[pick%len(all)]
	res := d.ask(&alterDirs{Dirs: []alterDir{{Path: r.to, Topics: []alterTopic{{Name: r.topic, Partitions: []int32{int32(r.partition)}}}}}}).(*alteredDirs)
	for _, t := range res.Results {
		for _, p := range t.Partitions {
			if p.ErrorCode != 0 {
				d.t.Fatalf("move %s: %v", r.name, segmentio.Error(p.ErrorCode))
			}
		}
	}
	there := func(dir string) bool { _, err := os.Stat(filepath.Join(dir, r.name)); return err == nil }
	for end := time.Now().Add(2 * time.Minute); !there(r.to) || there(r.from); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			d.t.Fatalf("%s is not moved from %s to %s within two minutes", r.name, r.from, r.to)
		}
	}
	fmt.Printf("chaos: %s stands in %s\n", r.name, filepath.Base(r.to))
}

// ask sends the broker a request that kafka-go does not have.
func (d *deployment) ask(req protocol.Message) protocol.Message {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), time.Minute)
	defer cancel()
	transport := &segmentio.Transport{}
	defer transport.CloseIdleConnections()
	res, err := transport.RoundTrip(ctx, segmentio.TCP(d.stack.Brokers...), req)
	if err != nil {
		d.t.Fatalf("%T: %v", req, err)
	}
	return res
}

func init() {
	protocol.Register(&deleteRecords{}, &deletedRecords{})
	protocol.Register(&alterDirs{}, &alteredDirs{})
}

// DeleteRecords, versions 0 and 1.
type deleteRecords struct {
	Topics    []deleteTopic `kafka:"min=v0,max=v1"`
	TimeoutMs int32         `kafka:"min=v0,max=v1"`
}

type deleteTopic struct {
	Name       string            `kafka:"min=v0,max=v1"`
	Partitions []deletePartition `kafka:"min=v0,max=v1"`
}

type deletePartition struct {
	Partition int32 `kafka:"min=v0,max=v1"`
	Offset    int64 `kafka:"min=v0,max=v1"`
}

type deletedRecords struct {
	ThrottleTimeMs int32          `kafka:"min=v0,max=v1"`
	Topics         []deletedTopic `kafka:"min=v0,max=v1"`
}

type deletedTopic struct {
	Name       string             `kafka:"min=v0,max=v1"`
	Partitions []deletedPartition `kafka:"min=v0,max=v1"`
}

type deletedPartition struct {
	Partition    int32 `kafka:"min=v0,max=v1"`
	LowWatermark int64 `kafka:"min=v0,max=v1"`
	ErrorCode    int16 `kafka:"min=v0,max=v1"`
}

// AlterReplicaLogDirs, version 1.
type alterDirs struct {
	Dirs []alterDir `kafka:"min=v1,max=v1"`
}

type alterDir struct {
	Path   string       `kafka:"min=v1,max=v1"`
	Topics []alterTopic `kafka:"min=v1,max=v1"`
}

type alterTopic struct {
	Name       string  `kafka:"min=v1,max=v1"`
	Partitions []int32 `kafka:"min=v1,max=v1"`
}

type alteredDirs struct {
	ThrottleTimeMs int32          `kafka:"min=v1,max=v1"`
	Results        []alteredTopic `kafka:"min=v1,max=v1"`
}

type alteredTopic struct {
	Name       string             `kafka:"min=v1,max=v1"`
	Partitions []alteredPartition `kafka:"min=v1,max=v1"`
}

type alteredPartition struct {
	Partition int32 `kafka:"min=v1,max=v1"`
	ErrorCode int16 `kafka:"min=v1,max=v1"`
}

func (*deleteRecords) ApiKey() protocol.ApiKey  { return protocol.DeleteRecords }
func (*deletedRecords) ApiKey() protocol.ApiKey { return protocol.DeleteRecords }
func (*alterDirs) ApiKey() protocol.ApiKey      { return protocol.AlterReplicaLogDirs }
func (*alteredDirs) ApiKey() protocol.ApiKey    { return protocol.AlterReplicaLogDirs }

// There is one broker.
func (*deleteRecords) Broker(c protocol.Cluster) (protocol.Broker, error) {
	return c.Brokers[c.Controller], nil
}
func (*alterDirs) Broker(c protocol.Cluster) (protocol.Broker, error) {
	return c.Brokers[c.Controller], nil
}
