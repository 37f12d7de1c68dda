package ingest

import (
	"context"
	"fmt"
	"sync/atomic"

	"golang.org/x/sync/semaphore"
)

// MinBudget is the least memory that can replay any planned range: one batch of record values, and its columns.
const MinBudget = 3 * MaxBatchBytes

// budgetStep is how much a growing batch asks for at a time.
const budgetStep = 2 << 20

// Budget bounds the memory of all open batches of a process. A lane that gets nothing stops fetching; nothing
// is dropped. A batch starts with one step, waiting for it if need be, and grows only by what is free at once:
// otherwise it is cut and stored, so that lanes never wait for one another in a circle.
type Budget struct {
	sem   *semaphore.Weighted
	total int64
	used  atomic.Int64
}

// NewBudget returns a budget of n bytes.
func NewBudget(n int64) (*Budget, error) {
	if n < MinBudget {
		return nil, fmt.Errorf("memory budget of %d MiB is less than the %d MiB that one batch can need: raise memory.budget", n>>20, int64(MinBudget)>>20)
	}
	return &Budget{sem: semaphore.NewWeighted(n), total: n}, nil
}

// Used and Total are in bytes.
func (b *Budget) Used() int64  { return b.used.Load() }
func (b *Budget) Total() int64 { return b.total }

// share is what one batch holds of the budget.
type share struct {
	b    *Budget
	held int64
}

func (s *share) acquire(ctx context.Context, n int64) error {
	if err := s.b.sem.Acquire(ctx, n); err != nil {
		return err
	}
	s.held += n
	s.b.used.Add(n)
	return nil
}

// grow makes the share at least n bytes, or reports that the budget has no room.
func (s *share) grow(n int64) bool {
	if n <= s.held {
		return true
	}
	more := (n - s.held + budgetStep - 1) / budgetStep * budgetStep
	if !s.b.sem.TryAcquire(more) {
		return false
	}
	s.held += more
	s.b.used.Add(more)
	return true
}

func (s *share) release() {
	if s.held > 0 {
		s.b.sem.Release(s.held)
		s.b.used.Add(-s.held)
		s.held = 0
	}
}
