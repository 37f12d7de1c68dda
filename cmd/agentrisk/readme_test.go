package main

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// The README says the same in both languages: as many headings at the same levels, as many rows and columns in its
// tables, and the same code and commands, to the byte.
func TestReadmeInBothLanguages(t *testing.T) {
	en, zh := outline(t, "../../README.md"), outline(t, "../../README.zh-CN.md")
	for _, part := range []struct {
		what   string
		en, zh []string
	}{
		{"headings", en.headings, zh.headings},
		{"lines of code", en.code, zh.code},
		{"commands and names between backticks in tables", en.cells, zh.cells},
		{"points of lists", en.points, zh.points},
	} {
		if slices.Equal(part.en, part.zh) {
			continue
		}
		for i := range max(len(part.en), len(part.zh)) {
			var a, b string
			if i < len(part.en) {
				a = part.en[i]
			}
			if i < len(part.zh) {
				b = part.zh[i]
			}
			if a != b {
				t.Errorf("%s differ, first at number %d of %d and %d:\n  README.md        %q\n  README.zh-CN.md  %q", part.what, i+1, len(part.en), len(part.zh), a, b)
				break
			}
		}
	}
}

type readmeOutline struct{ headings, code, cells, points []string }

// outline takes from a document what does not depend on its language.
func outline(t *testing.T, path string) (o readmeOutline) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	fenced := false
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\r\n")
		switch {
		case strings.HasPrefix(line, "```"):
			fenced = !fenced
			o.code = append(o.code, line)
		case fenced, strings.HasPrefix(line, "    "):
			o.code = append(o.code, line)
		case strings.HasPrefix(line, "#"):
			level, _, _ := strings.Cut(line, " ")
			o.headings = append(o.headings, level)
		case strings.HasPrefix(line, "|"):
			row := strings.Repeat("|", strings.Count(line, "|"))
			for i, span := range strings.Split(line, "`") {
				if i%2 == 1 {
					row += " " + span
				}
			}
			o.cells = append(o.cells, row)
		case strings.HasPrefix(line, "- "):
			o.points = append(o.points, "-")
		}
	}
	return o
}
