package file

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agentrisk/agentrisk/scoring"
)

func zip(s string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write([]byte(s))
	_ = z.Close()
	return b.String()
}

func TestEach(t *testing.T) {
	long := strings.Repeat("x", scoring.MaxRecord+1)
	for _, tt := range []struct {
		name, in, want, err string
	}{
		{"plain", "a\nb\n", "1:a 2:b", ""},
		{"no last line break", "a\nb", "1:a 2:b", ""},
		{"carriage returns and empty lines", "a\r\n\r\n \nb\r\n", "1:a 4:b", ""},
		{"gzip", zip("a\nb\n"), "1:a 2:b", ""},
		{"two gzip files in one", zip("a\n") + zip("b\n"), "1:a 2:b", ""},
		{"gzip that ends early", zip(strings.Repeat("ab\n", 2))[:20], "1:ab 2:ab", "unexpected EOF"},
		{"a line that is too long", "a\n" + long + "\nb\n", "1:a 2:too_large 3:b", ""},
		{"nothing", "", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "in")
			if err := os.WriteFile(path, []byte(tt.in), 0o644); err != nil {
				t.Fatal(err)
			}
			for _, p := range []string{path, "-"} {
				var got []string
				err := Each(t.Context(), []string{p}, strings.NewReader(tt.in), func(l Line) error {
					s := string(l.Data)
					if l.Reject != nil {
						s = string(l.Reject.Reason)
					}
					got = append(got, fmt.Sprintf("%d:%s", l.Number, s))
					return nil
				})
				if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
					t.Errorf("error %v, want %q", err, tt.err)
				}
				if s := strings.Join(got, " "); s != tt.want {
					t.Errorf("got %s, want %s", s, tt.want)
				}
			}
		})
	}
}
