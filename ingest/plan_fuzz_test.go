package ingest

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// FuzzPlan: the metadata of a commit says what was put into it, and any other text is an error or says the same after it
// was written again.
func FuzzPlan(f *testing.F) {
	f.Add(int64(7), int32(1), "cluster", "incarnation", int64(6), uint64(1)<<63, int64(1_790_000_000_000), true, 2, `{"v":1,"to":9,"ep":0,"sh":0,"cl":"c","in":"i","lo":8,"lh":"12"}`)
	f.Add(int64(0), int32(0), "", "", int64(-1), uint64(0), int64(0), false, 0, ``)
	f.Add(int64(-1), int32(-1), "\x00<&>\u2028", "日", int64(-1)<<63, ^uint64(0), int64(-1), true, -1, `{"v":1,"lh":12}`)
	for _, s := range []string{`null`, `{"v":2}`, `{"V":1,"TO":3,"to":4}`, `{"v":1} {"v":1}`, `{"v":1,"to":9223372036854775808}`, `{"v":1,"lh":"-1"}`, `{"v":1,"unknown":[{}]}`, "{\"v\":1,\"cl\":\"\xff\"}", "Go clients leave such texts"} {
		f.Add(int64(1), int32(0), "c", "i", int64(0), uint64(0), int64(0), false, 0, s)
	}
	f.Fuzz(func(t *testing.T, to int64, epoch int32, cluster, incarnation string, last int64, hash uint64, clock int64, clean bool, tries int, text string) {
		made := plan{Version: planVersion, To: to, Epoch: epoch, Cluster: cluster, Incarnation: incarnation, LastOffset: last, LastHash: hash, Clock: clock, Clean: clean, Tries: tries}
		if utf8.ValidString(cluster) && utf8.ValidString(incarnation) {
			written := made.encode()
			if again, err := parsePlan(written); err != nil || again != made {
				t.Fatalf("%+v became %+v, %v", made, again, err)
			}
			if len(cluster)+len(incarnation) <= 600 && len(written) > 4096 {
				t.Errorf("%d bytes are more than a broker takes", len(written))
			}
		}
		p, err := parsePlan(text)
		if err != nil {
			if len(err.Error()) > 1000 || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %q", err)
			}
			return
		}
		if again, err := parsePlan(p.encode()); err != nil || again != p {
			t.Fatalf("%q: %+v became %+v, %v", text, p, again, err)
		}
		if to, epoch, who, err := Planned(text); err != nil || to != p.To || epoch != p.Epoch || who != p.Incarnation {
			t.Errorf("Planned(%q) = %d, %d, %q, %v", text, to, epoch, who, err)
		}
	})
}

// FuzzTime: a time is what package time reads, to the millisecond, in every form that RFC 3339 allows; what package time
// refuses is a leap second, a small letter or a space, or is refused here, too.
func FuzzTime(f *testing.F) {
	for _, s := range []string{
		"2026-05-01T10:00:00Z", "2026-05-01t10:00:00.123456789z", "2024-02-29 23:59:60.1239+08:00", "1900-01-01T00:00:00Z", "2299-12-31T23:59:59.999Z", "1900-01-01T00:00:00+00:01",
		"2023-02-29T00:00:00Z", "2026-13-01T00:00:00Z", "2026-05-01T24:00:00Z", "2026-05-01T10:00:00", "2026-05-01T10:00:00.Z", "2026-05-01T10:00:00+24:00", "0000-01-01T00:00:00Z", "2026-05-01T10:00:00,5Z", "２026-05-01T10:00:00Z", "2299-12-31T3:59:59.999Z",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, ok := parseTime([]byte(s))
		plain := s
		if len(s) > 20 { // what RFC 3339 allows and package time does not
			plain = strings.Replace(strings.ToUpper(s[:11]), " ", "T", 1) + strings.ToUpper(s[11:])
		} else if len(s) == 20 {
			plain = strings.Replace(strings.ToUpper(s), " ", "T", 1)
		}
		leap := int64(0)
		if len(plain) > 19 && plain[17:19] == "60" {
			plain, leap = plain[:17]+"59"+plain[19:], 1000
		}
		want, err := time.Parse(time.RFC3339Nano, plain)
		ms := want.Unix()*1000 + int64(want.Nanosecond())/1_000_000 + leap
		fits := err == nil && ms >= minTime && ms <= maxTime && want.Year() > 0
		// Package time takes hours of one digit, a comma, and offsets of 24 hours (go.dev/issue/54580); the RFC does not.
		if err == nil && (plain[12] == ':' || plain[19] == ',' || plain[len(plain)-6:len(plain)-3] == "+24" || plain[len(plain)-6:len(plain)-3] == "-24") {
			fits = false
		}
		if ok != fits || ok && got != ms {
			t.Fatalf("%q: %d %v, package time: %d %v (%v)", s, got, ok, ms, fits, err)
		}
	})
}
