package kafka

import (
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/segmentio/kafka-go"
)

// stickyBalancer leaves partitions with the members that serve them, so that lanes keep their state, and moves
// as few as an even spread allows. It implements kafka.GroupBalancer; one belongs to one member for life.
type stickyBalancer struct {
	// lookup returns the partitions of those of the topics that exist. kafka-go's leader gets no partition at
	// all when a single topic that some member names has been deleted.
	lookup func(topics []string) []kafka.Partition

	mu   sync.Mutex
	mine claim
}

// ProtocolName tells members with this balancer from others; all members of a group need one name in common.
func (*stickyBalancer) ProtocolName() string { return "agentrisk-sticky" }

// UserData is asked for at each join.
func (b *stickyBalancer) UserData() ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mine.join++
	return b.mine.encode(), nil
}

// serves notes what the member was given.
func (b *stickyBalancer) serves(generation int32, owned map[string][]int32) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mine.generation, b.mine.owned = generation, owned
}

// AssignGroups runs in the group's leader. Its result depends on its arguments alone.
func (b *stickyBalancer) AssignGroups(members []kafka.GroupMember, partitions []kafka.Partition) kafka.GroupMemberAssignments {
	if len(partitions) == 0 && b.lookup != nil {
		topics := map[string]bool{}
		for _, m := range members {
			for _, t := range m.Topics {
				topics[t] = true
			}
		}
		partitions = b.lookup(slices.Sorted(maps.Keys(topics)))
	}
	return assign(members, partitions)
}

// slot is a topic partition.
type slot struct {
	topic     string
	partition int32
}

func compareSlots(a, b slot) int {
	if c := strings.Compare(a.topic, b.topic); c != 0 {
		return c
	}
	return int(a.partition) - int(b.partition)
}

// seat is a member while partitions are handed out.
type seat struct {
	id     string
	topics map[string]bool
	claim  claim
	load   int
	per    map[string][]int32 // partitions by topic, ascending
}

func (s *seat) give(p slot) {
	list := s.per[p.topic]
	i, _ := slices.BinarySearch(list, p.partition)
	s.per[p.topic] = slices.Insert(list, i, p.partition)
	s.load++
}

// take removes the topic's last partition.
func (s *seat) take(topic string) slot {
	list := s.per[topic]
	p := slot{topic, list[len(list)-1]}
	s.per[topic] = list[:len(list)-1]
	s.load--
	return p
}

// assign spreads partitions over the members that subscribe to their topics: what is claimed stays where it is,
// what is free goes to the least loaded, and then partitions move from more to less loaded members while that
// makes the spread more even.
func assign(members []kafka.GroupMember, partitions []kafka.Partition) kafka.GroupMemberAssignments {
	seats := seatsOf(members)
	var free []slot
	for _, p := range slotsOf(partitions) {
		if owner := claimant(seats, p); owner != nil {
			owner.give(p)
		} else {
			free = append(free, p)
		}
	}
	for _, p := range free {
		if s := leastLoaded(seats, p.topic); s != nil {
			s.give(p)
		}
	}
	for improve(seats) {
	}
	out := kafka.GroupMemberAssignments{}
	for _, s := range seats {
		out[s.id] = map[string][]int{}
		for topic, list := range s.per {
			for _, p := range list {
				out[s.id][topic] = append(out[s.id][topic], int(p))
			}
		}
	}
	return out
}

func seatsOf(members []kafka.GroupMember) []*seat {
	seats := make([]*seat, 0, len(members))
	for _, m := range members {
		s := &seat{id: m.ID, topics: map[string]bool{}, per: map[string][]int32{}}
		for _, t := range m.Topics {
			s.topics[t] = true
		}
		s.claim, _ = decodeClaim(m.UserData)
		seats = append(seats, s)
	}
	slices.SortFunc(seats, func(a, b *seat) int { return strings.Compare(a.id, b.id) })
	return seats
}

func slotsOf(partitions []kafka.Partition) []slot {
	list := make([]slot, len(partitions))
	for i, p := range partitions {
		list[i] = slot{p.Topic, int32(p.ID)}
	}
	slices.SortFunc(list, compareSlots)
	return slices.Compact(list)
}

// claimant is the member that served the partition last. Of two that say so, the one whose word is of the later
// generation is right; at equal generations, which only a leader's fault could bring about, the first by id.
func claimant(seats []*seat, p slot) *seat {
	var best *seat
	for _, s := range seats {
		if s.topics[p.topic] && slices.Contains(s.claim.owned[p.topic], p.partition) && (best == nil || s.claim.generation > best.claim.generation) {
			best = s
		}
	}
	return best
}

// leastLoaded is where a free partition goes; among equals to whoever has the fewest of its topic, so that each
// topic spreads out too.
func leastLoaded(seats []*seat, topic string) *seat {
	var best *seat
	for _, s := range seats {
		if s.topics[topic] && (best == nil || s.load < best.load || s.load == best.load && len(s.per[topic]) < len(best.per[topic])) {
			best = s
		}
	}
	return best
}

// improve moves one partition, or several along a chain of members, from a member to one with at least two less,
// and reports whether it could. The most loaded member gives first, and to the least loaded that can be reached.
func improve(seats []*seat) bool {
	order := slices.Clone(seats)
	slices.SortStableFunc(order, func(a, b *seat) int { return b.load - a.load })
	for _, from := range order {
		if chain := chainFrom(from, seats); chain != nil {
			for i := range len(chain) - 1 {
				chain[i+1].give(chain[i].take(surplusTopic(chain[i], chain[i+1])))
			}
			return true
		}
	}
	return false
}

// chainFrom is the shortest chain of hand-overs from a member to the least loaded that has at least two
// partitions less. When all subscribe to the same topics it is one step.
func chainFrom(from *seat, seats []*seat) []*seat {
	before := map[*seat]*seat{from: nil}
	var best *seat
	for queue := []*seat{from}; len(queue) > 0; queue = queue[1:] {
		for _, to := range seats {
			if _, seen := before[to]; seen || surplusTopic(queue[0], to) == "" {
				continue
			}
			before[to] = queue[0]
			queue = append(queue, to)
			if to.load <= from.load-2 && (best == nil || to.load < best.load) {
				best = to
			}
		}
	}
	if best == nil {
		return nil
	}
	var chain []*seat
	for s := best; s != nil; s = before[s] {
		chain = append(chain, s)
	}
	slices.Reverse(chain)
	return chain
}

// surplusTopic is the topic of which a member should give one partition to another: where it has the most more
// than the other; empty if there is none that the other subscribes to.
func surplusTopic(from, to *seat) string {
	best, most := "", 0
	for _, topic := range slices.Sorted(maps.Keys(from.per)) {
		if n := len(from.per[topic]); n > 0 && to.topics[topic] {
			if d := n - len(to.per[topic]); best == "" || d > most {
				best, most = topic, d
			}
		}
	}
	return best
}
