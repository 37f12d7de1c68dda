package rules

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
)

// Bounds of a pack.
const (
	MaxRules      = 2000
	MaxFeatures   = 200
	MaxExpression = 4 << 10 // bytes
	MaxListSize   = 10_000
	MaxWindow     = 24 * time.Hour
	MinWindow     = 12 * time.Second // a bucket is a twelfth
)

// Text is said in both languages.
type Text struct {
	EN string `yaml:"en" json:"en"`
	ZH string `yaml:"zh" json:"zh"`
}

// packFile is pack.yaml.
type packFile struct {
	Name    string              `yaml:"name"`
	Version string              `yaml:"version"`
	Title   Text                `yaml:"title"`
	Lists   map[string][]string `yaml:"lists"`
}

// ruleFile is any other file of a pack.
type ruleFile struct {
	Features []FeatureSource `yaml:"features"`
	Rules    []RuleSource    `yaml:"rules"`
}

// FeatureSource is a feature as it is written.
type FeatureSource struct {
	Name     string       `yaml:"name"`
	Doc      string       `yaml:"doc"`
	Per      string       `yaml:"per"`
	By       OneOrMore    `yaml:"by"`
	Window   YAMLDuration `yaml:"window"` // count, sum, max, distinct
	Within   YAMLDuration `yaml:"within"` // sequence: from the first step to the last
	Count    bool         `yaml:"count"`
	Sum      string       `yaml:"sum"`
	Max      string       `yaml:"max"`
	Distinct string       `yaml:"distinct"`
	Since    bool         `yaml:"since"`
	Sequence []StepSource `yaml:"sequence"`
	Where    string       `yaml:"where"`
	Without  string       `yaml:"without"` // forgets what a since or a sequence has seen
	Same     OneOrMore    `yaml:"same"`
	Differ   OneOrMore    `yaml:"differ"`

	file string
	path string
}

// StepSource is one step of a sequence.
type StepSource struct {
	Where string `yaml:"where"`
}

// RuleSource is a rule as it is written.
type RuleSource struct {
	ID             string            `yaml:"id"`
	Title          Text              `yaml:"title"`
	Refs           []Reference       `yaml:"refs"`
	Severity       string            `yaml:"severity"`
	Weight         int               `yaml:"weight"`
	Status         string            `yaml:"status"`
	Alert          bool              `yaml:"alert"`
	When           string            `yaml:"when"`
	Params         map[string]any    `yaml:"params"`
	Exceptions     []ExceptionSource `yaml:"exceptions"`
	FalsePositives string            `yaml:"false_positives"`
	Tests          []TestSource      `yaml:"tests"`

	file string
	path string
}

// Reference says what a rule is derived from, and how surely: text (read in the original), reported, inferred.
type Reference struct {
	To         string `yaml:"to" json:"to"`
	Provenance string `yaml:"provenance" json:"provenance"`
}

// ExceptionSource exempts events from a rule until a day.
type ExceptionSource struct {
	Where   string `yaml:"where"`
	Owner   string `yaml:"owner"`
	Expires string `yaml:"expires"` // YYYY-MM-DD
	Why     string `yaml:"why"`
}

// TestSource is an inline test: the rule must hit on the last event, or must not.
type TestSource struct {
	Name   string           `yaml:"name"`
	Events []map[string]any `yaml:"events"`
	Fires  bool             `yaml:"fires"`
}

// OneOrMore is a text or a list of texts in YAML.
type OneOrMore []string

// UnmarshalYAML reads either form.
func (o *OneOrMore) UnmarshalYAML(b []byte) error {
	var list []string
	if err := yaml.Unmarshal(b, &list); err == nil {
		*o = list
		return nil
	}
	var s string
	if err := yaml.Unmarshal(b, &s); err != nil {
		return errors.New("want a name or a list of names")
	}
	*o = OneOrMore{s}
	return nil
}

// YAMLDuration is a duration in YAML: 90s, 10m, 24h.
type YAMLDuration time.Duration

// UnmarshalYAML reads "10m".
func (d *YAMLDuration) UnmarshalYAML(b []byte) error {
	v, err := time.ParseDuration(strings.Trim(string(bytes.TrimSpace(b)), `"'`))
	if err != nil {
		return errors.New("want a duration such as 90s, 10m or 24h")
	}
	*d = YAMLDuration(v)
	return nil
}

// source is a pack as it was read.
type source struct {
	pack     packFile
	features []FeatureSource
	rules    []RuleSource
	text     map[string][]byte
}

// Problem is one thing that is wrong with a pack, where, and the line with a caret.
type Problem struct {
	Level   string `json:"level"` // error, warning, info
	File    string `json:"file"`
	Item    string `json:"item,omitempty"` // rule or feature
	Message string `json:"message"`
	Excerpt string `json:"excerpt,omitempty"`
}

func (p Problem) String() string {
	s := p.File
	if p.Item != "" {
		s += ": " + p.Item
	}
	s += ": " + p.Level + ": " + p.Message
	if p.Excerpt != "" {
		s += "\n" + p.Excerpt
	}
	return s
}

// Problems is the error of a pack that cannot be loaded: everything that is wrong, not only the first.
type Problems []Problem

func (p Problems) Error() string {
	var b strings.Builder
	for i, x := range p {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(x.String())
	}
	return b.String()
}

// read reads the files of a pack. Unknown keys are errors.
func read(fsys fs.FS) (*source, Problems) {
	s := &source{text: map[string][]byte{}}
	var problems Problems
	files, err := fs.Glob(fsys, "*.yaml")
	if err != nil || len(files) == 0 {
		return s, Problems{{Level: "error", File: "pack.yaml", Message: "no *.yaml here: a pack is a folder with pack.yaml and files of rules"}}
	}
	slices.Sort(files)
	if !slices.Contains(files, "pack.yaml") {
		problems = append(problems, Problem{Level: "error", File: "pack.yaml", Message: "missing: it names the pack, its version and its lists"})
	}
	for _, f := range files {
		text, err := fs.ReadFile(fsys, f)
		if err != nil {
			problems = append(problems, Problem{Level: "error", File: f, Message: err.Error()})
			continue
		}
		s.text[f] = text
		var into any
		var rules ruleFile
		if into = &rules; path.Base(f) == "pack.yaml" {
			into = &s.pack
		}
		if err := yaml.NewDecoder(bytes.NewReader(text), yaml.Strict()).Decode(into); err != nil && !errors.Is(err, io.EOF) {
			problems = append(problems, Problem{Level: "error", File: f, Message: "not valid", Excerpt: strings.TrimSpace(yaml.FormatError(err, false, true))})
			continue
		}
		for i, x := range rules.Features {
			x.file, x.path = f, fmt.Sprintf("$.features[%d]", i)
			s.features = append(s.features, x)
		}
		for i, x := range rules.Rules {
			x.file, x.path = f, fmt.Sprintf("$.rules[%d]", i)
			s.rules = append(s.rules, x)
		}
	}
	return s, problems
}

// problem points at a place of a file.
func (s *source) problem(level, file, item, at, format string, args ...any) Problem {
	p := Problem{Level: level, File: file, Item: item, Message: fmt.Sprintf(format, args...)}
	if path, err := yaml.PathString(at); err == nil {
		if excerpt, err := path.AnnotateSource(s.text[file], false); err == nil {
			p.Excerpt = strings.TrimRight(string(excerpt), "\n ")
		}
	}
	return p
}
