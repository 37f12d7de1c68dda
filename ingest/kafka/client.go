package kafka

import (
	"bufio"
	"context"
	"crypto/tls"
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
	readBuffer     = 64 << 10         // under TLS, whose records of 16 KiB would be a system call or two each
)

// Config says where the cluster is and who asks.
type Config struct {
	Brokers  []string // host:port of some brokers of the cluster
	ClientID string   // named in the brokers' logs and quotas
	TLS      *tls.Config
	SASL     sasl.Mechanism
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
	c := &Client{cfg: cfg, transport: newTransport(cfg)}
	c.kafka = kafka.Client{Addr: kafka.TCP(cfg.Brokers...), Transport: c.transport, Timeout: 3 * requestTimeout}
	return c, nil
}

func newTransport(cfg Config) *kafka.Transport {
	dial := dial
	if cfg.TLS != nil {
		dial = dialBuffered
	}
	return &kafka.Transport{
		Dial:        dial,
		DialTimeout: dialTimeout,
		MetadataTTL: metadataTTL,
		ClientID:    cfg.ClientID,
		TLS:         cfg.TLS,
		SASL:        cfg.SASL,
	}
}

// Close closes idle connections now and the others once they fall idle.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// dialer is for the consumer group, which does not use a Transport.
func (c *Client) dialer() *kafka.Dialer {
	return &kafka.Dialer{ClientID: c.cfg.ClientID, Timeout: dialTimeout, DualStack: true, TLS: c.cfg.TLS, SASLMechanism: c.cfg.SASL}
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

func dialBuffered(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &bufferedConn{conn, bufio.NewReaderSize(conn, readBuffer)}, nil
}

// bufferedConn reads ahead.
type bufferedConn struct {
	net.Conn
	r *bufio.Reader
}

func (c *bufferedConn) Read(p []byte) (int, error) { return c.r.Read(p) }
