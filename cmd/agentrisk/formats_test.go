package main

import (
	"testing"

	"github.com/agentrisk/agentrisk/deploy/stacktest"
)

// A fleet that writes another form than ours, some of them many events a record, ends in the rows that `agentrisk score`
// gives for its events in our JSON.
func TestEveryFormThroughThePipeline(t *testing.T) {
	t.Parallel()
	stack := stacktest.Start(t)
	for _, f := range []struct{ form, format string }{
		{"cloudevents_binary", "cloudevents"}, {"cloudevents_batch", "cloudevents"}, {"otlp_proto", "otlp_proto"}, {"otlp_json_logs", "otlp_json"},
	} {
		t.Run(f.form, func(t *testing.T) {
			s := newSystem(t, stack, ", format: "+f.format)
			path := s.fleet(1500, 5)
			s.must("simulate", "--config", s.config, "--to", "kafka", "--file", path, "--format", f.form)
			p := s.run()
			s.settled(1500)
			s.sameVerdicts(path)
			p.stop(t)
		})
	}
}
