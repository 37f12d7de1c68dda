package rules

import (
	"strings"
	"testing"
)

// Files that are made to end the process, or to keep it busy, are refused; each within the bound of a pack's size.
func TestHostileYAML(t *testing.T) {
	levels := func(n int) string {
		var b strings.Builder
		for i := range n {
			b.WriteString(strings.Repeat(" ", i) + "a:\n")
		}
		return b.String()
	}
	bomb := "x0: &x0 [a,a,a,a,a,a,a,a,a]\n"
	for i := range 9 {
		n := string(rune('0' + i))
		next := string(rune('1' + i))
		bomb += "x" + next + ": &x" + next + " [" + strings.TrimSuffix(strings.Repeat("*x"+n+",", 9), ",") + "]\n"
	}
	for name, tt := range map[string]struct{ text, want string }{
		"brackets":             {"rules: " + strings.Repeat("[", MaxSource), "signs that may be"},
		"braces":               {"rules: " + strings.Repeat("{a: ", 50_000), "nested deeper"},
		"some brackets":        {"rules: " + strings.Repeat("[", 900), "nested deeper"},
		"closed brackets":      {"rules: " + strings.Repeat("[", 50_000) + strings.Repeat("]", 50_000), "nested deeper"},
		"entries in a row":     {strings.Repeat("- ", 100_000), "nested deeper"},
		"questions in a row":   {strings.Repeat("? ", 100_000), "nested deeper"},
		"indentation":          {levels(2000), "nested deeper"},
		"tags in a row":        {strings.Repeat("!a ", 70_000), "nested deeper"},
		"tags on lines":        {strings.Repeat("!a\n", 10_000), "nested deeper"},
		"anchors in a row":     {strings.Repeat("&a ", 70_000), "nested deeper"},
		"aliases upon aliases": {bomb, "aliases stand for more than"},
		"a tag and no list":    {"lists: {a: !!binary x}", "no YAML that can be read"},
	} {
		t.Run(name, func(t *testing.T) {
			var any packFile
			err := DecodeYAML([]byte(tt.text), &any)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%.300v", err)
			}
			for _, file := range []string{"pack.yaml", "rules.yaml"} {
				text := map[string][]byte{"pack.yaml": []byte(fuzzHead)}
				text[file] = []byte(tt.text)
				if _, err := compile(text, nil); err == nil {
					t.Errorf("a pack with such a %s loads", file)
				}
			}
		})
	}
}
