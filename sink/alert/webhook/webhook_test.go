package webhook

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/agentrisk/agentrisk/scoring"
	"github.com/agentrisk/agentrisk/sink"
	"github.com/agentrisk/agentrisk/sink/alert"
	"github.com/agentrisk/agentrisk/sink/alert/alerttest"
)

const (
	oldSecret = "whsec_b2xkIHNlY3JldCBvZiB0aGlydHktdHdvIGJ5dGVzIQ=="
	newSecret = "whsec_bmV3IHNlY3JldCBvZiB0aGlydHktdHdvIGJ5dGVzIQ=="
)

// open returns a channel to a receiver on this machine, which only an allow list makes possible.
func open(t *testing.T, address string, secrets ...string) *Channel {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	if len(secrets) == 0 {
		secrets = []string{newSecret}
	}
	c, err := New(Config{URL: address, Secrets: secrets, Allow: []string{u.Host}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// receive answers 204 and keeps what came.
func receive(t *testing.T) (server *httptest.Server, header *http.Header, body *[]byte) {
	header, body = new(http.Header), new([]byte)
	server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil || r.Method != http.MethodPost {
			t.Errorf("%s, body: %v", r.Method, err)
		}
		*header, *body = r.Header, b
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(server.Close)
	return server, header, body
}

// The official library accepts what we sign: with one secret, and with either of two while one is replaced.
func TestSignaturesVerify(t *testing.T) {
	for _, tt := range []struct {
		name      string
		configure []string
		accepts   []string
		refuses   []string
	}{
		{"one secret", []string{newSecret}, []string{newSecret}, []string{oldSecret}},
		{"rotation", []string{newSecret, oldSecret}, []string{newSecret, oldSecret}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server, header, body := receive(t)
			a := alerttest.Alert(7)
			if err := open(t, server.URL, tt.configure...).Deliver(t.Context(), &a); err != nil {
				t.Fatal(err)
			}
			verify := func(secret string) error {
				w, err := standardwebhooks.NewWebhook(secret)
				if err != nil {
					t.Fatal(err)
				}
				return w.Verify(*body, *header) // also that the timestamp is that of the attempt
			}
			for _, s := range tt.accepts {
				if err := verify(s); err != nil {
					t.Errorf("receiver with a valid secret refuses: %v", err)
				}
			}
			for _, s := range tt.refuses {
				if verify(s) == nil {
					t.Error("receiver with another secret accepts")
				}
			}
			if got := header.Get("webhook-id"); got != a.ID {
				t.Errorf("webhook-id = %q, want the alert's id %q", got, a.ID)
			}
			if got := len(strings.Fields(header.Get("webhook-signature"))); got != len(tt.configure) {
				t.Errorf("%d signatures for %d secrets", got, len(tt.configure))
			}
		})
	}
}

// The example of the specification (openssl computes the same) holds the signature to the specification, not to our own reading of it.
func TestSignatureVector(t *testing.T) {
	s, err := newSigner([]string{"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"})
	if err != nil {
		t.Fatal(err)
	}
	h := http.Header{}
	s.sign(h, "msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
	if got := h.Get("webhook-signature"); got != want {
		t.Errorf("signature %q, want %q", got, want)
	}
}

var update = os.Getenv("UPDATE") != ""

func TestBody(t *testing.T) {
	server, _, body := receive(t)
	a := alerttest.Alert(7)
	if err := open(t, server.URL).Deliver(t.Context(), &a); err != nil {
		t.Fatal(err)
	}
	var indented strings.Builder
	e := json.NewEncoder(&indented)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(json.RawMessage(*body)); err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "body.json")
	if update {
		if err := os.WriteFile(golden, []byte(indented.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), indented.String()); diff != "" {
		t.Errorf("body differs from %s (UPDATE=1 rewrites it):\n%s", golden, diff)
	}
}

// The body stays below the 20 KB that receivers are promised, and every attempt says the same.
func TestBodyIsBoundedAndRepeats(t *testing.T) {
	a := alerttest.Alert(7)
	for len(a.Hits) < 500 {
		h := a.Hits[0]
		h.Why = strings.Repeat("net.dst_class = 未登记, ", 100)
		a.Hits = append(a.Hits, h)
	}
	a.Time = 1 << 60 // beyond what RFC 3339 can say
	first, err := encode(&a)
	if err != nil {
		t.Fatal(err)
	}
	if len(first) > 20<<10 {
		t.Errorf("body of %d bytes", len(first))
	}
	var b Body
	if err := json.Unmarshal(first, &b); err != nil {
		t.Fatal(err)
	}
	if got := len(b.Data.Hits) + b.Data.HitsOmitted; got != 500 {
		t.Errorf("hits told and omitted: %d, want 500", got)
	}
	again, err := encode(&a)
	if err != nil || string(again) != string(first) {
		t.Errorf("a second attempt says something else (%v)", err)
	}
}

func TestStatusClasses(t *testing.T) {
	const ok, again, never = "ok", "again", "never"
	for _, tt := range []struct {
		status int
		after  string // Retry-After
		want   string
		wait   time.Duration
	}{
		{200, "", ok, 0}, {202, "", ok, 0}, {204, "", ok, 0},
		{301, "", again, 0}, {302, "", again, 0}, {307, "", again, 0}, {304, "", again, 0},
		{400, "", never, 0}, {401, "", never, 0}, {404, "", never, 0}, {410, "", never, 0}, {413, "", never, 0}, {422, "60", never, 0},
		{408, "", again, 0}, {409, "", again, 0}, {425, "", again, 0},
		{429, "7", again, 7 * time.Second}, {429, "soon", again, 0}, {429, "-3", again, 0},
		{500, "", again, 0}, {501, "", again, 0}, {503, "Thu, 01 Jan 2026 00:02:00 GMT", again, 2 * time.Minute},
		{503, "Thu, 01 Jan 2015 00:02:00 GMT", again, 0}, {599, "", again, 0},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if tt.after != "" {
				w.Header().Set("Retry-After", tt.after)
			}
			w.Header().Set("Date", "Thu, 01 Jan 2026 00:00:00 GMT")
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(tt.status)
		}))
		c := open(t, server.URL)
		c.now = func() time.Time { return time.Date(2025, 12, 31, 23, 0, 0, 0, time.UTC) } // slow by an hour, and yet nobody waits for one
		a := alerttest.Alert(1)
		err := c.Deliver(t.Context(), &a)
		got := ok
		if err != nil {
			got = again
		}
		if sink.IsPermanent(err) {
			got = never
		}
		if got != tt.want || sink.Wait(err) != tt.wait {
			t.Errorf("status %d, Retry-After %q: %s after %v, want %s after %v", tt.status, tt.after, got, sink.Wait(err), tt.want, tt.wait)
		}
		server.Close()
	}
}

