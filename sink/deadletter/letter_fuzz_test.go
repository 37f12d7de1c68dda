package deadletter

import (
	"reflect"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/agentrisk/agentrisk/scoring"
)

// FuzzLetter: a letter says what was put into it, and whatever else stands in the topic is an error or a letter that says the
// same after it was written again. An origin is read only in the form that it is written in.
func FuzzLetter(f *testing.F) {
	f.Add("agent.events.a", int32(3), int64(17), int32(2), "invalid_json", "at byte 3", []byte("k"), []byte("\x00\xff"), 1<<20, `{"schema":"agentrisk.deadletter/1","topic":"t","offset":1,"key":"AA=="}`)
	f.Add("", int32(-1), int64(-1)<<63, int32(-1)<<31, "", "\u2028<>", []byte(nil), []byte{}, -1, `{"schema":"agentrisk.deadletter/2"}`)
	for _, s := range []string{`null`, ``, `{"schema":"agentrisk.deadletter/1","key":"?"}`, `{"schema":"agentrisk.deadletter/1"}x`, `{"SCHEMA":"agentrisk.deadletter/1","head":null,"size":1e3}`, "t/1/2/3", "t/+1/2/3", "t/01/2/3", "a/b/1/2/3", "t/1/9223372036854775808/0"} {
		f.Add("t", int32(0), int64(0), int32(0), "r", "d", []byte{}, []byte{}, 0, s)
	}
	f.Fuzz(func(t *testing.T, topic string, partition int32, offset int64, item int32, reason, detail string, key, head []byte, size int, text string) {
		made := &scoring.DeadLetter{Origin: scoring.Origin{Topic: topic, Partition: partition, Offset: offset, Item: item}, Epoch: partition, KafkaTime: offset,
			Provider: topic, Reason: scoring.Reason(reason), Detail: detail, Key: key, Head: head, Size: size, Hash: reason}
		if utf8.ValidString(topic) && utf8.ValidString(reason) && utf8.ValidString(detail) {
			same(t, made)
		}
		if o, err := ParseOrigin(made.Origin.String()); err == nil && o != made.Origin {
			t.Errorf("%s was read as %s", made.Origin, o)
		}
		if o, err := ParseOrigin(text); err == nil && o.String() != text {
			t.Errorf("%q was read as %s", text, o)
		}
		if d, err := Decode([]byte(text)); err == nil {
			same(t, d)
		}
	})
}

// same writes and reads a letter.
func same(t *testing.T, d *scoring.DeadLetter) {
	t.Helper()
	b, err := Encode(d)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := Decode(b); err != nil || !reflect.DeepEqual(again, d) {
		t.Fatalf("%v\n%s", err, cmp.Diff(d, again))
	}
}
