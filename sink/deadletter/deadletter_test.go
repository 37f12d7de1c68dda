package deadletter

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/segmentio/kafka-go"

	"github.com/agentrisk/agentrisk/scoring"
)

func letters() []scoring.DeadLetter {
	list := []scoring.DeadLetter{
		{Origin: scoring.Origin{Topic: "agent.events.aliyun", Partition: 2, Offset: 77, Item: 3}, Epoch: 1, KafkaTime: 1_795_500_000_000, Provider: "aliyun",
			Reason: scoring.ReasonJSON, Detail: "line 1, column 4: want a value", Key: []byte("tenant/agent"), Head: []byte(`{"a":`), Size: 5, Hash: "ab"},
		{Origin: scoring.Origin{Topic: "t", Offset: math.MaxInt64, Item: math.MaxInt32, Partition: math.MaxInt32}, Reason: scoring.ReasonEmpty},
		{Origin: scoring.Origin{Topic: "t", Item: -1}, Reason: scoring.ReasonCorrupt, Key: []byte{0xff, 0}, Head: bytes.Repeat([]byte{0xfe, 1, 0}, 300), Size: 1 << 30},
	}
	for _, r := range scoring.Reasons {
		list = append(list, scoring.DeadLetter{Origin: scoring.Origin{Topic: "t", Offset: int64(len(list))}, Reason: r, Head: []byte("<&>\u2028")})
	}
	return list
}

func TestLetterComesBack(t *testing.T) {
	for _, want := range letters() {
		b, err := Encode(&want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(&want, got); diff != "" {
			t.Error(diff)
		}
		o, err := ParseOrigin(want.Origin.String())
		if err != nil || o != want.Origin {
			t.Errorf("origin %s comes back as %s, %v", want.Origin, o, err)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	for _, text := range []string{"", "{", "{}", `{"schema":"agentrisk.deadletter/2"}`, `{"schema":"agentrisk.deadletter/1","head":"%"}`, `{"schema":"agentrisk.deadletter/1","partition":4294967296}`} {
		if _, err := Decode([]byte(text)); err == nil {
			t.Errorf("%s: accepted", text)
		}
	}
	for _, text := range []string{"", "t", "t/1/2", "t/1/2/3/4", "/1/2/3", "t/x/2/3", "t/1/9223372036854775808/3", "t/2147483648/1/1"} {
		if o, err := ParseOrigin(text); err == nil {
			t.Errorf("origin %q: read as %s", text, o)
		}
	}
}

// History 29: what was written stands in the topic under its original key, with the origin, the identity of
// any replay, in the headers. History 25: a refusal is told.
func TestWriterStores(t *testing.T) {
	addr := brokers(t)
	transport := &kafka.Transport{MetadataTTL: 200 * time.Millisecond}
	client := &kafka.Client{Addr: kafka.TCP(addr...), Timeout: 10 * time.Second, Transport: transport}
	topic := fmt.Sprintf("dead.%d", time.Now().UnixNano())
	w, err := New(addr, topic, transport)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := w.Write(t.Context(), letters()); err == nil {
		t.Error("written to a topic that does not exist")
	}
	until := func(what string, ok func() bool) {
		t.Helper()
		for end := time.Now().Add(90 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("waited in vain: %s", what)
			}
		}
	}
	until("the topic is made", func() bool {
		res, err := client.CreateTopics(t.Context(), &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{{Topic: topic, NumPartitions: 1, ReplicationFactor: 1,
			ConfigEntries: []kafka.ConfigEntry{{ConfigName: "max.message.bytes", ConfigValue: "20000"}}}}})
		return err == nil && (res.Errors[topic] == nil || errors.Is(res.Errors[topic], kafka.TopicAlreadyExists))
	})
	until("the topic takes letters", func() bool { return w.Write(t.Context(), letters()) == nil })
	big := scoring.DeadLetter{Origin: scoring.Origin{Topic: "t"}, Head: make([]byte, 30_000)}
	if err := w.Write(t.Context(), []scoring.DeadLetter{big}); err == nil {
		t.Error("a letter that the broker refuses: no error")
	}

	conn, err := kafka.DialLeader(t.Context(), "tcp", addr[0], topic, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, want := range letters() {
		m, err := conn.ReadMessage(1 << 20)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Decode(m.Value)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(&want, got); diff != "" {
			t.Error(diff)
		}
		if !bytes.Equal(m.Key, want.Key) {
			t.Errorf("key %q, want %q", m.Key, want.Key)
		}
		h := map[string]string{}
		for _, x := range m.Headers {
			h[x.Key] = string(x.Value)
		}
		o, err := ParseOrigin(h[HeaderOrigin])
		if err != nil || o != want.Origin || h[HeaderReason] != string(want.Reason) || h[HeaderEpoch] != fmt.Sprint(want.Epoch) || h[HeaderProvider] != want.Provider {
			t.Errorf("headers %v of %s", h, want.Origin)
		}
	}
}
