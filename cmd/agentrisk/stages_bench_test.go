package main

import (
	"bufio"
	"compress/gzip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"github.com/agentrisk/agentrisk/ingest"
	"github.com/agentrisk/agentrisk/ingest/fleet"
	"github.com/agentrisk/agentrisk/rules"
	"github.com/agentrisk/agentrisk/scoring"
	"github.com/agentrisk/agentrisk/scoring/redact"
	"github.com/agentrisk/agentrisk/sink/clickhouse"
)

// BenchmarkStages takes the same events through the stages of a lane. Each line holds the stages before it too, so
// the cost of one is the difference between two lines; deploy/bench.sh prints it. A pass begins without state. The
// labelled feed is a simulated fleet; AGENTRISK_BENCH_DATA names a folder of recorded *.events.ndjson.gz.
func BenchmarkStages(b *testing.B) {
	feeds := []struct {
		name  string
		lines [][]byte
	}{{"labelled", fleetLines(50_000)}}
	if dir := os.Getenv("AGENTRISK_BENCH_DATA"); dir != "" {
		feeds = append(feeds, struct {
			name  string
			lines [][]byte
		}{"recorded", recordedLines(b, dir, 50_000)})
	}
	stages := []string{"decode", "derive", "judge", "redact", "append"}
	for _, feed := range feeds {
		for n, stage := range stages {
			b.Run(feed.name+"/"+stage, func(b *testing.B) { stagesUpTo(b, feed.lines, n) })
		}
	}
}

func stagesUpTo(b *testing.B, lines [][]byte, last int) {
	pack, err := rules.Builtin()
	if err != nil {
		b.Fatal(err)
	}
	format, err := ingest.NewFormat("json")
	if err != nil {
		b.Fatal(err)
	}
	var (
		e       scoring.Event
		v       scoring.Verdict
		scratch scoring.DeriveScratch
		engine  *scoring.Engine
		redact  = redact.Default()
		block   = clickhouse.NewBlock(pack.Pack, [16]byte{})
		rec     = ingest.Record{Topic: "agent.events.bench"}
	)
	block.Keep = redact.Row()
	item := func(_ int32, reject *scoring.Reject) {
		if reject != nil {
			b.Fatal(reject)
		}
		if last >= 1 {
			scoring.Derive(&e, &scratch)
		}
		if last >= 2 {
			engine.Judge(&e, &v)
		}
		if last >= 3 && redact.Event(&e) {
			engine.Explain(&v)
		}
		if last >= 4 {
			e.Origin = scoring.Origin{Topic: rec.Topic, Offset: rec.Offset}
			block.Append(&e, &v)
		}
	}
	size := 0
	for _, l := range lines {
		size += len(l)
	}
	b.SetBytes(int64(size))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for b.Loop() {
		engine = scoring.NewEngine(pack.Pack, scoring.Options{})
		block.Reset()
		for i, l := range lines {
			if block.Rows() == ingest.MaxBatchRows || block.Bytes() > ingest.MaxBatchBytes && i%64 == 0 {
				block.Reset()
			}
			rec.Offset, rec.Value = int64(i), l
			format.Decode(&rec, &e, item)
		}
	}
	runtime.ReadMemStats(&after)
	events := float64(b.N * len(lines))
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/events, "ns/event")
	b.ReportMetric(float64(after.TotalAlloc-before.TotalAlloc)/events, "B/event")
	b.ReportMetric(float64(after.Mallocs-before.Mallocs)/events, "allocs/event")
	b.ReportMetric(0, "ns/op")
}

func fleetLines(n int) (lines [][]byte) {
	f := fleet.New(fleet.Config{Seed: 1, Events: n, Agents: 500})
	for e := (fleet.Event{}); f.Next(&e); {
		lines = append(lines, slices.Clone(e.Line))
	}
	return lines
}

func recordedLines(b *testing.B, dir string, n int) (lines [][]byte) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.events.ndjson.gz"))
	if err != nil || len(paths) == 0 {
		b.Fatalf("AGENTRISK_BENCH_DATA=%s holds no *.events.ndjson.gz (%v)", dir, err)
	}
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			b.Fatal(err)
		}
		defer f.Close()
		z, err := gzip.NewReader(f)
		if err != nil {
			b.Fatal(err)
		}
		in := bufio.NewScanner(z)
		in.Buffer(nil, 2<<20)
		for of := 0; in.Scan() && of < n/len(paths); of++ {
			lines = append(lines, slices.Clone(in.Bytes()))
		}
		if err := in.Err(); err != nil {
			b.Fatal(err)
		}
	}
	return lines
}
