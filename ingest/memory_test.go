package ingest

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"sort"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/agentrisk/agentrisk/scoring"
	"github.com/agentrisk/agentrisk/scoring/redact"
)

// memoryLog is a log of one topic, for tests of the lane's logic; real brokers are in package kafka's tests.
type memoryLog struct {
	mu    sync.Mutex
	first map[int32]int64
	parts map[int32][]Entry // index is the offset
	began time.Time         // the log grows from here on by a record every pace; it is whole where pace is 0
	pace  time.Duration
}

// part is what the partition holds by now.
func (m *memoryLog) part(p int32) []Entry {
	entries := m.parts[p]
	if m.pace > 0 {
		entries = entries[:min(int64(len(entries)), int64(time.Since(m.began)/m.pace))]
	}
	return entries
}

func (m *memoryLog) Bounds(_ context.Context, _ string, p int32) (int64, int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.first[p], int64(len(m.part(p))), nil
}

func (m *memoryLog) Fetch(ctx context.Context, _ string, p int32, offset int64, wait time.Duration) (Chunk, error) {
	m.mu.Lock()
	entries, first := m.part(p), m.first[p]
	m.mu.Unlock()
	next := int64(len(entries))
	if offset < first || offset > next {
		return nil, &OutOfRange{Offset: offset, First: first, Next: next}
	}
	if offset == next {
		sleep(ctx, wait)
		return &memoryChunk{end: offset, high: next}, ctx.Err()
	}
	end := min(offset+64, next)
	return &memoryChunk{entries: entries[offset:end], end: end, high: next}, nil
}

type memoryChunk struct {
	entries   []Entry
	end, high int64
}

func (c *memoryChunk) Next(e *Entry) bool {
	for len(c.entries) > 0 {
		*e, c.entries = c.entries[0], c.entries[1:]
		if e.Record.Topic != "" || e.Kind != EntryRecord { // an empty entry is an offset that compaction took
			return true
		}
	}
	return false
}
func (c *memoryChunk) End() int64           { return c.end }
func (c *memoryChunk) HighWatermark() int64 { return c.high }
func (c *memoryChunk) Release()             {}

// memoryGroup is the group's coordinator: it stores commits and knows the generation.
type memoryGroup struct {
	mu         sync.Mutex
	generation int
	commits    map[int32]commitment
}

// memoryGeneration is one membership.
type memoryGeneration struct {
	group      *memoryGroup
	id         int
	partitions []int32
	end        context.CancelFunc
	fault      func(what string) error
}

func (g *memoryGeneration) Assignments() map[string][]int32 {
	return map[string][]int32{"agent.events.a": g.partitions}
}

func (g *memoryGeneration) Committed(_ context.Context, _ string, p int32) (int64, string, error) {
	if err := g.fault("committed"); err != nil {
		return 0, "", err
	}
	g.group.mu.Lock()
	defer g.group.mu.Unlock()
	c, ok := g.group.commits[p]
	if !ok {
		return -1, "", nil
	}
	return c.offset, c.metadata, nil
}

func (g *memoryGeneration) Commit(_ context.Context, _ string, p int32, offset int64, metadata string) error {
	before := g.fault("commit before")
	if before != nil {
		return before
	}
	g.group.mu.Lock()
	defer g.group.mu.Unlock()
	if g.id != g.group.generation {
		return ErrNotOurs
	}
	g.group.commits[p] = commitment{offset, metadata}
	return g.fault("commit after")
}

func (g *memoryGeneration) End(string) { g.end() }

// memoryStore keeps what a database would keep. Its Insert does what the real one does: one insert a token lands, and
// what was sent by who has since given up may land later.
type memoryStore struct {
	mu        sync.Mutex
	tokens    map[string]bool // spent
	late      []lateInsert
	rows      map[scoring.Origin][]string // every row ever stored
	alerts    map[scoring.Origin]scoring.Alert
	letters   map[scoring.Origin]scoring.Reason
	lines     []scoring.Line
	snapshots []memorySnapshot
	fault     func(what string) error
}

// lateInsert is an insert on its way to the server whose sender no longer waits for the answer.
type lateInsert struct {
	token  string
	block  *memoryBlock
	passed int // inserts that overtook it
}

type memorySnapshot struct {
	Snapshot
	chunks [][]byte
}

func newMemoryStore() *memoryStore {
	return &memoryStore{tokens: map[string]bool{}, rows: map[scoring.Origin][]string{}, alerts: map[scoring.Origin]scoring.Alert{}, letters: map[scoring.Origin]scoring.Reason{}, fault: func(string) error { return nil }}
}

type memoryBlock struct {
	pack    *scoring.Pack
	origins []scoring.Origin
	rows    []string
	alerts  map[scoring.Origin]scoring.Alert
}

