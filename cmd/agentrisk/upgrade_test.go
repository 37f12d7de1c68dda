package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/agentrisk/agentrisk/deploy/stacktest"
	"github.com/agentrisk/agentrisk/scoring"
)

var (
	newerMu sync.Mutex
	newer   string // the build of newerProgram, beside the program's
)

// newerProgram builds the program as a later version of it might be: another engine, whose saved state the one under test
// does not read, a later writer, and one migration more. The compiler is given other files in place of some; the
// checkout stays as it is, and no history is needed.
func newerProgram(t *testing.T) string {
	t.Helper()
	newerMu.Lock()
	defer newerMu.Unlock()
	if newer != "" {
		return newer
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	replace := map[string]string{}
	put := func(file, text string) {
		path := filepath.Join(dir, strings.ReplaceAll(file, "/", "_"))
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		replace[filepath.Join(root, file)] = path
	}
	swap := func(file, before, after string) {
		text := string(read(t, filepath.Join(root, file)))
		if strings.Count(text, before) != 1 {
			t.Fatalf("%s does not have %q once", file, before)
		}
		put(file, strings.Replace(text, before, after, 1))
	}
	swap("scoring/engine.go", `const EngineVersion = "`+scoring.EngineVersion+`"`, `const EngineVersion = "next"`)
	swap("sink/clickhouse/migrate.go", "const Writer = 1\n", "const Writer = 2\n")
	put("sink/clickhouse/migrations/9000_next.sql", "ALTER TABLE {database}.verdicts ADD COLUMN IF NOT EXISTS `next` String COMMENT 'only a later version fills it';\n")
	overlay := filepath.Join(dir, "overlay.json")
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err == nil {
		err = os.WriteFile(overlay, text, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(filepath.Dir(program), "agentrisk-next")
	cmd := exec.Command("go", "build", "-overlay", overlay, "-o", path, ".")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build -overlay: %v\n%s", err, out)
	}
	newer = path
	return newer
}

// Two versions of the program serve one database under load, take over from one another upwards and downwards, stopped
// and killed: nothing is lost and nothing is doubled. The older one goes on beside the newer one's migration until one
// says that it must not; then it stops by itself, and does not start again, with an error that says what to do.
func TestRollingUpgradeAndDowngrade(t *testing.T) {
	t.Parallel()
	s := newSystem(t, stacktest.Start(t), "")
	next := newerProgram(t)
	n := 0
	load := func() {
		n += 2000
		s.publish(s.fleet(2000, n))
	}
	oldOne, oldTwo := s.run(), s.run()
	load()
	s.stored(n)

	// Up: migrate first, then one process after the other.
	eventually(t, "the newer program migrates", func() bool {
		out, err := exec.Command(next, "migrate", "--config", s.config).CombinedOutput()
		return err == nil && bytes.Contains(out, []byte("applied: 9000_next"))
	})
	load()
	newOne := s.runAs(next)
	load()
	oldOne.kill()
	newTwo := s.runAs(next)
	load()
	oldTwo.stop(t)
	load()
	s.settled(n)
	both := "SELECT arrayStringConcat(arraySort(groupUniqArray(engine)), ' ') FROM " + s.database + "."
	if got, want := s.stack.Query(t, both+"batches"), scoring.EngineVersion+" next"; got != want {
		t.Errorf("engines in the ledger: %s, want %s", got, want)
	}

	// Down: the older program says which migrations it does not know, and goes on with its own state.
	if out := s.must("migrate", "--config", s.config); !strings.Contains(out, "applied by a newer agentrisk: 9000_next") {
		t.Errorf("migrate of the older program says\n%s", out)
	}
	older := s.run()
	load()
	newOne.kill()
	load()
	newTwo.stop(t)
	load()
	s.settled(n)
	if got := s.stack.Query(t, "SELECT argMax(engine, written) FROM "+s.database+".batches"); got != scoring.EngineVersion {
		t.Errorf("the newest line is of engine %s", got)
	}
	checkMixed(t, s)

	// A migration that older programs cannot live with.
	s.stack.Query(t, "INSERT INTO "+s.database+".migrations (name, sha256, min_writer) VALUES ('9001_break', 'x', 2)")
	eventually(t, "the older process stops by itself", func() bool {
		select {
		case <-older.done:
			return true
		default:
			return false
		}
	})
	want := "wants writers of version 2 or later, this program is 1: run a newer agentrisk"
	if older.err == nil || !strings.Contains(older.text(), want) {
		t.Errorf("it ended with %v, and says not %q", older.err, want)
	}
	if out, err := exec.Command(program, "run", "--config", s.config).CombinedOutput(); err == nil || !bytes.Contains(out, []byte(want)) {
		t.Errorf("the older program starts: %v\n%s", err, out)
	}
	newest := s.runAs(next)
	load()
	s.settled(n)
	newest.stop(t)
}

// checkMixed holds the ledger against the rows: where rows of a range are of two engines or packs, its line says mixed.
func checkMixed(t *testing.T, s *system) {
	t.Helper()
	if got := s.stack.Query(t, fmt.Sprintf(`SELECT count() FROM %[1]s.batches AS b INNER JOIN %[1]s.verdicts AS v
		ON b.topic = v.topic AND b.partition = v.partition AND b.epoch = v.epoch
		WHERE b.status = 'done' AND v.offset >= b.from_offset AND v.offset < b.to_offset AND (v.engine, v.pack) != (b.engine, b.pack)`, s.database)); got != "0" {
		t.Errorf("%s rows are of another engine or pack than the line that says that it judged them all", got)
	}
}
