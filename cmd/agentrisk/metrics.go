package main

import (
	"fmt"
	"reflect"
	"regexp"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentrisk/agentrisk/ingest"
	"github.com/agentrisk/agentrisk/sink/alert"
)

// servedMetrics are all of ours that a process may register.
func servedMetrics() []prometheus.Collector {
	return []prometheus.Collector{ingest.NewMetrics(), alert.NewMetrics()}
}

// metricDoc is what people want to know of a metric.
type metricDoc struct {
	name, kind, help string
	labels           []string
}

// The registry gives a metric's name, help and labels only as text.
var metricText = regexp.MustCompile(`^Desc\{fqName: "([^"]*)", help: "(.*?)"(?:, unit: ".*")?, constLabels: \{.*\}, variableLabels: \{(.*)\}\}$`)

// describeMetrics describes everything that the collectors would send. They are registered, so that what Prometheus
// would refuse ends here.
func describeMetrics(collectors ...prometheus.Collector) (out []metricDoc) {
	prometheus.NewPedanticRegistry().MustRegister(collectors...)
	for _, c := range collectors {
		kinds := map[string]string{}
		for _, part := range collectorsOf(c) {
			for _, d := range descriptions(part) {
				kinds[d.String()] = kindOf(part)
			}
		}
		for _, d := range descriptions(c) {
			m := metricText.FindStringSubmatch(d.String())
			if m == nil {
				panic(fmt.Sprintf("metric %s is not understood: the client library prints descriptions otherwise now", d)) // seen by a test
			}
			doc := metricDoc{name: m[1], help: m[2], kind: kinds[d.String()]}
			if m[3] != "" {
				doc.labels = strings.Split(m[3], ",")
			}
			if doc.kind == "" { // made when it is read: the name tells
				if doc.kind = "gauge"; strings.HasSuffix(doc.name, "_total") {
					doc.kind = "counter"
				}
			}
			out = append(out, doc)
		}
	}
	return out
}

func descriptions(c prometheus.Collector) (out []*prometheus.Desc) {
	ch := make(chan *prometheus.Desc)
	go func() { c.Describe(ch); close(ch) }()
	for d := range ch {
		out = append(out, d)
	}
	return out
}

// collectorsOf are the metrics that a struct of ours holds in exported fields.
func collectorsOf(c prometheus.Collector) (out []prometheus.Collector) {
	v := reflect.Indirect(reflect.ValueOf(c))
	for i := range v.NumField() {
		if !v.Type().Field(i).IsExported() {
			continue
		}
		if part, ok := v.Field(i).Interface().(prometheus.Collector); ok {
			out = append(out, part)
		}
	}
	return out
}

func kindOf(c prometheus.Collector) string {
	switch c.(type) {
	case *prometheus.CounterVec:
		return "counter"
	case *prometheus.GaugeVec, prometheus.Gauge: // a gauge can do what a counter can, too
		return "gauge"
	case *prometheus.HistogramVec, prometheus.Histogram:
		return "histogram"
	case prometheus.Counter:
		return "counter"
	}
	return ""
}
