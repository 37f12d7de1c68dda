package kafka

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/agentrisk/agentrisk/deploy/stacktest"
)

func TestMatch(t *testing.T) {
	for _, tt := range []struct {
		pattern, name string
		want          bool
	}{
		{"agent.events.*", "agent.events.north", true},
		{"agent.events.*", "agent.events.north.eu", true},
		{"agent.events.*", "agent.events", false},
		{"agent.*.v1", "agent.events.v1", true},
		{"agent.*.v1", "agent.v1", false},
		{"*.*", "a.b", true},
		{"*a*a", "aa", true},
		{"*a*a", "a", false},
		{"*", "", true},
		{"agent", "agents", false},
		{"a.c", "abc", false},
	} {
		if got := match(tt.pattern, tt.name); got != tt.want {
			t.Errorf("%s, %s: %v", tt.pattern, tt.name, got)
		}
	}
}

func TestTopics(t *testing.T) {
	c := newClient(t)
	id, err := c.ClusterID(deadline(t))
	if err != nil || id == "" {
		t.Errorf("cluster %q %v", id, err)
	}
	base := newTopic(t, c, 1)
	for suffix, n := range map[string]int{".b": 2, ".a": 3} {
		makeTopic(t, c, base+suffix, n)
	}
	got, err := c.Topics(deadline(t), base+".*")
	if want := []Topic{{base + ".a", 3}, {base + ".b", 2}}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v %v", got, err)
	}
	one := int32(1)
	produce(t, c, base+".b", Message{Value: []byte("x"), Partition: &one})
	offsets, err := c.Offsets(deadline(t), base+".b")
	if want := []Bounds{{0, 0, 0}, {1, 0, 1}}; err != nil || !reflect.DeepEqual(offsets, want) {
		t.Errorf("got %v %v", offsets, err)
	}
}

func TestCreateTopics(t *testing.T) {
	c := newClient(t)
	want := NewTopic{Name: newTopic(t, c, 2), Partitions: 2, Replication: 1, Retention: time.Hour}
	if advice, err := c.CreateTopics(deadline(t), want); err != nil || advice != nil { // exists, and is as it should be
		t.Errorf("%v %v", advice, err)
	}
	want.Partitions = 4
	advice, err := c.CreateTopics(deadline(t), want)
	if err != nil || len(advice) != 1 || !strings.Contains(advice[0], "has 2 partitions and not 4") {
		t.Errorf("%v %v", advice, err)
	}
	advice, err = c.CreateTopics(deadline(t), NewTopic{Name: rawTopic(t, c), Partitions: 1})
	if err != nil || len(advice) != 1 || !strings.Contains(advice[0], "CreateTime") {
		t.Errorf("%v %v", advice, err)
	}
}

func TestCreateTopicsWithABadName(t *testing.T) {
	stacktest.Start(t).NeedApache(t, "rules for names")
	if _, err := newClient(t).CreateTopics(deadline(t), NewTopic{Name: "not a name!", Partitions: 1}); err == nil {
		t.Error("a name that Kafka refuses was taken")
	}
}
