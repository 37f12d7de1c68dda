package clickhouse

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/agentrisk/agentrisk/scoring"
)

// inRange is the condition for the offsets of a range; its arguments are those of rangeArgs.
const inRange = " WHERE topic = ? AND partition = ? AND epoch = ? AND offset >= ? AND offset < ?"

func rangeArgs(r scoring.Range) []any { return []any{r.Topic, r.Partition, r.Epoch, r.From, r.To} }

// LedgerEnds tells the least and the highest offset that lines of a lane's epoch name.
func (db *DB) LedgerEnds(ctx context.Context, topic string, partition, epoch int32) (from, to int64, err error) {
	if err := db.conn.QueryRow(ctx, "SELECT min(from_offset), max(to_offset) FROM "+db.table("batches")+" WHERE topic = ? AND partition = ? AND epoch = ?", topic, partition, epoch).Scan(&from, &to); err != nil {
		return 0, 0, fmt.Errorf("clickhouse: ledger of %s/%d: %w", topic, partition, err)
	}
	return from, to, nil
}

// LedgerPage returns at most n lines that cover something, from the first on after (afterFrom, afterTo) in the order of
// their ranges, none beyond end. Of lines of one range the newest counts.
func (db *DB) LedgerPage(ctx context.Context, topic string, partition, epoch int32, afterFrom, afterTo, end int64, n int) (list []scoring.Line, err error) {
	rows, err := db.conn.Query(ctx, "SELECT "+lineColumns+" FROM "+db.table("batches")+` WHERE topic = ? AND partition = ? AND epoch = ? AND from_offset < to_offset AND to_offset <= ?
		AND (from_offset > ? OR from_offset = ? AND to_offset > ?) ORDER BY from_offset, to_offset, written DESC LIMIT 1 BY from_offset, to_offset LIMIT ?`,
		topic, partition, epoch, end, afterFrom, afterFrom, afterTo, n)
	if err != nil {
		return nil, fmt.Errorf("clickhouse: ledger of %s/%d: %w", topic, partition, err)
	}
	defer rows.Close()
	for rows.Next() {
		x, err := scanLine(rows)
		if err != nil {
			return nil, fmt.Errorf("clickhouse: ledger of %s/%d: %w", topic, partition, err)
		}
		list = append(list, x)
	}
	return list, rows.Err()
}

// Kept tells the Kafka times, unix milliseconds, before which retention may have taken rows and dead letters: their days
// less two.
func (db *DB) Kept(ctx context.Context) (verdicts, letters int64, err error) {
	for _, t := range []struct {
		table string
		edge  *int64
	}{{"verdicts", &verdicts}, {"dead_letters", &letters}} {
		edge, err := db.retention(ctx, t.table)
		if err != nil {
			return 0, 0, err
		}
		if !edge.IsZero() {
			*t.edge = edge.UnixMilli()
		}
	}
	return verdicts, letters, nil
}

// retention tells before when rows of a table may be gone: its days less two, by the clock of the server, which takes
// them; ours may be wrong. It is zero for a table that keeps rows for ever.
func (db *DB) retention(ctx context.Context, table string) (edge time.Time, err error) {
	var days uint32
	var now time.Time
	if err := db.conn.QueryRow(ctx, `SELECT toUInt32OrZero(extract(engine_full, 'toIntervalDay\\((\\d+)\\)')), now() FROM system.tables WHERE database = ? AND name = ?`, db.cfg.Database, table).Scan(&days, &now); err != nil {
		return edge, fmt.Errorf("clickhouse: retention of %s: %w", table, err)
	}
	if days > 0 {
		edge = now.AddDate(0, 0, 2-int(days))
	}
	return edge, nil
}

