package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/agentrisk/agentrisk/ingest"
	"github.com/agentrisk/agentrisk/scoring"
)

func schemaCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "schema",
		Short: "Print what an event may say, and what is measured",
		Long: `References made from the code that decodes, stores and measures, so that they cannot differ from it. deploy/FIELDS.md
and deploy/METRICS.md are the output of two of them.`,
		Example: `  agentrisk schema event > event.schema.json
  agentrisk schema fields
  agentrisk schema metrics`,
	}
	add := func(name, short, example string, print func(io.Writer) error) {
		cmd.AddCommand(&cobra.Command{Use: name, Short: short, Example: example, Args: cobra.NoArgs,
			RunE: func(c *cobra.Command, _ []string) error { return print(c.OutOrStdout()) }})
	}
	add("event", "Print the JSON Schema (draft 2020-12) of an event of format json", "  agentrisk schema event > event.schema.json",
		func(w io.Writer) error { _, err := w.Write(ingest.JSONSchema()); return err })
	add("fields", "Print the reference of fields, flags and dead-letter reasons, in Markdown", "  agentrisk schema fields | less", writeFields)
	add("metrics", "Print the reference of metrics, in Markdown", "  agentrisk schema metrics | grep lane", writeMetrics)
	return cmd
}

// writeFields prints the reference of what an event may say.
func writeFields(w io.Writer) error {
	m := &markdown{w: w}
	m.text(`# Fields

Made from the code by ` + "`agentrisk schema fields`" + ` (` + "`make docs`" + `); a test says when it differs.

An event of format ` + "`json`" + ` is one JSON object with these names, dotted (` + "`\"tool.name\"`" + `) or nested (` + "`{\"tool\": {\"name\": ...}}`" + `).
` + "`agentrisk schema event`" + ` prints the JSON Schema, and ` + "`agentrisk check`" + ` says what a feed lacks. Only ` + "`kind`" + ` is needed; ` + "`agent.id`" + `,
` + "`tenant.id`, `conversation.id`, `id` and `time`" + ` make state, sessions and duplicates work. ` + "`time`" + ` is RFC 3339 or unix milliseconds. null is
absent. What the table does not name is kept as an attribute. In the verdicts table an absent field has the value of its type
that reads as nothing. In a CloudEvent the event is its ` + "`data`" + `, and attributes of the envelope fill what it leaves open; in OpenTelemetry
attributes bear the dotted names or those that stand here, several in the order in which they win.
`)
	m.table("field", "type", "bounds", "column", "other names", "CloudEvents", "OpenTelemetry", "derived from", "meaning")
	m.row("`time`", "time", "1900 to 2299", "`time`", "", "`time`", "the span's start or the log record's time", "", "when it happened, as sent")
	for i, f := range scoring.Fields {
		column := "never stored"
		if f.Column != "" {
			column = "`" + f.Column + "`"
		}
		var from []string
		for _, id := range scoring.DerivedFrom(scoring.FieldID(i)) {
			from = append(from, scoring.Fields[id].Name)
		}
		cloudEvents, openTelemetry := ingest.NamesOf(scoring.FieldID(i))
		m.row("`"+f.Name+"`", f.Type.String(), bounds(f), column, code(f.Aliases), code(cloudEvents), code(openTelemetry), code(from), f.Doc)
	}
	m.text(fmt.Sprintf(`
Limits of one event: record %d bytes, %d items a record, content %d bytes, arguments %d bytes, nesting %d, %d attributes of at
most %d bytes with names of at most %d, lists of at most %d values.

## Flags

What was unusual about an event or its judgement; in the column `+"`flags`"+` and in the output of `+"`agentrisk score`"+`.
`, scoring.MaxRecord, scoring.MaxItems, scoring.MaxContent, scoring.MaxArgs, scoring.MaxNesting, scoring.MaxAttributes, scoring.MaxAttribute, scoring.MaxName, scoring.MaxList))
	m.table("flag", "meaning")
	for _, n := range scoring.FlagNames {
		m.row("`"+n+"`", scoring.FlagDocs[n])
	}
	m.text(`
## Dead letters

Why a record or an item could not become an event; in the table and topic of dead letters and in the label ` + "`reason`" + `.
`)
	m.table("reason", "meaning and what to do")
	for _, r := range scoring.Reasons {
		m.row("`"+string(r)+"`", scoring.ReasonDocs[r])
	}
	return m.err
}

func bounds(f scoring.Field) string {
	number := func(v int64) string {
		switch {
		case f.Type == scoring.Milli && v >= math.MaxInt64/1000:
			return ""
		case f.Type == scoring.Milli:
			return strings.TrimSuffix(fmt.Sprint(float64(v)/1000), ".0")
		case v == math.MaxInt64, v == math.MinInt64:
			return ""
		}
		return fmt.Sprint(v)
	}
	switch f.Type {
	case scoring.String:
		return fmt.Sprintf("%d bytes", f.Max)
	case scoring.Strings:
		return fmt.Sprintf("%d of %d bytes", scoring.MaxList, f.Max)
	case scoring.Bool:
		return ""
	}
	low, high := number(f.Min), number(f.Max)
	switch {
	case low == "" && high == "":
		return "64 bits"
	case high == "":
		return "from " + low
	}
	return low + " to " + high
}

func code(names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = "`" + n + "`"
	}
	return strings.Join(quoted, ", ")
}

// writeMetrics prints the reference of the metrics that run and notify serve.
func writeMetrics(w io.Writer) error {
	m := &markdown{w: w}
	m.text(`# Metrics

Made from the code by ` + "`agentrisk schema metrics`" + ` (` + "`make docs`" + `); a test says when it differs.

` + "`agentrisk run`" + ` serves all of them under ` + "`/metrics`" + ` of ` + "`http.listen`" + `, ` + "`agentrisk notify`" + ` those of delivery; beside them stand the collectors of
the Go runtime (` + "`go_`" + `) and of the process (` + "`process_`" + `). Names are stable, labels are bounded: ` + "`reason`" + ` of dead letters has the values
of FIELDS.md.
`)
	m.table("metric", "type", "labels", "meaning")
	described := describeMetrics(servedMetrics()...)
	slices.SortFunc(described, func(a, b metricDoc) int { return strings.Compare(a.name, b.name) })
	for _, d := range described {
		m.row("`"+d.name+"`", d.kind, code(d.labels), d.help)
	}
	return m.err
}

// markdown prints text and tables and keeps the first error.
type markdown struct {
	w   io.Writer
	err error
}

func (m *markdown) text(s string) {
	if m.err == nil {
		_, m.err = io.WriteString(m.w, s)
	}
}

func (m *markdown) table(columns ...string) {
	m.text("\n")
	m.row(columns...)
	m.text(strings.Repeat("|---", len(columns)) + "|\n")
}

func (m *markdown) row(cells ...string) {
	var b strings.Builder
	for _, c := range cells {
		b.WriteString("| " + strings.ReplaceAll(c, "|", "\\|") + " ")
	}
	m.text(b.String() + "|\n")
}
