package ingest

import (
	"fmt"
	"strings"

	"github.com/agentrisk/agentrisk/scoring"
)

// Record is what a log or a file holds at one place.
type Record struct {
	Topic     string
	Partition int32
	Offset    int64
	Time      int64 // Kafka's, unix milliseconds; 0 where there is no log
	Key       []byte
	Value     []byte
	Headers   []Header
}

// Header is a header of a record.
type Header struct {
	Key   string
	Value []byte
}

// Format turns records into events.
type Format interface {
	// Decode calls yield once for each item of the record, in order: with e filled, or with the reason why it
	// cannot be an event. e points into the record or into memory of the decoder, and is valid until yield
	// returns.
	Decode(rec *Record, e *scoring.Event, yield func(item int32, reject *scoring.Reject))
}

// FormatNames are the formats that a binding may name. "flat" is the trajectory form (type, agent_id, session_id):
// its names are aliases in the one table of fields, so it is the same decoder as "json", under the name that its
// users know. deploy/FORMATS.md tells what each format means.
var FormatNames = []string{"json", "flat", "cloudevents", "otlp_json", "otlp_proto"}

// NewFormat returns a decoder of its own for one lane.
func NewFormat(name string) (Format, error) {
	switch name {
	case "json", "flat":
		return newJSONDecoder(), nil
	case "cloudevents":
		return &cloudEvents{}, nil
	case "otlp_json":
		return &otlpJSON{}, nil
	case "otlp_proto":
		return &otlpProto{}, nil
	}
	return nil, fmt.Errorf("unknown format %q: want one of %s", name, strings.Join(FormatNames, ", "))
}
