package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/agentrisk/agentrisk/ingest"
	"github.com/agentrisk/agentrisk/ingest/fleet"
	"github.com/agentrisk/agentrisk/rules"
	"github.com/agentrisk/agentrisk/scoring"
	"github.com/agentrisk/agentrisk/sink/clickhouse"
)

// packPoll is how often a process looks which pack is in force.
const packPoll = 2 * time.Second

// costEvents are the events of the made-up fleet that a pack's cost is counted over.
const costEvents = 2000

// packCost counts what a pack costs on events of the fleet. It depends on nothing but the pack and this program.
func packCost(pack *rules.Pack) (rules.Cost, error) {
	format, err := ingest.NewFormat("json")
	if err != nil {
		return rules.Cost{}, err
	}
	f := fleet.New(fleet.Config{Seed: 1, Events: costEvents, Agents: 40, Misbehave: 10})
	var line fleet.Event
	var scratch scoring.DeriveScratch
	return pack.Cost(func(e *scoring.Event) bool {
		if !f.Next(&line) {
			return false
		}
		format.Decode(&ingest.Record{Value: line.Line}, e, func(_ int32, reject *scoring.Reject) {
			if reject != nil && err == nil {
				err = fmt.Errorf("event of the fleet: %w", reject)
			}
		})
		scoring.Derive(e, &scratch)
		return err == nil
	}), err
}

// affordable refuses a pack that costs more than the limits.
func affordable(pack *rules.Pack) (rules.Cost, error) {
	cost, err := packCost(pack)
	if err != nil {
		return cost, err
	}
	if why := cost.Exceeds(); len(why) > 0 {
		return cost, fmt.Errorf("pack %s %s costs too much:\n  %s", pack.Name, pack.Version, strings.Join(why, "\n  "))
	}
	return cost, nil
}

// putPack stores a pack under both of its digests: its own, which activations name, and the one that rows carry.
func putPack(ctx context.Context, db *clickhouse.DB, pack *rules.Pack) error {
	own := *pack.Pack
	own.Digest = pack.Own
	if err := db.PutPack(ctx, clickhouse.Pack{Pack: &own, Canonical: pack.OwnCanonical(), Source: pack.Source()}); err != nil || pack.Own == pack.Digest {
		return err
	}
	return db.PutPack(ctx, clickhouse.Pack{Pack: pack.Pack, Canonical: pack.Canonical(), Source: pack.Source()})
}

// errNoSource says that a pack is named in the database and cannot be had from it.
var errNoSource = errors.New("its source is not stored: an older agentrisk activated it; activate its folder again with `agentrisk rules activate DIR`")

// storedPack compiles the pack that the database stores under a digest. The error is passing, or says what is wrong with
// the pack for this program.
func storedPack(ctx context.Context, db *clickhouse.DB, digest string) (*rules.Pack, error) {
	source, err := db.PackSource(ctx, digest)
	if err != nil {
		return nil, err
	}
	if source == nil {
		return nil, fmt.Errorf("pack %.12s: %w", digest, errNoSource)
	}
	pack, err := rules.LoadSource(source)
	if err != nil {
		return nil, &refusedError{digest, err}
	}
	return pack, nil
}

// refusedError is why this program does not judge by a pack.
type refusedError struct {
	digest string
	err    error
}

func (e *refusedError) Error() string {
	return fmt.Sprintf("pack %.12s is refused by this program (agentrisk %s, engine %s): %v", e.digest, commit, scoring.EngineVersion, e.err)
}

func (e *refusedError) Unwrap() error { return e.err }

// activePack is the pack that the database says is in force. On an empty database ours is put in force; on others the
// database wins over ours, which is the configured pack or the built-in one.
func (p *parts) activePack(ctx context.Context, ours *rules.Pack) (in inForce, err error) {
	if err := putPack(ctx, p.db, ours); err != nil {
		return in, err
	}
	active, err := p.db.Active(ctx)
	if err != nil {
		return in, err
	}
	if active == "" {
		first := clickhouse.Activation{ID: "first", Pack: ours.Own, Who: "agentrisk run", Why: "first start on an empty database"}
		if err := p.db.Activate(ctx, first); err != nil {
			return in, err
		}
		if active, err = p.db.Active(ctx); err != nil { // two may have started at once
			return in, err
		}
	}
	if active == ours.Own {
		return inForce{pack: ours, digest: active}, nil
	}
	which := "the built-in pack"
	if p.config.Pack != "" {
		which = "pack " + p.config.Pack
	}
	p.log.Warn("another pack is in force in this database, and it wins: `agentrisk rules diff active` says in what it differs, `agentrisk rules activate` puts another one in force",
		"in_force", active[:min(12, len(active))], "ours", ours.Own[:12], "ours_is", which)
	return p.newestAccepted(ctx, ours)
}

// inForce is the pack that a process judges by when it starts. refused is why it is not the one that is in force in the
// database, nil when it is.
type inForce struct {
	pack    *rules.Pack
	digest  string
	refused error
}

