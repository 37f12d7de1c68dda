package rules

import (
	"slices"

	"github.com/agentrisk/agentrisk/scoring"
)

// Feed is what is known of a feed that a pack shall judge.
type Feed struct {
	KeyedBy scoring.KeyedBy
	Fields  *scoring.FieldSet // that are sent or derived; nil: all of them
	Kinds   []string          // that occur; nil: any
}

// Coverage says whether a rule can fire on a feed.
type Coverage struct {
	Rule     string   `json:"rule"`
	Title    Text     `json:"title"`
	Severity string   `json:"severity"`
	State    Covered  `json:"state"`
	Features []string `json:"features,omitempty"` // CoveredNotByKey: that need an agent's or a session's events in one lane
	Needs    []string `json:"needs,omitempty"`    // CoveredNotByFields: the fewest fields that would let it fire
	Kinds    []string `json:"kinds,omitempty"`    // CoveredNotByKinds: that the rule is about
}

// Covered is the outcome for one rule.
type Covered string

// What can keep a rule from firing, the first that does.
const (
	CoveredYes         Covered = "can fire"
	CoveredNotByKey    Covered = "not judged"    // the key of the records does not carry its features
	CoveredNotByFields Covered = "cannot fire"   // without fields that the feed never sends
	CoveredNotByKinds  Covered = "nothing to do" // no event of the kinds that it is about
)

// Coverage says of every rule whether it can fire on the feed. It never says that a rule cannot fire when one can:
// conditions are folded with the values that absent fields read as, and what is sent may be anything.
func (p *Pack) Coverage(feed Feed) []Coverage {
	var out []Coverage
	for i := range p.Pack.Rules {
		out = append(out, p.coverage(i, feed))
	}
	return out
}

func (p *Pack) coverage(rule int, feed Feed) Coverage {
	r := &p.Pack.Rules[rule]
	c := Coverage{Rule: r.ID, Title: p.Rules[rule].Title, Severity: r.Severity.String(), State: CoveredYes}
	for _, f := range r.Features {
		per := p.Features[f].Per
		if per == scoring.PerAgent && feed.KeyedBy != scoring.KeyedByAgent || per == scoring.PerSession && feed.KeyedBy == scoring.KeyedByNone {
			c.Features = append(c.Features, p.Features[f].Name)
		}
	}
	if len(c.Features) > 0 {
		c.State = CoveredNotByKey
		return c
	}
	w := &world{pack: p}
	if feed.Fields != nil {
		w.fields = *feed.Fields
		if !w.canFire(rule) {
			c.State, c.Needs = CoveredNotByFields, p.fewest(rule, w.fields)
			return c
		}
	} else {
		for id := range scoring.Fields {
			w.fields.Add(scoring.FieldID(id))
		}
	}
	if feed.Kinds != nil {
		w.kinds = feed.Kinds
		if !w.canFire(rule) {
			c.State, c.Kinds = CoveredNotByKinds, w.wanted
			slices.Sort(c.Kinds)
			c.Kinds = slices.Compact(c.Kinds)
		}
	}
	return c
}

// Reads lists the fields that a rule reads: its condition, its exceptions, and all of its features, in the order of
// the table.
func (p *Pack) Reads(rule int) (ids []scoring.FieldID) {
	var set scoring.FieldSet
	add := func(list ...scoring.FieldID) {
		for _, id := range list {
			set.Add(id)
		}
	}
	read := func(x *expression) {
		if x != nil {
			add(x.fields...)
		}
	}
	read(p.rules[rule].when)
	for _, e := range p.rules[rule].exceptions {
		read(e.where)
	}
	for _, f := range p.Pack.Rules[rule].Features {
		c, s := &p.features[f], &p.Features[f]
		for _, x := range c.steps {
			read(x)
		}
		read(c.reset)
		read(c.value)
		add(s.By...)
		add(s.Same...)
		add(s.Differ...)
		if s.Kind == scoring.Distinct {
			add(s.Distinct)
		}
		add(scoring.FieldAgent)
		if s.Per == scoring.PerSession {
			add(scoring.FieldSession)
		}
	}
	for id := range scoring.Fields {
		if set.Has(scoring.FieldID(id)) {
			ids = append(ids, scoring.FieldID(id))
		}
	}
	return ids
}

// fewest finds the smallest set of fields that lets the rule fire, up to three of them; else all that it reads.
func (p *Pack) fewest(rule int, sent scoring.FieldSet) []string {
	var missing []scoring.FieldID
	for _, id := range p.Reads(rule) {
		if !sent.Has(id) {
			missing = append(missing, id)
		}
	}
	with := func(ids ...scoring.FieldID) bool {
		w := &world{pack: p, fields: sent}
		for _, id := range ids {
			w.fields.Add(id)
		}
		w.fields.Derive()
		return w.canFire(rule)
	}
	names := func(ids ...scoring.FieldID) (out []string) {
		for _, id := range ids {
			out = append(out, scoring.Fields[id].Name)
		}
		return out
	}
	for i, a := range missing {
		if with(a) {
			return names(missing[i])
		}
	}
	for i, a := range missing {
		for _, b := range missing[i+1:] {
			if with(a, b) {
				return names(a, b)
			}
		}
	}
	if len(missing) <= 16 {
		for i, a := range missing {
			for j, b := range missing[i+1:] {
				for _, c := range missing[i+1+j+1:] {
					if with(a, b, c) {
						return names(a, b, c)
					}
				}
			}
		}
	}
	return names(missing...)
}
