package main

import (
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/agentrisk/agentrisk/"

// TestImports holds the arrows of the design: scoring is the centre of a star, its rays do not know one another, and
// only this program knows them all.
func TestImports(t *testing.T) {
	for _, tt := range []struct {
		packages string
		allowed  []string // what of ours it may import, directly or not
		outside  []string // what of others it may import; nil: anything
	}{
		{"scoring", nil, []string{"github.com/dchest/siphash", "golang.org/x/net/publicsuffix"}},
		{"scoring/redact", []string{"scoring"}, []string{"github.com/dchest/siphash", "golang.org/x/net/publicsuffix"}},
		{"rules/...", []string{"scoring", "rules"}, nil},
		{"ingest", []string{"scoring", "scoring/redact", "ingest"}, nil},
		{"ingest/kafka/...", []string{"scoring", "scoring/redact", "ingest", "ingest/kafka"}, nil},
		{"ingest/file/...", []string{"scoring", "scoring/redact", "ingest", "ingest/file"}, nil},
		{"ingest/compose/...", []string{"scoring", "scoring/redact", "ingest", "ingest/compose"}, nil},
		{"ingest/fleet/...", []string{"scoring", "ingest/fleet"}, nil},
		{"sink", []string{"scoring", "sink"}, nil},
		{"sink/clickhouse/...", []string{"scoring", "scoring/redact", "sink", "sink/clickhouse"}, nil},
		{"sink/alert/...", []string{"scoring", "sink", "sink/topic", "sink/alert"}, nil},
		{"sink/deadletter/...", []string{"scoring", "sink", "sink/topic", "sink/deadletter"}, nil},
	} {
		t.Run(tt.packages, func(t *testing.T) {
			out, err := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", module+tt.packages).CombinedOutput()
			if err != nil {
				t.Fatalf("go list: %v\n%s", err, out)
			}
			for path := range strings.FieldsSeq(string(out)) {
				if ours, ok := strings.CutPrefix(path, module); ok {
					if !under(ours, append(tt.allowed, strings.TrimSuffix(tt.packages, "/..."))) {
						t.Errorf("imports %s, may import of ours only %v", ours, tt.allowed)
					}
				} else if tt.outside != nil && !under(path, tt.outside) {
					t.Errorf("imports %s, may import beside the standard library only %v", path, tt.outside)
				}
			}
		})
	}
}

// under reports whether path is one of the names or lies within one that is no parent of adapters.
func under(path string, names []string) bool {
	for _, n := range names {
		nested := strings.Contains(n, "/") || n == "rules"
		if path == n || nested && strings.HasPrefix(path, n+"/") {
			return true
		}
	}
	return false
}
