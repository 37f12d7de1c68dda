package rules

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/agentrisk/agentrisk/scoring"
)

//go:embed packs/convention-2026/*.yaml
var builtin embed.FS

// Pack is a loaded pack.
type Pack struct {
	*scoring.Pack
	Title Text
	Rules []RuleInfo // in the order of Pack.Rules
	// Own is the digest of the pack by itself: the same as Digest where nothing else shapes verdicts. Packs are activated
	// under it, and each process adds its own settings.
	Own string

	source    *source
	canonical []byte

	ownCanonical []byte // without what else shapes verdicts

	env       *environment
	features  []compiledFeature
	rules     []compiledRule
	rulesBy   *index
	featureBy *index
}

// RuleInfo is what people want to know of a rule.
type RuleInfo struct {
	ID             string      `json:"id"`
	Title          Text        `json:"title"`
	Severity       string      `json:"severity"`
	Weight         int         `json:"weight"`
	Status         string      `json:"status"`
	Alert          bool        `json:"alert"`
	When           string      `json:"when"`
	Features       []string    `json:"features,omitempty"`
	Refs           []Reference `json:"refs,omitempty"`
	FalsePositives string      `json:"false_positives,omitempty"`
	Indexed        bool        `json:"indexed"` // false: tried on every event
}

type compiledFeature struct {
	steps []*expression // one for all kinds but sequences
	reset *expression
	value *expression
}

type compiledRule struct {
	when       *expression
	exceptions []compiledException
}

type compiledException struct {
	where   *expression
	expires int64 // unix milliseconds
}

// Builtin is the pack that ships: convention-2026.
func Builtin() (*Pack, error) {
	sub, err := fs.Sub(builtin, "packs/convention-2026")
	if err != nil {
		return nil, err
	}
	return Load(sub)
}

// LoadDir loads the pack of a folder.
func LoadDir(dir string) (*Pack, error) {
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return nil, fmt.Errorf("pack %s: want a folder with pack.yaml and files of rules", dir)
	}
	return Load(os.DirFS(dir))
}

// Load reads and compiles a pack. The error is Problems: everything that is wrong, with place and caret. extra is what
// else shapes verdicts and therefore belongs to the digest: settings of bindings, caps.
func Load(fsys fs.FS, extra ...[]byte) (*Pack, error) {
	text, problems := files(fsys)
	if len(problems) > 0 {
		return nil, problems
	}
	return compile(text, extra)
}

// LoadSource compiles what [Pack.Source] returned.
func LoadSource(b []byte, extra ...[]byte) (*Pack, error) {
	var stored map[string]string
	if err := json.Unmarshal(b, &stored); err != nil {
		return nil, fmt.Errorf("source of a pack: %w", err)
	}
	text := map[string][]byte{}
	for name, t := range stored {
		text[name] = []byte(t)
	}
	return compile(text, extra)
}

// Source is everything that the pack was read from: its files by name, as JSON. Comments and tests are in it.
func (p *Pack) Source() []byte {
	text := map[string]string{}
	for name, b := range p.source.text {
		text[name] = string(b)
	}
	b, err := json.Marshal(text)
	if err != nil { // texts always marshal
		panic(err)
	}
	return b
}

func compile(text map[string][]byte, extra [][]byte) (*Pack, error) {
	src, problems := parse(text)
	if len(problems) > 0 {
		return nil, problems
	}
	b := &builder{src: src, pack: &Pack{Title: src.pack.Title, source: src}}
	b.build()
	if len(b.problems) > 0 {
		return nil, b.problems
	}
	b.pack.digest(extra)
	return b.pack, nil
}

// builder compiles a source and collects what is wrong.
type builder struct {
	src      *source
	pack     *Pack
	compiler *compiler
	problems Problems
}

// maxProblems bounds what is said of one pack: each problem is looked up in its file.
const maxProblems = 500

