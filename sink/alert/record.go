package alert

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/agentrisk/agentrisk/scoring"
)

// Schema names the form of the outbox's records. Fields may be added under the same name; readers ignore what
// they do not know. A change that an old reader would misread takes a new name.
const Schema = "agentrisk.alert/1"

// Bounds of a record. Beyond them an alert is shortened, never refused: a lane must not wait for ever for a
// record that no broker takes.
const (
	maxRecord = 512 << 10 // half of what a broker takes by default

	maxHits  = 100
	maxWhy   = 1 << 10 // bytes
	maxTitle = 512     // bytes
	maxField = 1 << 10 // bytes of an identifier; the decoder's own limit is 256
)

// record is the JSON form of an alert in the outbox.
type record struct {
	Schema       string   `json:"schema"`
	ID           string   `json:"id"`
	Epoch        int32    `json:"epoch"`
	Origin       Origin   `json:"origin"`
	EventID      string   `json:"event_id"`
	Time         int64    `json:"time"`       // unix milliseconds, as sent
	KafkaTime    int64    `json:"kafka_time"` // unix milliseconds
	Provider     string   `json:"provider"`
	Region       string   `json:"region"`
	Tenant       string   `json:"tenant_id"`
	Agent        string   `json:"agent_id"`
	Session      string   `json:"session_id"`
	Kind         string   `json:"kind"`
	Score        Points   `json:"score"`
	Level        string   `json:"level"`
	SessionScore Points   `json:"session_score"`
	Cause        string   `json:"cause"`
	Hits         []Hit    `json:"hits"`
	Pack         string   `json:"pack"`
	Flags        []string `json:"flags,omitempty"`
}

// Origin is the JSON form of an event's identity.
type Origin struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
	Item      int32  `json:"item"`
}

// Hit is the JSON form of a rule that matched.
type Hit struct {
	Rule         string `json:"rule"`
	Severity     string `json:"severity"`
	Contribution Points `json:"contribution"`
	Why          string `json:"why"`
	Title        Text   `json:"title"`
}

// Text is said in both languages.
type Text struct {
	EN string `json:"en"`
	ZH string `json:"zh"`
}

// Hits returns the JSON form of at most n hits, the strongest, with whys of at most maxWhy bytes.
func Hits(a *scoring.Alert, n, maxWhy int) []Hit {
	hits := make([]Hit, 0, min(n, len(a.Hits)))
	for _, h := range a.Hits[:cap(hits)] {
		hits = append(hits, Hit{Rule: cut(h.Rule, maxField), Severity: h.Severity.String(), Contribution: Points(h.Contribution),
			Why: cut(h.Why, maxWhy), Title: Text{cut(h.TitleEN, maxTitle), cut(h.TitleZH, maxTitle)}})
	}
	return hits
}

// Encode returns the outbox record of an alert: a pure function of it, so that writing it again writes the same.
func Encode(a *scoring.Alert) ([]byte, error) {
	r := record{
		Schema: Schema, ID: a.ID, Epoch: a.Epoch, Origin: Origin(a.Origin), EventID: cut(a.EventID, maxField), Time: a.Time, KafkaTime: a.KafkaTime,
		Provider: cut(a.Provider, maxField), Region: cut(a.Region, maxField), Tenant: cut(a.Tenant, maxField), Agent: cut(a.Agent, maxField),
		Session: cut(a.Session, maxField), Kind: cut(a.Kind, maxField), Score: Points(a.Score), Level: a.Level.String(), SessionScore: Points(a.SessionScore),
		Cause: Cause(a.Cause), Hits: Hits(a, maxHits, maxWhy), Pack: a.Pack, Flags: a.Flags.Names(),
	}
	for {
		b, err := json.Marshal(r)
		if err != nil {
			return nil, fmt.Errorf("alert %s: %w", a.ID, err)
		}
		if len(b) <= maxRecord || len(r.Hits) == 0 {
			return b, nil
		}
		r.Hits = r.Hits[:len(r.Hits)/2] // escapes can make a text six times as long
	}
}

// Decode reads an outbox record. What it returns is safe to hand to a channel: the id can stand in a header.
func Decode(b []byte) (*scoring.Alert, error) {
	var r record
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("alert record: %w", err)
	}
	if r.Schema != Schema {
		return nil, fmt.Errorf("alert record: schema %.64q, this version reads %q", r.Schema, Schema)
	}
	if !validID(r.ID) {
		return nil, fmt.Errorf("alert record: id %.64q is not 1 to 128 letters, digits, - or _", r.ID)
	}
	a := &scoring.Alert{ID: r.ID, Epoch: r.Epoch, Origin: scoring.Origin(r.Origin), EventID: r.EventID, Time: r.Time, KafkaTime: r.KafkaTime,
		Provider: r.Provider, Region: r.Region, Tenant: r.Tenant, Agent: r.Agent, Session: r.Session, Kind: r.Kind,
		Score: scoring.Score(r.Score), SessionScore: scoring.Score(r.SessionScore), Pack: r.Pack}
	var errs [2]error
	a.Level, errs[0] = parseName(r.Level, scoring.LevelInfo, scoring.LevelCritical)
	a.Cause, errs[1] = parseCause(r.Cause)
	if err := errors.Join(errs[:]...); err != nil {
		return nil, fmt.Errorf("alert record %s: %w", r.ID, err)
	}
	for _, h := range r.Hits {
		severity, err := parseName(h.Severity, scoring.Info, scoring.Critical)
		if err != nil {
			return nil, fmt.Errorf("alert record %s: rule %.64q: %w", r.ID, h.Rule, err)
		}
		a.Hits = append(a.Hits, scoring.AlertHit{Rule: h.Rule, TitleEN: h.Title.EN, TitleZH: h.Title.ZH, Severity: severity,
			Contribution: scoring.Score(h.Contribution), Why: h.Why})
	}
	for _, name := range r.Flags {
		if i := slices.Index(scoring.FlagNames, name); i >= 0 { // a newer writer may know more
			a.Flags |= 1 << i
		}
	}
	return a, nil
}

// Names of the causes; they stand in records and webhook bodies.
const (
	causeRose = "session_rose"
	causeRule = "rule"
)

// Cause is the stored name of why an alert was made.
func Cause(c scoring.AlertCause) string {
	switch c {
	case scoring.AlertRose:
		return causeRose
	case scoring.AlertByRule:
		return causeRule
	}
	return "none"
}

func parseCause(s string) (scoring.AlertCause, error) {
	for _, c := range []scoring.AlertCause{scoring.AlertRose, scoring.AlertByRule} {
		if Cause(c) == s {
			return c, nil
		}
	}
	return scoring.NoAlert, fmt.Errorf("cause %.64q is unknown", s)
}

// parseName finds the value between first and last whose name is s.
func parseName[T interface {
	~uint8
	String() string
}](s string, first, last T) (T, error) {
	for v := first; v <= last; v++ {
		if v.String() == s {
			return v, nil
		}
	}
	return 0, fmt.Errorf("level %.64q is unknown", s)
}

// validID holds ids to what may stand in a header and in a Standard Webhooks signature, where a dot separates.
func validID(id string) bool {
	return len(id) > 0 && len(id) <= 128 && strings.IndexFunc(id, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_')
	}) < 0
}

// cut shortens s to at most n bytes without splitting a character, and shows that it did.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	const mark = "…"
	for n -= len(mark); n > 0 && !utf8.RuneStart(s[n]); n-- {
	}
	return s[:n] + mark
}