func (b *memoryBlock) Append(e *scoring.Event, v *scoring.Verdict) {
	b.origins = append(b.origins, e.Origin)
	b.rows = append(b.rows, string(scoring.AppendVerdict(nil, b.pack, e, v)))
	if v.Alert != scoring.NoAlert {
		b.alerts[e.Origin] = scoring.NewAlert("d", 0, b.pack, e, v)
	}
}
func (b *memoryBlock) Begin(*scoring.Line, redact.Row) {}
func (b *memoryBlock) Rows() int                       { return len(b.rows) }
func (b *memoryBlock) Bytes() int                      { return 100 * len(b.rows) }
func (b *memoryBlock) Reset() {
	b.origins, b.rows, b.alerts = nil, nil, map[scoring.Origin]scoring.Alert{}
}
func (b *memoryBlock) Hash() uint64 {
	h := fnv.New64a()
	for _, r := range b.rows {
		h.Write([]byte(r))
	}
	return h.Sum64()
}

func (s *memoryStore) NewBlock(p *scoring.Pack) Block {
	return &memoryBlock{pack: p, alerts: map[scoring.Origin]scoring.Alert{}}
}

func (s *memoryStore) Insert(ctx context.Context, req Insert) (already uint64, err error) {
	b := req.Block.(*memoryBlock)
	for {
		if err := req.Lease(ctx); err != nil {
			return 0, err
		}
		if err := s.fault("insert before"); err == nil {
			break
		}
		if !sleep(ctx, time.Second) {
			return 0, ctx.Err()
		}
	}
	token := req.Range.String()
	if err := s.fault("insert late"); err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.late = append(s.late, lateInsert{token: token, block: &memoryBlock{origins: slices.Clone(b.origins), rows: slices.Clone(b.rows), alerts: maps.Clone(b.alerts)}})
		return 0, err
	}
	s.mu.Lock()
	first := !s.tokens[token]
	already = s.land(token, b, !first || req.Compare)
	s.arrive(3)
	s.mu.Unlock()
	return already, s.fault("insert after")
}

// land stores the rows of a block, or with compare those that are missing, and spends the token.
func (s *memoryStore) land(token string, b *memoryBlock, compare bool) (already uint64) {
	s.tokens[token] = true
	for i, o := range b.origins {
		if compare && len(s.rows[o]) > 0 {
			already++
			continue
		}
		s.rows[o] = append(s.rows[o], b.rows[i])
		if a, ok := b.alerts[o]; ok {
			s.alerts[o] = a
		}
	}
	return already
}

// arrive lets the late inserts land that others have overtaken often enough; a spent token drops them.
func (s *memoryStore) arrive(overtaken int) {
	s.late = slices.DeleteFunc(s.late, func(l lateInsert) bool {
		if l.passed < overtaken {
			return false
		}
		if !s.tokens[l.token] {
			s.land(l.token, l.block, false)
		}
		return true
	})
	for i := range s.late {
		s.late[i].passed++
	}
}

func (s *memoryStore) StoredAlerts(_ context.Context, r scoring.Range) (list []scoring.Alert, err error) {
	if err := s.fault("stored alerts"); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for o, a := range s.alerts {
		if o.Partition == r.Partition && r.From <= o.Offset && o.Offset < r.To {
			list = append(list, a)
		}
	}
	return list, nil
}

func (s *memoryStore) DeadLetters(_ context.Context, _ scoring.Range, letters []scoring.DeadLetter) error {
	if err := s.fault("dead letters"); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range letters {
		s.letters[letters[i].Origin] = letters[i].Reason
	}
	return nil
}

func (s *memoryStore) Ledger(_ context.Context, l scoring.Line) error {
	if err := s.fault("ledger before"); err != nil {
		return err
	}
	s.mu.Lock()
	s.lines = append(s.lines, l)
	s.mu.Unlock()
	return s.fault("ledger after")
}

func (s *memoryStore) sorted(p, epoch int32) []scoring.Line {
	var list []scoring.Line
	for _, l := range s.lines {
		if l.Partition == p && l.Epoch == epoch {
			list = append(list, l)
		}
	}
	sort.SliceStable(list, func(i, j int) bool { return list[i].From < list[j].From })
	return list
}

