package kafka

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"
)

// The broker is killed and comes back on the same data, and then it freezes: the same client and the same group go
// on, and what was acknowledged is there.
func TestBrokerFails(t *testing.T) {
	t.Parallel()
	s := ownKafka(t)
	c := clientOf(t, s.Brokers)
	topic := newTopic(t, c, 2)
	zero := int32(0)
	send := func(i int) error {
		return c.NewProducer(LZ4).Produce(deadline(t), topic, []Message{{Value: fmt.Appendf(nil, "%d", i), Partition: &zero}})
	}
	if err := send(0); err != nil {
		t.Fatal(err)
	}
	p := startProcess(t, c, "g", topic)
	gen := settled(t, 2, p)[0]
	if err := c.Commit(deadline(t), gen, topic, 0, 1, "to=2"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Fetch(deadline(t), topic, 0, 0, 1<<20, time.Second); err != nil {
		t.Fatal(err)
	}
	s.Kill(t, "kafka")
	if _, err := c.Fetch(deadline(t), topic, 0, 0, 1<<20, time.Second); err == nil || errors.Is(err, ErrUnknownTopic) {
		t.Errorf("fetch without a broker: %v", err)
	}
	if err := c.Commit(deadline(t), gen, topic, 0, 2, ""); !errors.Is(err, ErrUnknownOutcome) {
		t.Errorf("commit without a broker: %v", err)
	}
	<-gen.Done()
	s.Start(t, "kafka")
	eventually(t, "writes go on", func() error { return send(1) })
	eventually(t, "fetches go on", func() error {
		f, err := c.Fetch(deadline(t), topic, 0, 1, 1<<20, time.Second)
		if err == nil && len(f.Raw) == 0 {
			err = errors.New("nothing there")
		}
		return err
	})
	if got := consume(t, c, topic, 0, 0).values(); len(got) < 2 || got[0] != "0" || got[1] != "1" {
		t.Errorf("the log holds %v", got)
	}
	if next := settled(t, 2, p)[0]; next.ID == gen.ID {
		t.Errorf("generation %d goes on", gen.ID)
	}
	got, err := c.Committed(deadline(t), "g", topic, []int32{0})
	if err != nil || got[0] != (Committed{1, "to=2"}) {
		t.Errorf("stored %v %v", got, err)
	}

	// A broker that is there and silent: requests end by themselves, and what a commit came to is unknown.
	gen = settled(t, 2, p)[0]
	s.Pause(t, "kafka")
	if err := c.Commit(context.Background(), gen, topic, 0, 2, "to=3"); !errors.Is(err, ErrUnknownOutcome) {
		t.Errorf("commit to a silent broker: %v", err)
	}
	if _, err := c.Fetch(context.Background(), topic, 0, 0, 1<<20, time.Second); err == nil {
		t.Error("a silent broker answered a fetch")
	}
	s.Resume(t, "kafka")
	eventually(t, "fetches go on", func() error {
		_, err := c.Fetch(deadline(t), topic, 0, 0, 1<<20, time.Second)
		return err
	})
	settled(t, 2, p)
}

// A broker that comes back remembers its members, who come back as new ones: nobody waits for those that they were until
// their session is over, which here is later than any test ends.
func TestBrokerComesBackAndNobodyWaitsForOldMembers(t *testing.T) {
	t.Parallel()
	s := ownKafka(t)
	topic := newTopic(t, clientOf(t, s.Brokers), 4)
	long := GroupConfig{ID: "g", Topics: []string{topic}, Session: 20 * time.Minute, Rebalance: 20 * time.Minute}
	one, two := startMember(t, clientOf(t, s.Brokers), long), startMember(t, clientOf(t, s.Brokers), long)
	before := settled(t, 4, one, two)
	s.Stop(t, "kafka")
	for _, gen := range before {
		<-gen.Done()
	}
	s.Start(t, "kafka")
	for i, gen := range settled(t, 4, one, two) {
		if gen.ID == before[i].ID || gen.MemberID == before[i].MemberID {
			t.Errorf("generation %d of member %s follows %d of %s", gen.ID, gen.MemberID, before[i].ID, before[i].MemberID)
		}
	}
}

// History 43: offsets of a living group stay however idle it is, those of a group that is empty for longer than
// offsets.retention.minutes are gone, plan and all, without an error.
func TestHistory43GroupExpires(t *testing.T) {
	t.Parallel()
	s := ownKafka(t, "offsets.retention.minutes=1", "offsets.retention.check.interval.ms=1000")
	c := clientOf(t, s.Brokers)
	topic := newTopic(t, c, 1)
	p := startProcess(t, c, "g", topic)
	gen := settled(t, 1, p)[0]
	if err := c.Commit(deadline(t), gen, topic, 0, 5000, "to=6000"); err != nil {
		t.Fatal(err)
	}
	p.close()
	if got, err := c.Committed(deadline(t), "g", topic, []int32{0}); err != nil || got[0] != (Committed{5000, "to=6000"}) {
		t.Errorf("just left: %v %v", got, err)
	}
	eventually(t, "the commit expires", func() error {
		got, err := c.Committed(deadline(t), "g", topic, []int32{0})
		if err == nil && got[0].Offset >= 0 {
			err = fmt.Errorf("stored %v", got)
		}
		return err
	})
	// A commit of the member that left long ago is refused for good, though nobody else is there.
	if err := c.Commit(deadline(t), gen, topic, 0, 5000, "to=6000"); !errors.Is(err, ErrNotOurs) {
		t.Errorf("the late commit: %v", err)
	}
}