func (b *builder) bad(file, item, at, format string, args ...any) {
	switch n := len(b.problems); {
	case n == maxProblems:
		b.problems = append(b.problems, Problem{Level: "error", File: file, Message: "and more"})
		return
	case n > maxProblems:
		return
	}
	b.problems = append(b.problems, b.src.problem("error", file, item, at, format, args...))
}

var (
	packName    = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,63}$`)
	featureName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,63}$`)
	ruleID      = regexp.MustCompile(`^[A-Z]{2,8}-([A-Z][A-Z0-9]{1,15})-[0-9]{3}$`)
)

func (b *builder) build() {
	s, p := b.src, &scoring.Pack{Name: b.src.pack.Name, Version: b.src.pack.Version}
	b.pack.Pack = p
	if !packName.MatchString(p.Name) {
		b.bad("pack.yaml", "", "$.name", "name %q: want lower-case letters, digits and hyphens", p.Name)
	}
	for _, name := range sortedKeys(s.pack.Lists) {
		if !featureName.MatchString(name) || b.taken(name) {
			b.bad("pack.yaml", name, "$.lists", "list %q: want a name of its own in lower-case letters, digits and underscores", name)
		}
		if len(s.pack.Lists[name]) > MaxListSize {
			b.bad("pack.yaml", name, "$.lists", "list %q has %d values, limit %d", name, len(s.pack.Lists[name]), MaxListSize)
		}
	}
	if len(s.features) > MaxFeatures || len(s.rules) > MaxRules {
		b.bad("pack.yaml", "", "$", "%d features and %d rules, limits %d and %d", len(s.features), len(s.rules), MaxFeatures, MaxRules)
		return
	}
	for i := range s.features {
		p.Features = append(p.Features, b.feature(&s.features[i]))
	}
	if len(b.problems) > 0 {
		return
	}
	b.pack.env = newEnvironment(p.Features, s.pack.Lists)
	b.compiler = &compiler{env: b.pack.env, lists: s.pack.Lists}
	var keys []key
	for i := range s.features {
		f := b.compileFeature(&s.features[i], &p.Features[i])
		b.pack.features = append(b.pack.features, f)
		keys = append(keys, f.key())
	}
	b.pack.featureBy = newIndex(keys)
	keys = nil
	for i := range s.rules {
		r, info, c := b.rule(&s.rules[i])
		p.Rules = append(p.Rules, r)
		b.pack.Rules = append(b.pack.Rules, info)
		b.pack.rules = append(b.pack.rules, c)
		if c.when != nil {
			keys = append(keys, c.when.key)
		}
	}
	if len(b.problems) == 0 {
		b.pack.rulesBy = newIndex(keys)
		p.NewEvaluator = b.pack.newEvaluator
	}
}

// taken reports whether a name means something already.
func (b *builder) taken(name string) bool {
	if name == "params" {
		return true
	}
	for _, f := range scoring.Fields {
		if head, _, _ := strings.Cut(f.Name, "."); head == name {
			return true
		}
	}
	return false
}