func (s *memoryStore) Position(_ context.Context, _ string, p, epoch int32) (at Position, err error) {
	if err := s.fault("position"); err != nil {
		return at, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, l := range s.sorted(p, epoch) {
		if i == 0 {
			at.HasLedger, at.To, at.Last = true, l.To, l
		} else if l.From <= at.To && l.To >= at.To {
			at.To, at.Last = l.To, l
		}
	}
	for o := range s.rows {
		if o.Partition == p {
			at.TableTo = max(at.TableTo, o.Offset+1)
		}
	}
	return at, nil
}

func (s *memoryStore) Lines(_ context.Context, r scoring.Range) ([]scoring.Line, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sorted(r.Partition, r.Epoch), nil
}

func (s *memoryStore) SaveSnapshot(_ context.Context, snap Snapshot, save func(func([]byte) error) error) error {
	if err := s.fault("snapshot"); err != nil {
		return err
	}
	m := memorySnapshot{Snapshot: snap}
	err := save(func(c []byte) error { m.chunks = append(m.chunks, append([]byte(nil), c...)); return nil })
	s.mu.Lock()
	defer s.mu.Unlock()
	s.snapshots = append(s.snapshots, m)
	return err
}

func (s *memoryStore) LoadSnapshot(_ context.Context, _ string, p, epoch int32, notAfter int64, load func(Snapshot, func() ([]byte, error)) error) (bool, error) {
	s.mu.Lock()
	var best *memorySnapshot
	for i := range s.snapshots {
		m := &s.snapshots[i]
		if m.Partition == p && m.Epoch == epoch && m.Offset <= notAfter && (best == nil || m.Offset >= best.Offset) {
			best = m
		}
	}
	s.mu.Unlock()
	if best == nil {
		return false, nil
	}
	chunks := best.chunks
	return true, load(best.Snapshot, func() ([]byte, error) {
		if len(chunks) == 0 {
			return nil, io.EOF
		}
		c := chunks[0]
		chunks = chunks[1:]
		return c, nil
	})
}

// memoryOutbox and memoryDead take everything, sometimes twice, as topics do.
type memoryOutbox struct {
	mu    sync.Mutex
	ids   map[string]int
	fault func(string) error
}

func (o *memoryOutbox) Write(_ context.Context, alerts []scoring.Alert) error {
	if err := o.fault("outbox before"); err != nil {
		return err
	}
	o.mu.Lock()
	for _, a := range alerts {
		o.ids[a.ID]++
	}
	o.mu.Unlock()
	return o.fault("outbox after")
}

type memoryDead struct{ fault func(string) error }

func (d memoryDead) Write(context.Context, []scoring.DeadLetter) error { return d.fault("dead topic") }

var errInjected = errors.New("injected fault")

// faults draws an error for one call in n.
func faults(r *rand.Rand, n int) func(string) error {
	var mu sync.Mutex
	return func(what string) error {
		mu.Lock()
		defer mu.Unlock()
		if r.IntN(n) == 0 {
			return fmt.Errorf("%s: %w", what, errInjected)
		}
		return nil
	}
}

// reconcileWith runs a quiet pipeline, damages what it stored, and wants reconcile to find that and nothing else.
func reconcileWith(t *testing.T, want string, damage func(*memoryStore)) {
	t.Helper()
	log := testLog(rand.New(rand.NewPCG(4, 1)), 1, 600)
	var store *memoryStore
	synctest.Test(t, func(t *testing.T) { store, _ = runAll(t, log, 4, 0) })
	damage(store)
	r, err := (&Reconciler{Log: log, Audit: memoryAudit{store}}).Lane(t.Context(), "agent.events.a", 0, 0, false)
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]bool{}
	for _, f := range r.Findings {
		kinds[f.Kind] = true
	}
	delete(kinds, FindCount) // follows from a missing or doubled row
	if want == "" && !r.OK() || want != "" && (len(kinds) != 1 || !kinds[want]) {
		t.Errorf("findings %+v, want %q", r.Findings, want)
	}
	if r.Records == 0 || r.Gaps == 0 || r.Control == 0 || r.Aborted == 0 {
		t.Errorf("%+v: the log holds all kinds", r)
	}
}

// memoryAudit reads what a memoryStore holds.
type memoryAudit struct{ s *memoryStore }

func (a memoryAudit) LedgerEnds(_ context.Context, _ string, p, epoch int32) (from, to int64, err error) {
	for i, l := range a.s.sorted(p, epoch) {
		if i == 0 {
			from = l.From
		}
		to = max(to, l.To)
	}
	return from, to, nil
}

func (a memoryAudit) LedgerPage(_ context.Context, _ string, p, epoch int32, afterFrom, afterTo, end int64, n int) (list []scoring.Line, err error) {
	for _, l := range a.s.sorted(p, epoch) {
		if l.From < l.To && l.To <= end && (l.From > afterFrom || l.From == afterFrom && l.To > afterTo) {
			if last := len(list) - 1; last >= 0 && list[last].Range == l.Range {
				list[last] = l
			} else if len(list) < ledgerPage {
				list = append(list, l)
			}
		}
	}
	return list, nil
}

func (a memoryAudit) Kept(context.Context) (rows, letters int64, err error) { return 0, 0, nil }

func (a memoryAudit) Stored(_ context.Context, r scoring.Range, yield func(StoredOffset)) error {
	for o := r.From; o < r.To; o++ {
		origin := scoring.Origin{Topic: r.Topic, Partition: r.Partition, Offset: o}
		s := StoredOffset{Offset: o, Rows: uint64(len(a.s.rows[origin]))}
		s.Distinct = min(s.Rows, 1)
		if _, dead := a.s.letters[origin]; dead {
			s.DeadLetters, s.Both = 1, s.Distinct
		}
		if s.Rows+s.DeadLetters > 0 {
			yield(s)
		}
	}
	return nil
}
