package rules

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
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
func (o *OneOrMore) UnmarshalYAML(n ast.Node) error {
	var list []string
	if err := yaml.NodeToValue(n, &list); err == nil {
		*o = list
		return nil
	}
	var s string
	if err := yaml.NodeToValue(n, &s); err != nil {
		return &yaml.SyntaxError{Message: "want a name or a list of names", Token: n.GetToken()}
	}
	*o = OneOrMore{s}
	return nil
}

// YAMLDuration is a duration in YAML: 90s, 10m, 24h.
type YAMLDuration time.Duration

// UnmarshalYAML reads 10m.
func (d *YAMLDuration) UnmarshalYAML(n ast.Node) error {
	v, err := time.ParseDuration(n.GetToken().Value)
	if err != nil {
		return &yaml.SyntaxError{Message: fmt.Sprintf("%q is no duration: want a number with its unit, as in 90s, 10m or 24h", n.GetToken().Value), Token: n.GetToken()}
	}
	*d = YAMLDuration(v)
	return nil
}

// String is the duration in the form that a pack has it: 24h and not 24h0m0s.
func (d YAMLDuration) String() string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// source is a pack as it was read.
type source struct {
	pack     packFile
	features []FeatureSource
	rules    []RuleSource
	text     map[string][]byte
	parsed   map[string]*ast.File // by need
}

// Problem is one thing that is wrong with a pack, where, and the line with a caret.
type Problem struct {
	Level   string `json:"level"` // error, warning, info
	File    string `json:"file"`
	Line    int    `json:"line,omitempty"` // from 1 on; 0: the file as a whole
	Column  int    `json:"column,omitempty"`
	Item    string `json:"item,omitempty"` // rule or feature
	Message string `json:"message"`
	Excerpt string `json:"excerpt,omitempty"`
}

func (p Problem) String() string {
	s := p.File
	if p.Line > 0 {
		s += fmt.Sprintf(":%d:%d", p.Line, p.Column)
	}
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

// MaxSource is how many bytes the files of a pack may have together.
const MaxSource = 4 << 20

// files reads the files of a pack.
func files(fsys fs.FS) (map[string][]byte, Problems) {
	names, err := fs.Glob(fsys, "*.yaml")
	if err != nil || len(names) == 0 {
		return nil, Problems{{Level: "error", File: "pack.yaml", Message: "no *.yaml here: a pack is a folder with pack.yaml and files of rules"}}
	}
	text := map[string][]byte{}
	var problems Problems
	size := 0
	for _, f := range names {
		b, err := fs.ReadFile(fsys, f)
		if err != nil {
			problems = append(problems, Problem{Level: "error", File: f, Message: err.Error()})
		}
		if !utf8.Valid(b) {
			problems = append(problems, Problem{Level: "error", File: f, Message: "is not UTF-8: save it as UTF-8"})
		}
		text[f] = b
		size += len(b)
	}
	if size > MaxSource {
		problems = append(problems, Problem{Level: "error", File: "pack.yaml", Message: fmt.Sprintf("the files have %d bytes together, limit %d", size, MaxSource)})
	}
	return text, problems
}

// parse reads the files of a pack. Unknown keys are errors.
func parse(text map[string][]byte) (*source, Problems) {
	s := &source{text: text, parsed: map[string]*ast.File{}}
	var problems Problems
	if _, ok := text["pack.yaml"]; !ok {
		problems = append(problems, Problem{Level: "error", File: "pack.yaml", Message: "missing: it names the pack, its version and its lists"})
	}
	for _, f := range sortedKeys(text) {
		var into any
		var rules ruleFile
		if into = &rules; path.Base(f) == "pack.yaml" {
			into = &s.pack
		}
		if err := DecodeYAML(text[f], into); err != nil {
			problems = append(problems, notValid(f, err))
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

// notValid is a file that is no YAML, or not the YAML of a pack.
func notValid(file string, err error) Problem {
	p := Problem{Level: "error", File: file, Message: err.Error()}
	var at *YAMLError
	if errors.As(err, &at) {
		p.Line, p.Column, p.Message, p.Excerpt = at.Line, at.Column, at.Message, at.Excerpt
	}
	return p
}

// problem points at a place of a file.
func (s *source) problem(level, file, item, at, format string, args ...any) Problem {
	p := Problem{Level: level, File: file, Item: item, Message: fmt.Sprintf(format, args...)}
	if node := s.node(file, at); node != nil {
		p.Line, p.Column = node.GetToken().Position.Line, node.GetToken().Position.Column
		p.Excerpt = ExcerptYAML(s.text[file], p.Line, p.Column)
	}
	return p
}

// node finds a place of a file, nil when there is none. Files are parsed once, however much is wrong with them.
func (s *source) node(file, at string) (node ast.Node) {
	path, err := yaml.PathString(at)
	if err != nil {
		return nil
	}
	if _, ok := s.parsed[file]; !ok {
		s.parsed[file], _ = ParseYAML(s.text[file]) // was read before
	}
	if s.parsed[file] == nil {
		return nil
	}
	if guarded(nil, func() (err error) { node, err = path.FilterFile(s.parsed[file]); return err }) != nil || node == nil || node.GetToken() == nil {
		return nil
	}
	return node
}
