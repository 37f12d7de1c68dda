package clickhouse

import (
	"context"
	"fmt"
	"time"

	"github.com/agentrisk/agentrisk/scoring"
)

const letterColumns = "topic, partition, offset, item, epoch, kafka_time, provider, reason, detail, size, sha256"

// DeadLetters stores the dead letters of a range, once however often it is called. A dropped block says that the token
// is known and not that the letters are there, so then the table is asked, and what it lacks goes in.
func (db *DB) DeadLetters(ctx context.Context, r scoring.Range, letters []scoring.DeadLetter) error {
	if len(letters) == 0 {
		return nil
	}
	dropped, err := db.insertCounting(ctx, "dead_letters", letterColumns, db.token(r)+"|dead", letterRows(letters, nil))
	if err != nil || dropped == 0 {
		return err
	}
	stored := map[place]bool{}
	rows, err := db.conn.Query(ctx, "SELECT DISTINCT offset, item FROM "+db.table("dead_letters")+" WHERE topic = ? AND partition = ? AND epoch = ? AND offset >= ? AND offset < ?",
		r.Topic, r.Partition, r.Epoch, r.From, r.To)
	if err != nil {
		return fmt.Errorf("clickhouse: dead letters of %s: %w", r, err)
	}
	defer rows.Close()
	for rows.Next() {
		var p place
		if err := rows.Scan(&p.offset, &p.item); err != nil {
			return fmt.Errorf("clickhouse: dead letters of %s: %w", r, err)
		}
		stored[p] = true
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("clickhouse: dead letters of %s: %w", r, err)
	}
	missing := letterRows(letters, stored)
	if len(missing) == 0 {
		return nil
	}
	return db.insert(ctx, "dead_letters", letterColumns, db.token(r)+"|dead|"+nonce(), missing)
}

// letterRows are the rows of the letters that are not stored.
func letterRows(letters []scoring.DeadLetter, stored map[place]bool) [][]any {
	rows := make([][]any, 0, len(letters))
	for i := range letters {
		d := &letters[i]
		if !stored[place{d.Offset, d.Item}] {
			rows = append(rows, []any{d.Topic, d.Partition, d.Offset, d.Item, d.Epoch, time.UnixMilli(max(d.KafkaTime, 0)).UTC(), d.Provider, string(d.Reason), d.Detail, uint64(d.Size), d.Hash})
		}
	}
	return rows
}

// StoredAlerts makes the alerts of a range from the rows that are stored, with the titles of the pack that judged them.
func (db *DB) StoredAlerts(ctx context.Context, r scoring.Range) ([]scoring.Alert, error) {
	rows, err := db.conn.Query(ctx, `SELECT topic, partition, offset, item, event_id, toUnixTimestamp64Milli(time), toUnixTimestamp64Milli(kafka_time),
		provider, region, tenant_id, agent_id, session_id, kind, toInt32(score * 1000), toInt32(session_score * 1000), alert, pack, flags,
		hits.rule, hits.severity, arrayMap(c -> toInt32(c * 1000), hits.contribution), hits.why
		FROM `+db.table("verdicts")+` WHERE topic = ? AND partition = ? AND epoch = ? AND offset >= ? AND offset < ? AND alert != ''
		ORDER BY offset, item LIMIT 1 BY offset, item`, r.Topic, r.Partition, r.Epoch, r.From, r.To)
	if err != nil {
		return nil, fmt.Errorf("clickhouse: alerts of %s: %w", r, err)
	}
	defer rows.Close()
	titles := map[string]map[string][2]string{}
	var list []scoring.Alert
	for rows.Next() {
		var a scoring.Alert
		var score, session int32
		var cause string
		var flags, rules, severities, whys []string
		var shares []int32
		if err := rows.Scan(&a.Origin.Topic, &a.Origin.Partition, &a.Origin.Offset, &a.Origin.Item, &a.EventID, &a.Time, &a.KafkaTime, &a.Provider, &a.Region,
			&a.Tenant, &a.Agent, &a.Session, &a.Kind, &score, &session, &cause, &a.Pack, &flags, &rules, &severities, &shares, &whys); err != nil {
			return nil, fmt.Errorf("clickhouse: alerts of %s: %w", r, err)
		}
		a.ID, a.Epoch = scoring.AlertID(db.deployment, r.Epoch, a.Origin), r.Epoch
		a.Score, a.SessionScore, a.Level = scoring.Score(score), scoring.Score(session), scoring.LevelOf(scoring.Score(score))
		a.Cause = scoring.ParseAlertCause(cause)
		a.Flags = scoring.ParseFlags(flags)
		if titles[a.Pack] == nil {
			if titles[a.Pack], err = db.titles(ctx, a.Pack); err != nil {
				return nil, err
			}
		}
		for i, rule := range rules {
			t := titles[a.Pack][rule]
			a.Hits = append(a.Hits, scoring.AlertHit{Rule: rule, TitleEN: t[0], TitleZH: t[1], Severity: scoring.ParseSeverity(severities[i]), Contribution: scoring.Score(shares[i]), Why: whys[i]})
		}
		list = append(list, a)
	}
	return list, rows.Err()
}

