package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"

	"github.com/agentrisk/agentrisk/ingest"
	"github.com/agentrisk/agentrisk/ingest/kafka"
	"github.com/agentrisk/agentrisk/scoring"
	"github.com/agentrisk/agentrisk/scoring/redact"
	"github.com/agentrisk/agentrisk/sink/clickhouse"
)

// parts are what the commands share. This file is the only place that ties adapters to what needs them.
type parts struct {
	path   string // of the configuration
	config *Config
	log    *slog.Logger
	kafka  *kafka.Client
	db     *clickhouse.DB
}

// wire reads the configuration and makes the Kafka client, which connects when it is used.
func wire(path string) (*parts, error) {
	c, err := loadConfig(path)
	if err != nil {
		return nil, err
	}
	log, err := c.logger(os.Stderr)
	if err != nil {
		return nil, err
	}
	if err := c.readSecrets(); err != nil {
		return nil, fmt.Errorf("configuration %s: %w", path, err)
	}
	client, err := c.kafkaClient()
	if err != nil {
		return nil, err
	}
	if c.Kafka.SASL.name() == "PLAIN" && !c.Kafka.TLS.Enabled {
		log.Warn("kafka.sasl: PLAIN without kafka.tls sends the password as it is: anybody on the way can read it")
	}
	return &parts{path: path, config: c, log: log, kafka: client}, nil
}

// kafkaClient makes the client that every path to Kafka goes through.
func (c *Config) kafkaClient() (*kafka.Client, error) {
	door, err := newDoor("kafka", c.Kafka.TLS)
	if err != nil {
		return nil, err
	}
	mechanism, err := c.Kafka.SASL.mechanism()
	if err != nil {
		return nil, err
	}
	return kafka.NewClient(kafka.Config{Brokers: c.Kafka.Brokers, ClientID: "agentrisk", Dial: door.dialWary, SASL: mechanism, User: c.Kafka.SASL.User})
}

// open connects to ClickHouse.
func (p *parts) open(ctx context.Context) (err error) {
	c := p.config.ClickHouse
	door, err := newDoor("clickhouse", c.TLS)
	if err != nil {
		return err
	}
	p.db, err = clickhouse.Open(ctx, clickhouse.Config{Addresses: c.Addresses, Dialer: door, Database: c.Database, User: c.User, Password: c.Password,
		Retry: func(what string, err error) { p.log.Warn("insert will be tried again", "range", what, "err", err) }})
	return err
}

func (p *parts) close() {
	if p.db != nil {
		p.db.Close()
	}
	p.kafka.Close()
}

// claim takes the database for this Kafka cluster and group.
func (p *parts) claim(ctx context.Context) (cluster, deployment string, err error) {
	if cluster, err = p.kafka.ClusterID(ctx); err != nil {
		return "", "", err
	}
	deployment, err = p.db.Claim(ctx, cluster, p.config.Kafka.Group)
	return cluster, deployment, err
}

// topics lists the topics that the bindings match.
func (p *parts) topics(ctx context.Context) ([]string, error) {
	var list []string
	for i := range p.config.Bindings {
		found, err := p.kafka.Topics(ctx, p.config.Bindings[i].Topics)
		if err != nil {
			return nil, fmt.Errorf("look up topics %s: %w", p.config.Bindings[i].Topics, err)
		}
		for _, t := range found {
			list = append(list, t.Name)
		}
	}
	slices.Sort(list)
	return slices.Compact(list), nil
}

// patterns are what the bindings look for.
func (p *parts) patterns() (list []string) {
	for i := range p.config.Bindings {
		list = append(list, p.config.Bindings[i].Topics)
	}
	return list
}

// newIncarnation names this start of the process.
func newIncarnation() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails, see crypto/rand
	return hex.EncodeToString(b[:])
}

// incarnationNumber is the same name as a number.
func incarnationNumber(incarnation string) uint64 {
	n, _ := strconv.ParseUint(incarnation, 16, 64) // its own digits
	return n
}

// store makes the database what lanes and reconcile ask for. The types on both sides say the same in their own
// packages' names.
type store struct {
	db  *clickhouse.DB
	key redact.Key
}

var (
	_ ingest.Store   = store{}
	_ ingest.Audit   = store{}
	_ ingest.Orders  = store{}
	_ ingest.Mending = store{}
)

// block gives rows the epoch and cold start of their lane.
type block struct{ *clickhouse.Block }

