package ingest

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/agentrisk/agentrisk/scoring"
)

// Every kind of entry, odd times and ids, keys of every kind and agents in two partitions are counted, with the place
// of the first.
func TestInspectorCounts(t *testing.T) {
	in, err := NewInspector(countingPack(), Binding{Topics: "agent.events.*"}, "agent.events.alpha")
	if err != nil {
		t.Fatal(err)
	}
	log := &memoryLog{first: map[int32]int64{}, parts: map[int32][]Entry{}}
	now := time.Date(2026, 5, 1, 10, 0, 0, 0, time.UTC)
	put := func(p int32, key, value string) {
		at := int64(len(log.parts[p]))
		log.parts[p] = append(log.parts[p], Entry{First: at, Last: at, AppendTime: true, Record: Record{Topic: "agent.events.alpha", Partition: p, Offset: at, Time: now.UnixMilli(), Key: []byte(key), Value: []byte(value)}})
	}
	event := func(id, tm, agent, session string) string {
		return fmt.Sprintf(`{"id":%q,"time":%q,"kind":"tool_call","tenant.id":"t","agent.id":%q,"conversation.id":%q,"trace.id":"tr"}`, id, tm, agent, session)
	}
	stamp := func(d time.Duration) string { return now.Add(d).Format(time.RFC3339) }
	put(0, "t/a", event("1", stamp(0), "a", "s1"))
	put(0, "a", event("2", stamp(-2*time.Hour), "a", "s1"))
	put(0, "s1", event("3", stamp(2*time.Minute), "a", "s1"))
	put(0, "tr", event("4", stamp(48*time.Hour), "a", "s1"))
	put(0, "?", event("4", "soon", "a", "s1"))
	put(0, "", `{"kind":"tool_call","agentId":"b","tool-name":"x","color":"red"}`)
	put(0, "", `{"kind":"timer"}`)
	put(0, "", ``)
	put(1, "t/a", event("9", stamp(0), "a", "s1"))
	put(1, "t/c", event("10", stamp(0), "c", "s2"))
	end := int64(len(log.parts[1]))
	log.parts[1] = append(log.parts[1],
		Entry{Kind: EntryControl, First: end, Last: end},
		Entry{Kind: EntryAborted, First: end + 1, Last: end + 1},
		Entry{}, Entry{}, // compaction took them
		Entry{Kind: EntryCorrupt, First: end + 4, Last: end + 6, Err: errors.New("checksum differs")}, Entry{}, Entry{})
	var done, total int64
	if err := in.Topic(t.Context(), log, 2, 1000, func(d, n int64) { done, total = d, n }); err != nil {
		t.Fatal(err)
	}
	s := in.Seen()
	if done != total || total != 17 {
		t.Errorf("progress ended at %d of %d", done, total)
	}
	if s.Records != 10 || s.Events != 8 || s.Control != 1 || s.Aborted != 1 || s.Partitions != 2 || s.Kinds["tool_call"] != 8 {
		t.Errorf("counts: %+v", s)
	}
	dead := map[scoring.Reason]int64{}
	for _, d := range s.DeadLetters {
		dead[d.Reason] = d.Count
	}
	if dead[scoring.ReasonReserved] != 1 || dead[scoring.ReasonEmpty] != 1 || dead[scoring.ReasonCorrupt] != 3 || len(dead) != 3 {
		t.Errorf("dead letters: %v", dead)
	}
	if k := s.Keys; k.TenantAgent != 3 || k.Agent != 1 || k.Session != 1 || k.Trace != 1 || k.Other != 1 || k.None != 3 || k.Agents != 2 || k.Sessions != 2 {
		t.Errorf("keys: %+v", k)
	}
	for name, first := range map[string]string{
		OddTimeOld: "agent.events.alpha/0/1/0", OddTimeAhead: "agent.events.alpha/0/2/0", OddTimeClamped: "agent.events.alpha/0/3/0",
		OddTimeMissing: "agent.events.alpha/0/4/0", OddIDTwice: "agent.events.alpha/0/4/0", OddIDMissing: "agent.events.alpha/0/5/0",
		OddAgentMissing: "agent.events.alpha/0/5/0", OddAgentSplit: "agent.events.alpha/1/0/0", OddSessionSplit: "agent.events.alpha/1/0/0",
	} {
		if s.Odd[name].First != first {
			t.Errorf("%s: %+v, want first %s", name, s.Odd[name], first)
		}
	}
	if s.Spellings["agentId"] != "agent.id" || s.Spellings["tool-name"] != "tool.name" || len(s.Spellings) != 2 || s.Attributes["color"] != 1 {
		t.Errorf("spellings: %v of %v", s.Spellings, s.Attributes)
	}
	if s.Flags["id_reused"] != 1 {
		t.Errorf("flags: %v", s.Flags)
	}
}
