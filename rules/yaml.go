package rules

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Bounds of a YAML file. Nothing that a person writes comes near them.
const (
	maxYAMLDepth   = 200     // of nesting: the parser calls itself, and a stack that overflows ends the process
	maxYAMLMarks   = 600_000 // signs that may be structure: a token takes some hundred bytes
	maxYAMLAliases = 100_000 // values that aliases stand for, all in all
)

// YAMLError is what is wrong with a YAML file, and where.
type YAMLError struct {
	Line, Column int // from 1 on; 0: the file as a whole
	Message      string
	Excerpt      string // the lines around it, with a caret
}

func (e *YAMLError) Error() string {
	if e.Line == 0 {
		return e.Message
	}
	return fmt.Sprintf("[%d:%d] %s\n%s", e.Line, e.Column, e.Message, e.Excerpt)
}

// DecodeYAML reads a file strictly: unknown keys are errors, and an empty file leaves into as it is. It is what reads every
// YAML file of ours: the library panics on some files that are none, and has no bounds of its own. Its error is a
// *[YAMLError].
func DecodeYAML(text []byte, into any) error {
	if _, err := ParseYAML(text); err != nil {
		return err
	}
	return guarded(text, func() error {
		if err := yaml.NewDecoder(bytes.NewReader(text), yaml.Strict()).Decode(into); !errors.Is(err, io.EOF) {
			return err
		}
		return nil
	})
}

// ParseYAML parses a file after it has checked its bounds. Its error is a *[YAMLError].
func ParseYAML(text []byte) (file *ast.File, err error) {
	err = guarded(text, func() (err error) {
		marks := 0
		for _, c := range text {
			if strings.IndexByte("[]{},:-?!&*", c) >= 0 {
				marks++
			}
		}
		if marks > maxYAMLMarks {
			return &YAMLError{Message: fmt.Sprintf("has more than %d signs that may be structure, as brackets and commas are", maxYAMLMarks)}
		}
		tokens := lexer.Tokenize(string(text))
		if err := bounded(tokens); err != nil {
			return err
		}
		if file, err = parser.Parse(tokens, 0); err != nil {
			return err
		}
		w := weigher{anchors: map[string]int{}}
		for _, d := range file.Docs {
			w.weigh(d.Body)
		}
		if w.aliases > maxYAMLAliases {
			return &YAMLError{Message: fmt.Sprintf("aliases stand for more than %d values", maxYAMLAliases)}
		}
		return nil
	})
	return file, err
}

// guarded makes an error of ours of the library's errors, and of what it stumbles over.
func guarded(text []byte, f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &YAMLError{Message: fmt.Sprintf("is no YAML that can be read: %.200v", p)}
		}
	}()
	err = f()
	var at yaml.Error
	if errors.As(err, &at) {
		e := &YAMLError{Message: at.GetMessage()}
		if t := at.GetToken(); t != nil {
			e.Line, e.Column = t.Position.Line, t.Position.Column
			e.Excerpt = ExcerptYAML(text, e.Line, e.Column)
		}
		return e
	}
	return err
}

// lineBreaks are those of YAML.
var lineBreaks = strings.NewReplacer("\r\n", "\n", "\r", "\n")

// ExcerptYAML shows the lines around a place, with a caret below it. The library's own takes hours for a long line.
func ExcerptYAML(text []byte, line, column int) string {
	const around, width = 3, 160
	var b strings.Builder
	n, cut := 0, max(0, column-width/2)
	for l := range strings.Lines(lineBreaks.Replace(string(text))) {
		if n++; n < line-around {
			continue
		}
		if n > line+around {
			break
		}
		mark, shown := ' ', []rune(strings.TrimRight(l, "\n"))
		if n == line {
			mark = '>'
		}
		shown = shown[min(cut, len(shown)):]
		fmt.Fprintf(&b, "%c %2d | %s\n", mark, n, string(shown[:min(width, len(shown))]))
		if n == line {
			fmt.Fprintf(&b, "%s^\n", strings.Repeat(" ", len(fmt.Sprintf("> %2d | ", n))+column-1-cut))
		}
	}
	return strings.TrimRight(b.String(), "\n ")
}

// bounded refuses nesting that the parser would not survive, before it parses: brackets, entries that follow one another on a
// line, how far lines are indented, and properties in a row.
func bounded(tokens token.Tokens) error {
	flow, entries, column, line, properties := 0, 0, 0, 0, 0
	for _, t := range tokens {
		if t.Type == token.CommentType {
			continue
		}
		if t.Position.Line != line {
			line, column, entries = t.Position.Line, t.Position.Column, 0
		}
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			flow++
		case token.SequenceEndType, token.MappingEndType:
			flow--
		case token.SequenceEntryType, token.MappingKeyType, token.MappingValueType:
			entries++
		}
		switch t.Type {
		case token.TagType, token.AnchorType:
			properties++
		case token.MappingValueType, token.SequenceEntryType, token.CollectEntryType:
			properties = 0
		}
		if depth := flow + column + properties; depth > maxYAMLDepth || entries > maxYAMLDepth && flow == 0 {
			return &yaml.SyntaxError{Message: fmt.Sprintf("is nested deeper than %d", maxYAMLDepth), Token: t}
		}
	}
	return nil
}

// weigher counts the values that aliases stand for.
type weigher struct {
	anchors map[string]int // how many values each holds
	aliases int
}

func (w *weigher) weigh(n ast.Node) (values int) {
	switch x := n.(type) {
	case *ast.MappingNode:
		for _, v := range x.Values {
			values += w.weigh(v)
		}
	case *ast.MappingValueNode:
		values = w.weigh(x.Key) + w.weigh(x.Value)
	case *ast.MappingKeyNode:
		values = w.weigh(x.Value)
	case *ast.SequenceNode:
		for _, v := range x.Values {
			values += w.weigh(v)
		}
	case *ast.TagNode:
		values = w.weigh(x.Value)
	case *ast.AnchorNode:
		values = w.weigh(x.Value)
		if x.Name != nil {
			w.anchors[x.Name.String()] = values
		}
		return values
	case *ast.AliasNode:
		if x.Value != nil {
			values = w.anchors[x.Value.String()]
		}
		w.aliases = min(w.aliases+values, 2*maxYAMLAliases)
	}
	return min(values+1, 2*maxYAMLAliases)
}
