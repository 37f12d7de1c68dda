package kafka

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl"
)

const (
	dialTimeout    = 5 * time.Second
	requestTimeout = 10 * time.Second // for a broker to answer, beside what the request itself may wait
	metadataTTL    = 3 * time.Second  // a new leader or topic is known after this time at the latest
)

// Config says where the cluster is and who asks.
type Config struct {
	Brokers  []string // host:port of some brokers of the cluster
	ClientID string   // named in the brokers' logs and quotas
	// Dial connects to a broker and returns when the connection is ready, TLS included; nil: plain TCP.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	SASL sasl.Mechanism // nil: none
	User string         // of SASL, for errors
}

// Client talks to one cluster. It is safe for concurrent use: each request in flight has a connection to itself,
// so that a fetch that waits for records holds up nothing. It does not repeat what failed; a connection that
// died is replaced by the next request.
type Client struct {
	cfg       Config
	transport *kafka.Transport
	kafka     kafka.Client
}

// NewClient checks cfg and connects to nothing yet.
func NewClient(cfg Config) (*Client, error) {
	if len(cfg.Brokers) == 0 {
		return nil, errors.New("kafka: no brokers: name at least one as host:port")
	}
	for _, b := range cfg.Brokers {
		if _, _, err := net.SplitHostPort(b); err != nil {
			return nil, errors.New("kafka: broker " + b + ": want host:port")
		}
	}
	if cfg.Dial == nil {
		cfg.Dial = dial
	}
	c := &Client{cfg: cfg, transport: newTransport(cfg)}
	c.kafka = kafka.Client{Addr: kafka.TCP(cfg.Brokers...), Transport: c.Transport(), Timeout: 3 * requestTimeout}
	return c, nil
}

func newTransport(cfg Config) *kafka.Transport {
	return &kafka.Transport{
		Dial:        cfg.Dial,
		DialTimeout: dialTimeout,
		MetadataTTL: metadataTTL,
		ClientID:    cfg.ClientID,
		SASL:        cfg.SASL,
	}
}

// Transport is how kafka-go's own types reach the cluster: with our connections, and errors that say what to do.
func (c *Client) Transport() kafka.RoundTripper { return explaining{c.transport, &c.cfg} }

// Close closes idle connections now and the others once they fall idle.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// Dialer is for consumer groups, which do not use a Transport.
func (c *Client) Dialer() *kafka.Dialer {
	return &kafka.Dialer{ClientID: c.cfg.ClientID, Timeout: dialTimeout, DialFunc: c.cfg.Dial, SASLMechanism: c.cfg.SASL}
}

// bounded gives a request its deadline, without which kafka-go would wait for a silent broker for ever.
func bounded(ctx context.Context, wait time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, wait+requestTimeout)
}

// dial needs no buffer: a record set is read straight from the socket into its slab, and a buffer of any size in
// between measured no better than none.
func dial(ctx context.Context, network, address string) (net.Conn, error) {
	return (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, network, address)
}
