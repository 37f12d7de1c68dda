package clickhouse

import (
	"context"
	"fmt"
	"time"

	"github.com/agentrisk/agentrisk/scoring"
)

// Order is what an operator asks of a lane.
type Order struct {
	ID               string
	Topic            string
	Partition, Epoch int32
	Verb             string
	From, To         int64
	Force            bool
	Who, Why         string
}

// Answer is what came of an order; State is empty as long as nobody has answered.
type Answer struct {
	State   string // done or refused
	By      string // incarnation
	Detail  string
	Written time.Time
}

const orderColumns = "id, topic, partition, epoch, verb, from_offset, to_offset, force, state, who, why"

func (db *DB) putOrder(ctx context.Context, o Order, state, who, why string) error {
	return db.insert(ctx, "lane_orders", orderColumns, "order|"+nonce(), [][]any{{o.ID, o.Topic, o.Partition, o.Epoch, o.Verb, o.From, o.To, o.Force, state, who, why}})
}

// PutOrder leaves an order for the process that owns the lane and returns its id.
func (db *DB) PutOrder(ctx context.Context, o Order) (id string, err error) {
	o.ID = nonce()
	return o.ID, db.putOrder(ctx, o, "ordered", o.Who, o.Why)
}

// OpenOrders lists the orders of the last day that nobody has answered, oldest first.
func (db *DB) OpenOrders(ctx context.Context) (list []Order, err error) {
	rows, err := db.conn.Query(ctx, "SELECT id, topic, partition, epoch, verb, from_offset, to_offset, force, who, why FROM "+db.table("lane_orders")+
		" WHERE state = 'ordered' AND written > now() - INTERVAL 1 DAY AND id NOT IN (SELECT id FROM "+db.table("lane_orders")+" WHERE state != 'ordered') ORDER BY written, id")
	if err != nil {
		return nil, fmt.Errorf("clickhouse: open orders: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var o Order
		if err := rows.Scan(&o.ID, &o.Topic, &o.Partition, &o.Epoch, &o.Verb, &o.From, &o.To, &o.Force, &o.Who, &o.Why); err != nil {
			return nil, fmt.Errorf("clickhouse: open orders: %w", err)
		}
		list = append(list, o)
	}
	return list, rows.Err()
}

// AnswerOrder says what came of an order; from then on it is not open.
func (db *DB) AnswerOrder(ctx context.Context, o Order, answer, detail, by string) error {
	return db.putOrder(ctx, o, answer, by, detail)
}

// OrderAnswer reads what came of an order.
func (db *DB) OrderAnswer(ctx context.Context, id string) (a Answer, err error) {
	if err := db.conn.QueryRow(ctx, "SELECT argMax(state, written), argMax(who, written), argMax(why, written), max(written) FROM "+db.table("lane_orders")+
		" WHERE id = ? AND state != 'ordered'", id).Scan(&a.State, &a.By, &a.Detail, &a.Written); err != nil {
		return Answer{}, fmt.Errorf("clickhouse: answer to order %s: %w", id, err)
	}
	return a, nil
}

// LaneStatus is what a process says of a lane.
type LaneStatus struct {
	Topic                 string
	Partition, Epoch      int32
	Incarnation, Host     string
	State, Reason, Detail string
	Since                 time.Time
	Done, PlanTo          int64
	Written               time.Time // set by the server
}

// PutLaneStatus stores what a process says of its lanes.
func (db *DB) PutLaneStatus(ctx context.Context, list []LaneStatus) error {
	rows := make([][]any, 0, len(list))
	for _, s := range list {
		rows = append(rows, []any{s.Topic, s.Partition, s.Epoch, s.Incarnation, s.Host, s.State, s.Reason, s.Detail, s.Since.UTC(), s.Done, s.PlanTo})
	}
	return db.insert(ctx, "lane_status", "topic, partition, epoch, incarnation, host, state, reason, detail, since, done_offset, plan_to", "status|"+nonce(), rows)
}

// LaneStatuses reads the newest word on each lane that is not older than half a minute.
func (db *DB) LaneStatuses(ctx context.Context) (list []LaneStatus, err error) {
	rows, err := db.conn.Query(ctx, "SELECT topic, partition, epoch, incarnation, host, state, reason, detail, since, done_offset, plan_to, written FROM "+db.table("lane_status")+
		" WHERE written > now() - INTERVAL 30 SECOND ORDER BY topic, partition, written DESC LIMIT 1 BY topic, partition")
	if err != nil {
		return nil, fmt.Errorf("clickhouse: status of lanes: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var s LaneStatus
		if err := rows.Scan(&s.Topic, &s.Partition, &s.Epoch, &s.Incarnation, &s.Host, &s.State, &s.Reason, &s.Detail, &s.Since, &s.Done, &s.PlanTo, &s.Written); err != nil {
			return nil, fmt.Errorf("clickhouse: status of lanes: %w", err)
		}
		list = append(list, s)
	}
	return list, rows.Err()
}

// LanePosition is how far the ledger knows a lane.
type LanePosition struct {
	scoring.Range           // To is the contiguous end
	Reach         int64     // the highest end, behind gaps
	Written       time.Time // of the newest line
	Status        string    // of the newest line
}

// LanePositions reads the ledger's ends of all lanes, in their newest epoch each.
func (db *DB) LanePositions(ctx context.Context) (list []LanePosition, err error) {
	rows, err := db.conn.Query(ctx, `SELECT topic, partition, epoch, least, if(g.gap > 0, g.until, reach) AS end, reach, newest, last FROM (
			SELECT topic, partition, epoch, min(from_offset) AS least, max(to_offset) AS reach, max(written) AS newest, argMax(status, written) AS last
			FROM `+db.table("batches")+` GROUP BY topic, partition, epoch ORDER BY topic, partition, epoch DESC LIMIT 1 BY topic, partition) AS l
		LEFT JOIN (SELECT topic, partition, epoch, min(from_offset) AS until, count() AS gap FROM `+db.table("ledger_gaps")+` GROUP BY topic, partition, epoch) AS g
		USING (topic, partition, epoch) ORDER BY topic, partition`)
	if err != nil {
		return nil, fmt.Errorf("clickhouse: positions of lanes: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var p LanePosition
		if err := rows.Scan(&p.Topic, &p.Partition, &p.Epoch, &p.From, &p.To, &p.Reach, &p.Written, &p.Status); err != nil {
			return nil, fmt.Errorf("clickhouse: positions of lanes: %w", err)
		}
		list = append(list, p)
	}
	return list, rows.Err()
}
