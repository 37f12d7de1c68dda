package fleet

import "testing"

func BenchmarkNext(b *testing.B) {
	f := New(Config{Seed: 1, Events: 1 << 62, Agents: 500})
	var e Event
	size := 0
	b.ReportAllocs()
	for b.Loop() {
		f.Next(&e)
		size += len(e.Line)
	}
	b.SetBytes(int64(size / b.N))
}
