package clickhouse

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/agentrisk/agentrisk/scoring"
)

// States of a dead letter. One whose replay failed is open, with what was found then.
const (
	LetterOpen      = "open"
	LetterReplayed  = "replayed"
	LetterDiscarded = "discarded"
	letterFailed    = "failed"
)

// Letter is a dead letter with what became of it.
type Letter struct {
	scoring.DeadLetter
	State   string
	Written time.Time // of the newest word on it, zero when nobody has touched it
	// What the last replay found, when it failed.
	NewReason, NewDetail string
	Who, Why             string
}

// SameRecord reports whether both are items of one record.
func (l *Letter) SameRecord(o *Letter) bool {
	return l.Topic == o.Topic && l.Partition == o.Partition && l.Epoch == o.Epoch && l.Offset == o.Offset
}

// LetterFilter picks dead letters; what is empty picks all.
type LetterFilter struct {
	Topic, Provider, Reason, State string
	Since, Until                   time.Time // of Kafka
	Origin                         *scoring.Origin
}

// where is the condition for what the filter picks behind after.
func (f *LetterFilter) where(after *Letter) (sql string, args []any) {
	var all []string
	add := func(cond string, values ...any) { all, args = append(all, cond), append(args, values...) }
	for _, c := range []struct{ column, value string }{{"topic", f.Topic}, {"provider", f.Provider}, {"first_reason", f.Reason}, {"now", f.State}} {
		if c.value != "" {
			add(c.column+" = ?", c.value)
		}
	}
	if !f.Since.IsZero() {
		add("toUnixTimestamp64Milli(kafka_time) >= ?", f.Since.UnixMilli())
	}
	if !f.Until.IsZero() {
		add("toUnixTimestamp64Milli(kafka_time) < ?", f.Until.UnixMilli())
	}
	if o := f.Origin; o != nil {
		add("topic = ? AND partition = ? AND offset = ? AND item = ?", o.Topic, o.Partition, o.Offset, o.Item)
	}
	if after != nil {
		add("(topic, partition, epoch, offset, item) > (?, ?, ?, ?, ?)", after.Topic, after.Partition, after.Epoch, after.Offset, after.Item)
	}
	if len(all) == 0 {
		return "", nil
	}
	return " WHERE " + strings.Join(all, " AND "), args
}

// letters is the source of all queries: each dead letter once, with the newest word on it.
func (db *DB) letters() string {
	return `(SELECT l.topic AS topic, l.partition AS partition, l.epoch AS epoch, l.offset AS offset, l.item AS item, l.kafka_time AS kafka_time, l.provider AS provider,
		l.reason AS first_reason, l.detail AS first_detail, l.size AS size, l.sha256 AS sha256, s.reason AS new_reason, s.detail AS new_detail, s.who AS who, s.why AS why, s.at AS at,
		multiIf(s.state = 'replayed', 'replayed', s.state = 'discarded', 'discarded', 'open') AS now
		FROM ` + db.table("dead_letters") + ` AS l FINAL LEFT JOIN (SELECT topic, partition, epoch, offset, item, argMax(state, written) AS state, argMax(reason, written) AS reason,
			argMax(detail, written) AS detail, argMax(who, written) AS who, argMax(why, written) AS why, max(written) AS at FROM ` + db.table("dead_letter_states") + `
			GROUP BY topic, partition, epoch, offset, item) AS s
		ON s.topic = l.topic AND s.partition = l.partition AND s.epoch = l.epoch AND s.offset = l.offset AND s.item = l.item)`
}

