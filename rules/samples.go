package rules

import "time"

// Sample is an inline test with its events as a provider would send them, those that are repeated once.
type Sample struct {
	Rule, Name string
	Fires      bool
	Events     []map[string]any
}

// Samples are the tests of all rules, complete with ids, times and names. They show what the rules' fields look like.
func (p *Pack) Samples() (out []Sample) {
	for i := range p.source.rules {
		for _, t := range p.source.rules[i].Tests {
			s := Sample{Rule: p.Pack.Rules[i].ID, Name: t.Name, Fires: t.Fires}
			clock := time.Date(2026, 6, 1, 9, 0, 0, 0, time.UTC)
			for n, fields := range t.Events {
				_, step := repeats(fields)
				clock = clock.Add(step)
				s.Events = append(s.Events, complete(fields, n+1, &clock))
			}
			out = append(out, s)
		}
	}
	return out
}

// Example is a value of the field as the pack's tests send it, from a quiet test where there is one; nil when none
// sends it.
func (p *Pack) Example(field string) (value any) {
	for _, s := range p.Samples() {
		for _, e := range s.Events {
			if v, ok := e[field]; ok && (value == nil || !s.Fires) {
				if value = v; !s.Fires {
					return value
				}
			}
		}
	}
	return value
}
