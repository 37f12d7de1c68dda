package rules

import (
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/agentrisk/agentrisk/scoring"
)

// weights that a severity is expected to have, in thousandths.
var expectedWeight = map[scoring.Severity][2]int{
	scoring.Info: {0, 99}, scoring.Low: {50, 399}, scoring.Medium: {200, 649}, scoring.High: {400, 849}, scoring.Critical: {600, 999},
}

// Lint says what is doubtful about a pack that loads. today is the day that exceptions are held against.
func (p *Pack) Lint(today time.Time) Problems {
	var out Problems
	used := map[int]bool{}
	for i := range p.source.rules {
		s, r := &p.source.rules[i], &p.Pack.Rules[i]
		say := func(level, at, format string, args ...any) {
			if len(out) < maxProblems {
				out = append(out, p.source.problem(level, s.file, s.ID, s.path+at, format, args...))
			}
		}
		for _, f := range r.Features {
			used[f] = true
		}
		if !p.Rules[i].Indexed {
			say("info", ".when", "no field must have a certain value: the rule is tried on every event")
		}
		for _, id := range p.rules[i].when.fields {
			if f := scoring.Fields[id]; f.IsContent() {
				say("info", ".when", "reads %s, which is not stored: a backtest needs the log", f.Name)
			}
		}
		fires, quiet := 0, 0
		for _, t := range s.Tests {
			if t.Fires {
				fires++
			} else {
				quiet++
			}
		}
		if fires == 0 || quiet == 0 {
			say("warning", "", "wants at least one test that fires and one that is quiet")
		}
		if w := expectedWeight[r.Severity]; r.Weight < w[0] || r.Weight > w[1] {
			say("warning", ".weight", "weight %d is unusual for %s: %d to %d", r.Weight, r.Severity, w[0], w[1])
		}
		if r.Alert && r.Weight == 0 {
			say("warning", ".alert", "pages with weight 0")
		}
		for _, title := range []string{s.Title.EN, s.Title.ZH} {
			if utf8.RuneCountInString(title) > 120 {
				say("warning", ".title", "a title of more than 120 characters does not fit on a page")
			}
		}
		if len(s.Refs) == 0 {
			say("warning", "", "no refs: say what the rule is derived from")
		}
		for j, ref := range s.Refs {
			if ref.Provenance != "text" && ref.Provenance != "reported" && ref.Provenance != "inferred" {
				say("error", fmt.Sprintf(".refs[%d]", j), "provenance %q: want text, reported or inferred", ref.Provenance)
			}
		}
		for j, e := range p.rules[i].exceptions {
			if e.expires <= today.UnixMilli() {
				say("warning", fmt.Sprintf(".exceptions[%d].expires", j), "the exception has expired")
			}
		}
	}
	for i := range p.source.features {
		if f := &p.source.features[i]; !used[i] {
			out = append(out, p.source.problem("warning", f.file, f.Name, f.path, "no rule reads the feature"))
		}
	}
	return out
}
