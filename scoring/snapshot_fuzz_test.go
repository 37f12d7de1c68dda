package scoring

import (
	"bytes"
	"runtime"
	"slices"
	"testing"
)

// chunksOf saves the state.
func chunksOf(t testing.TB, g *Engine) (list [][]byte) {
	t.Helper()
	if err := g.Save(func(c []byte) error { list = append(list, bytes.Clone(c)); return nil }); err != nil {
		t.Fatal(err)
	}
	return list
}

// FuzzLoad: chunks are refused, or they are a state: saved and loaded again it is the same to the byte, it judges without a
// panic, and two engines that load it judge alike. What refusing them takes is bounded by what they hold.
func FuzzLoad(f *testing.F) {
	events := stream(3, 200, 4)
	g := NewEngine(testPack(nil), Options{})
	var v Verdict
	for _, e := range events {
		g.Judge(e, &v)
	}
	whole := chunksOf(f, g)
	f.Add(whole[0], whole[1])
	f.Add([]byte{1}, []byte{})
	f.Add(whole[0], whole[1][:len(whole[1])/2])
	f.Add(whole[0], slices.Concat(whole[1], whole[1]))
	f.Add(whole[0][:10], whole[1])
	f.Add(append([]byte{3}, bytes.Repeat([]byte{0xff}, 40)...), whole[1])
	small := NewEngine(testPack(nil), Options{})
	small.Judge(events[0], &v)
	f.Add(whole[0], chunksOf(f, small)[1])
	f.Fuzz(func(t *testing.T, head, body []byte) {
		g := NewEngine(testPack(nil), Options{})
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := load(g, [][]byte{head, body})
		runtime.ReadMemStats(&after)
		if took := after.TotalAlloc - before.TotalAlloc; took > uint64(1<<20+500*(len(head)+len(body))) {
			t.Errorf("%d bytes took %d bytes to read", len(head)+len(body), took)
		}
		if err != nil {
			return
		}
		saved := chunksOf(t, g)
		twin := NewEngine(testPack(nil), Options{})
		if err := load(twin, saved); err != nil {
			t.Fatalf("what was saved is refused: %v", err)
		}
		if again := chunksOf(t, twin); !slices.EqualFunc(saved, again, bytes.Equal) {
			t.Fatalf("saved again it is another state:\n%x\n%x", saved, again)
		}
		for _, e := range events[len(events)-40:] {
			if a, b := line(g, e), line(twin, e); a != b {
				t.Fatalf("two engines of one state say\n%s\n%s", a, b)
			}
		}
		if !slices.EqualFunc(chunksOf(t, g), chunksOf(t, twin), bytes.Equal) {
			t.Fatal("and then differ")
		}
	})
}
