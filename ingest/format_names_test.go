package ingest

import (
	"testing"

	"github.com/agentrisk/agentrisk/scoring"
)

// The names of CloudEvents that the reference lists are those that the decoder reads.
func TestCloudEventNamesAreRead(t *testing.T) {
	values := map[string]string{"id": "i", "source": "s", "type": "com.example.tool_call.v1", "subject": "agent/a", "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
		"sequence": "7", "correlationid": "c", "causationid": "d"}
	f, err := NewFormat("cloudevents")
	if err != nil {
		t.Fatal(err)
	}
	for _, subject := range []string{"agent/a", "task/t"} {
		values["subject"] = subject
		text := `{"specversion":"1.0"`
		for name, v := range values {
			text += `,"` + name + `":"` + v + `"`
		}
		text += `,"data":{}}`
		var e scoring.Event
		f.Decode(&Record{Value: []byte(text)}, &e, func(_ int32, r *scoring.Reject) {
			if r != nil {
				t.Fatal(r)
			}
			for _, c := range ceFields {
				if c.attribute != "subject" && !e.Has(c.field) {
					t.Errorf("%s does not fill %s", c.attribute, scoring.Fields[c.field].Name)
				}
			}
			if subject == "agent/a" != e.Has(scoring.FieldAgent) || subject == "task/t" != e.Has(scoring.FieldTask) {
				t.Errorf("subject %s fills agent %v, task %v", subject, e.Has(scoring.FieldAgent), e.Has(scoring.FieldTask))
			}
		})
	}
}
