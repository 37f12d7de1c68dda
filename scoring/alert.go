package scoring

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
)

// Alert is a verdict that someone must hear of, as the outbox carries it.
type Alert struct {
	ID           string // deterministic: the idempotency key, see AlertID
	Origin       Origin
	Epoch        int32
	EventID      string
	Time         int64 // the event's, unix milliseconds
	KafkaTime    int64
	Provider     string
	Region       string
	Tenant       string
	Agent        string
	Session      string
	Kind         string
	Score        Score
	Level        Level
	SessionScore Score
	Cause        AlertCause
	Hits         []AlertHit
	Pack         string // digest
	Flags        Flags
}

// AlertHit is a hit with what a person needs to read of its rule.
type AlertHit struct {
	Rule         string
	TitleEN      string
	TitleZH      string
	Severity     Severity
	Contribution Score
	Why          string
}

// AlertID is the id of the alert of one origin: equal however often and by whomever it is written.
func AlertID(deployment string, epoch int32, o Origin) string {
	h := sha256.Sum256([]byte(deployment + "|" + strconv.Itoa(int(epoch)) + "|" + o.String()))
	return hex.EncodeToString(h[:16])
}
