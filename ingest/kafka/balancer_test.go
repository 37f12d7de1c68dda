package kafka

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/segmentio/kafka-go"
)

// fleet is a group as its broker and its members see it, without either: who subscribes to what, and who was
// given what in the generation before.
type fleet struct {
	generation int32
	members    map[string]*fleetMember
}

type fleetMember struct {
	topics []string
	claim  claim
}

func (f *fleet) join(id string, topics ...string) { f.members[id] = &fleetMember{topics: topics} }

// rebalance lets everyone join, assigns, and tells the members what they got.
func (f *fleet) rebalance(partitions []kafka.Partition) kafka.GroupMemberAssignments {
	var members []kafka.GroupMember
	for id, m := range f.members { // in any order
		members = append(members, kafka.GroupMember{ID: id, Topics: m.topics, UserData: m.claim.encode()})
	}
	out := assign(members, partitions)
	f.generation++
	for id, m := range f.members {
		m.claim.generation, m.claim.owned = f.generation, map[string][]int32{}
		for topic, list := range out[id] {
			for _, p := range list {
				m.claim.owned[topic] = append(m.claim.owned[topic], int32(p))
			}
		}
	}
	return out
}

func topicPartitions(topics map[string]int) (list []kafka.Partition) {
	for topic, n := range topics {
		for p := range n {
			list = append(list, kafka.Partition{Topic: topic, ID: p})
		}
	}
	return list
}

// owners inverts an assignment and checks that each partition has exactly one owner, who subscribes to it.
func owners(t *testing.T, f *fleet, partitions []kafka.Partition, out kafka.GroupMemberAssignments) map[slot]string {
	t.Helper()
	got := map[slot]string{}
	for id, topics := range out {
		for topic, list := range topics {
			for _, p := range list {
				at := slot{topic, int32(p)}
				if other, twice := got[at]; twice {
					t.Fatalf("%v is with %s and %s", at, other, id)
				}
				if !slices.Contains(f.members[id].topics, topic) {
					t.Fatalf("%v is with %s, who did not ask for it", at, id)
				}
				got[at] = id
			}
		}
	}
	for _, p := range partitions {
		wanted := slices.ContainsFunc(keys(f.members), func(id string) bool { return slices.Contains(f.members[id].topics, p.Topic) })
		if _, given := got[slot{p.Topic, int32(p.ID)}]; given != wanted {
			t.Fatalf("%s/%d: given %v, wanted %v", p.Topic, p.ID, given, wanted)
		}
	}
	return got
}

func keys[V any](m map[string]V) (list []string) {
	for k := range m {
		list = append(list, k)
	}
	slices.Sort(list)
	return list
}

func loads(f *fleet, own map[slot]string) []int {
	by := map[string]int{}
	for _, id := range own {
		by[id]++
	}
	list := []int{}
	for id := range f.members {
		list = append(list, by[id])
	}
	slices.Sort(list)
	return list
}

// leastMoves is a naive oracle: an even spread keeps at most this many of what members have, so at least the
// rest has to move. The most loaded keep the larger shares.
func leastMoves(had []int, partitions int) int {
	slices.Sort(had)
	slices.Reverse(had)
	share, larger := partitions/len(had), partitions%len(had)
	moves := 0
	for i, n := range had {
		keep := share
		if i < larger {
			keep++
		}
		moves += max(0, n-keep)
	}
	return moves
}

// Members that subscribe to the same topics come and go: every partition has one owner, loads differ by at most
// one, and no more moves than must.
func TestBalanceMovesTheLeast(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 12))
	for round := range 150 {
		topics := map[string]int{}
		for i := range 1 + rng.IntN(4) {
			topics[fmt.Sprint("t", i)] = 1 + rng.IntN(20)
		}
		f := &fleet{members: map[string]*fleetMember{}}
		next := 0
		var before map[slot]string
		for step := range 12 {
			switch joins := rng.IntN(3); {
			case len(f.members) == 0 || joins == 0 && len(f.members) < 9:
				f.join(fmt.Sprint("m", next), keys(topics)...)
				next++
			case joins == 1 && len(f.members) > 1:
				delete(f.members, keys(f.members)[rng.IntN(len(f.members))])
			case joins == 2: // a rebalance for no reason moves nothing
			}
			partitions := topicPartitions(topics)
			own := owners(t, f, partitions, f.rebalance(partitions))
			if l := loads(f, own); l[len(l)-1]-l[0] > 1 {
				t.Fatalf("round %d step %d: loads %v", round, step, l)
			}
			moved, had := 0, map[string]int{}
			for at, was := range before {
				if _, lives := f.members[was]; lives {
					had[was]++
					if own[at] != was {
						moved++
					}
				}
			}
			var list []int
			for id := range f.members {
				list = append(list, had[id])
			}
			if least := leastMoves(list, len(partitions)); moved != least {
				t.Fatalf("round %d step %d: %d moved, %d must", round, step, moved, least)
			}
			before = own
		}
	}
}

