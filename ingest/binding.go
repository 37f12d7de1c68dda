package ingest

import (
	"fmt"
	"strings"

	"github.com/agentrisk/agentrisk/scoring"
	"github.com/agentrisk/agentrisk/scoring/redact"
)

// Binding says what a topic's records are.
type Binding struct {
	// Topics is a topic or a pattern in which * stands for any characters.
	Topics string `yaml:"topics"`
	// Provider is the cloud provider that owns the topic; "last-part" takes what follows the last dot of the
	// topic's name.
	Provider string `yaml:"provider"`
	// Format of the records: one of [FormatNames].
	Format string `yaml:"format"`
	// KeyedBy says which of an agent's events share a partition: agent, session or none.
	KeyedBy string `yaml:"keyed_by"`
	// Partitions of topics that migrate makes.
	Partitions int `yaml:"partitions"`
	// Epoch is raised by an operator when a topic starts anew.
	Epoch int32 `yaml:"epoch"`
	// OnLost says what a lane does when the log no longer holds its position: park (default) or continue.
	OnLost string `yaml:"on_lost"`
	// Redaction says what of an event is kept.
	Redaction redact.Policy `yaml:"redaction"`
	// Start of a lane that has no history: earliest (default) or latest.
	Start string `yaml:"start"`
}

// ProviderLastPart makes the topic's last part the provider.
const ProviderLastPart = "last-part"

// Check fills defaults and refuses what cannot work.
func (b *Binding) Check() error {
	def := func(v *string, d string) {
		if *v == "" {
			*v = d
		}
	}
	def(&b.Format, "json")
	def(&b.KeyedBy, "agent")
	def(&b.Provider, ProviderLastPart)
	def(&b.OnLost, "park")
	def(&b.Start, "earliest")
	if b.Partitions == 0 {
		b.Partitions = 8
	}
	switch {
	case b.Topics == "":
		return fmt.Errorf("binding without topics: name a topic or a pattern such as agent.events.*")
	case b.Partitions < 1 || b.Partitions > 1024:
		return fmt.Errorf("binding %s: partitions %d: want 1 to 1024", b.Topics, b.Partitions)
	case b.Epoch < 0:
		return fmt.Errorf("binding %s: epoch %d is negative", b.Topics, b.Epoch)
	}
	if err := b.Redaction.Check(); err != nil {
		return fmt.Errorf("binding %s: %w", b.Topics, err)
	}
	for _, c := range []struct{ name, value, allowed string }{
		{"keyed_by", b.KeyedBy, strings.Join(KeyedByNames, " ")},
		{"format", b.Format, strings.Join(FormatNames, " ")},
		{"on_lost", b.OnLost, "park continue"},
		{"start", b.Start, "earliest latest"},
	} {
		if !contains(strings.Fields(c.allowed), c.value) {
			return fmt.Errorf("binding %s: %s %q: want one of %s", b.Topics, c.name, c.value, c.allowed)
		}
	}
	return nil
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

// Match reports whether the binding is for the topic.
func (b *Binding) Match(topic string) bool { return MatchTopic(b.Topics, topic) }

// MatchTopic reports whether topic matches pattern, in which * stands for any characters, none included.
func MatchTopic(pattern, topic string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == topic
	}
	first, last := parts[0], parts[len(parts)-1]
	if !strings.HasPrefix(topic, first) || len(topic) < len(first)+len(last) || !strings.HasSuffix(topic, last) {
		return false
	}
	rest := topic[len(first) : len(topic)-len(last)]
	for _, p := range parts[1 : len(parts)-1] {
		i := strings.Index(rest, p)
		if i < 0 {
			return false
		}
		rest = rest[i+len(p):]
	}
	return true
}

// ProviderOf is the provider of a topic under this binding.
func (b *Binding) ProviderOf(topic string) string {
	if b.Provider != ProviderLastPart {
		return b.Provider
	}
	return topic[strings.LastIndexByte(topic, '.')+1:]
}

// TopicOf is the topic of a provider under this binding, "" when the pattern names none.
func (b *Binding) TopicOf(provider string) string {
	switch {
	case b.Provider == provider && !strings.Contains(b.Topics, "*"):
		return b.Topics
	case b.Provider == ProviderLastPart && strings.HasSuffix(b.Topics, ".*"):
		return strings.TrimSuffix(b.Topics, "*") + provider
	}
	return ""
}

// KeyedByNames are the values of keyed_by, the one that carries most first.
var KeyedByNames = []string{"agent", "session", "none"}

// Keyed is what the records are keyed by.
func (b *Binding) Keyed() scoring.KeyedBy {
	switch b.KeyedBy {
	case "session":
		return scoring.KeyedBySession
	case "none":
		return scoring.KeyedByNone
	}
	return scoring.KeyedByAgent
}