// Items calls yield for each item of the range that has a row or a dead letter.
func (db *DB) Items(ctx context.Context, r scoring.Range, yield func(offset int64, item int32)) error {
	rows, err := db.conn.Query(ctx, "SELECT DISTINCT offset, item FROM (SELECT offset, item FROM "+db.table("verdicts")+inRange+" UNION ALL SELECT offset, item FROM "+db.table("dead_letters")+inRange+")",
		append(rangeArgs(r), rangeArgs(r)...)...)
	if err != nil {
		return fmt.Errorf("clickhouse: items of %s: %w", r, err)
	}
	defer rows.Close()
	for rows.Next() {
		var p place
		if err := rows.Scan(&p.offset, &p.item); err != nil {
			return fmt.Errorf("clickhouse: items of %s: %w", r, err)
		}
		yield(p.offset, p.item)
	}
	return rows.Err()
}

// mergeTime is how long the merge of a day may take.
const mergeTime = 30 * time.Minute

// Merge makes one row of each that stands twice in the range. Doubles have one sorting key, so a merge of their day makes
// them one; where two judged a record under different keys (another clock, another decoder) the one with the least key
// stays and the others are deleted.
func (db *DB) Merge(ctx context.Context, r scoring.Range) (did []string, err error) {
	days, err := db.doubledDays(ctx, r)
	if err != nil {
		return nil, err
	}
	for _, day := range days {
		merge, cancel := context.WithTimeout(ctx, mergeTime)
		err := db.exec(merge, fmt.Sprintf("OPTIMIZE TABLE %s PARTITION %d FINAL", db.table("verdicts"), day))
		cancel()
		if err != nil {
			return did, fmt.Errorf("clickhouse: merge day %d of verdicts: %w", day, err)
		}
		did = append(did, fmt.Sprintf("day %d of verdicts is merged", day))
	}
	if days, err = db.doubledDays(ctx, r); err != nil || len(days) == 0 {
		return did, err
	}
	rows, err := db.conn.Query(ctx, `SELECT offset, item, min((toUnixTimestamp64Milli(kafka_time), provider, tenant_id, agent_id)) AS keep FROM `+db.table("verdicts")+inRange+
		` GROUP BY offset, item HAVING count() > 1 AND uniqExact(kafka_time, provider, tenant_id, agent_id) > 1`, rangeArgs(r)...)
	if err != nil {
		return did, fmt.Errorf("clickhouse: doubles of %s: %w", r, err)
	}
	defer rows.Close()
	var others []string
	for rows.Next() {
		var p place
		var keep []any
		if err := rows.Scan(&p.offset, &p.item, &keep); err != nil {
			return did, fmt.Errorf("clickhouse: doubles of %s: %w", r, err)
		}
		others = append(others, fmt.Sprintf("(offset = %d AND item = %d AND (toUnixTimestamp64Milli(kafka_time), provider, tenant_id, agent_id) != (%d, %s, %s, %s))", p.offset, p.item, keep[0], quote(keep[1].(string)), quote(keep[2].(string)), quote(keep[3].(string))))
	}
	if err := rows.Err(); err != nil || len(others) == 0 {
		return did, err
	}
	for i := 0; i < len(others); i += 200 {
		some := others[i:min(len(others), i+200)]
		if err := db.exec(ctx, "DELETE FROM "+db.table("verdicts")+inRange+" AND ("+strings.Join(some, " OR ")+")", rangeArgs(r)...); err != nil {
			return did, fmt.Errorf("clickhouse: delete doubles of %s: %w", r, err)
		}
	}
	return append(did, fmt.Sprintf("%s: %d items had rows under different keys; the least of each stays", r, len(others))), nil
}

// doubledDays lists the days of verdicts that hold rows of the range which stand twice.
func (db *DB) doubledDays(ctx context.Context, r scoring.Range) (days []uint32, err error) {
	rows, err := db.conn.Query(ctx, "SELECT DISTINCT arrayJoin(d) FROM (SELECT groupUniqArray(toYYYYMMDD(kafka_time)) AS d FROM "+db.table("verdicts")+inRange+" GROUP BY offset, item HAVING count() > 1)", rangeArgs(r)...)
	if err != nil {
		return nil, fmt.Errorf("clickhouse: doubles of %s: %w", r, err)
	}
	defer rows.Close()
	for rows.Next() {
		var d uint32
		if err := rows.Scan(&d); err != nil {
			return nil, fmt.Errorf("clickhouse: doubles of %s: %w", r, err)
		}
		days = append(days, d)
	}
	return days, rows.Err()
}

