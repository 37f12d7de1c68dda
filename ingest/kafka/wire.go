package kafka

import (
	"encoding/binary"
	"errors"
	"io"
	"sync"

	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/fetch"
)

// kafka-go decodes a Fetch response into records, and on the way forgets the batches' append time, leader epoch
// and aborted transactions. Registered after its own type (the import's init runs first), this one takes its
// place for the whole process and keeps the bytes.
func init() { protocol.Register(&fetch.Request{}, &fetchResponse{}) }

// fetchResponse follows Kafka's FetchResponse, versions 0 to 11.
type fetchResponse struct {
	ThrottleTimeMs int32        `kafka:"min=v1,max=v11"`
	ErrorCode      int16        `kafka:"min=v7,max=v11"`
	SessionID      int32        `kafka:"min=v7,max=v11"`
	Topics         []fetchTopic `kafka:"min=v0,max=v11"`
}

func (*fetchResponse) ApiKey() protocol.ApiKey { return protocol.Fetch }

type fetchTopic struct {
	Topic      string           `kafka:"min=v0,max=v11"`
	Partitions []fetchPartition `kafka:"min=v0,max=v11"`
}

type fetchPartition struct {
	Partition            int32                       `kafka:"min=v0,max=v11"`
	ErrorCode            int16                       `kafka:"min=v0,max=v11"`
	HighWatermark        int64                       `kafka:"min=v0,max=v11"`
	LastStableOffset     int64                       `kafka:"min=v4,max=v11"`
	LogStartOffset       int64                       `kafka:"min=v5,max=v11"`
	AbortedTransactions  []fetch.ResponseTransaction `kafka:"min=v4,max=v11"`
	PreferredReadReplica int32                       `kafka:"min=v11,max=v11"`
	Records              rawSet                      `kafka:"min=v0,max=v11"`
}

// rawSet keeps a record set as the broker sent it, in a slab from the pool. Of a set beyond DefaultLimit, which
// then is one enormous batch, it keeps the beginning: enough for the Decoder to name the batch's offsets.
type rawSet struct {
	bytes []byte
	slab  *[]byte
}

// ReadFrom implements io.ReaderFrom, which is how kafka-go's decoder reads such a field.
func (s *rawSet) ReadFrom(r io.Reader) (int64, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, err
	}
	size := int64(int32(binary.BigEndian.Uint32(head[:])))
	if size <= 0 {
		return 4, nil
	}
	kept := min(size, DefaultLimit)
	s.slab = getSlab(int(kept))
	s.bytes = (*s.slab)[:kept]
	n, err := io.ReadFull(r, s.bytes)
	if err != nil {
		return 4 + int64(n), err
	}
	rest, err := io.CopyN(io.Discard, r, size-kept)
	return 4 + kept + rest, err
}

// WriteTo completes what kafka-go wants of such a field; responses are not written.
func (*rawSet) WriteTo(io.Writer) (int64, error) {
	return 0, errors.New("kafka: a fetch response is not for writing")
}

// pooledSlab is the most memory in bytes that a slab in the pool may hold.
const pooledSlab = 4 << 20

var slabs sync.Pool

func getSlab(n int) *[]byte {
	if s, _ := slabs.Get().(*[]byte); s != nil && cap(*s) >= n {
		return s
	}
	b := make([]byte, max(n, 64<<10))
	return &b
}

func putSlab(s *[]byte) {
	if s != nil && cap(*s) <= pooledSlab {
		slabs.Put(s)
	}
}