// feature checks a feature's shape.
func (b *builder) feature(s *FeatureSource) (f scoring.Feature) {
	bad := func(key, format string, args ...any) { b.bad(s.file, s.Name, s.path+key, format, args...) }
	f.Name, f.Steps = s.Name, 1
	if !featureName.MatchString(s.Name) || b.taken(s.Name) || b.src.pack.Lists[s.Name] != nil {
		bad(".name", "feature %q: want a name of its own in lower-case letters, digits and underscores", s.Name)
	}
	for i := range b.src.features {
		if o := &b.src.features[i]; o != s && o.Name == s.Name && o.path+o.file > s.path+s.file {
			bad(".name", "feature %q is declared twice", s.Name)
		}
	}
	switch s.Per {
	case "agent":
	case "session":
		f.Per = scoring.PerSession
	default:
		bad(".per", "per %q: want agent or session; what crosses agents or lasts longer than a day is a scheduled rule over ClickHouse", s.Per)
	}
	kinds := 0
	is := func(set bool, k scoring.FeatureKind) {
		if set {
			kinds++
			f.Kind = k
		}
	}
	is(s.Count, scoring.Count)
	is(s.Sum != "", scoring.Sum)
	is(s.Max != "", scoring.Max)
	is(s.Distinct != "", scoring.Distinct)
	is(s.Since, scoring.Since)
	is(len(s.Sequence) > 0, scoring.Sequence)
	if kinds != 1 {
		bad("", "want exactly one of count: true, sum, max, distinct, since: true, sequence")
	}
	window, at := time.Duration(s.Window), ".window"
	if f.Kind == scoring.Sequence {
		window, at = time.Duration(s.Within), ".within"
		if s.Window != 0 {
			bad(".window", "a sequence has within, not window")
		}
	} else if s.Within != 0 {
		bad(".within", "only a sequence has within")
	}
	switch {
	case f.Kind == scoring.Since:
		if window != 0 {
			bad(at, "since has no window: it is the time since the last match")
		}
	case window < MinWindow || window > MaxWindow || window%(12*time.Millisecond) != 0:
		bad(strings.TrimSuffix(at, at), "%s %s: want %s to %s, a multiple of 12 ms", at[1:], YAMLDuration(window), YAMLDuration(MinWindow), YAMLDuration(MaxWindow))
	}
	f.Window = window.Milliseconds()
	f.By = b.texts(s, ".by", s.By)
	f.Same, f.Differ = b.ids(s, ".same", s.Same), b.ids(s, ".differ", s.Differ)
	if f.Kind == scoring.Distinct {
		if ids := b.ids(s, ".distinct", []string{s.Distinct}); len(ids) == 1 {
			if f.Distinct = ids[0]; scoring.Fields[ids[0]].Type != scoring.String && scoring.Fields[ids[0]].Type != scoring.Int {
				bad(".distinct", "%s: want a text or a whole number", s.Distinct)
			}
		}
	}
	f.HasReset = s.Without != ""
	if f.Kind == scoring.Sequence {
		if f.Steps = len(s.Sequence); f.Steps < 2 || f.Steps > 8 {
			bad(".sequence", "%d steps: want 2 to 8", f.Steps)
		}
		if s.Where != "" {
			bad(".where", "a sequence has a where in each step")
		}
	} else if len(s.Same)+len(s.Differ) > 0 || s.Without != "" && f.Kind != scoring.Since {
		bad("", "same and differ are for sequences, without for sequences and since")
	}
	return f
}

// texts finds fields that are texts.
func (b *builder) texts(s *FeatureSource, at string, names []string) []scoring.FieldID {
	ids := b.ids(s, at, names)
	for _, id := range ids {
		if t := scoring.Fields[id].Type; t != scoring.String && t != scoring.Int {
			b.bad(s.file, s.Name, s.path+at, "%s: want a text or a whole number", scoring.Fields[id].Name)
		}
	}
	return ids
}

func (b *builder) ids(s *FeatureSource, at string, names []string) (ids []scoring.FieldID) {
	for _, n := range names {
		id, ok := scoring.LookupField(n)
		if !ok {
			b.bad(s.file, s.Name, s.path+at, "unknown field %q", n)
			continue
		}
		ids = append(ids, id)
	}
	return ids
}

func (b *builder) compile(file, item, at, src string, params map[string]any, number bool) *expression {
	x, err := b.compiler.compile(src, params, number)
	if err != nil {
		b.bad(file, item, at, "%v", err)
		return nil
	}
	return x
}

// compileFeature compiles a feature's expressions. They must not read features.
func (b *builder) compileFeature(s *FeatureSource, f *scoring.Feature) (c compiledFeature) {
	compile := func(at, src string, number bool) *expression {
		if src == "" {
			return nil
		}
		x := b.compile(s.file, s.Name, s.path+at, src, nil, number)
		if x != nil && len(x.features) > 0 {
			b.bad(s.file, s.Name, s.path+at, "a feature reads fields, not other features")
		}
		return x
	}
	if f.Kind == scoring.Sequence {
		for i, step := range s.Sequence {
			if step.Where == "" {
				b.bad(s.file, s.Name, fmt.Sprintf("%s.sequence[%d]", s.path, i), "a step needs a where")
			}
			c.steps = append(c.steps, compile(fmt.Sprintf(".sequence[%d].where", i), step.Where, false))
		}
	} else {
		c.steps = []*expression{compile(".where", s.Where, false)}
	}
	c.reset = compile(".without", s.Without, false)
	c.value = compile(".sum", s.Sum, true)
	if s.Max != "" {
		c.value = compile(".max", s.Max, true)
	}
	f.ID = s.id(b.src.pack.Lists, c)
	return c
}

