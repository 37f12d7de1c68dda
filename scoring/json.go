package scoring

import (
	"strings"
	"time"
	"unicode/utf8"
)

// AppendVerdict appends the verdict line of an event: one JSON object without a line break.
func AppendVerdict(dst []byte, p *Pack, e *Event, v *Verdict) []byte {
	dst = appendString(append(dst, `{"event_id":`...), e.Str(FieldEventID))
	dst = append(dst, `,"time":`...)
	if e.Flags&FlagTimeMissing != 0 {
		dst = append(dst, "null"...)
	} else {
		dst = append(time.UnixMilli(e.Time).UTC().AppendFormat(append(dst, '"'), "2006-01-02T15:04:05.000Z"), '"')
	}
	for _, f := range [...]struct {
		name string
		id   FieldID
	}{{"provider", FieldProvider}, {"tenant_id", FieldTenant}, {"agent_id", FieldAgent}, {"session_id", FieldSession}, {"kind", FieldKind}} {
		dst = append(append(append(dst, `,"`...), f.name...), `":`...)
		dst = appendString(dst, e.Str(f.id))
	}
	dst = v.Score.Append(append(dst, `,"score":`...))
	dst = append(append(append(dst, `,"level":"`...), v.Level.String()...), '"')
	dst = v.SessionScore.Append(append(dst, `,"session_score":`...))
	dst = v.AgentScore.Append(append(dst, `,"agent_score":`...))
	dst = append(dst, `,"hits":[`...)
	for i, h := range v.Hits {
		if i > 0 {
			dst = append(dst, ',')
		}
		r := &p.Rules[h.Rule]
		dst = appendString(append(dst, `{"rule":`...), r.ID)
		dst = append(append(append(dst, `,"severity":"`...), r.Severity.String()...), '"')
		dst = h.Contribution.Append(append(dst, `,"contribution":`...))
		dst = append(appendString(append(dst, `,"why":`...), h.Why), '}')
	}
	dst = append(dst, ']')
	if v.Flags != 0 {
		dst = appendStrings(append(dst, `,"flags":`...), v.Flags.Names())
	}
	for _, l := range [...]struct {
		name string
		list []int
	}{{"lacks", v.Lacks}, {"failed", v.Failed}} {
		if len(l.list) > 0 {
			dst = append(append(append(dst, `,"`...), l.name...), `":[`...)
			for i, r := range l.list {
				if i > 0 {
					dst = append(dst, ',')
				}
				dst = appendString(dst, p.Rules[r].ID)
			}
			dst = append(dst, ']')
		}
	}
	if v.Alert != NoAlert {
		dst = append(append(append(dst, `,"alert":"`...), v.Alert.String()...), '"')
	}
	return append(appendString(append(dst, `,"pack":`...), p.Digest), '}')
}

var causeNames = []string{"", "rose", "rule"}

func (c AlertCause) String() string { return causeNames[c] }

func appendStrings(dst []byte, list []string) []byte {
	dst = append(dst, '[')
	for i, s := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendString(dst, s)
	}
	return append(dst, ']')
}

// AppendText appends s as a JSON text; what is no UTF-8 becomes U+FFFD.
func AppendText(dst []byte, s string) []byte { return appendString(dst, s) }

const hexDigits = "0123456789abcdef"

// appendString appends s as a JSON text; what is no UTF-8 becomes U+FFFD.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c == '\n':
			dst = append(dst, '\\', 'n')
		case c < 0x20 || c == 0x7f:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		case c < utf8.RuneSelf:
			dst = append(dst, c)
		default:
			r, n := utf8.DecodeRuneInString(s[i:])
			dst = utf8.AppendRune(dst, r)
			i += n
			continue
		}
		i++
	}
	return append(dst, '"')
}

// NewAlert makes the alert of a verdict. It shares no memory with the event.
func NewAlert(deployment string, epoch int32, p *Pack, e *Event, v *Verdict) Alert {
	own := strings.Clone
	a := Alert{
		ID:     AlertID(deployment, epoch, e.Origin),
		Origin: e.Origin, Epoch: epoch,
		EventID: own(e.Str(FieldEventID)), Time: e.Time, KafkaTime: e.KafkaTime,
		Provider: own(e.Str(FieldProvider)), Region: own(e.Str(FieldRegion)), Tenant: own(e.Str(FieldTenant)),
		Agent: own(e.Str(FieldAgent)), Session: own(e.Str(FieldSession)), Kind: own(e.Str(FieldKind)),
		Score: v.Score, Level: v.Level, SessionScore: v.SessionScore, Cause: v.Alert, Pack: p.Digest, Flags: v.Flags,
	}
	for _, h := range v.Hits {
		r := &p.Rules[h.Rule]
		a.Hits = append(a.Hits, AlertHit{Rule: r.ID, TitleEN: r.TitleEN, TitleZH: r.TitleZH, Severity: r.Severity, Contribution: h.Contribution, Why: own(h.Why)})
	}
	return a
}