// newestAccepted is the newest activated pack that this program accepts: a process that starts goes on with the same one
// as a process that runs.
func (p *parts) newestAccepted(ctx context.Context, ours *rules.Pack) (in inForce, err error) {
	history, err := p.db.Activations(ctx, 100)
	if err != nil {
		return in, err
	}
	tried := map[string]bool{}
	for _, a := range history {
		if tried[a.Pack] {
			continue
		}
		tried[a.Pack] = true
		if in.digest = a.Pack; a.Pack == ours.Own {
			in.pack = ours
			return in, nil
		}
		in.pack, err = p.loadActive(ctx, a.Pack)
		var refused *refusedError
		switch {
		case err == nil:
			return in, nil
		case !errors.As(err, &refused) && !errors.Is(err, errNoSource):
			return in, err
		case in.refused == nil:
			in.refused = err
		}
	}
	return in, fmt.Errorf("no pack that was ever activated in this database is accepted: %w", in.refused)
}

// loadActive compiles the pack of a digest, checks what it costs, and stores what its rows will refer to.
func (p *parts) loadActive(ctx context.Context, digest string) (*rules.Pack, error) {
	pack, err := storedPack(ctx, p.db, digest)
	if err != nil {
		return nil, err
	}
	if _, err := affordable(pack); err != nil {
		return nil, &refusedError{digest, err}
	}
	return pack, putPack(ctx, p.db, pack)
}

// packFollower makes a pipeline follow what is in force in its database.
type packFollower struct {
	parts    *parts
	pipeline *ingest.Pipeline
	metrics  *ingest.Metrics
	current  string // own digest of the pack in force here
	refused  string // digest of the one that this process does not take
	remark   atomic.Pointer[string]
}

// follow returns a follower of a pipeline that began with a pack.
func (p *parts) follow(pipeline *ingest.Pipeline, metrics *ingest.Metrics, began inForce) *packFollower {
	f := &packFollower{parts: p, pipeline: pipeline, metrics: metrics, current: began.digest}
	if began.refused != nil {
		f.settle("", began.refused)
	}
	return f
}

// run looks every few seconds. It returns an error when a migration says that this program must no longer write.
func (f *packFollower) run(ctx context.Context) error {
	tick := time.NewTicker(packPoll)
	defer tick.Stop()
	away := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		err := f.look(ctx)
		var tooOld *clickhouse.TooOldError
		switch {
		case errors.As(err, &tooOld):
			return err
		case err == nil:
			away = false
		case !away && ctx.Err() == nil:
			away = true
			f.parts.log.Warn("cannot look which pack is in force: trying again", "err", err, "every", packPoll)
		}
	}
}

// look adopts the pack in force when it is another one.
func (f *packFollower) look(ctx context.Context) error {
	db := f.parts.db
	if err := db.CheckWriter(ctx); err != nil {
		return err
	}
	active, err := db.Active(ctx)
	if err != nil {
		return err
	}
	switch active {
	case "", f.current:
		f.settle("", nil)
		return nil
	case f.refused:
		return nil
	}
	pack, err := f.parts.loadActive(ctx, active)
	var refused *refusedError
	switch {
	case errors.As(err, &refused):
		f.settle(active, err)
		return nil
	case errors.Is(err, errNoSource): // it may still be on its way from another replica
		f.settle("", err)
		return nil
	case err != nil:
		return err
	}
	f.parts.log.Info("another pack is in force: lanes adopt it between two batches", "pack", pack.Name, "version", pack.Version, "digest", pack.Own[:12], "before", f.current[:12])
	f.current = active
	f.pipeline.Adopt(pack.Pack)
	f.settle("", nil)
	return nil
}

// settle notes what became of the last look: nothing to say, or why the pack in force is not adopted.
func (f *packFollower) settle(refused string, err error) {
	f.refused = refused
	if err == nil {
		f.remark.Store(nil)
		f.metrics.PackRefused.Set(0)
		return
	}
	now := f.pipeline.InForce()
	text := fmt.Sprintf("judges by pack %s %s (%.12s), because the one in force is not adopted: %v", now.Name, now.Version, now.Digest, err)
	if before := f.remark.Swap(&text); before == nil || *before != text {
		f.parts.log.Error("the pack in force is not adopted: this process goes on with the one before", "err", err, "goes_on_with", now.Digest[:min(12, len(now.Digest))])
	}
	f.metrics.PackRefused.Set(1)
}

// remarks are what an operator should know although the process does its work.
func (f *packFollower) remarks() []string {
	if text := f.remark.Load(); text != nil {
		return []string{*text}
	}
	return nil
}

// packs finds the packs that judged a part of the log.
func (p *parts) packs(ctx context.Context, digest string) (*scoring.Pack, error) {
	pack, err := storedPack(ctx, p.db, digest)
	var refused *refusedError
	if errors.As(err, &refused) || errors.Is(err, errNoSource) {
		p.log.Warn("a pack of the past cannot be had", "err", err)
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return pack.Pack, nil
}
