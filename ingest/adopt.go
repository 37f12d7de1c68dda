package ingest

import (
	"context"
	"fmt"
	"time"

	"github.com/agentrisk/agentrisk/scoring"
)

// Packs returns a pack by its digest. It returns nil without an error when nobody knows it any more or this program
// cannot read it.
type Packs func(ctx context.Context, digest string) (*scoring.Pack, error)

// Adopt puts another pack in force. Each lane takes it up between two batches, after it has saved its state, so that
// every row is judged by the one pack whose digest it carries. State of what both packs have in common is kept.
func (p *Pipeline) Adopt(pack *scoring.Pack) { p.pack.Store(pack) }

// InForce is the pack that lanes judge by, or will from their next batch on.
func (p *Pipeline) InForce() *scoring.Pack { return p.pack.Load() }

// adoptAgain is how long a lane waits after it could not save its state.
const adoptAgain = 5 * time.Second

// adopt makes ready for the pack in force: the next batch is judged by it. It is called between two batches, when
// everything judged is in the ledger. The state is saved first, because a state is what a snapshot says; while that fails
// the lane goes on with the pack that it has.
func (l *lane) adopt(ctx context.Context) error {
	pack := l.p.pack.Load()
	if pack == l.next || l.open != nil || l.p.now().Before(l.adoptAt) {
		return nil
	}
	if l.done > l.snapAt {
		if err := l.snapshot(ctx); err != nil {
			return err
		}
		if l.done > l.snapAt {
			l.adoptAt = l.p.now().Add(adoptAgain)
			return nil
		}
	}
	l.log.Info("adopts a pack", "pack", pack.Name, "version", pack.Version, "digest", short(pack.Digest), "before", short(l.pack.Digest), "from", l.done)
	l.judgeNext(pack)
	l.p.metrics.Adoptions.Inc()
	return nil
}

// judgeNext makes pack the one that judges the next batch. Only then does the state follow: a pack that never judged
// anything leaves no trace, as it leaves none in the ledger.
func (l *lane) judgeNext(pack *scoring.Pack) {
	l.next = pack
	l.status.pack.Store(pack)
}

// become makes pack the judge's, with what its state has in common with the one before.
func (l *lane) become(pack *scoring.Pack) {
	if pack == l.pack {
		return
	}
	l.judge.Engine.Adopt(pack)
	l.pack = pack
}

// short is the beginning of a digest, enough for people.
func short(digest string) string { return digest[:min(12, len(digest))] }

// stretch is a part of the log that one pack judged.
type stretch struct {
	to   int64
	pack *scoring.Pack
}

// path lists the packs that judged the log from an offset on to what is done, by the ledger. Where nothing was judged
// since, it is the pack of the state itself. Where one cannot be had any more the active one stands in for it.
func (l *lane) path(ctx context.Context, from int64, pack string, active *scoring.Pack) ([]stretch, error) {
	packs := map[string]*scoring.Pack{active.Digest: active}
	get := func(digest string) (p *scoring.Pack, err error) {
		if p = packs[digest]; p == nil {
			if p, err = l.packOf(ctx, digest, active); err == nil {
				packs[digest] = p
			}
		}
		return p, err
	}
	if from >= l.done {
		p, err := get(pack)
		return []stretch{{from, p}}, err
	}
	lines, err := l.p.Store.Lines(ctx, scoring.Range{Topic: l.topic, Partition: l.partition, Epoch: l.binding.Epoch, From: from, To: l.done})
	if err != nil {
		return nil, fmt.Errorf("read the ledger of %s: %w", l, err)
	}
	var list []stretch
	for i := range lines {
		x := &lines[i]
		if x.To <= from || x.Status == scoring.LineIdle || x.Status == scoring.LineLost || x.Status == scoring.LineSkipped {
			continue
		}
		pack, err := get(x.Pack)
		if err != nil {
			return nil, err
		}
		from = x.To
		if n := len(list); n > 0 && list[n-1].pack == pack {
			list[n-1].to = x.To
			continue
		}
		list = append(list, stretch{x.To, pack})
	}
	if n := len(list); n == 0 || list[n-1].to < l.done {
		list = append(list, stretch{l.done, active})
	}
	return list, nil
}

// packOf finds the pack that judged a part of the log, or the one that stands in for it.
func (l *lane) packOf(ctx context.Context, digest string, active *scoring.Pack) (*scoring.Pack, error) {
	if l.p.Packs == nil {
		return active, nil
	}
	pack, err := l.p.Packs(ctx, digest)
	if err != nil {
		return nil, fmt.Errorf("read pack %s, which judged a part of %s: %w", short(digest), l, err)
	}
	if pack == nil {
		l.log.Warn("the pack that judged what the state is made of cannot be had: the one in force stands in for it", "pack", short(digest))
		return active, nil
	}
	return pack, nil
}