// A receiver that does not say its date: ours counts.
func TestRetryAfterWithoutTheirDate(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for after, want := range map[string]time.Duration{"Thu, 01 Jan 2026 00:02:00 GMT": 2 * time.Minute, "Wed, 31 Dec 2025 23:00:00 GMT": 0} {
		if got := retryAfter(http.Header{"Retry-After": {after}}, now); got != want {
			t.Errorf("%s: %v, want %v", after, got, want)
		}
	}
}

// A redirect is an answer, not an order: what it points at sees nothing.
func TestNoRedirectIsFollowed(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the redirect was followed") }))
	defer elsewhere.Close()
	server := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect))
	defer server.Close()
	a := alerttest.Alert(1)
	if err := open(t, server.URL).Deliver(t.Context(), &a); err == nil || sink.IsPermanent(err) {
		t.Errorf("error %v, want one that is tried again", err)
	}
}

// A receiver that trickles or never ends holds an attempt no longer than the limit.
func TestSlowReceiverTimesOut(t *testing.T) {
	done := make(chan struct{})
	for name, answer := range map[string]http.HandlerFunc{
		"before the header": func(w http.ResponseWriter, r *http.Request) { <-done },
		"in the body": func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusInternalServerError)
			w.(http.Flusher).Flush()
			<-done
		},
	} {
		server := httptest.NewServer(answer)
		c := open(t, server.URL)
		c.timeout = 50 * time.Millisecond
		a := alerttest.Alert(1)
		if err := c.Deliver(t.Context(), &a); err == nil || sink.IsPermanent(err) {
			t.Errorf("%s: error %v, want one that is tried again", name, err)
		}
		defer server.Close()
	}
	close(done)
}

