package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/agentrisk/agentrisk/ingest"
	"github.com/agentrisk/agentrisk/ingest/kafka"
	"github.com/agentrisk/agentrisk/sink/clickhouse"
)

func lanesCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "lanes",
		Short: "Who owns which lane, where it stands, and what keeps it; orders to parked ones",
		Long: `Lists every partition of the bound topics: who serves it (from the consumer group), how far it is stored (from the
ledger), the range that is being stored (from the group's commit), and what its process last said of it. It reads only.

A lane that cannot go on without an operator parks; the others go on. WHY says what was found and what to do. Then
` + "`lanes skip`" + ` leaves offsets out, and ` + "`lanes resume`" + ` has it try again. Both leave a row of who and why in lane_orders, are
obeyed by the running process within seconds, once, and are refused when the lane is not parked.`,
		Args: cobra.NoArgs,
		Example: `  agentrisk lanes --config agentrisk.yaml
  agentrisk lanes skip agent.events.alpha/3 --one --reason "INC-1234: record kills the decoder"`,
	}
	path := configFlag(cmd)
	asJSON := output(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		p, err := wire(*path)
		if err != nil {
			return err
		}
		defer p.close()
		if err := p.open(cmd.Context()); err != nil {
			return err
		}
		list, err := p.lanes(cmd.Context(), "")
		if err != nil {
			return err
		}
		if asJSON() {
			e := json.NewEncoder(cmd.OutOrStdout())
			e.SetIndent("", "  ")
			return e.Encode(list)
		}
		w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "LANE\tEPOCH\tSTATE\tOWNER\tDONE\tPLAN\tEND\tLAG\tAGE\tWHY")
		for _, l := range list {
			plan, age := "-", "-"
			if l.PlanTo > 0 {
				plan = fmt.Sprintf("[%d, %d)", l.Committed, l.PlanTo)
			}
			if l.Ledger != nil {
				age = time.Since(*l.Ledger).Round(time.Second).String()
			}
			why := l.Detail
			if l.Reason != "" {
				why = l.Reason + ": " + why
			}
			fmt.Fprintf(w, "%s/%d\t%d\t%s\t%s\t%d\t%s\t%d\t%d\t%s\t%s\n", l.Topic, l.Partition, l.Epoch, l.State, l.owner(), l.Done, plan, l.End, l.Lag, age, why)
		}
		return w.Flush()
	}
	cmd.AddCommand(lanesSkipCommand(), lanesResumeCommand())
	return cmd
}

// laneView is a lane from all that know of it.
type laneView struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Epoch     int32  `json:"epoch"`
	// State is what the lane's process said within the last half minute; "owned" when it said nothing yet, "nobody" when
	// no process serves the lane.
	State       string     `json:"state"`
	Reason      string     `json:"reason,omitempty"` // why it is parked
	Detail      string     `json:"detail,omitempty"`
	Since       *time.Time `json:"since,omitempty"`
	Incarnation string     `json:"incarnation,omitempty"`
	Host        string     `json:"host,omitempty"`
	HasLedger   bool       `json:"has_ledger"`
	Done        int64      `json:"done"`      // contiguous end of the ledger
	Committed   int64      `json:"committed"` // by the group, -1 for nothing
	PlanTo      int64      `json:"plan_to,omitempty"`
	Start       int64      `json:"start"` // first offset that the log holds
	End         int64      `json:"end"`
	Lag         int64      `json:"lag"`
	Ledger      *time.Time `json:"ledger,omitempty"` // when the ledger's newest line was written
}

func (l *laneView) owner() string {
	if l.Incarnation == "" && l.Host == "" {
		return "-"
	}
	return l.Incarnation + "@" + l.Host
}

// lanes lists the lanes of the bound topics, or of one topic.
func (p *parts) lanes(ctx context.Context, only string) (list []laneView, err error) {
	topics, err := p.topics(ctx)
	if err != nil {
		return nil, err
	}
	group, owners, err := p.kafka.Owners(ctx, p.config.Kafka.Group)
	if err != nil {
		return nil, err
	}
	positions, err := p.db.LanePositions(ctx)
	if err != nil {
		return nil, err
	}
	said, err := p.db.LaneStatuses(ctx)
	if err != nil {
		return nil, err
	}
	for _, topic := range topics {
		if only != "" && topic != only {
			continue
		}
		binding, err := p.bindingOf(topic)
		if err != nil {
			return nil, err
		}
		bounds, err := p.kafka.Offsets(ctx, topic)
		if err != nil {
			return nil, err
		}
		partitions := make([]int32, len(bounds))
		for i, b := range bounds {
			partitions[i] = b.Partition
		}
		committed, err := p.kafka.Committed(ctx, p.config.Kafka.Group, topic, partitions)
		if err != nil {
			return nil, err
		}
		for _, b := range bounds {
			l := laneView{Topic: topic, Partition: b.Partition, Epoch: binding.Epoch, State: "nobody", Start: b.First, End: b.Next, Done: b.First, Committed: committed[b.Partition].Offset}
			if to, epoch, _, err := ingest.Planned(committed[b.Partition].Metadata); err == nil && epoch == l.Epoch {
				l.PlanTo = to
			}
			for i := range positions {
				if at := &positions[i]; at.Topic == topic && at.Partition == b.Partition && at.Epoch == l.Epoch {
					l.HasLedger, l.Done, l.Ledger = true, at.To, &at.Written
				}
			}
			l.Lag = max(0, l.End-l.Done)
			if _, owned := owners[topic][l.Partition]; owned || strings.HasSuffix(group, "Rebalance") { // else its last owner is gone
				l.hear(owners[topic], said)
			}
			list = append(list, l)
		}
	}
	return list, nil
}

