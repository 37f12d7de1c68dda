package main

import (
	"fmt"
	"strings"
	"testing"

	segmentio "github.com/segmentio/kafka-go"

	"github.com/agentrisk/agentrisk/deploy/stacktest"
)

// History 32: a topic gets more partitions. Its new lanes park and say what to do, the others go on, and under a new epoch
// the whole topic is judged.
func TestHistory32ATopicGetsMorePartitions(t *testing.T) {
	t.Parallel()
	s := newSystem(t, stacktest.Start(t), "")
	s.publish(s.fleet(600, 32))
	p := s.run()
	s.settled(600)
	p.stop(t)
	c := &segmentio.Client{Addr: segmentio.TCP(s.stack.Brokers...)}
	res, err := c.CreatePartitions(soon(t), &segmentio.CreatePartitionsRequest{Topics: []segmentio.TopicPartitionsConfig{{Name: s.prefix + "alpha", Count: 5}}})
	if err != nil || res.Errors[s.prefix+"alpha"] != nil {
		t.Fatalf("%v %v", err, res)
	}
	eventually(t, "the topic has five partitions", func() bool {
		list, err := s.client().Topics(t.Context(), s.prefix+"alpha")
		return err == nil && len(list) == 1 && list[0].Partitions == 5
	})
	s.publish(s.fleet(600, 33))
	p = s.run()
	for _, n := range []int{3, 4} {
		eventually(t, fmt.Sprintf("the new lane %d parks", n), func() bool {
			for line := range strings.Lines(p.text()) {
				if strings.Contains(line, fmt.Sprintf("alpha/%d", n)) && strings.Contains(line, "reason=partitions") && strings.Contains(line, "make a new topic") {
					return true
				}
			}
			return false
		})
	}
	first, next := 0, 0
	eventually(t, "the lanes that were there store what comes", func() bool {
		list, err := s.client().Bounds(t.Context(), s.prefix+"beta", 0)
		first, next = int(list.First), int(list.Next)
		return err == nil && s.count(fmt.Sprintf("verdicts WHERE topic = '%sbeta' AND partition = 0", s.prefix)) == fmt.Sprint(next-first)
	})
	if n := s.count("verdicts WHERE partition >= 3"); n != "0" {
		t.Errorf("%s rows of the new partitions", n)
	}
	p.stop(t)
	s.configure(s.group, ", epoch: 1")
	p = s.run()
	eventually(t, "the topic is judged anew", func() bool { return s.count("verdicts WHERE epoch = 1") == "1200" })
	p.stop(t)
}
