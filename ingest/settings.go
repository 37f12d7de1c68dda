package ingest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/agentrisk/agentrisk/scoring"
	"github.com/agentrisk/agentrisk/scoring/redact"
)

// Settings is the text of everything that shapes the rows of a binding beside pack and engine: what it says of its
// records and keeps of them, the caps, and the key of the fingerprints by its id. Two processes with equal settings
// make equal rows.
func (b *Binding) Settings(key redact.Key, state int64) (string, error) {
	r, err := redact.New(b.Redaction, key)
	if err != nil {
		return "", fmt.Errorf("binding %s: %w", b.Topics, err)
	}
	return fmt.Sprintf(`topics: %s
provider: %s
format: %s
keyed_by: %s
redaction: %s
key_id: %s
state_bytes: %d
max_record: %d
max_items: %d
max_content: %d
max_args: %d
max_nesting: %d
max_attributes: %d
max_attribute: %d
max_name: %d
max_list: %d
`, b.Topics, b.Provider, b.Format, b.KeyedBy, r.Row().Policy, r.Row().KeyID, state, scoring.MaxRecord, scoring.MaxItems, scoring.MaxContent, scoring.MaxArgs,
		scoring.MaxNesting, scoring.MaxAttributes, scoring.MaxAttribute, scoring.MaxName, scoring.MaxList), nil
}

// SettingsDigest is how ledger lines name settings.
func SettingsDigest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:8])
}

// newLane returns a lane at rest. The bindings were checked by [New].
func (p *Pipeline) newLane(topic string, partition int32, b *Binding) *lane {
	l := &lane{p: p, topic: topic, partition: partition, binding: b, orders: make(chan Order)}
	l.log = p.Logger.With("lane", l.String())
	r, err := redact.New(b.Redaction, p.Key)
	if err != nil {
		panic(err)
	}
	text, err := b.Settings(p.Key, p.Engine.MaxBytes)
	if err != nil {
		panic(err)
	}
	l.redactor, l.settings = r, SettingsDigest(text)
	return l
}
