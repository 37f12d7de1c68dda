package rules

import (
	"fmt"
	"slices"
	"strings"

	"github.com/agentrisk/agentrisk/scoring"
)

// Change is one thing in which two packs differ.
type Change struct {
	Kind string `json:"kind"` // pack, rule, feature or list
	Name string `json:"name"`
	What string `json:"what"` // added, removed or changed
	// Key, From and To say what changed; only for rules and the pack itself.
	Key  string `json:"key,omitempty"`
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
	// Note says what that means where it is not plain.
	Note string `json:"note,omitempty"`
}

// String is the change as a line of text, or several where a condition changed.
func (c Change) String() string {
	s := map[string]string{"added": "+ ", "removed": "- ", "changed": "~ "}[c.What] + c.Kind + " " + c.Name
	note := ""
	if c.Note != "" {
		note = " (" + c.Note + ")"
	}
	switch {
	case c.Key == "":
		return s + note
	case strings.Contains(c.From+c.To, "\n") || len(c.From)+len(c.To) > 80:
		return s + ": " + c.Key + note + "\n    - " + strings.ReplaceAll(c.From, "\n", "\n      ") + "\n    + " + strings.ReplaceAll(c.To, "\n", "\n      ")
	}
	return fmt.Sprintf("%s: %s: %s -> %s%s", s, c.Key, nothing(c.From), nothing(c.To), note)
}

func nothing(s string) string {
	if s == "" {
		return "(nothing)"
	}
	return s
}

// What a change of features means for verdicts.
const (
	noteCold  = "starts cold: verdicts of rules that read it are marked until its window has passed"
	noteState = "its state is dropped"
)

// Diff lists in what b differs from a, in the order pack, features, rules, lists. Two packs without a difference judge
// alike, but their comments and tests may differ; where the digests are equal there is none.
func Diff(a, b *Pack) (list []Change) {
	changed := func(kind, name, key, from, to, note string) {
		if from != to {
			list = append(list, Change{Kind: kind, Name: name, What: "changed", Key: key, From: from, To: to, Note: note})
		}
	}
	changed("pack", b.Name, "name", a.Name, b.Name, "")
	changed("pack", b.Name, "version", a.Version, b.Version, "")
	both(a.Features, b.Features, func(f *scoring.Feature) string { return f.Name }, func(name string, x, y *scoring.Feature) {
		switch {
		case x == nil && hasFeature(a, y.ID) || y == nil && hasFeature(b, x.ID):
			c := Change{Kind: "feature", Name: name, What: "added", Note: "the same state under another name"}
			if y == nil {
				c.What = "removed"
			}
			list = append(list, c)
		case x == nil:
			list = append(list, Change{Kind: "feature", Name: name, What: "added", Note: noteCold})
		case y == nil:
			list = append(list, Change{Kind: "feature", Name: name, What: "removed", Note: noteState})
		case x.ID != y.ID:
			if from, to := a.featureText(name), b.featureText(name); from != to {
				changed("feature", name, "definition", from, to, noteCold)
			} else {
				list = append(list, Change{Kind: "feature", Name: name, What: "changed", Note: "a list that it reads has changed; it " + noteCold})
			}
		}
	})
	both(a.Pack.Rules, b.Pack.Rules, func(r *scoring.Rule) string { return r.ID }, func(id string, x, y *scoring.Rule) {
		switch {
		case x == nil:
			list = append(list, Change{Kind: "rule", Name: id, What: "added", Key: "title", To: y.TitleEN + " / " + y.TitleZH})
			return
		case y == nil:
			list = append(list, Change{Kind: "rule", Name: id, What: "removed", Key: "title", From: x.TitleEN + " / " + x.TitleZH})
			return
		}
		from, to := a.ruleTexts(id), b.ruleTexts(id)
		for i := range from {
			changed("rule", id, from[i][0], from[i][1], to[i][1], "")
		}
	})
	for _, name := range sortedKeys(union(a.source.pack.Lists, b.source.pack.Lists)) {
		x, inA := a.source.pack.Lists[name]
		y, inB := b.source.pack.Lists[name]
		switch {
		case !inA:
			list = append(list, Change{Kind: "list", Name: name, What: "added"})
		case !inB:
			list = append(list, Change{Kind: "list", Name: name, What: "removed"})
		default:
			changed("list", name, "values", missing(x, y), missing(y, x), "")
		}
	}
	return list
}

