package alert

import (
	"encoding/json"
	"strings"
	"testing"
	"testing/quick"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/agentrisk/agentrisk/scoring"
)

func sample() scoring.Alert {
	o := scoring.Origin{Topic: "agent.events.aliyun", Partition: 3, Offset: 1 << 40, Item: 2}
	return scoring.Alert{
		ID: scoring.AlertID("d", 1, o), Origin: o, Epoch: 1, EventID: "e", Time: 1, KafkaTime: 2, Provider: "aliyun", Region: "r", Tenant: "租户",
		Agent: "a", Session: "s", Kind: "tool_call", Score: 91_075, Level: scoring.LevelCritical, SessionScore: 100_000, Cause: scoring.AlertRose,
		Hits:  []scoring.AlertHit{{Rule: "AR-X-001", TitleEN: "<en>", TitleZH: "中文", Severity: scoring.High, Contribution: 5, Why: `tool.op = "send"`}},
		Flags: scoring.FlagCold | scoring.FlagLate, Pack: "0f",
	}
}

func TestRecordComesBack(t *testing.T) {
	want := sample()
	b, err := Encode(&want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&want, got); diff != "" {
		t.Error(diff)
	}
}

func TestDecodeRefuses(t *testing.T) {
	good := sample()
	b, err := Encode(&good)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(map[string]any){
		"another schema":   func(m map[string]any) { m["schema"] = "agentrisk.alert/2" },
		"no id":            func(m map[string]any) { delete(m, "id") },
		"id with a dot":    func(m map[string]any) { m["id"] = "a.b" },
		"id with newline":  func(m map[string]any) { m["id"] = "a\r\nx: y" },
		"unknown level":    func(m map[string]any) { m["level"] = "dire" },
		"unknown cause":    func(m map[string]any) { m["cause"] = "whim" },
		"score above 100":  func(m map[string]any) { m["score"] = json.Number("100.001") },
		"score below 0":    func(m map[string]any) { m["score"] = -1 },
		"score too fine":   func(m map[string]any) { m["score"] = json.Number("1.0001") },
		"unknown severity": func(m map[string]any) { m["hits"].([]any)[0].(map[string]any)["severity"] = "" },
	} {
		var m map[string]any
		if err := json.Unmarshal(b, &m); err != nil {
			t.Fatal(err)
		}
		change(m)
		changed, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Decode(changed); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for _, text := range []string{"", "null", "[]", "{}", "{", "\x00\x01"} {
		if _, err := Decode([]byte(text)); err == nil {
			t.Errorf("%q: accepted", text)
		}
	}
}

// A newer program may say more; what it says of the same schema can be read.
func TestDecodeReadsNewerRecords(t *testing.T) {
	a := sample()
	b, err := Encode(&a)
	if err != nil {
		t.Fatal(err)
	}
	newer := strings.Replace(string(b), `"schema"`, `"mood":{"x":[1]},"schema"`, 1)
	newer = strings.Replace(newer, `"cold"`, `"cold","unheard_of"`, 1)
	got, err := Decode([]byte(newer))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&a, got); diff != "" {
		t.Error(diff)
	}
}

// However long an alert's texts are, its record is one that a broker takes, and it can be read.
func TestRecordIsBounded(t *testing.T) {
	for _, text := range []string{strings.Repeat("x", 1<<20), strings.Repeat("\x01", 1<<20), strings.Repeat("险", 1<<18), strings.Repeat("<", 1<<20)} {
		a := sample()
		a.Agent, a.Session, a.EventID = text, text, text
		for range 2000 {
			a.Hits = append(a.Hits, scoring.AlertHit{Rule: text, TitleEN: text, TitleZH: text, Why: text})
		}
		b, err := Encode(&a)
		if err != nil {
			t.Fatal(err)
		}
		if len(b) > maxRecord {
			t.Errorf("%.4q...: record of %d bytes", text, len(b))
		}
		got, err := Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		if len(got.Hits) == 0 || got.Hits[0].Rule != "AR-X-001" {
			t.Errorf("%.4q...: the strongest hit is not told", text)
		}
	}
}

func TestPoints(t *testing.T) {
	for _, tt := range []struct {
		score scoring.Score
		want  string
	}{{0, "0"}, {1, "0.001"}, {10, "0.01"}, {1000, "1"}, {91_075, "91.075"}, {99_990, "99.99"}, {100_000, "100"}} {
		b, err := json.Marshal(Points(tt.score))
		if err != nil || string(b) != tt.want {
			t.Errorf("%d: %s, %v, want %s", tt.score, b, err, tt.want)
		}
	}
	for n := range scoring.Score(100_001) {
		var p Points
		if err := p.UnmarshalJSON([]byte(Points(n).String())); err != nil || scoring.Score(p) != n {
			t.Fatalf("%d comes back as %d, %v", n, p, err)
		}
	}
}

func TestCutKeepsCharactersWhole(t *testing.T) {
	for n := 3; n < 20; n++ {
		got := cut("智能体会话风险", n)
		if len(got) > n || !utf8.ValidString(got) || !strings.HasSuffix(got, "…") {
			t.Errorf("cut at %d: %q", n, got)
		}
	}
	if got := cut("short", 5); got != "short" {
		t.Errorf("cut = %q", got)
	}
}

// Summaries name who, how bad and why, in both languages, and never grow without bound.
func TestSummary(t *testing.T) {
	a := sample()
	for _, want := range []string{"agent a ", "租户", "91.075", "critical", "AR-X-001", "<en>", "+0.005"} {
		if got := Summary(&a).EN; !strings.Contains(strings.ToLower(got), strings.ToLower(want)) {
			t.Errorf("%q lacks %q", got, want)
		}
	}
	for _, want := range []string{"智能体 a", "租户", "91.075", "严重", "AR-X-001", "中文"} {
		if got := Summary(&a).ZH; !strings.Contains(got, want) {
			t.Errorf("%q lacks %q", got, want)
		}
	}
	for range 1000 {
		a.Hits = append(a.Hits, scoring.AlertHit{Rule: "AR-X-002", TitleEN: strings.Repeat("y", 1<<16)})
	}
	if s := Summary(&a); len(s.EN) > 8<<10 || !strings.Contains(s.EN, "996 more") || !strings.Contains(s.ZH, "996") {
		t.Errorf("summary of %d bytes: %.300s", len(s.EN), s.EN)
	}
	a.Hits = nil
	if Title(&a).EN == "" || Title(&a).ZH == "" {
		t.Error("an alert without hits has no title")
	}
}

// Waits double up to the longest, and no two members wait alike for long.
func TestBackoff(t *testing.T) {
	err := quick.Check(func(attempt uint16) bool {
		d := backoff(int(attempt), time.Second, 5*time.Minute)
		full := 5 * time.Minute
		if attempt < 9 {
			full = min(full, time.Second<<attempt)
		}
		return d >= full/2 && d <= full
	}, &quick.Config{MaxCount: 5000})
	if err != nil {
		t.Error(err)
	}
}

// Whatever stands in the topic is an alert that encodes to itself, or an error.
func FuzzDecode(f *testing.F) {
	a := sample()
	b, err := Encode(&a)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"schema":"agentrisk.alert/1","id":"a","level":"low","cause":"rule","score":1.5}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := Decode(b)
		if err != nil {
			return
		}
		Title(a)
		Summary(a)
		once, err := Encode(a)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Decode(once)
		if err != nil {
			t.Fatalf("%s: %v", once, err)
		}
		twice, err := Encode(again)
		if err != nil || string(twice) != string(once) {
			t.Fatalf("%s\n%s\n%v", once, twice, err)
		}
	})
}
