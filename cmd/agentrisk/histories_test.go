package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Every line of the table of histories names tests that exist, or says why there is none.
func TestHistoriesNameTestsThatExist(t *testing.T) {
	tests := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	if err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range declared.FindAllSubmatch(text, -1) {
			tests[string(m[1])] = true
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	table, err := os.ReadFile("../../deploy/HISTORIES.md")
	if err != nil {
		t.Fatal(err)
	}
	named, next := regexp.MustCompile("`(Test\\w+)`"), 1
	for line := range strings.Lines(string(table)) {
		cells := strings.Split(line, " | ")
		if len(cells) != 3 || !strings.HasPrefix(line, fmt.Sprintf("| %d ", next)) {
			continue
		}
		next++
		names := named.FindAllStringSubmatch(cells[2], -1)
		if len(names) == 0 && !strings.HasPrefix(cells[2], "no test: ") {
			t.Errorf("neither a test nor a reason: %s", line)
		}
		for _, n := range names {
			if !tests[n[1]] {
				t.Errorf("history %d names %s, which does not exist", next-1, n[1])
			}
		}
	}
	if next != 69 {
		t.Errorf("the table ends at history %d, want 68", next-1)
	}
}
