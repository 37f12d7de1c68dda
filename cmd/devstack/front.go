package main

import (
	"io"
	"net"
	"sync"
)

// front takes connections in the place of the ClickHouse library and passes them on to it. The library aborts when it
// writes to a client that is gone, which a server survives: here the client's end reaches it as an orderly close, and what
// it still wants to say is read and dropped. Bytes are passed by the kernel (splice), neither looked at nor kept.
func front(public, inner string) (io.Closer, error) {
	l, err := net.Listen("tcp", public)
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go pass(c.(*net.TCPConn), inner)
		}
	}()
	return l, nil
}

func pass(client *net.TCPConn, inner string) {
	defer client.Close()
	c, err := net.Dial("tcp", inner)
	if err != nil {
		return // as a server that is down: the client's connection ends
	}
	server := c.(*net.TCPConn)
	defer server.Close()
	var both sync.WaitGroup
	both.Go(func() {
		_, _ = io.Copy(server, client)
		_ = server.CloseWrite()
	})
	both.Go(func() {
		_, _ = io.Copy(client, server)
		_ = client.CloseWrite()
		_, _ = io.Copy(io.Discard, server)
		_ = client.CloseRead() // the server's end is the connection's: nobody is left to send to
	})
	both.Wait()
}