// hear adds who serves the lane and what that process said.
func (l *laneView) hear(owners map[int32]kafka.Owner, said []clickhouse.LaneStatus) {
	o, owned := owners[l.Partition]
	if owned {
		l.State, l.Incarnation, l.Host = "owned", o.Incarnation, o.Host
	}
	for i := range said {
		s := &said[i]
		if s.Topic != l.Topic || s.Partition != l.Partition || owned && o.Incarnation != "" && s.Incarnation != o.Incarnation {
			continue
		}
		l.State, l.Reason, l.Detail, l.Since, l.Incarnation, l.Host = s.State, s.Reason, s.Detail, &s.Since, s.Incarnation, s.Host
	}
}

// orderFlags are what both orders take.
type orderFlags struct {
	reason, who *string
	force       *bool
	wait        *time.Duration
}

func addOrderFlags(cmd *cobra.Command) orderFlags {
	return orderFlags{
		reason: cmd.Flags().String("reason", "", "why; stands in lane_orders (required)"),
		who:    cmd.Flags().String("who", operator(), "who orders it; stands in lane_orders"),
		force:  cmd.Flags().Bool("force", false, "also when the lane is not parked: it breaks off what it does, and starts again"),
		wait:   cmd.Flags().Duration("wait", time.Minute, "how long to wait for the lane's answer"),
	}
}

// operator is the user and host that stand in audit rows.
func operator() string {
	name := "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	host, _ := os.Hostname()
	return name + "@" + host
}

func lanesSkipCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "skip TOPIC/PARTITION",
		Short: "Order a parked lane to leave offsets out and go on behind them",
		Long: `The lane enters the range from where it stands up to --to in the ledger as skipped, so that reconcile accounts for
every offset, and goes on behind it. Nothing of the range is judged, now or later; rows that were stored of it already stay.
The lane's state starts cold behind it, because the state must be what the log says: state_from on later rows tells.

For a lane that is parked for want of a ledger (no_ledger) it says from where: --to committed goes on at the group's
position, --to start judges everything that the log holds.`,
		Args: cobra.ExactArgs(1),
		Example: `  agentrisk lanes skip agent.events.alpha/3 --one --reason "INC-1234"
  agentrisk lanes skip agent.events.alpha/3 --to start --reason "retention took what was not read"`,
	}
	path := configFlag(cmd)
	to := cmd.Flags().String("to", "", "offset to go on at; or start (of the log), committed (by the group), end (of the log)")
	one := cmd.Flags().Bool("one", false, "leave out the one offset at which the lane stands")
	f := addOrderFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *one == (*to != "") {
			return usageError{fmt.Errorf("say either --one or --to OFFSET")}
		}
		return giveOrder(cmd, *path, args[0], f, func(l *laneView, o *clickhouse.Order) error {
			o.Verb, o.From = ingest.OrderSkip, l.Done
			switch *to {
			case "":
				o.To = l.Done + 1
			case "start":
				o.To = l.Start
			case "end":
				o.To = l.End
			case "committed":
				if o.To = l.Committed; o.To < 0 {
					return fmt.Errorf("the group has committed nothing for %s/%d", l.Topic, l.Partition)
				}
			default:
				n, err := strconv.ParseInt(*to, 10, 64)
				if err != nil || n < 0 {
					return usageError{fmt.Errorf("--to %q: want an offset, or start, committed or end", *to)}
				}
				o.To = n
			}
			if o.To < o.From || o.To == o.From && l.HasLedger {
				return fmt.Errorf("%s/%d stands at %d: everything below is done, nothing up to %d can be skipped", l.Topic, l.Partition, l.Done, o.To)
			}
			return nil
		})
	}
	return cmd
}

func lanesResumeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "resume TOPIC/PARTITION",
		Short: "Order a parked lane to try again",
		Long: `For a lane whose cause is mended: rights were granted, the disk has room, the database was restored. It starts again from
what the ledger says, and parks again when the cause is still there.`,
		Args:    cobra.ExactArgs(1),
		Example: `  agentrisk lanes resume agent.events.alpha/3 --reason "INC-1234: grant restored"`,
	}
	path := configFlag(cmd)
	f := addOrderFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return giveOrder(cmd, *path, args[0], f, func(_ *laneView, o *clickhouse.Order) error {
			o.Verb = ingest.OrderResume
			return nil
		})
	}
	return cmd
}

// giveOrder leaves an order for a lane and waits for its answer.
func giveOrder(cmd *cobra.Command, path, lane string, f orderFlags, fill func(*laneView, *clickhouse.Order) error) error {
	if strings.TrimSpace(*f.reason) == "" {
		return usageError{fmt.Errorf("--reason is needed: it stands in lane_orders beside who ordered it")}
	}
	topic, partition, err := parseLane(lane)
	if err != nil {
		return usageError{err}
	}
	ctx := cmd.Context()
	p, err := wire(path)
	if err != nil {
		return err
	}
	defer p.close()
	if err := p.open(ctx); err != nil {
		return err
	}
	list, err := p.lanes(ctx, topic)
	if err != nil {
		return err
	}
	var l *laneView
	for i := range list {
		if list[i].Partition == partition {
			l = &list[i]
		}
	}
	switch {
	case l == nil:
		return fmt.Errorf("no lane %s: `agentrisk lanes` lists those of the bound topics", lane)
	case l.State == "nobody":
		return fmt.Errorf("no process serves %s: start `agentrisk run`, it obeys orders", lane)
	case l.State != "parked" && l.State != "owned" && l.State != "starting" && !*f.force:
		return fmt.Errorf("%s is %s and not parked: nothing holds it up; --force orders it all the same", lane, l.State)
	}
	o := clickhouse.Order{Topic: topic, Partition: partition, Epoch: l.Epoch, Force: *f.force, Who: *f.who, Why: *f.reason}
	if err := fill(l, &o); err != nil {
		return err
	}
	id, err := p.db.PutOrder(ctx, o)
	if err != nil {
		return err
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "order %s: %s %s; waits for %s\n", id, o.Verb, lane, l.owner())
	for end := time.Now().Add(*f.wait); time.Now().Before(end); {
		a, err := p.db.OrderAnswer(ctx, id)
		if err != nil {
			return err
		}
		switch a.State {
		case ingest.OrderDone:
			fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", lane, a.Detail)
			return nil
		case ingest.OrderRefused:
			return fmt.Errorf("%s refused: %s", lane, a.Detail)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(500 * time.Millisecond):
		}
	}
	return fmt.Errorf("nobody has answered order %s within %s: it stays open for a day; `agentrisk lanes` shows who owns the lane", id, *f.wait)
}

// parseLane reads TOPIC/PARTITION.
func parseLane(s string) (topic string, partition int32, err error) {
	i := strings.LastIndexByte(s, '/')
	n, err := strconv.ParseInt(s[i+1:], 10, 32)
	if i <= 0 || err != nil || n < 0 {
		return "", 0, fmt.Errorf("lane %q: want TOPIC/PARTITION, as in agent.events.alpha/3", s)
	}
	return s[:i], int32(n), nil
}

// How often a process says how its lanes are when nothing changes, and how often it looks.
const (
	statusEvery = 10 * time.Second
	statusLook  = time.Second
)

// tellStatus keeps the process's own word on its lanes in the database, for `agentrisk lanes`. That it cannot be stored
// harms nothing.
func (p *parts) tellStatus(ctx context.Context, incarnation string, pipeline *ingest.Pipeline) error {
	host, _ := os.Hostname()
	var told string
	var at time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(statusLook):
		}
		var list []clickhouse.LaneStatus
		var now strings.Builder
		for _, s := range pipeline.Status() {
			fmt.Fprintln(&now, s.Topic, s.Partition, s.State, s.Reason)
			list = append(list, clickhouse.LaneStatus{Topic: s.Topic, Partition: s.Partition, Epoch: s.Epoch, Incarnation: incarnation, Host: host,
				State: s.State, Reason: s.Reason, Detail: s.Detail, Since: s.Since, Done: s.Done, PlanTo: s.PlanTo})
		}
		if len(list) == 0 || now.String() == told && time.Since(at) < statusEvery {
			continue
		}
		if err := p.db.PutLaneStatus(ctx, list); err != nil {
			p.log.Debug("status of lanes not stored", "err", err)
			continue
		}
		told, at = now.String(), time.Now()
	}
}