// key is the necessary condition of a feature to change: that of any of its expressions.
func (c *compiledFeature) key() (k key) {
	all := c.steps
	if c.reset != nil {
		all = append(slices.Clone(all), c.reset)
	}
	for _, x := range all {
		if x == nil || len(x.key) == 0 {
			return nil
		}
		k = append(k, x.key...)
	}
	return k
}

// id is the hash of everything that decides what the feature's state means.
func (s *FeatureSource) id(_ map[string][]string, c compiledFeature) string {
	h := sha256.New()
	fmt.Fprintf(h, "%s|%v|%d|%d|%v|%v|%v|%s|%v", s.Per, s.By, s.Window, s.Within, s.Count, s.Distinct, s.Since, s.Same, s.Differ)
	for _, x := range append(slices.Clone(c.steps), c.reset, c.value) {
		if x == nil {
			fmt.Fprint(h, "|-")
			continue
		}
		fmt.Fprintf(h, "|%q", x.source)
	}
	fmt.Fprintf(h, "|max=%v", s.Max != "")
	return hex.EncodeToString(h.Sum(nil)[:12])
}

// rule checks and compiles a rule.
func (b *builder) rule(s *RuleSource) (r scoring.Rule, info RuleInfo, c compiledRule) {
	bad := func(key, format string, args ...any) { b.bad(s.file, s.ID, s.path+key, format, args...) }
	m := ruleID.FindStringSubmatch(s.ID)
	if m == nil {
		bad(".id", "id %q: want PREFIX-FAMILY-nnn, for instance AR-PRIV-003", s.ID)
		m = []string{"", ""}
	}
	for i := range b.src.rules {
		if o := &b.src.rules[i]; o != s && o.ID == s.ID && o.file+o.path < s.file+s.path {
			bad(".id", "rule %s stands already in %s", s.ID, o.file)
		}
	}
	status := map[string]scoring.Status{"shadow": scoring.Shadow, "test": scoring.Test, "": scoring.Stable, "stable": scoring.Stable}
	severity := map[string]scoring.Severity{"info": scoring.Info, "low": scoring.Low, "medium": scoring.Medium, "high": scoring.High, "critical": scoring.Critical}
	st, ok := status[s.Status]
	if !ok {
		bad(".status", "status %q: want shadow, test or stable", s.Status)
	}
	sev, ok := severity[s.Severity]
	if !ok {
		bad(".severity", "severity %q: want info, low, medium, high or critical", s.Severity)
	}
	if s.Weight < 0 || s.Weight > 999 {
		bad(".weight", "weight %d: want 0 to 999, in thousandths", s.Weight)
	}
	if s.Title.EN == "" || s.Title.ZH == "" {
		bad("", "title: wants en and zh")
	}
	if s.When == "" {
		bad("", "when is missing")
		return r, info, c
	}
	params := b.params(s)
	c.when = b.compile(s.file, s.ID, s.path+".when", s.When, params, false)
	for i, e := range s.Exceptions {
		at := fmt.Sprintf(".exceptions[%d]", i)
		day, err := time.Parse(time.DateOnly, e.Expires)
		if err != nil || e.Owner == "" || e.Why == "" || e.Where == "" {
			bad(at, "an exception needs where, owner, expires (YYYY-MM-DD) and why")
			continue
		}
		c.exceptions = append(c.exceptions, compiledException{b.compile(s.file, s.ID, s.path+at+".where", e.Where, params, false), day.UnixMilli()})
	}
	r = scoring.Rule{ID: s.ID, Family: m[1], TitleEN: s.Title.EN, TitleZH: s.Title.ZH, Severity: sev, Weight: s.Weight, Status: st, Alert: s.Alert}
	info = RuleInfo{ID: s.ID, Title: s.Title, Severity: sev.String(), Weight: s.Weight, Status: st.String(), Alert: s.Alert, When: strings.TrimSpace(s.When), Refs: s.Refs, FalsePositives: s.FalsePositives}
	all := []*expression{c.when}
	for _, e := range c.exceptions {
		all = append(all, e.where)
	}
	for _, x := range all {
		if x == nil {
			continue
		}
		for _, f := range x.features {
			if !slices.Contains(r.Features, f) {
				r.Features = append(r.Features, f)
				info.Features = append(info.Features, b.pack.Features[f].Name)
			}
			r.NeedsAgent = r.NeedsAgent || b.pack.Features[f].Per == scoring.PerAgent
			r.NeedsSession = r.NeedsSession || b.pack.Features[f].Per == scoring.PerSession
		}
	}
	info.Indexed = c.when != nil && len(c.when.key) > 0
	return r, info, c
}