// DropLetters removes the dead letters of items that have a row which does not come of a replay, and counts them.
func (db *DB) DropLetters(ctx context.Context, r scoring.Range) (n int, err error) {
	rows, err := db.conn.Query(ctx, "SELECT DISTINCT offset, item FROM "+db.table("dead_letters")+inRange+" AND (offset, item) IN (SELECT offset, item FROM "+db.table("verdicts")+inRange+" AND NOT has(flags, 'replayed'))",
		append(rangeArgs(r), rangeArgs(r)...)...)
	if err != nil {
		return 0, fmt.Errorf("clickhouse: dead letters of %s: %w", r, err)
	}
	defer rows.Close()
	var list []string
	for rows.Next() {
		var p place
		if err := rows.Scan(&p.offset, &p.item); err != nil {
			return 0, fmt.Errorf("clickhouse: dead letters of %s: %w", r, err)
		}
		list = append(list, fmt.Sprintf("(%d, %d)", p.offset, p.item))
	}
	if err := rows.Err(); err != nil || len(list) == 0 {
		return 0, err
	}
	if err := db.exec(ctx, "DELETE FROM "+db.table("dead_letters")+inRange+" AND (offset, item) IN ("+strings.Join(list, ", ")+")", rangeArgs(r)...); err != nil {
		return 0, fmt.Errorf("clickhouse: remove dead letters of %s: %w", r, err)
	}
	return len(list), nil
}

// Hold takes or renews a hold on a lane for as long as the server's clock says, and names who else holds it.
func (db *DB) Hold(ctx context.Context, topic string, partition, epoch int32, id, who string, d time.Duration) (others []string, err error) {
	fail := func(err error) ([]string, error) {
		return nil, fmt.Errorf("clickhouse: hold %s/%d: %w", topic, partition, err)
	}
	if err := db.exec(ctx, "INSERT INTO "+db.table("lane_holds")+" (topic, partition, epoch, id, who, until) SELECT ?, toInt32(?), toInt32(?), ?, ?, now64(3) + toIntervalMillisecond(?)", topic, partition, epoch, id, who, d.Milliseconds()); err != nil {
		return fail(err)
	}
	rows, err := db.conn.Query(ctx, "SELECT argMax(who, written) FROM "+db.table("lane_holds")+" WHERE topic = ? AND partition = ? AND epoch = ? AND id != ? GROUP BY id HAVING argMax(until, written) > now64(3)", topic, partition, epoch, id)
	if err != nil {
		return fail(err)
	}
	defer rows.Close()
	for rows.Next() {
		var w string
		if err := rows.Scan(&w); err != nil {
			return fail(err)
		}
		others = append(others, w)
	}
	return others, rows.Err()
}

// Release ends a hold.
func (db *DB) Release(ctx context.Context, topic string, partition, epoch int32, id string) error {
	if _, err := db.Hold(ctx, topic, partition, epoch, id, "", 0); err != nil {
		return err
	}
	return nil
}

// HeldBy names who holds a lane, "" for nobody.
func (db *DB) HeldBy(ctx context.Context, topic string, partition, epoch int32) (who string, err error) {
	if err := db.conn.QueryRow(ctx, "SELECT arrayStringConcat(groupArray(w), ', ') FROM (SELECT argMax(who, written) AS w FROM "+db.table("lane_holds")+
		" WHERE topic = ? AND partition = ? AND epoch = ? GROUP BY id HAVING argMax(until, written) > now64(3))", topic, partition, epoch).Scan(&who); err != nil {
		return "", fmt.Errorf("clickhouse: holds on %s/%d: %w", topic, partition, err)
	}
	return who, nil
}
