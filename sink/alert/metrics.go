package alert

import "github.com/prometheus/client_golang/prometheus"

// Why an alert left the outbox undelivered; the label of a metric.
const (
	reasonMalformed = "malformed" // the record is no alert
	reasonRefused   = "refused"   // the receiver refuses it for good
)

// Metrics of all notifiers of a process. Names are stable; labels are bounded.
type Metrics struct {
	Delivered *prometheus.CounterVec
	Failed    *prometheus.CounterVec
	Dead      *prometheus.CounterVec
	Lost      *prometheus.CounterVec
	Waiting   *prometheus.GaugeVec
	Delay     *prometheus.HistogramVec
}

// NewMetrics returns metrics that are not registered.
func NewMetrics() *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "agentrisk", Name: name, Help: help}, append([]string{"channel"}, labels...))
	}
	return &Metrics{
		Delivered: counter("alerts_delivered_total", "Alerts that the receiver accepted."),
		Failed:    counter("alert_attempts_failed_total", "Deliveries that failed and are tried again."),
		Dead:      counter("alerts_dead_total", "Alerts moved to the dead topic.", "reason"),
		Lost:      counter("alerts_lost_total", "Alerts that the outbox no longer held when their turn came: its retention is too short."),
		Waiting: prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "agentrisk", Name: "alerts_waiting",
			Help: "Alerts in the outbox that the channel has not delivered yet."}, []string{"channel", "partition"}),
		Delay: prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: "agentrisk", Name: "alert_delay_seconds",
			Help: "From the event's record in Kafka to the receiver's acceptance.", Buckets: prometheus.ExponentialBuckets(0.05, 2, 18)}, []string{"channel"}),
	}
}

func (m *Metrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.Delivered, m.Failed, m.Dead, m.Lost, m.Waiting, m.Delay}
}

// Describe and Collect make Metrics a Prometheus collector.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range m.all() {
		c.Describe(ch)
	}
}

// Collect sends every metric.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	for _, c := range m.all() {
		c.Collect(ch)
	}
}

// start makes a channel's series visible before anything happens.
func (m *Metrics) start(channel string) {
	for _, c := range []*prometheus.CounterVec{m.Delivered, m.Failed, m.Lost} {
		c.WithLabelValues(channel)
	}
	for _, reason := range []string{reasonMalformed, reasonRefused} {
		m.Dead.WithLabelValues(channel, reason)
	}
}