func (db *DB) titles(ctx context.Context, pack string) (map[string][2]string, error) {
	rows, err := db.conn.Query(ctx, "SELECT rule, title_en, title_zh FROM "+db.table("rules")+" WHERE pack = ?", pack)
	if err != nil {
		return nil, fmt.Errorf("clickhouse: titles of pack %.12s: %w", pack, err)
	}
	defer rows.Close()
	out := map[string][2]string{}
	for rows.Next() {
		var rule, en, zh string
		if err := rows.Scan(&rule, &en, &zh); err != nil {
			return nil, err
		}
		out[rule] = [2]string{en, zh}
	}
	return out, rows.Err()
}

// StoredOffset counts what the tables hold of one offset. A dead letter whose item has a row that came of its replay
// counts as replayed and not as a dead letter.
type StoredOffset struct {
	Offset      int64
	Rows        uint64
	Distinct    uint64
	DeadLetters uint64
	Both        uint64
	Replayed    uint64
}

// Stored calls yield for every offset of the range that has rows or dead letters, in order.
func (db *DB) Stored(ctx context.Context, r scoring.Range, yield func(StoredOffset)) error {
	rows, err := db.conn.Query(ctx, `SELECT offset, sum(v), countIf(v > 0), countIf(d > 0 AND p = 0), countIf(v > 0 AND d > 0 AND p = 0), countIf(p > 0) FROM (
		SELECT offset, item, sum(v) AS v, sum(d) AS d, sum(p) AS p FROM (
			SELECT offset, item, 1 AS v, 0 AS d, has(flags, 'replayed') AS p FROM `+db.table("verdicts")+inRange+` UNION ALL SELECT offset, item, 0, 1, 0 FROM `+db.table("dead_letters")+inRange+`
		) GROUP BY offset, item) GROUP BY offset ORDER BY offset`, append(rangeArgs(r), rangeArgs(r)...)...)
	if err != nil {
		return fmt.Errorf("clickhouse: stored offsets of %s: %w", r, err)
	}
	defer rows.Close()
	for rows.Next() {
		var s StoredOffset
		if err := rows.Scan(&s.Offset, &s.Rows, &s.Distinct, &s.DeadLetters, &s.Both, &s.Replayed); err != nil {
			return fmt.Errorf("clickhouse: stored offsets of %s: %w", r, err)
		}
		yield(s)
	}
	return rows.Err()
}

// Lanes lists the lanes that the ledger knows, with their newest epoch.
func (db *DB) Lanes(ctx context.Context) (list []scoring.Range, err error) {
	rows, err := db.conn.Query(ctx, "SELECT topic, partition, epoch, min(from_offset), max(to_offset) FROM "+db.table("batches")+" GROUP BY topic, partition, epoch ORDER BY topic, partition, epoch")
	if err != nil {
		return nil, fmt.Errorf("clickhouse: lanes: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var r scoring.Range
		if err := rows.Scan(&r.Topic, &r.Partition, &r.Epoch, &r.From, &r.To); err != nil {
			return nil, err
		}
		list = append(list, r)
	}
	return list, rows.Err()
}

// ScoreSQL is the expression that computes a score, in thousandths of a point, from an array of the strongest weights
// (thousandths) of different families: the twin of [scoring.Combine], equal to the last integer.
func ScoreSQL(weights string) string {
	return "intDiv(1000000000000 - arrayFold((s, w) -> intDiv(s * (1000 - toInt64(w)) + 500, 1000), arrayReverseSort(" + weights + "), toInt64(1000000000000)), 10000000)"
}
