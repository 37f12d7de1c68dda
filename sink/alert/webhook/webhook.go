// Package webhook delivers alerts by HTTP as Standard Webhooks (https://www.standardwebhooks.com) describe.
//
// A request carries webhook-id (the alert's id, the idempotency key), webhook-timestamp (of the attempt) and
// webhook-signature. Any 2xx accepts the alert; the answer's body is not looked at, because a receiver of
// this kind speaks by status (channels whose receivers say 200 and mean no are packages of their own).
// 408, 409, 425, 429, 5xx, redirects and everything below HTTP are tried again; any other 4xx is final.
//
// The client follows no redirect, uses no proxy, keeps no cookie, and connects to no inward address unless
// it is allowed by name. No secret and no part of the URL beyond scheme and host reaches an error.
package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/agentrisk/agentrisk/scoring"
	"github.com/agentrisk/agentrisk/sink"
)

const (
	timeout   = 10 * time.Second // of one attempt, from the name's resolution to the answer's last byte
	maxAnswer = 64 << 10         // bytes of an answer that are read, so that its connection can be used again
)

// Config is what an operator says of a receiver.
type Config struct {
	URL     string   // https, or http to an allowed address
	Secrets []string // whsec_ and base64 of 24 to 64 bytes; two while one is being replaced, both sign
	Allow   []string // inward addresses that are allowed all the same: CIDR, or host:port as in the URL
}

// Channel delivers to one receiver. It is safe for concurrent use.
type Channel struct {
	url     string
	name    string // what may be shown of the URL
	signer  *signer
	client  *http.Client
	timeout time.Duration
	now     func() time.Time
}

// New checks the configuration and connects to nothing. Its errors show no secret.
func New(c Config) (*Channel, error) {
	u, err := url.Parse(c.URL)
	if err != nil || u.Host == "" || u.Hostname() == "" {
		return nil, errors.New("webhook: the URL cannot be read: want https://host/path")
	}
	name := u.Scheme + "://" + u.Host
	if u.Scheme != "https" && u.Scheme != "http" {
		return nil, fmt.Errorf("webhook %s: scheme %q: want https", name, u.Scheme)
	}
	signer, err := newSigner(c.Secrets)
	if err != nil {
		return nil, fmt.Errorf("webhook %s: %w", name, err)
	}
	g, err := newGuard(c.Allow, u)
	if err != nil {
		return nil, fmt.Errorf("webhook %s: %w", name, err)
	}
	return &Channel{
		url: u.String(), name: name, signer: signer, timeout: timeout, now: time.Now,
		client: &http.Client{
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			Transport: &http.Transport{
				Proxy:                  nil, // one from the environment would dial for us, past the guard
				DialContext:            g.dial,
				TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
				ForceAttemptHTTP2:      true,
				DisableCompression:     true,
				MaxIdleConnsPerHost:    4,
				IdleConnTimeout:        time.Minute,
				MaxResponseHeaderBytes: maxAnswer,
			},
		},
	}, nil
}

// String names the receiver by what may be shown.
func (c *Channel) String() string { return "webhook " + c.name }

// GoString is String: not even a dump shows what is secret.
func (c *Channel) GoString() string { return c.String() }

// Deliver posts the alert once.
func (c *Channel) Deliver(ctx context.Context, a *scoring.Alert) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	body, err := encode(a)
	if err != nil {
		return sink.Permanent(fmt.Errorf("webhook %s: %w", c.name, err))
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("webhook %s: %w", c.name, cause(err))
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "agentrisk")
	c.signer.sign(req.Header, a.ID, c.now(), body)
	res, err := c.client.Do(req)
	if err != nil {
		return fmt.Errorf("webhook %s: %w", c.name, cause(err))
	}
	defer res.Body.Close()
	io.Copy(io.Discard, io.LimitReader(res.Body, maxAnswer)) // the status has said it all
	return c.judge(res)
}

// judge says what a status means.
func (c *Channel) judge(res *http.Response) error {
	code := res.StatusCode
	if code >= 200 && code < 300 {
		return nil
	}
	err := fmt.Errorf("webhook %s: the receiver answers %d %s", c.name, code, http.StatusText(code))
	switch {
	case code >= 300 && code < 400:
		return fmt.Errorf("%w: redirects are not followed, configure the final URL", err)
	case code == http.StatusRequestTimeout, code == http.StatusConflict, code == http.StatusTooEarly, code == http.StatusTooManyRequests, code >= 500:
		return sink.RetryAfter(err, retryAfter(res.Header, c.now()))
	case code >= 400:
		return sink.Permanent(err)
	}
	return err
}

// retryAfter reads seconds or an HTTP date; 0 when there is none. A date counts from the receiver's own, where it says
// that: while our clock is wrong by an hour, or the receiver's, nobody is to wait for an hour.
func retryAfter(h http.Header, now time.Time) time.Duration {
	s := h.Get("Retry-After")
	if n, err := strconv.ParseUint(strings.TrimSpace(s), 10, 31); err == nil {
		return time.Duration(n) * time.Second
	}
	if t, err := http.ParseTime(s); err == nil {
		if theirs, err := http.ParseTime(h.Get("Date")); err == nil {
			now = theirs
		}
		return max(0, t.Sub(now))
	}
	return 0
}

// cause takes the URL out of an error: its path, query or user may be the secret. What remains of HTTP errors
// can still quote what the receiver sent, so only errors whose text is known to be clean are shown in full.
func cause(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	var (
		op    *net.OpError
		dns   *net.DNSError
		cert  *tls.CertificateVerificationError
		alert tls.AlertError
	)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("no answer in %v: %w", timeout, context.DeadlineExceeded)
	case errors.Is(err, context.Canceled), errors.As(err, &op), errors.As(err, &dns), errors.As(err, &cert), errors.As(err, &alert),
		errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return err
	}
	return fmt.Errorf("the exchange failed (%T)", err)
}
