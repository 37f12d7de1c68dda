package ingest

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentrisk/agentrisk/rules"
	"github.com/agentrisk/agentrisk/scoring"
)

const laneTopic = "agent.events.a"

// outcomes are what became of items, by origin: rows as they are stored, and letters.
type outcomes struct {
	pack    *scoring.Pack
	rows    map[scoring.Origin][]string
	letters map[scoring.Origin]string

	mu sync.Mutex
}

func newOutcomes(pack *scoring.Pack) *outcomes {
	return &outcomes{pack: pack, rows: map[scoring.Origin][]string{}, letters: map[scoring.Origin]string{}}
}

// Row and Dead make it the output of a judge.
func (o *outcomes) Row(e *scoring.Event, v *scoring.Verdict) {
	o.rows[e.Origin] = append(o.rows[e.Origin], string(scoring.AppendVerdict(nil, o.pack, e, v)))
}

func (o *outcomes) Dead(d *scoring.DeadLetter) { o.letters[d.Origin] = fmt.Sprintf("%+v", *d) }

// Write makes it a dead-letter topic.
func (o *outcomes) Write(_ context.Context, letters []scoring.DeadLetter) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := range letters {
		o.Dead(&letters[i])
	}
	return nil
}

// laneLog is a log of a good record, the record, and a good record.
func laneLog(good []byte, rec Record, appendTime bool) []Entry {
	entries := make([]Entry, 3)
	for o := range entries {
		r, own := rec, appendTime
		if o != 1 {
			r, own = Record{Value: good, Time: 1_790_000_000_000}, true
		}
		r.Topic, r.Offset = laneTopic, int64(o)
		entries[o] = Entry{First: r.Offset, Last: r.Offset, AppendTime: own, Record: r}
	}
	return entries
}

// serveLane lets a pipeline serve the log for some minutes of a clock of its own, and returns what was stored.
func serveLane(t *testing.T, pack *scoring.Pack, format string, entries []Entry) (*outcomes, *memoryStore, commitment) {
	t.Helper()
	log := &memoryLog{first: map[int32]int64{}, parts: map[int32][]Entry{0: entries}}
	out, store, group := newOutcomes(pack), newMemoryStore(), &memoryGroup{commits: map[int32]commitment{}}
	fine := func(string) error { return nil }
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
		defer stop()
		lifeWith(ctx, t, log, store, group, &memoryOutbox{ids: map[string]int{}, fault: fine}, fine, rand.New(rand.NewPCG(1, 2)), func(p *Pipeline) {
			p.DeadLetterTopic, p.Bindings[0].Format = out, format
		}, pack)
	})
	out.rows = store.rows
	return out, store, group.commits[0]
}

// goodOf is the first record of a format's sample.
func goodOf(t testing.TB, format string) []byte {
	t.Helper()
	name := format + ".ndjson"
	if format == "otlp_proto" {
		name = format + ".pb"
	}
	b, err := os.ReadFile(filepath.Join("../testdata/formats", name))
	if err != nil {
		t.Fatal(err)
	}
	if format != "otlp_proto" {
		b, _, _ = bytes.Cut(b, []byte("\n"))
	}
	return b
}

// FuzzLane sends whole records through a lane with the judge, the engine and the pack that ships. Whatever a record holds,
// under whatever format, each of its items ends in one row or in one dead letter with a reason, and none in a panic; they
// are what the judge says by itself, record after record; the good records before and behind it have their rows; the ledger
// accounts for all three, and the group's offset stands behind them.
func FuzzLane(f *testing.F) {
	builtin, err := rules.Builtin()
	if err != nil {
		f.Fatal(err)
	}
	files, err := filepath.Glob("../testdata/formats/*.*")
	if err != nil || len(files) < len(FormatNames) {
		f.Fatalf("%d samples, %v", len(files), err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		line, _, _ := bytes.Cut(b, []byte("\n"))
		for i, format := range FormatNames {
			if strings.HasPrefix(filepath.Base(name), format) {
				f.Add(byte(i), []byte("k"), "content-type: application/cloudevents+json\n", line, int64(1_790_000_000_000), true)
				f.Add(byte(i), []byte(nil), "", b, int64(0), false)
			}
		}
	}
	for i, value := range []string{"", "\x00", `{"id":`, `{"kind":"tool_call","tool.args":{"cmd":"` + strings.Repeat("$(", 100) + `"}}`, `{"kind":"a","time":-9223372036854775808,"x":` + strings.Repeat("[", 40)} {
		f.Add(byte(i), []byte("k"), "ce_specversion: 1.0\nce_type: a\n", []byte(value), int64(-1)<<63, true)
	}
	good := map[string][]byte{}
	for _, format := range FormatNames {
		good[format] = goodOf(f, format)
	}
	f.Fuzz(func(t *testing.T, which byte, key []byte, headers string, value []byte, at int64, appendTime bool) {
		format := FormatNames[int(which)%len(FormatNames)]
		rec := Record{Key: key, Value: value, Time: at}
		for line := range strings.Lines(headers) {
			if name, v, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ": "); ok {
				rec.Headers = append(rec.Headers, Header{Key: name, Value: []byte(v)})
			}
		}
		entries := laneLog(good[format], rec, appendTime)
		got, store, commit := serveLane(t, builtin.Pack, format, entries)
		lines := store.sorted(0, 0)
		checkLines(t, lines, 3)
		if commit.offset != 3 {
			t.Errorf("the group stands at %d", commit.offset)
		}

		want := newOutcomes(builtin.Pack)
		judge, err := NewJudge(scoring.NewEngine(builtin.Pack, scoring.Options{}), format, scoring.KeyedByAgent, "a")
		if err != nil {
			t.Fatal(err)
		}
		for o := range entries {
			r := entries[o].Record
			if !entries[o].AppendTime {
				r.Time = clockOf(lines, int64(o))
			}
			judge.Record(&r, want)
		}
		if !reflect.DeepEqual(got.rows, want.rows) || !reflect.DeepEqual(got.letters, want.letters) {
			t.Fatalf("-the judge alone +the lane\n%s%s", cmp.Diff(want.rows, got.rows), cmp.Diff(want.letters, got.letters))
		}
		checkItems(t, got, store)
	})
}

// checkItems checks that the items of each record count from 0 without a gap, each with one row or one letter.
func checkItems(t *testing.T, got *outcomes, store *memoryStore) {
	t.Helper()
	items := map[int64][]int32{}
	for o, rows := range got.rows {
		if len(rows) != 1 || got.letters[o] != "" {
			t.Errorf("%s: %d rows, letter %q", o, len(rows), got.letters[o])
		}
		items[o.Offset] = append(items[o.Offset], o.Item)
	}
	for o := range got.letters {
		items[o.Offset] = append(items[o.Offset], o.Item)
		if reason := store.letters[o]; reason == "" || reason == scoring.ReasonPanic {
			t.Errorf("%s: reason %q: %s", o, reason, got.letters[o])
		}
		if o.Offset != 1 {
			t.Errorf("a good record became a letter: %s", got.letters[o])
		}
	}
	if len(items) != 3 || len(got.letters) != len(store.letters) {
		t.Errorf("items %v, %d letters in the topic and %d in the table", slices.Sorted(maps.Keys(items)), len(got.letters), len(store.letters))
	}
	for o, list := range items {
		slices.Sort(list)
		for i, n := range list {
			if n != int32(i) {
				t.Errorf("offset %d has the items %v", o, list)
				break
			}
		}
	}
}
