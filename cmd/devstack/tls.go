package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
)

// behindTLS makes a command that runs another one and ends TLS in front of its plain ports: the library that serves here
// listens on plain ones only. So it is Go's TLS that clients meet, and not ClickHouse's own.
func (s *stack) behindTLS(command []string) []string {
	self, _ := os.Executable()
	front := func(port, behind int, how string) string {
		return s.address(port) + "," + s.address(behind) + "," + how
	}
	return append([]string{self, "serve-behind-tls", s.tlsFile("server.pem"), s.tlsFile("server.key"), s.tlsFile("ca.pem"),
		front(portNativeTLS, 2, "tls"), front(portNativeMTLS, 2, "mtls"), front(portHTTPS, 3, "tls"), "--"}, command...)
}

// serveBehindTLS takes certificate, key, CA, listeners as address,target,tls|mtls, "--" and the command. It ends with
// the command; a signal to the group reaches both.
func serveBehindTLS(args []string) error {
	if len(args) < 6 {
		return errors.New("want: certificate key ca address,target,tls|mtls... -- command")
	}
	cert, err := tls.LoadX509KeyPair(args[0], args[1])
	if err != nil {
		return err
	}
	ca, err := os.ReadFile(args[2])
	if err != nil {
		return err
	}
	clients := x509.NewCertPool()
	clients.AppendCertsFromPEM(ca)
	rest := args[3:]
	for ; len(rest) > 0 && rest[0] != "--"; rest = rest[1:] {
		parts := strings.Split(rest[0], ",")
		if len(parts) != 3 {
			return fmt.Errorf("listener %q: want address,target,tls|mtls", rest[0])
		}
		cfg := &tls.Config{Certificates: []tls.Certificate{cert}, ClientCAs: clients, MinVersion: tls.VersionTLS12}
		if parts[2] == "mtls" {
			cfg.ClientAuth = tls.RequireAndVerifyClientCert
		}
		l, err := tls.Listen("tcp", parts[0], cfg)
		if err != nil {
			return err
		}
		go accept(l, parts[1])
	}
	if len(rest) < 2 {
		return errors.New("no command after --")
	}
	cmd := exec.Command(rest[1], rest[2:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	return cmd.Wait()
}

func accept(l net.Listener, target string) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go forward(c, target)
	}
}

// forward copies both ways; when one side ends, so does the other.
func forward(c net.Conn, target string) {
	defer c.Close()
	if err := c.(*tls.Conn).Handshake(); err != nil {
		return
	}
	behind, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer behind.Close()
	done := make(chan struct{}, 2)
	for _, way := range [][2]net.Conn{{c, behind}, {behind, c}} {
		go func() {
			_, _ = io.Copy(way[0], way[1])
			done <- struct{}{}
		}()
	}
	<-done
}