// params checks and normalises a rule's parameters: whole numbers, decimals, texts and truth values.
func (b *builder) params(s *RuleSource) map[string]any {
	out := map[string]any{}
	for name, v := range s.Params {
		switch x := v.(type) {
		case uint64:
			out[name] = int(x)
		case int64:
			out[name] = int(x)
		case int, float64, string, bool:
			out[name] = x
		default:
			b.bad(s.file, s.ID, s.path+".params", "param %s: want a number, a text or true or false", name)
		}
		if !featureName.MatchString(name) {
			b.bad(s.file, s.ID, s.path+".params", "param %q: want lower-case letters, digits and underscores", name)
		}
	}
	return out
}

// canonicalPack is what the digest covers: everything that shapes a verdict, in a form that comments, layout and the
// order of files do not change.
type canonicalPack struct {
	Name, Version string
	Features      []canonicalFeature
	Rules         []canonicalRule
	Extra         []string
}

type canonicalFeature struct{ Name, ID string }

type canonicalRule struct {
	ID, TitleEN, TitleZH, Severity, Status string
	Weight                                 int
	Alert                                  bool
	When                                   string
	Exceptions                             []canonicalException
}

type canonicalException struct {
	Where   string
	Expires int64
}

func (p *Pack) digest(extra [][]byte) {
	c := canonicalPack{Name: p.Name, Version: p.Version}
	for _, f := range p.Features {
		c.Features = append(c.Features, canonicalFeature{f.Name, f.ID})
	}
	for i, r := range p.Pack.Rules {
		x := canonicalRule{r.ID, r.TitleEN, r.TitleZH, r.Severity.String(), r.Status.String(), r.Weight, r.Alert, p.rules[i].when.source, nil}
		for _, e := range p.rules[i].exceptions {
			x.Exceptions = append(x.Exceptions, canonicalException{e.where.source, e.expires})
		}
		c.Rules = append(c.Rules, x)
	}
	slices.SortFunc(c.Features, func(a, b canonicalFeature) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(c.Rules, func(a, b canonicalRule) int { return strings.Compare(a.ID, b.ID) })
	p.ownCanonical, p.Own = c.digest()
	for _, e := range extra {
		c.Extra = append(c.Extra, string(e))
	}
	p.canonical, p.Digest = c.digest()
}

func (c *canonicalPack) digest() (canonical []byte, digest string) {
	b, err := json.Marshal(c)
	if err != nil { // texts and numbers always marshal
		panic(err)
	}
	sum := sha256.Sum256(b)
	return b, hex.EncodeToString(sum[:])
}

// Canonical is the form of the pack that its digest is the SHA-256 of.
func (p *Pack) Canonical() []byte { return p.canonical }

// OwnCanonical is the same for the digest of the pack by itself.
func (p *Pack) OwnCanonical() []byte { return p.ownCanonical }
