package main

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/agentrisk/agentrisk/deploy/stacktest"
)

// Rows are lost, doubled and stored a second time under another key; lines of the ledger and dead letters are lost.
// Reconcile sees all of it, and --repair heals it beside the running pipeline, so that nothing is left: twice in a row,
// with the verdicts of before.
func TestRepairBesideARunningPipeline(t *testing.T) {
	t.Parallel()
	s := newSystemThatHeals(t, stacktest.Start(t), "")
	path := s.fleet(4_000, 30)
	s.publish(path)
	s.deadLetters(5)
	p := s.run()
	s.settled(4_000)
	for round, damage := range [][]string{{
		"ALTER TABLE %s.verdicts DELETE WHERE offset %% 7 = 3 SETTINGS mutations_sync = 2",
		"ALTER TABLE %s.dead_letters DELETE WHERE 1 SETTINGS mutations_sync = 2",
		"ALTER TABLE %s.batches DELETE WHERE from_offset < to_offset AND partition = 0 AND from_offset = 0 SETTINGS mutations_sync = 2",
		"SYSTEM STOP MERGES %s.verdicts", // which would heal some of it before anybody has looked
		"INSERT INTO %s.verdicts SELECT * FROM %[1]s.verdicts WHERE offset %% 11 = 4 AND partition = 1",
		"INSERT INTO %s.verdicts SELECT * REPLACE (kafka_time + toIntervalMillisecond(1) AS kafka_time) FROM %[1]s.verdicts WHERE offset = 16 AND partition = 2",
	}, {
		"ALTER TABLE %s.batches DELETE WHERE from_offset < to_offset AND partition = 1 SETTINGS mutations_sync = 2",
		"ALTER TABLE %s.verdicts DELETE WHERE partition = 1 AND offset < 40 SETTINGS mutations_sync = 2",
		"ALTER TABLE %s.batches UPDATE rows = rows + 3 WHERE from_offset < to_offset AND partition = 2 SETTINGS mutations_sync = 2",
	}} {
		for _, sql := range damage {
			s.damage(sql)
		}
		out, status := s.try("reconcile", "--config", s.config)
		if status != statusFindings {
			t.Errorf("round %d: status %d, want %d: %s", round, status, statusFindings, out[:min(len(out), 2000)])
		}
		for _, kind := range [][]string{{"missing", "doubled", "ledger_count", "ledger_gap"}, {"ledger_gap", "ledger_count"}}[round] {
			if !strings.Contains(out, ": "+kind+": ") {
				t.Errorf("round %d: reconcile does not see what is %s:\n%s", round, kind, out[:min(len(out), 2000)])
			}
		}
		s.damage("SYSTEM START MERGES %s.verdicts")
		eventually(t, "--repair leaves nothing", func() bool {
			out, err := exec.Command(program, "reconcile", "--repair", "--config", s.config).CombinedOutput()
			if err != nil {
				t.Logf("round %d: %s", round, out[max(0, len(out)-1500):])
			}
			return err == nil && strings.Contains(string(out), " 0 findings")
		})
		s.settled(4_000)
		if n := s.count("dead_letters"); n != "5" {
			t.Errorf("round %d: %s dead letters, want 5", round, n)
		}
		s.sameVerdicts(path)
	}
	if out := s.must("reconcile", "--repair", "--config", s.config); strings.Contains(out, "mended") {
		t.Errorf("a second repair still finds something to do:\n%s", out)
	}
	// The lanes live on, and a restart finds nothing to go over.
	s.publish(s.fleet(1_000, 32))
	s.settled(5_000)
	p.stop(t)
	p = s.run()
	s.settled(5_000)
	p.stop(t)
}
