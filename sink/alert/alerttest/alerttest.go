// Package alerttest holds what the tests of all channels share: alerts, and the proof that a channel tells no
// secret.
package alerttest

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/agentrisk/agentrisk/scoring"
	"github.com/agentrisk/agentrisk/sink/alert"
)

// Alert returns the n-th sample alert; every n has an id of its own.
func Alert(n int) scoring.Alert {
	o := scoring.Origin{Topic: "agent.events.aliyun", Partition: int32(n % 3), Offset: int64(n), Item: 1}
	return scoring.Alert{
		ID: scoring.AlertID("a1b2", 0, o), Origin: o, EventID: fmt.Sprintf("ev-%d", n), Time: 1_795_500_000_123 + int64(n), KafkaTime: 1_795_500_000_456 + int64(n),
		Provider: "aliyun", Region: "cn-hangzhou", Tenant: "t-17", Agent: "buyer-4", Session: fmt.Sprintf("s-%d", n), Kind: "tool_call",
		Score: 91_075, Level: scoring.LevelCritical, SessionScore: 93_400, Cause: scoring.AlertByRule,
		Hits: []scoring.AlertHit{
			{Rule: "AR-PRIV-003", TitleEN: "Sensitive read followed by external egress in the same session", TitleZH: "同一会话内读取敏感数据后向外部发送",
				Severity: scoring.Critical, Contribution: 72_400, Why: "read_then_send = 1, net.bytes_out = 40960"},
			{Rule: "AR-SCOPE-001", TitleEN: "Tool called outside the task's declared tool set", TitleZH: "调用任务声明范围外的工具",
				Severity: scoring.Medium, Contribution: 18_675, Why: "tool.name = export_rows"},
		},
		Pack: "0f3c", Flags: scoring.FlagLate,
	}
}

// Alerts returns the sample alerts from (including) to (excluding).
func Alerts(from, to int) []scoring.Alert {
	list := make([]scoring.Alert, 0, to-from)
	for n := from; n < to; n++ {
		list = append(list, Alert(n))
	}
	return list
}

// TellsNoSecret makes deliveries fail in every way that a receiver on base (http://127.0.0.1:port) can choose,
// also by sending back whatever it was sent, and fails the test when an error or a log line of it, in any
// format, holds one of the secrets. open makes the channel; the secrets must be in what it sends or is
// configured with.
func TellsNoSecret(t *testing.T, open func(base string) (alert.Channel, error), secrets ...string) {
	t.Helper()
	echo := func(r *http.Request) string {
		body, _ := io.ReadAll(r.Body)
		return fmt.Sprint(r.URL, r.Header, string(body), secrets)
	}
	raw := func(w http.ResponseWriter, text string) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			io.WriteString(conn, text)
			conn.Close()
		}
	}
	held := make(chan struct{})
	for name, answer := range map[string]http.HandlerFunc{
		"refuses for good": func(w http.ResponseWriter, r *http.Request) { http.Error(w, echo(r), http.StatusBadRequest) },
		"refuses for now":  func(w http.ResponseWriter, r *http.Request) { http.Error(w, echo(r), http.StatusBadGateway) },
		"redirects": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", "//x/?"+url.QueryEscape(echo(r)))
			w.WriteHeader(307)
		},
		"hangs up": func(w http.ResponseWriter, r *http.Request) { raw(w, "") },
		"speaks no HTTP": func(w http.ResponseWriter, r *http.Request) {
			raw(w, strings.ReplaceAll(echo(r), "\n", " ")+"\r\n\r\n")
		},
		"invents a status":    func(w http.ResponseWriter, r *http.Request) { raw(w, "HTTP/1.1 "+secrets[0]+" no\r\n\r\n") },
		"sends a bad header":  func(w http.ResponseWriter, r *http.Request) { raw(w, "HTTP/1.1 200 OK\r\n"+secrets[0]+"\r\n\r\n") },
		"takes for ever":      func(w http.ResponseWriter, r *http.Request) { <-held },
		"has closed its door": nil,
	} {
		server := httptest.NewServer(answer)
		if answer == nil {
			server.Close()
		}
		c, err := open(server.URL)
		if err != nil {
			t.Fatalf("open: %v", err)
		}
		var log bytes.Buffer
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		a := Alert(1)
		err = c.Deliver(ctx, &a)
		cancel()
		if err == nil && name != "sends a bad header" {
			t.Errorf("receiver %s: delivery succeeded", name)
		}
		for _, h := range []slog.Handler{slog.NewTextHandler(&log, nil), slog.NewJSONHandler(&log, nil)} {
			slog.New(h).Error("alert not delivered", "err", err, "channel", c)
		}
		for _, format := range []string{"%v", "%+v", "%#v"} {
			fmt.Fprintf(&log, format+"\n"+format+"\n", err, c)
		}
		CheckNoSecret(t, "receiver "+name, log.String(), secrets...)
		if name == "takes for ever" {
			close(held)
		}
		if answer != nil {
			server.Close()
		}
	}
}

// CheckNoSecret fails the test when text holds a secret, as it is or as headers, URLs and base64 spell it.
func CheckNoSecret(t *testing.T, what, text string, secrets ...string) {
	t.Helper()
	for _, s := range secrets {
		for _, form := range []string{s, strings.TrimPrefix(s, "whsec_"), url.QueryEscape(s), url.PathEscape(s), base64.StdEncoding.EncodeToString([]byte(s))} {
			if strings.Contains(text, form) {
				t.Errorf("%s: a secret is told: %q", what, text)
				return
			}
		}
	}
}
