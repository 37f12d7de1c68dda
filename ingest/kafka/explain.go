package kafka

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/segmentio/kafka-go"
)

// explaining adds to errors of the connection what can be done about them.
type explaining struct {
	*kafka.Transport
	cfg *Config
}

func (t explaining) RoundTrip(ctx context.Context, addr net.Addr, req kafka.Request) (kafka.Response, error) {
	res, err := t.Transport.RoundTrip(ctx, addr, req)
	if err != nil {
		err = t.cfg.explain(err)
	}
	return res, err
}

// ClosedError says that the broker lets us in no more often for trying again: user, password or mechanism is wrong.
type ClosedError struct{ error }

func (e *ClosedError) Unwrap() error { return e.error }

// explain says what a refusal at the door means.
func (c *Config) explain(err error) error {
	mechanism := "none"
	if c.SASL != nil {
		mechanism = c.SASL.Name()
	}
	closed := func(format string, args ...any) error { return &ClosedError{fmt.Errorf(format, args...)} }
	switch {
	case errors.Is(err, kafka.SASLAuthenticationFailed):
		return closed("the broker knows no user %q with this password under %s (kafka.sasl; AGENTRISK_KAFKA_PASSWORD stands above it): %w", c.User, mechanism, err)
	case errors.Is(err, kafka.UnsupportedSASLMechanism):
		return closed("the broker does not offer %s on this port: see kafka.sasl.mechanism, and sasl.enabled.mechanisms of the broker: %w", mechanism, err)
	case errors.Is(err, kafka.IllegalSASLState):
		return closed("the broker wants no SASL on this port: use its SASL port, or leave kafka.sasl out: %w", err)
	case c.SASL == nil && (errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF)):
		return fmt.Errorf("the broker ended the connection; does this port want SASL (kafka.sasl)? %w", err)
	}
	return err
}

// Passes reports whether the error is one of brokers that are away, slow or just starting: trying again may help.
func Passes(err error) bool {
	var closed *ClosedError
	var code kafka.Error // before net.Error, which it looks like
	var network net.Error
	switch {
	case errors.As(err, &closed):
		return false
	case errors.As(err, &code):
		return code.Temporary() || code == kafka.BrokerNotAvailable
	}
	return errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, ErrNotLeader) || errors.Is(err, ErrUnknownTopic)
}

// Unreached reports whether the error says that no broker could be connected to.
func Unreached(err error) bool {
	var network *net.OpError
	return errors.Is(err, kafka.BrokerNotAvailable) || errors.As(err, &network) && network.Op == "dial"
}

// denied names the right that a broker misses; other errors it returns as they are.
func denied(err error, operation, resource, name string) error {
	for _, code := range []kafka.Error{kafka.TopicAuthorizationFailed, kafka.GroupAuthorizationFailed, kafka.ClusterAuthorizationFailed} {
		if errors.Is(err, code) {
			return fmt.Errorf("no right to %s on %s %s: `agentrisk access kafka` prints the ACLs that are needed: %w", operation, resource, name, err)
		}
	}
	return err
}

// Seen returns an error that names the missing right when the cluster hides one of the topics from this user. It asks
// for them by name: a list of all topics leaves out, without a word, what a user may not see. Whatever else is wrong is
// no error here.
func (c *Client) Seen(ctx context.Context, operation string, topics ...string) error {
	ctx, cancel := bounded(ctx, 0)
	defer cancel()
	fresh := newTransport(c.cfg)
	fresh.MetadataTopics = topics
	defer fresh.CloseIdleConnections()
	m, err := (&kafka.Client{Addr: c.kafka.Addr, Transport: fresh}).Metadata(ctx, &kafka.MetadataRequest{Topics: topics})
	if err != nil {
		return nil // whoever uses the topic finds out
	}
	var missing []error
	for _, t := range m.Topics {
		if errors.Is(t.Error, kafka.TopicAuthorizationFailed) {
			missing = append(missing, denied(t.Error, operation, "topic", t.Name))
		}
	}
	return errors.Join(missing...)
}
