package chaos

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// mechanism is one thing that keeps the promise. Switched off, a test must miss it.
type mechanism struct {
	name     string
	file     string // where it stands
	on, off  string // its line, once in the file, and what stands there instead
	pkg, run string // the test that must fail then
}

// mechanisms is the table of the self-proof. What no test misses is not in the house.
var mechanisms = []mechanism{
	{"insert token of the range", "sink/clickhouse/insert.go",
		`return fmt.Sprintf("%s|%d|%s|%d|%d|%d", db.deployment`, `return nonce() + fmt.Sprintf("%s|%d|%s|%d|%d|%d", db.deployment`,
		"./sink/clickhouse", "TestHistory40InsertArrivesAfterTheSuccessor|TestStoredOnceHoweverOften"},
	{"OK is believed only without dropped blocks (ProfileEvents)", "sink/clickhouse/insert.go",
		`return o.duplicated == 0 && o.inserted > 0`, `return true`,
		"./sink/clickhouse", "TestHistory41"},
	{"settle compares by origin", "sink/clickhouse/store.go",
		`missing = req.Block.without(stored)`, `missing, _ = req.Block.without(nil), stored`,
		"./sink/clickhouse", "TestOnlyWhatTheTableLacks|TestHistory41"},
	{"inserts still running are killed before the comparison", "sink/clickhouse/store.go",
		`err := db.native.killInserts(ctx, kill); err != nil {`, `err := error(nil); kill == "" {`,
		"./sink/clickhouse", "TestHistory40"},
	{"one query id a range", "sink/clickhouse/insert.go",
		`return fmt.Sprintf("%s%d|%d", db.lanePrefix(r), r.From, r.To)`, `return fmt.Sprintf("%s%d|%d|%s", "unknown|", r.From, r.To, nonce())`,
		"./sink/clickhouse", "TestHistory40"},
	{"tokens of settling name the missing set and the round", "sink/clickhouse/store.go",
		`token = fmt.Sprintf("%s|%s|%d", req.token(db), missing.setHash(), round)`, `token = req.token(db)`,
		"./sink/clickhouse", "TestTokensOfSettlingSpentToo|TestHistory41"},
	{"what the table holds is not sent again", "sink/clickhouse/store.go",
		`if tried && db.cfg.Cluster == "" {`, `if tried && false {`,
		"./sink/clickhouse", "TestPowerLoss"},
	{"the lease is asked before each send", "sink/clickhouse/insert.go",
		`if req.Lease != nil {`, `if false {`,
		"./sink/clickhouse", "TestLeaseIsAskedBeforeEachSend"},
	{"the lease (5 s)", "ingest/lane.go",
		`if l.p.now().Sub(l.leaseAt) < leaseTime || l.written.offset < 0 {`, `if true {`,
		"./ingest", "TestHistory60"},
	{"the plan's bounds are law for a successor", "ingest/start.go",
		`if ours && planned.To > l.done && offset == l.done {`, `if false && ours && planned.To > l.done && offset == l.done {`,
		"./ingest", "TestExactlyOnce|TestProcessesTakeTurns"},
	{"a range that may be stored is compared first", "ingest/lane.go",
		`compare: l.pos < l.known`, `compare: false`,
		"./cmd/agentrisk", "TestHistory64DatabaseRestoredFromABackup"},
	{"the ledger is the truth, not the commit", "ingest/start.go",
		`l.done, l.stateFrom = at.To, at.Last.StateFrom`, `l.done, l.stateFrom = max(at.To, offset), at.Last.StateFrom`,
		"./cmd/agentrisk", "TestHistory64DatabaseRestoredFromABackup"},
	{"hash of the last record (fence)", "ingest/start.go",
		`if recordHash(e.Record.Key, e.Record.Value) == f.hash {`, `if true {`,
		"./cmd/agentrisk", "TestHistory43TopicMadeAgain"},
	{"state in memory is valid only under the last commit of ours", "ingest/lane.go",
		`if l.warm && l.written == (commitment{offset, metadata}) {`, `if l.warm {`,
		"./ingest", "TestExactlyOnce|TestProcessesTakeTurns"},
	{"the tail after a snapshot is replayed", "ingest/start.go",
		`if err := l.replay(ctx, from, s.to); err != nil {`, `if err := error(nil); err != nil {`,
		"./ingest", "TestExactlyOnce|TestProcessesTakeTurns|TestVerdictsFollowFromLogAndLedger"},
	{"an unknown outcome of a commit ends the generation", "ingest/lane.go",
		`return fmt.Errorf("%w: %s at %d: %w", errOutcomeUnknown, l, c.offset, err)`, `l.written, l.leaseAt = c, l.p.now(); return nil`,
		"./ingest", "TestExactlyOnce|TestProcessesTakeTurns"},
	{"a refused commit ends the lane (generation fence)", "ingest/lane.go",
		`case errors.Is(err, ErrNotOurs):
		return err`, `case errors.Is(err, ErrNotOurs):
		l.written, l.leaseAt = c, l.p.now()
		return nil`,
		"./ingest", "TestExactlyOnce|TestProcessesTakeTurns"},
	{"no two joins of a member look alike (nonce, generation)", "ingest/kafka/userdata.go",
		`b = binary.BigEndian.AppendUint64(b, c.join)
	b = binary.AppendVarint(b, int64(c.generation))`, `b = binary.AppendVarint(binary.BigEndian.AppendUint64(b, 0), 0)`,
		"./ingest/kafka", "TestHistory42LateCommit"},
	{"alerts of stored rows follow the rows", "ingest/finish.go",
		`b.alerts, err = l.p.Store.StoredAlerts(ctx, r)`, `_, err = l.p.Store.StoredAlerts(ctx, r)`,
		"./ingest", "TestExactlyOnce|TestProcessesTakeTurns"},
	{"the claim", "sink/clickhouse/claim.go",
		`case found && holder.id == id:`, `case found:`,
		"./sink/clickhouse", "TestHistory44Claim"},
	{"chunks of a snapshot are checked against the manifest", "sink/clickhouse/snapshot.go",
		`if !bytes.Equal(sum[:], []byte(c.manifest[`, `if false && !bytes.Equal(sum[:], []byte(c.manifest[`,
		"./sink/clickhouse", "TestHistory56|TestSnapshots"},
	{"the checksum of a record batch", "ingest/kafka/batch.go",
		`crc != crc32.Checksum(raw[21:], castagnoli) {`, `false && crc != crc32.Checksum(raw[21:], castagnoli) {`,
		"./ingest/kafka", "TestFaults"},
}

