package ingest

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentrisk/agentrisk/scoring"
)

// Metrics of a pipeline. Names are stable; labels are bounded.
type Metrics struct {
	Rows           prometheus.Counter
	Batches        prometheus.Counter
	Records        prometheus.Counter
	Bytes          prometheus.Counter
	Duplicates     prometheus.Counter
	Alerts         prometheus.Counter
	Settled        prometheus.Counter
	Lost           prometheus.Counter
	Skipped        prometheus.Counter
	Unverified     prometheus.Counter
	SnapshotErrors prometheus.Counter
	Adoptions      prometheus.Counter
	PackRefused    prometheus.Gauge
	DeadLetters    *prometheus.CounterVec
	Stage          *prometheus.HistogramVec
	Parked         *prometheus.GaugeVec
	Orders         *prometheus.CounterVec
	Unclean        *prometheus.GaugeVec

	pipeline *Pipeline
}

// NewMetrics returns metrics that are not registered.
func NewMetrics() *Metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "agentrisk", Name: name, Help: help})
	}
	m := &Metrics{
		Rows:           counter("rows_total", "Verdicts stored in ClickHouse."),
		Batches:        counter("batches_total", "Ranges stored and entered in the ledger."),
		Records:        counter("records_total", "Kafka records judged and stored."),
		Bytes:          counter("record_bytes_total", "Bytes of those records."),
		Duplicates:     counter("duplicates_total", "Events marked as a producer's retry."),
		Alerts:         counter("alerts_total", "Alerts written to the outbox."),
		Settled:        counter("settled_ranges_total", "Ranges of which rows stood in the table already."),
		Lost:           counter("lost_offsets_total", "Offsets that the log no longer held, skipped by policy."),
		Skipped:        counter("skipped_offsets_total", "Offsets that an operator ordered to leave out."),
		Unverified:     counter("unverified_starts_total", "Starts at which the record before the position could not be compared."),
		SnapshotErrors: counter("snapshot_errors_total", "Snapshots that could not be saved."),
		Adoptions:      counter("pack_adoptions_total", "Lanes that took up another pack between two batches."),
		PackRefused: prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "agentrisk", Name: "pack_refused",
			Help: "1 while a pack is activated that this process refuses: it judges by the one before."}),
		DeadLetters: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "agentrisk", Name: "dead_letters_total",
			Help: "Records and items that became dead letters."}, []string{"reason"}),
		Stage: prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: "agentrisk", Name: "batch_stage_seconds",
			Help: "Time of a batch by stage: fill, insert, acknowledge.", Buckets: prometheus.ExponentialBuckets(0.005, 2, 14)}, []string{"stage"}),
		Parked: prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "agentrisk", Name: "lane_parked",
			Help: "1 for a lane that waits for an operator."}, []string{"topic", "partition", "reason"}),
		Orders: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "agentrisk", Name: "lane_orders_total",
			Help: "Orders of operators that lanes have answered."}, []string{"verb", "answer"}),
		Unclean: prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "agentrisk", Name: "lane_unclean_starts",
			Help: "Starts of the lane at its position that followed a process's unclean end and found no record to blame; from the third on the lane waits before it goes on."}, []string{"topic", "partition"}),
	}
	for _, r := range scoring.Reasons {
		m.DeadLetters.WithLabelValues(string(r))
	}
	return m
}

func (m *Metrics) observe(p *Pipeline) { m.pipeline = p }

// finished counts a batch that is in the ledger.
func (m *Metrics) finished(b *batch, began, inserted, end time.Time) {
	m.Batches.Inc()
	m.Rows.Add(float64(b.line.Rows))
	m.Records.Add(float64(b.records))
	m.Bytes.Add(float64(b.bytes))
	m.Duplicates.Add(float64(b.line.Duplicates))
	m.Alerts.Add(float64(b.line.Alerts))
	if b.line.Status == scoring.LineMixed {
		m.Settled.Inc()
	}
	for i := range b.dead {
		m.DeadLetters.WithLabelValues(string(b.dead[i].Reason)).Inc()
	}
	m.Stage.WithLabelValues("fill").Observe(began.Sub(b.opened).Seconds())
	m.Stage.WithLabelValues("insert").Observe(inserted.Sub(began).Seconds())
	m.Stage.WithLabelValues("acknowledge").Observe(end.Sub(inserted).Seconds())
}

func (m *Metrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.Rows, m.Batches, m.Records, m.Bytes, m.Duplicates, m.Alerts, m.Settled, m.Lost, m.Skipped, m.Unverified,
		m.SnapshotErrors, m.Adoptions, m.PackRefused, m.DeadLetters, m.Stage, m.Parked, m.Orders, m.Unclean}
}

var (
	laneLabels  = []string{"topic", "partition"}
	descLag     = prometheus.NewDesc("agentrisk_lane_lag", "Offsets of the lane that are not stored yet.", laneLabels, nil)
	descDone    = prometheus.NewDesc("agentrisk_lane_done_offset", "Everything below this offset is stored.", laneLabels, nil)
	descPlanAge = prometheus.NewDesc("agentrisk_lane_plan_age_seconds", "Age of the range that is being stored, 0 without one.", laneLabels, nil)
	descState   = prometheus.NewDesc("agentrisk_lane_state", "1 for the state that the lane is in: starting, running, retrying, waiting, parked, drained.", append(laneLabels, "state"), nil)
	descAgents  = prometheus.NewDesc("agentrisk_state_agents", "Agents that the lane remembers.", laneLabels, nil)
	descBytes   = prometheus.NewDesc("agentrisk_state_bytes", "Memory of what the lane remembers, about.", laneLabels, nil)
	descEvicted = prometheus.NewDesc("agentrisk_state_evictions_total", "Agents and sessions that went because the lane's memory was full: later verdicts may be marked cold.", laneLabels, nil)
	descPack    = prometheus.NewDesc("agentrisk_pack_info", "1 for the pack that the process judges by.", []string{"pack", "version", "digest", "engine"}, nil)
	descUsed    = prometheus.NewDesc("agentrisk_memory_budget_used_bytes", "Memory that open batches hold.", nil, nil)
	descTotal   = prometheus.NewDesc("agentrisk_memory_budget_bytes", "Memory that open batches may hold.", nil, nil)
)

// Describe and Collect make Metrics a Prometheus collector.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range m.collectors() {
		c.Describe(ch)
	}
	for _, d := range []*prometheus.Desc{descLag, descDone, descPlanAge, descState, descAgents, descBytes, descEvicted, descPack, descUsed, descTotal} {
		ch <- d
	}
}

func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	for _, c := range m.collectors() {
		c.Collect(ch)
	}
	p := m.pipeline
	if p == nil {
		return
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	for _, s := range p.Status() {
		part := fmt.Sprint(s.Partition)
		gauge(descLag, float64(s.Lag()), s.Topic, part)
		gauge(descDone, float64(s.Done), s.Topic, part)
		age, _ := time.ParseDuration(s.PlanAge)
		gauge(descPlanAge, age.Seconds(), s.Topic, part)
		gauge(descState, 1, s.Topic, part, s.State)
		gauge(descAgents, float64(s.Agents), s.Topic, part)
		gauge(descBytes, float64(s.StateBytes), s.Topic, part)
		ch <- prometheus.MustNewConstMetric(descEvicted, prometheus.CounterValue, float64(s.Evictions), s.Topic, part)
	}
	pack := p.InForce()
	gauge(descPack, 1, pack.Name, pack.Version, pack.Digest, scoring.EngineVersion)
	gauge(descUsed, float64(p.Budget.Used()))
	gauge(descTotal, float64(p.Budget.Total()))
}