// An endless answer is read up to its bound.
func TestEndlessAnswer(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 4096)); err != nil {
				return
			}
		}
	}))
	defer server.Close()
	a := alerttest.Alert(1)
	if err := open(t, server.URL).Deliver(t.Context(), &a); err != nil {
		t.Errorf("the status was 200: %v", err)
	}
}

// https to an address that is allowed by name works; a certificate of nobody we know is refused, and tried again.
func TestTLS(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {}))
	defer server.Close()
	server.Config.ErrorLog = nil
	a := alerttest.Alert(1)
	c := open(t, server.URL)
	if err := c.Deliver(t.Context(), &a); err == nil || sink.IsPermanent(err) {
		t.Errorf("unknown certificate: %v", err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	c = open(t, server.URL)
	c.client.Transport.(*http.Transport).TLSClientConfig.RootCAs = roots
	if err := c.Deliver(t.Context(), &a); err != nil {
		t.Error(err)
	}
}

func TestNoSecretIsTold(t *testing.T) {
	const user, password, path, query = "hookuser", "p4ssw0rd-in-url", "path-token-91", "query-token-37"
	alerttest.TellsNoSecret(t, func(base string) (alert.Channel, error) {
		u, err := url.Parse(base)
		if err != nil {
			return nil, err
		}
		u.User, u.Path, u.RawQuery = url.UserPassword(user, password), "/hook/"+path, "key="+query
		return New(Config{URL: u.String(), Secrets: []string{newSecret, oldSecret}, Allow: []string{u.Host}})
	}, newSecret, oldSecret, password, path, query)
}

// What New refuses, it refuses without repeating it.
func TestConfigErrors(t *testing.T) {
	const token = "token-in-config-55"
	for name, c := range map[string]Config{
		"no URL":            {Secrets: []string{newSecret}},
		"no host":           {URL: "https:///" + token, Secrets: []string{newSecret}},
		"bad escape":        {URL: "https://h/%zz" + token, Secrets: []string{newSecret}},
		"bad port":          {URL: "https://u:" + token + "@h:port/", Secrets: []string{newSecret}},
		"scheme":            {URL: "ftp://h/" + token, Secrets: []string{newSecret}},
		"no secret":         {URL: "https://h/" + token},
		"secret: prefix":    {URL: "https://h/", Secrets: []string{token}},
		"secret: base64":    {URL: "https://h/", Secrets: []string{"whsec_" + token}},
		"secret: too short": {URL: "https://h/", Secrets: []string{"whsec_dG9rZW4taW4tY29uZmlnLTU1"}},
		"http, not allowed": {URL: "http://h/" + token, Secrets: []string{newSecret}},
		"allow: no port":    {URL: "https://h/" + token, Secrets: []string{newSecret}, Allow: []string{"receiver"}},
		"inward literal":    {URL: "https://169.254.169.254/" + token, Secrets: []string{newSecret}},
	} {
		_, err := New(c)
		if err == nil {
			t.Errorf("%s: accepted", name)
			continue
		}
		alerttest.CheckNoSecret(t, name, err.Error(), newSecret, token, "dG9rZW4taW4tY29uZmlnLTU1")
	}
}

// An end of the caller's context ends the attempt.
func TestDeliverEndsWithContext(t *testing.T) {
	reached, done := make(chan struct{}), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { close(reached); <-done }))
	defer server.Close()
	defer close(done)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-reached; cancel() }()
	a := alerttest.Alert(1)
	if err := open(t, server.URL).Deliver(ctx, &a); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

var _ alert.Channel = (*Channel)(nil)

func TestWhenTimeIsMissing(t *testing.T) {
	a := alerttest.Alert(1)
	a.Time, a.Flags = 0, scoring.FlagTimeMissing
	b, err := encode(&a)
	if err != nil {
		t.Fatal(err)
	}
	var body Body
	if err := json.Unmarshal(b, &body); err != nil {
		t.Fatal(err)
	}
	if got := body.Timestamp.UnixMilli(); got != a.KafkaTime {
		t.Errorf("timestamp %d, want Kafka's %d", got, a.KafkaTime)
	}
}
