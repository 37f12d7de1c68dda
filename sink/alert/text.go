package alert

import (
	"fmt"
	"strings"
	"time"

	"github.com/agentrisk/agentrisk/scoring"
)

// Title is the title of the strongest hit.
func Title(a *scoring.Alert) Text {
	if len(a.Hits) == 0 {
		return Text{"Risky session", "会话存在风险"}
	}
	return Text{cut(a.Hits[0].TitleEN, maxTitle), cut(a.Hits[0].TitleZH, maxTitle)}
}

// Names of levels for people.
var levelZH = []string{"提示", "低", "中", "高", "严重"}

const summaryHits = 5 // rules that a summary names

// Summary says in a line or two who did it, how bad it is and which rules say so. It holds identifiers and
// numbers, never content.
func Summary(a *scoring.Alert) Text {
	var en, zh []string
	for _, h := range a.Hits[:min(len(a.Hits), summaryHits)] {
		en = append(en, fmt.Sprintf("%s %s (+%s)", h.Rule, cut(h.TitleEN, maxTitle), Points(h.Contribution)))
		zh = append(zh, fmt.Sprintf("%s %s（+%s）", h.Rule, cut(h.TitleZH, maxTitle), Points(h.Contribution)))
	}
	if more := len(a.Hits) - summaryHits; more > 0 {
		en, zh = append(en, fmt.Sprintf("%d more", more)), append(zh, fmt.Sprintf("另有 %d 条", more))
	}
	why := Text{"the session rose to high or above", "会话风险首次升至高或以上"}
	if a.Cause == scoring.AlertByRule {
		why = Text{"a rule that always pages matched", "命中必须告警的规则"}
	}
	return Text{
		EN: fmt.Sprintf("Agent %s of tenant %s at %s, session %s: score %s (%s), session %s; %s. %s.",
			name(a.Agent), name(a.Tenant), name(a.Provider), name(a.Session), Points(a.Score), a.Level, Points(a.SessionScore), why.EN, strings.Join(en, "; ")),
		ZH: fmt.Sprintf("智能体 %s（租户 %s，云厂商 %s），会话 %s：得分 %s（%s），会话得分 %s；%s。%s。",
			name(a.Agent), name(a.Tenant), name(a.Provider), name(a.Session), Points(a.Score), levelZH[a.Level], Points(a.SessionScore), why.ZH, strings.Join(zh, "；")),
	}
}

func name(id string) string {
	if id == "" {
		return "?"
	}
	return cut(id, 256)
}

// When is the time of the event, or that of its Kafka record where the event has none that can be used.
func When(a *scoring.Alert) time.Time {
	t := a.Time
	if a.Flags&(scoring.FlagTimeMissing|scoring.FlagTimeClamped) != 0 {
		t = a.KafkaTime
	}
	return time.UnixMilli(t).UTC()
}
