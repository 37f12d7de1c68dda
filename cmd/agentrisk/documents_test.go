package main

import (
	"bytes"
	"encoding/xml"
	"flag"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the documents that are made from the code")

// The documents that are made from the code say what the code says. `make docs` writes them.
func TestTablesInDocuments(t *testing.T) {
	for path, write := range map[string]func(io.Writer) error{
		"../../deploy/FIELDS.md":  writeFields,
		"../../deploy/METRICS.md": writeMetrics,
		"../../deploy/clickhouse/users.d/agentrisk.xml": func(w io.Writer) error {
			return access{Database: "agentrisk", Roles: clickHouseRoles}.write(w, "users")
		},
		"../../deploy/clickhouse/users.d/reader.xml.example": func(w io.Writer) error {
			return access{Database: "agentrisk", Provider: "example_cloud"}.write(w, "reader")
		},
		"sample.yaml": writeSample,
	} {
		t.Run(filepath.Base(path), func(t *testing.T) {
			var want bytes.Buffer
			if err := write(&want); err != nil {
				t.Fatal(err)
			}
			if *update {
				if err := os.WriteFile(path, want.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			got, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(path, "users.d") {
				if err := xml.Unmarshal(got, new(struct{})); err != nil {
					t.Errorf("no XML: %v", err)
				}
			}
			if diff := cmp.Diff(strings.Split(string(got), "\n"), strings.Split(want.String(), "\n")); diff != "" {
				t.Errorf("the document is not what the code says: run `make docs` (-document +code)\n%s", diff)
			}
		})
	}
}

// Every metric says what it means, of what kind it is, and bears our name.
func TestMetricsAreDescribed(t *testing.T) {
	list := describeMetrics(servedMetrics()...)
	if len(list) < 20 {
		t.Errorf("only %d metrics", len(list))
	}
	for _, d := range list {
		if len(d.help) < 10 || !strings.HasSuffix(strings.TrimSuffix(d.help, "\""), ".") || !strings.HasPrefix(d.name, "agentrisk_") {
			t.Errorf("%+v: want a name of ours and a sentence", d)
		}
		if strings.HasSuffix(d.name, "_total") != (d.kind == "counter") {
			t.Errorf("%s is a %s: a counter, and nothing else, ends in _total", d.name, d.kind)
		}
	}
}

// SECURITY.md names the test that shows each claim: they exist.
func TestSecurityNamesItsTests(t *testing.T) {
	text, err := os.ReadFile("../../SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]bool{}
	err = filepath.WalkDir("../..", func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		code, err := os.ReadFile(path)
		for _, m := range regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`).FindAllSubmatch(code, -1) {
			have[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`((?:Test|Fuzz)\\w+)`").FindAllSubmatch(text, -1)
	for _, m := range named {
		if !have[string(m[1])] {
			t.Errorf("SECURITY.md names %s, which is no test", m[1])
		}
	}
	if len(named) < 30 {
		t.Errorf("SECURITY.md names %d tests only", len(named))
	}
}
