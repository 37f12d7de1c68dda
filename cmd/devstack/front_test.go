package main

import (
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
)

// A client that resets its connection in the middle of an answer looks, behind the front, like one that said goodbye: the
// server reads an orderly end and may go on writing.
func TestFrontTakesResetsAway(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer inner.Close()
	ports, err := freePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	public := (&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: ports[0]}).String()
	l, err := front(public, inner.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()

	client, err := net.Dial("tcp", public)
	if err != nil {
		t.Fatal(err)
	}
	server, err := inner.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	if _, err := client.Write([]byte("ask")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(server, make([]byte, 3)); err != nil {
		t.Fatal(err)
	}
	if _, err := server.Write([]byte("answer")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(client, make([]byte, 1)); err != nil { // the rest is unread: closing resets
		t.Fatal(err)
	}
	client.Close()

	if n, err := server.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("the server read %d bytes and %v, want an orderly end", n, err)
	}
	for range 100 {
		if _, err := server.Write(make([]byte, 64<<10)); errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
			t.Fatalf("the server could not go on writing: %v", err)
		}
	}
}
