// Package deadletter keeps what could not become an event: a Kafka topic that holds, for each such record or
// item, where it stood, why it was refused, and enough of it to find the mistake.
//
// A letter holds the first kilobyte of what a provider sent, so the topic is for that provider and for
// operators only. The record's key is the original one; its headers say the origin, which stays the item's
// identity however often it is replayed.
package deadletter

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/segmentio/kafka-go"

	"github.com/agentrisk/agentrisk/scoring"
)

// Topic of the dead letters, unless the configuration names another.
const Topic = "agentrisk.deadletters"

// Schema names the form of a letter. Fields may be added under the same name.
const Schema = "agentrisk.deadletter/1"

// Headers of a letter. A replay carries origin and epoch on, so that its first origin remains its identity.
const (
	HeaderOrigin   = "agentrisk-origin" // topic/partition/offset/item
	HeaderEpoch    = "agentrisk-epoch"
	HeaderReason   = "agentrisk-reason"
	HeaderProvider = "agentrisk-provider"
	headerSchema   = "schema"
)

// letter is the JSON form of a dead letter. Bytes are base64: what is no event need not be text.
type letter struct {
	Schema    string         `json:"schema"`
	Topic     string         `json:"topic"`
	Partition int32          `json:"partition"`
	Offset    int64          `json:"offset"`
	Item      int32          `json:"item"`
	Epoch     int32          `json:"epoch"`
	KafkaTime int64          `json:"kafka_time"` // unix milliseconds
	Provider  string         `json:"provider"`
	Reason    scoring.Reason `json:"reason"`
	Detail    string         `json:"detail"`
	Size      int            `json:"size"` // bytes of the whole value
	Hash      string         `json:"sha256"`
	Key       []byte         `json:"key"`
	Head      []byte         `json:"head"`
}

// Encode returns the JSON form.
func Encode(d *scoring.DeadLetter) ([]byte, error) {
	b, err := json.Marshal(letter{
		Schema: Schema, Topic: d.Topic, Partition: d.Partition, Offset: d.Offset, Item: d.Item, Epoch: d.Epoch, KafkaTime: d.KafkaTime,
		Provider: d.Provider, Reason: d.Reason, Detail: d.Detail, Size: d.Size, Hash: d.Hash, Key: d.Key, Head: d.Head,
	})
	if err != nil {
		return nil, fmt.Errorf("dead letter %s: %w", d.Origin, err)
	}
	return b, nil
}

// Decode reads the JSON form. A reason that this version does not know is kept.
func Decode(b []byte) (*scoring.DeadLetter, error) {
	var l letter
	if err := json.Unmarshal(b, &l); err != nil {
		return nil, fmt.Errorf("dead letter: %w", err)
	}
	if l.Schema != Schema {
		return nil, fmt.Errorf("dead letter: schema %.64q, this version reads %q", l.Schema, Schema)
	}
	return &scoring.DeadLetter{
		Origin: scoring.Origin{Topic: l.Topic, Partition: l.Partition, Offset: l.Offset, Item: l.Item}, Epoch: l.Epoch, KafkaTime: l.KafkaTime,
		Provider: l.Provider, Reason: l.Reason, Detail: l.Detail, Size: l.Size, Hash: l.Hash, Key: l.Key, Head: l.Head,
	}, nil
}

func headers(d *scoring.DeadLetter) []kafka.Header {
	return []kafka.Header{
		{Key: headerSchema, Value: []byte(Schema)},
		{Key: HeaderOrigin, Value: []byte(d.Origin.String())},
		{Key: HeaderEpoch, Value: strconv.AppendInt(nil, int64(d.Epoch), 10)},
		{Key: HeaderReason, Value: []byte(d.Reason)},
		{Key: HeaderProvider, Value: []byte(d.Provider)},
	}
}

// ParseOrigin reads the text of HeaderOrigin, the form of scoring.Origin's String.
func ParseOrigin(s string) (o scoring.Origin, err error) {
	parts := strings.Split(s, "/") // no topic's name holds a slash
	if len(parts) != 4 || parts[0] == "" {
		return o, fmt.Errorf("origin %.300q: want topic/partition/offset/item", s)
	}
	var n [3]int64
	for i, bits := range []int{32, 64, 32} {
		if n[i], err = strconv.ParseInt(parts[i+1], 10, bits); err != nil {
			return o, fmt.Errorf("origin %.300q: %w", s, err)
		}
	}
	if o = (scoring.Origin{Topic: parts[0], Partition: int32(n[0]), Offset: n[1], Item: int32(n[2])}); o.String() != s {
		return scoring.Origin{}, fmt.Errorf("origin %.300q: want it as %s", s, o)
	}
	return o, nil
}
