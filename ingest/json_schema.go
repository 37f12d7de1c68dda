package ingest

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/agentrisk/agentrisk/scoring"
)

// JSONSchema is the JSON Schema (draft 2020-12) of our JSON event, made from [scoring.Fields]. What is valid under it
// is no dead letter, but for what no schema can say: a name that is said twice, by two spellings, too, lengths between
// so many characters and so many bytes, more than [scoring.MaxAttributes] unknown fields, nesting. The decoder takes a
// little more than the schema: a time that cannot be read is kept and flagged.
func JSONSchema() []byte {
	defs := map[string]any{}
	top := map[string]any{"time": map[string]any{
		"description": "when it happened: RFC 3339 with any offset, or unix milliseconds",
		"anyOf": []any{
			map[string]any{"type": "string", "format": "date-time"},
			map[string]any{"type": "integer", "minimum": minTime, "maximum": maxTime},
			map[string]any{"type": "null"},
		},
	}}
	groups := map[string]any{}
	for i, f := range scoring.Fields {
		defs[f.Name] = fieldSchema(scoring.FieldID(i))
		ref := map[string]any{"$ref": "#/$defs/" + f.Name}
		top[f.Name] = ref
		if group, rest, nested := strings.Cut(f.Name, "."); nested {
			intoGroup(groups, group, rest, ref)
		}
	}
	for name, g := range groups {
		top[name] = g
	}
	for _, f := range scoring.Fields {
		for _, a := range f.Aliases {
			ref := any(map[string]any{"$ref": "#/$defs/" + f.Name, "$comment": "another name of " + f.Name})
			if g, both := groups[a]; both {
				ref = map[string]any{"anyOf": []any{ref, g}}
			}
			top[a] = ref
		}
	}
	var kinds []any
	for _, n := range append([]string{scoring.Fields[scoring.FieldKind].Name}, scoring.Fields[scoring.FieldKind].Aliases...) {
		kinds = append(kinds, map[string]any{"required": []string{n}, "properties": map[string]any{n: map[string]any{"type": "string", "minLength": 1}}})
	}
	b, err := json.MarshalIndent(map[string]any{
		"$schema": "https://json-schema.org/draft/2020-12/schema",
		"$id":     "urn:agentrisk:event",
		"title":   "agentrisk event",
		"description": fmt.Sprintf("One thing that a cloud AI agent did, a JSON object of at most %d bytes. Names are dotted (\"tool.name\") or nested ({\"tool\": {\"name\": ...}}), "+
			"each said once; null is absent. Fields that are not listed are kept as attributes, at most %d.", scoring.MaxRecord, scoring.MaxAttributes),
		"type":                 "object",
		"anyOf":                kinds,
		"properties":           top,
		"additionalProperties": map[string]any{"$ref": "#/$defs/-attribute"},
		"propertyNames":        map[string]any{"maxLength": scoring.MaxName},
		"$defs":                withAttribute(defs),
	}, "", "  ")
	if err != nil { // texts and numbers always marshal
		panic(err)
	}
	return append(b, '\n')
}

// withAttribute adds the definition of a value that the table does not know; no field has a name like it.
func withAttribute(defs map[string]any) map[string]any {
	defs["-attribute"] = map[string]any{"description": fmt.Sprintf("kept as it was sent, at most %d bytes", scoring.MaxAttribute), "maxLength": scoring.MaxAttribute}
	return defs
}

// intoGroup puts a field into the object of its group, by any number of dots.
func intoGroup(groups map[string]any, group, rest string, ref any) {
	g, _ := groups[group].(map[string]any)
	if g == nil {
		g = map[string]any{"type": []string{"object", "null"}, "properties": map[string]any{}, "additionalProperties": map[string]any{"$ref": "#/$defs/-attribute"}}
		groups[group] = g
	}
	properties := g["properties"].(map[string]any)
	if head, tail, deeper := strings.Cut(rest, "."); deeper {
		intoGroup(properties, head, tail, ref)
		return
	}
	properties[rest] = ref
}

func fieldSchema(id scoring.FieldID) map[string]any {
	f := &scoring.Fields[id]
	s := map[string]any{"description": f.Doc}
	switch {
	case id == scoring.FieldToolArgs:
		s["type"], s["maxLength"] = []string{"object", "array", "string", "null"}, f.Max
	case f.Type == scoring.String:
		s["type"], s["maxLength"] = []string{"string", "null"}, f.Max
	case f.Type == scoring.Int:
		s["type"], s["minimum"], s["maximum"] = []string{"integer", "null"}, f.Min, f.Max
	case f.Type == scoring.Milli:
		s["type"], s["minimum"], s["maximum"] = []string{"number", "null"}, thousandths(f.Min), thousandths(f.Max)
	case f.Type == scoring.Bool:
		s["type"] = []string{"boolean", "null"}
	default:
		s["type"], s["maxItems"], s["items"] = []string{"array", "null"}, scoring.MaxList, map[string]any{"type": "string", "maxLength": f.Max}
	}
	if id == scoring.FieldKind {
		s["not"] = map[string]any{"enum": []string{scoring.KindTimer, scoring.KindRollup}}
	}
	return s
}

// thousandths writes a number of thousandths as a decimal, exactly.
func thousandths(v int64) json.Number {
	sign := ""
	if v < 0 {
		sign, v = "-", -v
	}
	return json.Number(strings.TrimSuffix(fmt.Sprintf("%s%d.%03d", sign, v/1000, v%1000), ".000"))
}
