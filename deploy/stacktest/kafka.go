package stacktest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

// until repeats do while a broker is not ready for it, half a minute at most.
func until(t testing.TB, what string, do func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if err = do(); err == nil {
			return
		}
	}
	t.Fatalf("%s: %v", what, err)
}

// Trim deletes the records of a partition below an offset, as retention does: DeleteRecords (key 21, version 0), which
// kafka-go does not have.
func Trim(t testing.TB, brokers []string, topic string, partition int, below int64) {
	t.Helper()
	conn, err := kafka.DialLeader(t.Context(), "tcp", brokers[0], topic, partition)
	if err != nil {
		t.Fatal(err)
	}
	leader := conn.RemoteAddr().String()
	conn.Close()
	c, err := net.Dial("tcp", leader)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	be := binary.BigEndian
	req := []byte{0, 21, 0, 0, 0, 0, 0, 1, 0xff, 0xff, 0, 0, 0, 1} // key, version, correlation, no client, one topic
	req = append(be.AppendUint16(req, uint16(len(topic))), topic...)
	req = be.AppendUint32(be.AppendUint32(req, 1), uint32(partition)) // one partition
	req = be.AppendUint32(be.AppendUint64(req, uint64(below)), 10_000)
	if _, err := c.Write(append(be.AppendUint32(nil, uint32(len(req))), req...)); err != nil {
		t.Fatal(err)
	}
	var size [4]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		t.Fatal(err)
	}
	res := make([]byte, be.Uint32(size[:]))
	if _, err := io.ReadFull(c, res); err != nil {
		t.Fatal(err)
	}
	if code := be.Uint16(res[len(res)-2:]); code != 0 {
		t.Fatalf("delete records: %v", kafka.Error(code))
	}
}

// Transactions is a transactional producer for partition 0 of a topic, one record a batch. kafka-go has none.
type Transactions struct {
	t        testing.TB
	client   *kafka.Client
	topic    string
	session  *kafka.ProducerSession
	sequence int32
}

// NewTransactions gets a producer id. Only Apache Kafka serves such producers, see [Stack.NeedApache].
func NewTransactions(t testing.TB, brokers []string, topic string) *Transactions {
	t.Helper()
	tx := &Transactions{t: t, client: &kafka.Client{Addr: kafka.TCP(brokers...)}, topic: topic}
	until(t, "a producer id", func() error { // the coordinator's topic is being made at first
		res, err := tx.client.InitProducerID(t.Context(), &kafka.InitProducerIDRequest{TransactionalID: tx.id(), TransactionTimeoutMs: 60_000})
		if err == nil {
			err, tx.session = res.Error, res.Producer
		}
		return err
	})
	return tx
}

func (tx *Transactions) id() string { return "tx-" + tx.topic }

// Write sends records as part of the open transaction, and opens one if need be.
func (tx *Transactions) Write(values ...string) {
	tx.t.Helper()
	until(tx.t, "the partition joins the transaction", func() error { // the one before may still be ending
		res, err := tx.client.AddPartitionsToTxn(tx.t.Context(), &kafka.AddPartitionsToTxnRequest{TransactionalID: tx.id(), ProducerID: tx.session.ProducerID,
			ProducerEpoch: tx.session.ProducerEpoch, Topics: map[string][]kafka.AddPartitionToTxn{tx.topic: {{Partition: 0}}}})
		if err == nil {
			err = res.Topics[tx.topic][0].Error
		}
		return err
	})
	for _, v := range values {
		raw := tx.batch(v)
		until(tx.t, "the batch is stored", func() error { // the client may not know the topic yet; its number keeps a batch from being stored twice
			res, err := tx.client.RawProduce(tx.t.Context(), &kafka.RawProduceRequest{Topic: tx.topic, RequiredAcks: kafka.RequireAll, TransactionalID: tx.id(),
				RawRecords: protocol.RawRecordSet{Reader: bytes.NewReader(raw)}})
			if err == nil {
				err = res.Error
			}
			return err
		})
		tx.sequence++
	}
}

// End commits or aborts.
func (tx *Transactions) End(commit bool) {
	tx.t.Helper()
	res, err := tx.client.EndTxn(tx.t.Context(), &kafka.EndTxnRequest{TransactionalID: tx.id(), ProducerID: tx.session.ProducerID, ProducerEpoch: tx.session.ProducerEpoch, Committed: commit})
	if err == nil {
		err = res.Error
	}
	if err != nil {
		tx.t.Fatal(fmt.Errorf("end the transaction: %w", err))
	}
}

// batch is a record set of one batch of one record (Kafka's message format 2), with its length before it.
func (tx *Transactions) batch(value string) []byte {
	be, now := binary.BigEndian, uint64(time.Now().UnixMilli())
	record := append([]byte{0, 0, 0}, binary.AppendVarint(nil, -1)...) // attributes, time and offset deltas; no key
	record = append(append(binary.AppendVarint(record, int64(len(value))), value...), 0)
	b := be.AppendUint16(nil, 1<<4) // part of a transaction
	b = be.AppendUint32(b, 0)       // offset of the last record
	b = be.AppendUint64(be.AppendUint64(b, now), now)
	b = be.AppendUint64(b, uint64(tx.session.ProducerID))
	b = be.AppendUint16(b, uint16(tx.session.ProducerEpoch))
	b = be.AppendUint32(b, uint32(tx.sequence))
	b = be.AppendUint32(b, 1) // records
	b = append(binary.AppendVarint(b, int64(len(record))), record...)
	sum := crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))
	head := be.AppendUint64(nil, 0)
	head = be.AppendUint32(head, uint32(len(b)+9)) // what follows: leader epoch, format, checksum
	head = append(be.AppendUint32(head, ^uint32(0)), 2)
	set := append(be.AppendUint32(head, sum), b...)
	return append(be.AppendUint32(nil, uint32(len(set))), set...)
}