// Letters returns at most n dead letters behind after, in the order of their origins.
func (db *DB) Letters(ctx context.Context, f LetterFilter, after *Letter, n int) (list []Letter, err error) {
	where, args := f.where(after)
	rows, err := db.conn.Query(ctx, "SELECT topic, partition, epoch, offset, item, kafka_time, provider, first_reason, first_detail, size, sha256, new_reason, new_detail, who, why, at, now FROM "+
		db.letters()+where+" ORDER BY topic, partition, epoch, offset, item LIMIT ?", append(args, n)...)
	if err != nil {
		return nil, fmt.Errorf("clickhouse: dead letters: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var l Letter
		var kafka time.Time
		var reason string
		var size uint64
		if err := rows.Scan(&l.Topic, &l.Partition, &l.Epoch, &l.Offset, &l.Item, &kafka, &l.Provider, &reason, &l.Detail, &size, &l.Hash, &l.NewReason, &l.NewDetail, &l.Who, &l.Why, &l.Written, &l.State); err != nil {
			return nil, fmt.Errorf("clickhouse: dead letters: %w", err)
		}
		l.KafkaTime, l.Reason, l.Size = kafka.UnixMilli(), scoring.Reason(reason), int(size)
		if l.Written.Unix() <= 0 {
			l.Written = time.Time{}
		}
		list = append(list, l)
	}
	return list, rows.Err()
}

// LetterCount counts dead letters of one kind.
type LetterCount struct {
	By                                 []string // values of what was grouped by
	Letters, Open, Replayed, Discarded uint64
	First, Last                        time.Time // of Kafka
}

// LetterGroups are what letters may be counted by.
var LetterGroups = map[string]string{"reason": "first_reason", "topic": "topic", "provider": "provider", "partition": "toString(partition)",
	"hour": "toString(toStartOfHour(kafka_time))", "day": "toString(toDate(kafka_time))"}

// CountLetters counts by names of [LetterGroups], most first.
func (db *DB) CountLetters(ctx context.Context, f LetterFilter, by []string) (list []LetterCount, err error) {
	where, args := f.where(nil)
	groups := make([]string, len(by))
	for i, b := range by {
		groups[i] = "toString(" + LetterGroups[b] + ")"
	}
	rows, err := db.conn.Query(ctx, "SELECT ["+strings.Join(groups, ", ")+"] AS g, count() AS n, countIf(now = 'open'), countIf(now = 'replayed'), countIf(now = 'discarded'), min(kafka_time), max(kafka_time) FROM "+
		db.letters()+where+" GROUP BY g ORDER BY n DESC, g", args...)
	if err != nil {
		return nil, fmt.Errorf("clickhouse: dead letters: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var c LetterCount
		if err := rows.Scan(&c.By, &c.Letters, &c.Open, &c.Replayed, &c.Discarded, &c.First, &c.Last); err != nil {
			return nil, fmt.Errorf("clickhouse: dead letters: %w", err)
		}
		list = append(list, c)
	}
	return list, rows.Err()
}

// LetterHistory lists every word on a dead letter, oldest first.
func (db *DB) LetterHistory(ctx context.Context, l *Letter) (list []Letter, err error) {
	rows, err := db.conn.Query(ctx, "SELECT state, reason, detail, who, why, written FROM "+db.table("dead_letter_states")+
		" WHERE topic = ? AND partition = ? AND epoch = ? AND offset = ? AND item = ? ORDER BY written", l.Topic, l.Partition, l.Epoch, l.Offset, l.Item)
	if err != nil {
		return nil, fmt.Errorf("clickhouse: history of dead letter %s: %w", l.Origin, err)
	}
	defer rows.Close()
	for rows.Next() {
		var h Letter
		if err := rows.Scan(&h.State, &h.NewReason, &h.NewDetail, &h.Who, &h.Why, &h.Written); err != nil {
			return nil, fmt.Errorf("clickhouse: history of dead letter %s: %w", l.Origin, err)
		}
		list = append(list, h)
	}
	return list, rows.Err()
}

// PutLetterStates notes what became of letters: of each its State, and with a failed replay NewReason and NewDetail.
func (db *DB) PutLetterStates(ctx context.Context, list []Letter) error {
	if len(list) == 0 {
		return nil
	}
	rows := make([][]any, 0, len(list))
	for i := range list {
		l := &list[i]
		state := l.State
		if state == LetterOpen {
			state = letterFailed
		}
		rows = append(rows, []any{l.Topic, l.Partition, l.Epoch, l.Offset, l.Item, state, l.NewReason, l.NewDetail, l.Who, l.Why})
	}
	return db.insert(ctx, "dead_letter_states", "topic, partition, epoch, offset, item, state, reason, detail, who, why", "letters|"+nonce(), rows)
}
