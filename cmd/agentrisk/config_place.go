package main

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/agentrisk/agentrisk/rules"
)

// placedError is what is wrong at a place of a configuration file.
type placedError struct {
	path string // of YAML: $.bindings[0]
	err  error
}

func (e *placedError) Error() string { return e.err.Error() }
func (e *placedError) Unwrap() error { return e.err }

var (
	keyed      = regexp.MustCompile(`^([a-z_]+(?:\.[a-z_]+|\[\d+\])*): `)
	ofABinding = regexp.MustCompile(`^binding [^:]*: ([a-z_]+) `)
)

// place adds line, column and caret to every error that names a key of the file: as its first word (memory.budget: ...),
// or by a placedError. What stands nowhere in the file, because the environment or a default said so, stays as it is.
func place(text []byte, err error) error {
	list := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		list = joined.Unwrap()
	}
	out := make([]string, 0, len(list))
	for _, err := range list {
		out = append(out, placeOne(text, err))
	}
	return errors.New(strings.Join(out, "\n"))
}

func placeOne(text []byte, err error) string {
	message := err.Error()
	var at []string
	var placed *placedError
	if errors.As(err, &placed) {
		if m := ofABinding.FindStringSubmatch(message); m != nil {
			at = append(at, placed.path+"."+m[1])
		}
		at = append(at, placed.path)
	}
	if m := keyed.FindStringSubmatch(message); m != nil {
		at = append(at, "$."+m[1])
	}
	for _, a := range at {
		if s, ok := annotate(text, a, message); ok {
			return s
		}
	}
	return message
}

// annotate puts the message over the lines around a place; ok is false when the file has no such place.
func annotate(text []byte, at, message string) (s string, ok bool) {
	path, err := yaml.PathString(at)
	if err != nil {
		return "", false
	}
	file, err := rules.ParseYAML(text)
	if err != nil {
		return "", false
	}
	node, err := path.FilterFile(file)
	if err != nil || node == nil {
		return "", false
	}
	p := node.GetToken().Position
	return fmt.Sprintf("[%d:%d] %s\n%s", p.Line, p.Column, message, rules.ExcerptYAML([]byte(hideSecrets(string(text))), p.Line, p.Column)), true
}

var secretLines = regexp.MustCompile(`(\b(?:password|secrets?|[a-z_]*key|token|salt)["']?\s*:\s*)[^\n]+|whsec_[^\s"']+`)

// secretAbove is a name of a secret whose value goes on in the lines below.
var secretAbove = regexp.MustCompile(`\b(?:password|secrets?|[a-z_]*key|token|salt)["']?\s*:`)

// hideSecrets takes out what the lines of a file may hold, those around a mistake among them: errors go to logs. Lines stay
// where they are.
func hideSecrets(text string) string {
	var b strings.Builder
	above := -1 // how far the name of a secret above is indented
	for line := range strings.Lines(text) {
		body := strings.TrimLeft(line, " \t-")
		indent := len(line) - len(body)
		switch {
		case strings.TrimSpace(body) == "":
		case above >= 0 && indent > above:
			line = line[:indent] + "(hidden)\n"
		default:
			if above = -1; secretAbove.MatchString(line) {
				above = indent
			}
			line = secretLines.ReplaceAllStringFunc(line, func(found string) string {
				if m := secretLines.FindStringSubmatch(found); m[1] != "" {
					return m[1] + "(hidden)"
				}
				return "(hidden)"
			})
		}
		b.WriteString(line)
	}
	return b.String()
}