// both calls f for every name of either list: in the order of the second, with what only the first has after that.
func both[T any](a, b []T, name func(*T) string, f func(name string, x, y *T)) {
	in := func(list []T, n string) *T {
		for i := range list {
			if name(&list[i]) == n {
				return &list[i]
			}
		}
		return nil
	}
	for i := range b {
		f(name(&b[i]), in(a, name(&b[i])), &b[i])
	}
	for i := range a {
		if in(b, name(&a[i])) == nil {
			f(name(&a[i]), &a[i], nil)
		}
	}
}

func hasFeature(p *Pack, id string) bool {
	return slices.ContainsFunc(p.Features, func(f scoring.Feature) bool { return f.ID == id })
}

// featureText is the feature as it was written, on one line.
func (p *Pack) featureText(name string) string {
	i := slices.IndexFunc(p.source.features, func(f FeatureSource) bool { return f.Name == name })
	return p.source.features[i].text()
}

// ruleTexts are the parts of a rule as they were written, with their names.
func (p *Pack) ruleTexts(id string) (list [][2]string) {
	i := slices.IndexFunc(p.source.rules, func(r RuleSource) bool { return r.ID == id })
	s, r := &p.source.rules[i], &p.Pack.Rules[i]
	var exceptions, params, refs []string
	for _, e := range s.Exceptions {
		exceptions = append(exceptions, fmt.Sprintf("%s until %s (%s: %s)", e.Where, e.Expires, e.Owner, e.Why))
	}
	for _, k := range sortedKeys(s.Params) {
		params = append(params, fmt.Sprintf("%s = %v", k, s.Params[k]))
	}
	for _, ref := range s.Refs {
		refs = append(refs, ref.To+" ("+ref.Provenance+")")
	}
	alert := "no"
	if r.Alert {
		alert = "yes"
	}
	return [][2]string{
		{"severity", r.Severity.String()}, {"weight", fmt.Sprint(r.Weight)}, {"status", r.Status.String()}, {"alert", alert},
		{"when", strings.TrimSpace(s.When)}, {"params", strings.Join(params, ", ")}, {"exceptions", strings.Join(exceptions, "\n")},
		{"title", r.TitleEN + " / " + r.TitleZH}, {"refs", strings.Join(refs, ", ")}, {"false_positives", strings.TrimSpace(s.FalsePositives)},
	}
}

// text is the feature in the words of a pack, on one line.
func (s *FeatureSource) text() string {
	var b strings.Builder
	add := func(key, v string) {
		if v != "" {
			if b.Len() > 0 {
				b.WriteString(", ")
			}
			b.WriteString(key + ": " + v)
		}
	}
	flag := func(key string, on bool) {
		if on {
			add(key, "true")
		}
	}
	span := func(key string, d YAMLDuration) {
		if d != 0 {
			add(key, d.String())
		}
	}
	add("per", s.Per)
	add("by", strings.Join(s.By, " "))
	span("window", s.Window)
	span("within", s.Within)
	flag("count", s.Count)
	add("sum", s.Sum)
	add("max", s.Max)
	add("distinct", s.Distinct)
	flag("since", s.Since)
	for _, x := range s.Sequence {
		add("then", x.Where)
	}
	add("where", s.Where)
	add("without", s.Without)
	add("same", strings.Join(s.Same, " "))
	add("differ", strings.Join(s.Differ, " "))
	return b.String()
}

func union[V any](a, b map[string]V) map[string]V {
	out := map[string]V{}
	for _, m := range []map[string]V{a, b} {
		for k, v := range m {
			out[k] = v
		}
	}
	return out
}

// missing are the values of x that y lacks.
func missing(x, y []string) string {
	var out []string
	for _, v := range x {
		if !slices.Contains(y, v) {
			out = append(out, v)
		}
	}
	return strings.Join(out, " ")
}
