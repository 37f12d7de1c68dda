package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agentrisk/agentrisk/deploy/stacktest"
)

// fleetIn writes one fleet's events into so many files that follow one another.
func (s *system) fleetIn(files, each, seed int) (paths []string) {
	s.t.Helper()
	lines := bytes.SplitAfter(bytes.TrimSpace(read(s.t, s.fleet(files*each, seed))), []byte("\n"))
	for i := range files {
		path := filepath.Join(s.dir, fmt.Sprintf("part-%d-%d.ndjson", seed, i))
		if err := os.WriteFile(path, bytes.Join(lines[i*each:(i+1)*each], nil), 0o644); err != nil {
			s.t.Fatal(err)
		}
		paths = append(paths, path)
	}
	return paths
}

// Histories 10 and 56: what may become of a lane's saved state. Each of six lanes finds it in another condition: gone, every
// one damaged, the newest without a chunk, of another engine, newer than the ledger, without the line that ends it. The state is taken
// from what is whole, or made from the log; no lane stays behind, and the verdicts are those of a run that nobody disturbed.
func TestHistory10And56SavedStateInEveryCondition(t *testing.T) {
	t.Parallel()
	s := newSystem(t, stacktest.Start(t), "")
	parts := s.fleetIn(3, 400, 56)
	for i, part := range parts[:2] {
		s.publish(part)
		p := s.run()
		s.settled((i + 1) * 400)
		p.stop(t)
	}
	if n := s.stack.Query(t, "SELECT count() FROM (SELECT topic, partition FROM "+s.database+".snapshots WHERE chunk = -1 GROUP BY ALL HAVING uniqExact(offset) = 2)"); n != "6" {
		t.Fatalf("%s lanes saved their state twice, want 6", n)
	}
	newest := " AND (topic, partition, offset) IN (SELECT topic, partition, max(offset) FROM %[1]s.snapshots GROUP BY ALL)"
	const flip = "concat(left(data, -1), char(bitXor(reinterpretAsUInt8(right(data, 1)), 1)))"
	for lane, list := range map[string][]string{
		"alpha/0": {"ALTER TABLE %[1]s.snapshots DELETE WHERE %[2]s"},
		"alpha/1": {"ALTER TABLE %[1]s.snapshots UPDATE data = " + flip + " WHERE %[2]s AND chunk >= 0"},
		"alpha/2": {"ALTER TABLE %[1]s.snapshots DELETE WHERE %[2]s AND chunk = 1" + newest},
		"beta/0":  {"ALTER TABLE %[1]s.snapshots UPDATE engine = 'another' WHERE %[2]s"},
		"beta/1": {
			"ALTER TABLE %[1]s.verdicts DELETE WHERE %[2]s AND offset %% 3 = 0 AND offset >= (SELECT min(offset) FROM %[1]s.snapshots WHERE %[2]s)",
			"ALTER TABLE %[1]s.batches DELETE WHERE %[2]s AND to_offset > (SELECT min(offset) FROM %[1]s.snapshots WHERE %[2]s)",
		},
		"beta/2": {
			"ALTER TABLE %[1]s.snapshots UPDATE data = " + flip + " WHERE %[2]s AND chunk = -1",
			"ALTER TABLE %[1]s.snapshots DELETE WHERE %[2]s AND chunk = -1" + newest,
		},
	} {
		topic, partition, _ := strings.Cut(lane, "/")
		where := fmt.Sprintf("topic = '%s%s' AND partition = %s", s.prefix, topic, partition)
		for _, sql := range list {
			s.stack.Query(t, fmt.Sprintf(sql, s.database, where)+" SETTINGS mutations_sync = 2")
		}
	}
	if n := s.count("verdicts"); n == "800" {
		t.Fatal("no row was lost")
	}
	s.publish(parts[2])
	p := s.run()
	s.settled(1_200)
	s.sameVerdicts(parts...)
	if n := s.stack.Query(t, "SELECT max(state_from) FROM "+s.database+".verdicts"); n != "0" {
		t.Errorf("a row says that the state of its lane starts at %s, and the log has everything", n)
	}
	p.stop(t)
}
