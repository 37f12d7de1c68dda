package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/agentrisk/agentrisk/deploy/stacktest"
	"github.com/agentrisk/agentrisk/rules"
)

var servedAt = regexp.MustCompile(`url=(http://[^/ ]+)/metrics`)

// ask reads a page of the process. It is "" while the process does not serve yet.
func (p *process) ask(t *testing.T, page string) string {
	t.Helper()
	at := servedAt.FindStringSubmatch(p.text())
	if at == nil {
		return ""
	}
	res, err := http.Get(at[1] + page)
	if err != nil {
		return ""
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return ""
	}
	return string(b)
}

// judgesBy reports whether the lanes of these processes are all there and judge what comes next by the pack.
func judgesBy(t *testing.T, lanes int, digest string, processes ...*process) bool {
	t.Helper()
	n := 0
	for _, p := range processes {
		var list []struct{ Pack string }
		if json.Unmarshal([]byte(p.ask(t, "/lanes")), &list) != nil {
			return false
		}
		for _, l := range list {
			if l.Pack != digest {
				return false
			}
		}
		n += len(list)
	}
	return n == lanes
}

// packDir writes a copy of the built-in pack with other lines in pack.yaml and one file more, and returns its digest.
func packDir(t *testing.T, name, version, extra string) (dir, digest string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), name)
	if err := os.CopyFS(dir, os.DirFS("../../rules/packs/convention-2026")); err != nil {
		t.Fatal(err)
	}
	head := filepath.Join(dir, "pack.yaml")
	text, err := os.ReadFile(head)
	if err == nil {
		err = os.WriteFile(head, bytes.Replace(text, []byte(`version: "1"`), []byte(`version: "`+version+`"`), 1), 0o644)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "extra.yaml"), []byte(extra), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	pack, err := rules.LoadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return dir, pack.Own
}

const countingRule = `features:
  - {name: events_10m, per: agent, window: 10m, count: true}
rules:
  - id: AR-SEEN-001
    title: {en: an agent did something, zh: 智能体有活动}
    refs: [{to: test, provenance: inferred}]
    severity: info
    weight: 0
    when: events_10m > 0
    tests:
      - {name: one event, events: [{kind: x}], fires: true}
`

