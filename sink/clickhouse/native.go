package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/ClickHouse/ch-go"
	"github.com/ClickHouse/ch-go/proto"
)

// native keeps idle connections for the hot insert and for what settles it. It stays with one server for as long as
// that answers: an insert must be compared where it was sent.
type native struct {
	cfg  *Config
	mu   sync.Mutex
	at   int // index of the address in use
	idle []*nativeConn
}

type nativeConn struct {
	*ch.Client
	at int
}

// maxIdle bounds the idle connections: 20 inserts a second keep few busy.
const maxIdle = 8

// get takes an idle connection that still answers, or makes one to the first address that does, beginning with the one
// that answered last.
func (n *native) get(ctx context.Context) (*nativeConn, error) {
	for {
		n.mu.Lock()
		at := n.at
		var c *nativeConn
		if last := len(n.idle) - 1; last >= 0 {
			c, n.idle = n.idle[last], n.idle[:last]
		}
		n.mu.Unlock()
		if c == nil {
			return n.dialFrom(ctx, at)
		}
		if c.at == at && !c.IsClosed() {
			ping, cancel := context.WithTimeout(ctx, dialTimeout)
			err := c.Ping(ping)
			cancel()
			if err == nil {
				return c, nil
			}
		}
		_ = c.Close()
	}
}

func (n *native) dialFrom(ctx context.Context, at int) (*nativeConn, error) {
	var all []error
	for i := range n.cfg.Addresses {
		next := (at + i) % len(n.cfg.Addresses)
		c, err := n.dial(ctx, next)
		if err == nil {
			n.mu.Lock()
			n.at = next
			n.mu.Unlock()
			return c, nil
		}
		all = append(all, err)
	}
	return nil, errors.Join(all...)
}

func (n *native) dial(ctx context.Context, at int) (*nativeConn, error) {
	address := n.cfg.Addresses[at]
	c, err := ch.Dial(ctx, ch.Options{Address: address, Database: n.cfg.Database, User: n.cfg.User, Password: n.cfg.Password, ClientName: "agentrisk", Dialer: n.cfg.Dialer,
		DialTimeout: dialTimeout, HandshakeTimeout: dialTimeout, ReadTimeout: insertTimeout})
	if err != nil {
		return nil, fmt.Errorf("clickhouse at %s: %w", address, err)
	}
	return &nativeConn{c, at}, nil
}

// put gives a connection back. After an error its state is unknown: it is closed.
func (n *native) put(c *nativeConn, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err == nil && c.at == n.at && len(n.idle) < maxIdle {
		n.idle = append(n.idle, c)
		return
	}
	_ = c.Close()
}

func (n *native) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.idle {
		_ = c.Close()
	}
	n.idle = nil
}

// killInserts ends, on every server that answers, the inserts whose query id begins so, and returns when they have
// ended. A server that does not answer is passed over: what it may still be doing ends at the token, which replicas
// share; a single server is the one that the comparison asks next.
func (n *native) killInserts(ctx context.Context, prefix string) error {
	q := ch.Query{Body: "KILL QUERY WHERE startsWith(query_id, " + quote(prefix) + ") SYNC", Result: (&proto.Results{}).Auto()}
	asked := 0
	var last error
	for at := range n.cfg.Addresses {
		c, err := n.dial(ctx, at)
		if err != nil {
			last = err
			continue
		}
		err = c.Do(ctx, q)
		_ = c.Close()
		if err != nil {
			return err
		}
		asked++
	}
	if asked == 0 {
		return last
	}
	return nil
}

// quote makes an SQL literal of a text.
func quote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}