func root(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// Every mechanism of the table stands where the table says.
func TestMechanismsStandWhereTheTableSays(t *testing.T) {
	dir := root(t)
	for _, m := range mechanisms {
		b, err := os.ReadFile(filepath.Join(dir, m.file))
		if err != nil {
			t.Error(err)
			continue
		}
		if n := strings.Count(string(b), m.on); n != 1 {
			t.Errorf("%s: %q stands %d times in %s, want once", m.name, m.on, n, m.file)
		}
	}
}

// TestSelfProof switches one mechanism off at a time and runs the test that must miss it. AGENTRISK_SELFPROOF is a
// regular expression of names (`make self-proof` runs all).
func TestSelfProof(t *testing.T) {
	which := os.Getenv("AGENTRISK_SELFPROOF")
	if which == "" {
		t.Skip("NOT RUN: builds the house once a mechanism; make self-proof")
	}
	only, err := regexp.Compile(which)
	if err != nil {
		t.Fatal(err)
	}
	dir := root(t)
	fmt.Println("| mechanism switched off | test | what was seen |\n|---|---|---|")
	for _, m := range mechanisms {
		if !only.MatchString(m.name) {
			continue
		}
		t.Run(m.name, func(t *testing.T) {
			house := t.TempDir()
			copyTree(t, dir, house)
			path := filepath.Join(house, m.file)
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(strings.Replace(string(b), m.on, m.off, 1)), 0o644); err != nil {
				t.Fatal(err)
			}
			vet := exec.Command("go", "test", "-count=1", "-run", "^$", m.pkg)
			vet.Dir = house
			if out, err := vet.CombinedOutput(); err != nil {
				t.Fatalf("does not build: %s", out)
			}
			cmd := exec.Command("go", "test", "-count=1", "-failfast", "-timeout", "10m", "-run", m.run, m.pkg)
			cmd.Dir = house
			out, err := cmd.CombinedOutput()
			if err == nil {
				fmt.Printf("| %s | %s %s | **nothing** |\n", m.name, m.pkg, m.run)
				t.Errorf("switched off, nobody misses it:\n%s", out)
				return
			}
			test, saw := firstFailure(string(out))
			fmt.Printf("| %s | %s %s | %s |\n", m.name, m.pkg, test, saw)
		})
	}
}

var failed = regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)`)
var said = regexp.MustCompile(`(?m)^\s+\w+_test\.go:\d+: (.*)$`)

func firstFailure(out string) (test, saw string) {
	if m := failed.FindStringSubmatch(out); m != nil {
		test = m[1]
	}
	saw = "no result"
	if m := said.FindStringSubmatch(out); m != nil {
		saw = m[1]
	} else if strings.Contains(out, "panic: ") {
		_, saw, _ = strings.Cut(out, "panic: ")
		saw, _, _ = strings.Cut(saw, "\n")
	}
	return test, strings.ReplaceAll(saw[:min(len(saw), 160)], "|", "/")
}

// copyTree copies what a build needs: everything but what was built and where git keeps its own.
func copyTree(t *testing.T, from, to string) {
	t.Helper()
	entries, err := os.ReadDir(from)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() == ".git" || e.Name() == ".cache" || e.Name() == "bin" {
			continue
		}
		if out, err := exec.Command("cp", "-r", filepath.Join(from, e.Name()), to).CombinedOutput(); err != nil {
			t.Fatalf("cp: %v %s", err, out)
		}
	}
}