// An activation reaches every process at the border of two batches: rows before it carry the pack before and rows after
// it the new one, state that did not change goes on, and what a new feature has not seen yet is marked. A pack that
// does not compile changes nothing but a metric, the log and /ready, also for a process that starts then. Of two
// operators at once both are recorded and the later holds everywhere.
func TestPacksAreAdoptedAndRolledBack(t *testing.T) {
	t.Parallel()
	s := newSystem(t, stacktest.Start(t), "")
	builtin, err := rules.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(bytes.TrimSpace(read(t, s.fleet(4000, 1))), []byte("\n"))
	half := func(name string, part [][]byte) string {
		path := filepath.Join(s.dir, name)
		if err := os.WriteFile(path, bytes.Join(part, nil), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	first, second := s.run(), s.run()
	s.publish(half("first.ndjson", lines[:2000]))
	s.stored(2000)
	eventually(t, "six lanes judge by the built-in pack", func() bool { return judgesBy(t, 6, builtin.Own, first, second) })

	dir, mine := packDir(t, "mine", "2", countingRule)
	out := s.must("rules", "activate", dir, "--config", s.config, "--by", "alice", "--reason", "count them")
	if !strings.Contains(out, "activated convention-2026 2") || !strings.Contains(out, "before: "+builtin.Own[:12]) {
		t.Errorf("activate says\n%s", out)
	}
	eventually(t, "six lanes adopt the new pack", func() bool { return judgesBy(t, 6, mine, first, second) })
	s.publish(half("second.ndjson", lines[2000:]))
	s.settled(4000)
	got := s.stack.Query(t, "SELECT pack, count(), countIf(has(hits.rule, 'AR-SEEN-001')), countIf(has(flags, 'cold')) > 0 FROM "+s.database+".verdicts GROUP BY pack ORDER BY pack = '"+mine+"'")
	if want := fmt.Sprintf("%s\t2000\t0\t0\n%s\t2000\t2000\t1", builtin.Own, mine); got != want {
		t.Errorf("rows, hits of the new rule, cold ones by pack:\n got %s\nwant %s", got, want)
	}
	if n := s.stack.Query(t, "SELECT uniqExact(topic, partition) FROM "+s.database+".snapshots WHERE chunk = -1 AND pack = '"+builtin.Own+"'"); n == "0" {
		t.Error("no lane saved its state before it adopted the pack")
	}
	if diff := s.must("rules", "diff", "builtin", "active", "--config", s.config); !strings.Contains(diff, "+ rule AR-SEEN-001") || !strings.Contains(diff, "starts cold") {
		t.Errorf("diff says\n%s", diff)
	}

	// Nobody can activate what does not compile by command; an older or newer program may have done it.
	source, _ := json.Marshal(map[string]string{"pack.yaml": "name: broken\n", "r.yaml": "rules:\n  - {id: AR-X-001, wehn: 1}\n"})
	sum := sha256.Sum256(source)
	broken := hex.EncodeToString(sum[:])
	s.stack.Query(t, fmt.Sprintf("INSERT INTO %s.pack_sources (digest, source) VALUES ('%s', '%s')", s.database, broken, strings.ReplaceAll(string(source), `\`, `\\`)))
	s.stack.Query(t, fmt.Sprintf("INSERT INTO %s.activations (id, pack, who, why) VALUES ('x', '%s', 'bob', 'by hand')", s.database, broken))
	third := s.run()
	all := []*process{first, second, third}
	eventually(t, "every process says that it refuses the pack", func() bool {
		for _, p := range all {
			if !strings.Contains(p.ask(t, "/ready"), `unknown field \"wehn\"`) || !strings.Contains(p.ask(t, "/metrics"), "agentrisk_pack_refused 1") {
				return false
			}
		}
		return judgesBy(t, 6, mine, all...)
	})
	if !strings.Contains(first.text(), "this process goes on with the one before") {
		t.Error("the log does not say that the pack is refused")
	}

	s.must("rules", "rollback", "--config", s.config, "--by", "alice", "--reason", "broken")
	eventually(t, "nobody refuses anything", func() bool {
		for _, p := range all {
			if strings.Contains(p.ask(t, "/ready"), "remarks") || !strings.Contains(p.ask(t, "/metrics"), "agentrisk_pack_refused 0") {
				return false
			}
		}
		return judgesBy(t, 6, mine, all...)
	})

	other, third3 := packDir(t, "other", "3", countingRule)
	var wg sync.WaitGroup
	for _, args := range [][]string{
		{"rules", "activate", other, "--by", "carol", "--reason", "three"},
		{"rules", "rollback", "--to", builtin.Own[:16], "--by", "dave", "--reason", "back to the built-in one"},
	} {
		wg.Go(func() {
			if out, err := exec.Command(program, append(args, "--config", s.config)...).CombinedOutput(); err != nil {
				t.Errorf("%v: %v\n%s", args, err, out)
			}
		})
	}
	wg.Wait()
	var history []struct {
		Digest, Who string
		InForce     bool `json:"in_force"`
	}
	dec := json.NewDecoder(strings.NewReader(s.must("rules", "history", "--config", s.config, "--output", "json")))
	for dec.More() {
		history = append(history, struct {
			Digest, Who string
			InForce     bool `json:"in_force"`
		}{})
		if err := dec.Decode(&history[len(history)-1]); err != nil {
			t.Fatal(err)
		}
	}
	if len(history) < 6 || !history[0].InForce || history[0].Who+history[1].Who != "caroldave" && history[0].Who+history[1].Who != "davecarol" {
		t.Fatalf("history %+v", history)
	}
	if d := history[0].Digest; d != third3 && d != builtin.Own {
		t.Errorf("%s is in force", d)
	}
	eventually(t, "all processes judge by the later of the two", func() bool { return judgesBy(t, 6, history[0].Digest, all...) })
	for _, p := range all {
		p.stop(t)
	}
	s.settled(4000)
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
