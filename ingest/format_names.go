package ingest

import "github.com/agentrisk/agentrisk/scoring"

// ceFields are the fields that attributes of a CloudEvent fill where its data does not; "time" fills the time.
var ceFields = []struct {
	attribute string
	field     scoring.FieldID
}{
	{"id", scoring.FieldEventID}, {"source", scoring.FieldSource}, {"type", scoring.FieldKind}, {"subject", scoring.FieldAgent}, {"subject", scoring.FieldTask},
	{"traceparent", scoring.FieldTrace}, {"sequence", scoring.FieldSeq}, {"correlationid", scoring.FieldCorrelation}, {"causationid", scoring.FieldCausation},
}

// NamesOf lists what a field is called in the envelope of a CloudEvent and in OpenTelemetry's attributes, the name that
// wins first. In both its own dotted name means it, too.
func NamesOf(f scoring.FieldID) (cloudEvents, openTelemetry []string) {
	for _, c := range ceFields {
		if c.field == f {
			cloudEvents = append(cloudEvents, c.attribute)
		}
	}
	for _, n := range otlpTable {
		if n.use == useField && (n.field == f || n.other != 0 && n.other == f) {
			openTelemetry = append(openTelemetry, n.key)
		}
	}
	return cloudEvents, openTelemetry
}