// Members that subscribe to different topics: no single hand-over could make the spread more even.
func TestBalanceOfDifferentTopics(t *testing.T) {
	rng := rand.New(rand.NewPCG(13, 14))
	for round := range 150 {
		topics := map[string]int{}
		for i := range 2 + rng.IntN(4) {
			topics[fmt.Sprint("t", i)] = 1 + rng.IntN(8)
		}
		f := &fleet{members: map[string]*fleetMember{}}
		for i := range 1 + rng.IntN(6) {
			var mine []string
			for topic := range topics {
				if rng.IntN(2) == 0 {
					mine = append(mine, topic)
				}
			}
			f.join(fmt.Sprint("m", i), mine...)
		}
		partitions := topicPartitions(topics)
		var last map[slot]string
		for range 2 {
			own := owners(t, f, partitions, f.rebalance(partitions))
			load := map[string]int{}
			for _, id := range own {
				load[id]++
			}
			for at, id := range own {
				for other, m := range f.members {
					if slices.Contains(m.topics, at.topic) && load[other] < load[id]-1 {
						t.Fatalf("round %d: %s has %d, %s has %d and could take %v", round, id, load[id], other, load[other], at)
					}
				}
			}
			if last != nil && !reflect.DeepEqual(last, own) {
				t.Fatalf("round %d: partitions moved without a reason", round)
			}
			last = own
		}
	}
}

func TestBalanceSpreadsTopics(t *testing.T) {
	topics := map[string]int{"a": 4, "b": 4, "c": 4, "d": 4}
	f := &fleet{members: map[string]*fleetMember{}}
	f.join("one", keys(topics)...)
	f.rebalance(topicPartitions(topics))
	f.join("two", keys(topics)...)
	for id, got := range f.rebalance(topicPartitions(topics)) {
		for topic, list := range got {
			if len(list) != 2 {
				t.Errorf("%s has %d partitions of %s, want 2 of each topic", id, len(list), topic)
			}
		}
	}
}

func TestBalanceOfClaims(t *testing.T) {
	parts := topicPartitions(map[string]int{"t": 2})
	claims := func(generation int32, partitions ...int32) []byte {
		return claim{generation: generation, owned: map[string][]int32{"t": partitions}}.encode()
	}
	topics := []string{"t"}
	for _, tt := range []struct {
		name    string
		members []kafka.GroupMember
		zero    string // who gets partition 0
	}{
		{"the later generation is right", []kafka.GroupMember{{ID: "a", Topics: topics, UserData: claims(3, 0)}, {ID: "b", Topics: topics, UserData: claims(4, 0)}}, "b"},
		{"equal generations", []kafka.GroupMember{{ID: "b", Topics: topics, UserData: claims(4, 0)}, {ID: "a", Topics: topics, UserData: claims(4, 0)}}, "a"},
		{"garbage claims nothing", []kafka.GroupMember{{ID: "a", Topics: topics, UserData: []byte("range")}, {ID: "b", Topics: topics, UserData: claims(1, 0)}}, "b"},
		{"what does not exist", []kafka.GroupMember{{ID: "a", Topics: topics, UserData: claims(9, 7, 1)}, {ID: "b", Topics: topics}}, "b"},
		{"what one no longer subscribes to", []kafka.GroupMember{{ID: "a", Topics: []string{"u"}, UserData: claims(9, 0)}, {ID: "b", Topics: topics}}, "b"},
	} {
		out := assign(tt.members, parts)
		if !slices.Contains(out[tt.zero]["t"], 0) {
			t.Errorf("%s: partition 0 is not with %s: %v", tt.name, tt.zero, out)
		}
	}
}

// Each join says something new, and what it says is read back.
func TestUserData(t *testing.T) {
	b := &stickyBalancer{mine: claim{incarnation: 77}}
	first, _ := b.UserData()
	b.serves(5, map[string][]int32{"x": {4, 1}, "y": nil, "z": {1<<31 - 1}})
	second, _ := b.UserData()
	third, _ := b.UserData()
	if slices.Equal(first, second) || slices.Equal(second, third) {
		t.Error("two joins carry equal user data: the broker would hand the same generation back")
	}
	got, ok := decodeClaim(third)
	want := claim{incarnation: 77, join: 3, generation: 5, owned: map[string][]int32{"x": {1, 4}, "y": {}, "z": {1<<31 - 1}}}
	if !ok || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v %v", got, ok)
	}
	for n := range third {
		if _, ok := decodeClaim(third[:n]); ok && n > 0 {
			t.Errorf("%d of %d bytes are taken for a claim", n, len(third))
		}
	}
}

func FuzzClaim(f *testing.F) {
	f.Add(claim{incarnation: 1, join: 2, generation: -1, owned: map[string][]int32{"topic": {1, 2, 3}}}.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		c, ok := decodeClaim(b)
		if !ok {
			return
		}
		again, ok := decodeClaim(c.encode())
		if !ok {
			t.Fatalf("%+v does not survive its own encoding", c)
		}
		for topic := range c.owned {
			slices.Sort(c.owned[topic])
		}
		if !reflect.DeepEqual(c, again) {
			t.Fatalf("%+v became %+v", c, again)
		}
	})
}

// A topic that some member still names has been deleted: kafka-go shows the leader nothing, the balancer asks.
func TestBalanceWithoutADeletedTopic(t *testing.T) {
	var asked []string
	b := &stickyBalancer{lookup: func(topics []string) []kafka.Partition {
		asked = topics
		return topicPartitions(map[string]int{"lives": 2})
	}}
	out := b.AssignGroups([]kafka.GroupMember{{ID: "a", Topics: []string{"lives", "gone"}}}, nil)
	if !slices.Equal(asked, []string{"gone", "lives"}) || len(out["a"]["lives"]) != 2 {
		t.Errorf("asked for %v, assigned %v", asked, out)
	}
}
