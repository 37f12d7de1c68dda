// Package wire stands between a client and its server and breaks their connections on demand: at a byte, at a named
// point of the protocol, or by doing nothing for a while. For tests.
package wire

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Protocol says how a proxy reads what the client sends, so that faults can name points of it.
type Protocol int

const (
	Kafka      Protocol = iota // points are names of requests, see kafkaNames
	ClickHouse                 // the points "Insert": a block of rows on its way to the server; "Ledger": an insert of lines announces itself
)

// How a fault breaks a connection.
type How int

const (
	CutBefore  How = iota // the request never leaves
	CutAfter              // the request arrives and the answer is lost
	CutAt                 // the connection is reset after Bytes of the request
	HalfClose             // the client's end closes for writing after Bytes of the request; answers still come
	Stall                 // nothing moves for For after Bytes of the request, then everything goes on
	StallAfter            // the request arrives and its answer waits for For
)

var hows = [...]string{"cut before", "answer lost", "cut at byte", "half-closed", "stalled", "answer stalled"}

func (h How) String() string { return hows[h] }

// Fault is one break, armed until a connection comes by that it fits.
type Fault struct {
	Point string // a name of the protocol; "" fits whatever moves next
	How   How
	Bytes int           // of CutAt, HalfClose and Stall
	For   time.Duration // of Stall and StallAfter
}

// Proxy passes connections from Addr to one server.
type Proxy struct {
	Addr string

	target   string
	protocol Protocol
	listener net.Listener
	struck   atomic.Int64

	mu    sync.Mutex
	armed []*armedFault
	conns map[*conn]bool
	slow  time.Time     // nothing moves before it
	freed chan struct{} // closed when what is stalled is let go
}

type armedFault struct {
	Fault
	done chan struct{}
}

// Listen starts a proxy on a free port of the loopback.
func Listen(target string, protocol Protocol) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{Addr: l.Addr().String(), target: target, protocol: protocol, listener: l, conns: map[*conn]bool{}, freed: make(chan struct{})}
	go p.serve()
	return p, nil
}

// SetTarget changes the server of the connections to come.
func (p *Proxy) SetTarget(target string) { p.mu.Lock(); p.target = target; p.mu.Unlock() }

// Close ends every connection.
func (p *Proxy) Close() {
	_ = p.listener.Close()
	p.CutAll()
	p.Release()
}

// CutAll resets every connection that is open.
func (p *Proxy) CutAll() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.reset()
	}
	return len(p.conns)
}

// Freeze lets nothing through for d: packets are neither lost nor delivered.
func (p *Proxy) Freeze(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.slow = time.Now().Add(d)
}

// Strike arms a fault and waits until it struck; false when nothing came by before ctx ended, and the fault is off again.
func (p *Proxy) Strike(ctx context.Context, f Fault) bool {
	a := &armedFault{Fault: f, done: make(chan struct{})}
	p.mu.Lock()
	p.armed = append(p.armed, a)
	p.mu.Unlock()
	select {
	case <-a.done:
		return true
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, x := range p.armed {
		if x == a {
			p.armed = append(p.armed[:i], p.armed[i+1:]...)
			return false
		}
	}
	return true // it struck just now
}

// Release lets go what is stalled, as if its time were over.
func (p *Proxy) Release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.freed)
	p.freed = make(chan struct{})
}

func (p *Proxy) stall(d time.Duration) {
	if d <= 0 {
		return
	}
	p.mu.Lock()
	freed := p.freed
	p.mu.Unlock()
	select {
	case <-time.After(d):
	case <-freed:
	}
}

// take returns the fault that fits a request with this name, once.
func (p *Proxy) take(point string) *Fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, a := range p.armed {
		if a.Point == "" || a.Point == point {
			p.armed = append(p.armed[:i], p.armed[i+1:]...)
			close(a.done)
			p.struck.Add(1)
			return &a.Fault
		}
	}
	return nil
}

func (p *Proxy) pause() {
	p.mu.Lock()
	d := time.Until(p.slow)
	p.mu.Unlock()
	if d > 0 {
		time.Sleep(d)
	}
}

func (p *Proxy) serve() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		target := p.target
		p.mu.Unlock()
		server, err := net.DialTimeout("tcp", target, 5*time.Second)
		if err != nil {
			_ = client.Close()
			continue
		}
		c := &conn{p: p, client: client.(*net.TCPConn), server: server.(*net.TCPConn)}
		p.mu.Lock()
		p.conns[c] = true
		p.mu.Unlock()
		go c.run()
	}
}

// conn is one connection through the proxy.
type conn struct {
	p              *Proxy
	client, server *net.TCPConn
	mute           atomic.Bool  // the server's answers are dropped
	late           atomic.Int64 // how long the server's next answer waits, in nanoseconds
}

var errCut = errors.New("cut")

func (c *conn) run() {
	var both sync.WaitGroup
	both.Go(func() {
		read := readKafka
		if c.p.protocol == ClickHouse {
			read = readClickHouse
		}
		if err := read(c); errors.Is(err, errCut) {
			c.reset()
		} else {
			_ = c.server.CloseWrite()
		}
	})
	both.Go(func() {
		buf := make([]byte, 64<<10)
		for {
			n, err := c.server.Read(buf)
			c.p.stall(time.Duration(c.late.Swap(0)))
			c.p.pause()
			if c.mute.Load() {
				c.reset()
				return
			}
			if n > 0 {
				if _, werr := c.client.Write(buf[:n]); werr != nil {
					break
				}
			}
			if err != nil {
				break
			}
		}
		_ = c.client.CloseWrite()
		_, _ = io.Copy(io.Discard, c.server)
		_ = c.client.Close()
	})
	both.Wait()
	_, _ = c.client.Close(), c.server.Close()
	c.p.mu.Lock()
	delete(c.p.conns, c)
	c.p.mu.Unlock()
}

// reset ends both sides, the client's without a farewell.
func (c *conn) reset() {
	_ = c.client.SetLinger(0)
	_ = c.client.Close()
	_ = c.server.CloseWrite()
	_ = c.server.Close()
}

// send passes a request on, or what the fault leaves of it. rest is what of it has not been read from the client yet.
func (c *conn) send(f *Fault, head []byte, rest int64) error {
	c.p.pause()
	if f == nil {
		if _, err := c.server.Write(head); err != nil {
			return err
		}
		return c.forward(rest)
	}
	switch f.How {
	case CutBefore:
		return errCut
	case CutAfter:
		c.mute.Store(true)
		if _, err := c.server.Write(head); err != nil {
			return err
		}
		return c.forward(rest)
	case CutAt, HalfClose:
		n := min(f.Bytes, len(head))
		if _, err := c.server.Write(head[:n]); err != nil {
			return err
		}
		if more := min(int64(f.Bytes-n), rest); more > 0 {
			if err := c.forward(more); err != nil {
				return err
			}
		}
		if f.How == HalfClose {
			_ = c.server.CloseWrite()
			_, _ = io.Copy(io.Discard, c.client)
			return nil
		}
		return errCut
	case Stall, StallAfter:
		n := min(f.Bytes, len(head))
		if f.How == StallAfter {
			c.late.Store(int64(f.For))
			n = len(head)
		}
		if _, err := c.server.Write(head[:n]); err != nil {
			return err
		}
		if f.How == Stall {
			c.p.stall(f.For)
		}
		if _, err := c.server.Write(head[n:]); err != nil {
			return err
		}
		return c.forward(rest)
	}
	return nil
}

func (c *conn) forward(n int64) error {
	if n <= 0 {
		return nil
	}
	_, err := io.CopyN(c.server, c.client, n)
	return err
}