func (b block) Begin(line *scoring.Line, keep redact.Row) {
	b.Epoch, b.StateFrom, b.Keep = line.Epoch, line.StateFrom, keep
}

func (s store) NewBlock(p *scoring.Pack) ingest.Block { return block{clickhouse.NewBlock(p, s.key)} }

func (s store) Insert(ctx context.Context, req ingest.Insert) (uint64, error) {
	already, err := s.db.Store(ctx, clickhouse.Request{Range: req.Range, Block: req.Block.(block).Block, Compare: req.Compare, InLedger: req.InLedger, Replay: req.Replay, Lease: req.Lease})
	if park, ok := err.(*clickhouse.ParkError); ok {
		return 0, &ingest.Park{Reason: ingest.ParkStore, Detail: park.Detail}
	}
	return already, err
}

func (s store) StoredAlerts(ctx context.Context, r scoring.Range) ([]scoring.Alert, error) {
	return s.db.StoredAlerts(ctx, r)
}

func (s store) DeadLetters(ctx context.Context, r scoring.Range, l []scoring.DeadLetter) error {
	return s.db.DeadLetters(ctx, r, l)
}

func (s store) Ledger(ctx context.Context, l scoring.Line) error { return s.db.Ledger(ctx, l) }

func (s store) Position(ctx context.Context, topic string, partition, epoch int32) (ingest.Position, error) {
	at, err := s.db.Position(ctx, topic, partition, epoch)
	return ingest.Position(at), err
}

func (s store) Lines(ctx context.Context, r scoring.Range) ([]scoring.Line, error) {
	return s.db.Lines(ctx, r)
}

func (s store) SaveSnapshot(ctx context.Context, snap ingest.Snapshot, save func(func([]byte) error) error) error {
	return s.db.SaveSnapshot(ctx, clickhouse.Snapshot(snap), save)
}

func (s store) LoadSnapshot(ctx context.Context, topic string, partition, epoch int32, notAfter int64, load func(ingest.Snapshot, func() ([]byte, error)) error) (bool, error) {
	return s.db.LoadSnapshot(ctx, topic, partition, epoch, notAfter, func(c clickhouse.Snapshot, next func() ([]byte, error)) error {
		return load(ingest.Snapshot(c), next)
	})
}

func (s store) LedgerEnds(ctx context.Context, topic string, partition, epoch int32) (from, to int64, err error) {
	return s.db.LedgerEnds(ctx, topic, partition, epoch)
}

func (s store) LedgerPage(ctx context.Context, topic string, partition, epoch int32, afterFrom, afterTo, end int64, n int) ([]scoring.Line, error) {
	return s.db.LedgerPage(ctx, topic, partition, epoch, afterFrom, afterTo, end, n)
}

func (s store) Kept(ctx context.Context) (rows, letters int64, err error) { return s.db.Kept(ctx) }

func (s store) Items(ctx context.Context, r scoring.Range, yield func(int64, int32)) error {
	return s.db.Items(ctx, r, yield)
}

func (s store) Merge(ctx context.Context, r scoring.Range) ([]string, error) {
	return s.db.Merge(ctx, r)
}

func (s store) DropLetters(ctx context.Context, r scoring.Range) (int, error) {
	return s.db.DropLetters(ctx, r)
}

func (s store) Hold(ctx context.Context, topic string, partition, epoch int32, id, who string) ([]string, error) {
	return s.db.Hold(ctx, topic, partition, epoch, id, who, ingest.HoldTime)
}

func (s store) Release(ctx context.Context, topic string, partition, epoch int32, id string) error {
	return s.db.Release(ctx, topic, partition, epoch, id)
}

func (s store) HeldBy(ctx context.Context, topic string, partition, epoch int32) (string, error) {
	return s.db.HeldBy(ctx, topic, partition, epoch)
}

func (s store) Stored(ctx context.Context, r scoring.Range, yield func(ingest.StoredOffset)) error {
	return s.db.Stored(ctx, r, func(o clickhouse.StoredOffset) { yield(ingest.StoredOffset(o)) })
}

func (s store) OpenOrders(ctx context.Context) (list []ingest.Order, err error) {
	open, err := s.db.OpenOrders(ctx)
	for _, o := range open {
		list = append(list, ingest.Order(o))
	}
	return list, err
}

func (s store) AnswerOrder(ctx context.Context, o ingest.Order, answer, detail, by string) error {
	return s.db.AnswerOrder(ctx, clickhouse.Order(o), answer, detail, by)
}
