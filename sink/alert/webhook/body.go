package webhook

import (
	"encoding/json"
	"time"

	"github.com/agentrisk/agentrisk/scoring"
	"github.com/agentrisk/agentrisk/sink/alert"
)

// Bounds that keep a body below the 20 KB that Standard Webhooks recommend, but for hostile texts.
const (
	maxHits = 16
	maxWhy  = 256 // bytes
)

// eventType is the type of what we send.
const eventType = "agentrisk.alert"

// Body is what the receiver gets. It is a function of the alert, so that every attempt says the same. It
// names agents, sessions and rules; it never holds what an agent said or did.
type Body struct {
	Type      string    `json:"type"`      // agentrisk.alert
	Timestamp time.Time `json:"timestamp"` // of the event
	Data      Data      `json:"data"`
}

// Data is the alert.
type Data struct {
	ID           string       `json:"id"`
	EventID      string       `json:"event_id"`
	Time         time.Time    `json:"time"`
	Provider     string       `json:"provider"`
	Region       string       `json:"region"`
	Tenant       string       `json:"tenant_id"`
	Agent        string       `json:"agent_id"`
	Session      string       `json:"session_id"`
	Kind         string       `json:"kind"`
	Score        alert.Points `json:"score"` // 0 to 100
	Level        string       `json:"level"`
	SessionScore alert.Points `json:"session_score"`
	Cause        string       `json:"cause"` // session_rose or rule
	Title        alert.Text   `json:"title"` // of the strongest hit
	Summary      alert.Text   `json:"summary"`
	Hits         []alert.Hit  `json:"hits"`         // strongest first, at most 16
	HitsOmitted  int          `json:"hits_omitted"` // how many more there are
	Origin       alert.Origin `json:"origin"`
	Pack         string       `json:"pack"`
}

func encode(a *scoring.Alert) ([]byte, error) {
	at := alert.When(a)
	if at.Year() > 9999 || at.Year() < 1 { // RFC 3339 ends there, and an alert with no usable time is still one
		at = time.UnixMilli(0).UTC()
	}
	hits := alert.Hits(a, maxHits, maxWhy)
	return json.Marshal(Body{Type: eventType, Timestamp: at, Data: Data{
		ID: a.ID, EventID: a.EventID, Time: at, Provider: a.Provider, Region: a.Region, Tenant: a.Tenant, Agent: a.Agent, Session: a.Session,
		Kind: a.Kind, Score: alert.Points(a.Score), Level: a.Level.String(), SessionScore: alert.Points(a.SessionScore), Cause: alert.Cause(a.Cause),
		Title: alert.Title(a), Summary: alert.Summary(a), Hits: hits, HitsOmitted: len(a.Hits) - len(hits), Origin: alert.Origin(a.Origin), Pack: a.Pack,
	}})
}
