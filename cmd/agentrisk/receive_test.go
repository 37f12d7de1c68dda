package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/agentrisk/agentrisk/sink/alert/alerttest"
	"github.com/agentrisk/agentrisk/sink/alert/webhook"
)

const (
	oldSecret = "whsec_b2xkIHNlY3JldCBvZiB0aGUgcmVjZWl2ZXIncyB0ZXN0"
	newSecret = "whsec_bmV3IHNlY3JldCBvZiB0aGUgcmVjZWl2ZXIncyB0ZXN0"
)

// What the webhook channel delivers is taken, also while its secret is being replaced; what is forged is not.
func TestReceive(t *testing.T) {
	var out, log bytes.Buffer
	r, err := newPageReceiver([]string{newSecret}, "text", &out, &log)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(r)
	defer srv.Close()
	deliver := func(n int, secrets ...string) error {
		t.Helper()
		hook, err := webhook.New(webhook.Config{URL: srv.URL, Secrets: secrets, Allow: []string{strings.TrimPrefix(srv.URL, "http://")}})
		if err != nil {
			t.Fatal(err)
		}
		a := alerttest.Alert(n)
		return hook.Deliver(context.Background(), &a)
	}
	for _, err := range []error{deliver(1, newSecret), deliver(2, oldSecret, newSecret), deliver(1, newSecret)} {
		if err != nil {
			t.Error(err)
		}
	}
	if err := deliver(3, oldSecret); err == nil {
		t.Error("a page that is signed with another secret was taken")
	}
	res, err := http.Post(srv.URL, "application/json", strings.NewReader(`{"type":"agentrisk.alert"}`))
	if err != nil || res.StatusCode != http.StatusUnauthorized {
		t.Errorf("a page without signature: %v %v", res, err)
	}
	if got := fmt.Sprintf("%+v", r.count); got != "{Pages:2 Repeated:1 Refused:2}" {
		t.Errorf("counted %s", got)
	}
	for _, want := range []string{"critical", "Agent buyer-4 of tenant t-17", "智能体 buyer-4", "critical (came before)"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("printed without %q:\n%s", want, &out)
		}
	}
	if strings.Contains(out.String()+log.String(), "whsec_") {
		t.Error("a secret was printed")
	}
	for _, secrets := range [][]string{nil, {"geheim"}, {"whsec_?"}} {
		if _, err := newPageReceiver(secrets, "text", &out, &log); err == nil || strings.Contains(err.Error(), "geheim") {
			t.Errorf("secrets %q: %v", secrets, err)
		}
	}
}

// The health check says what is wrong and where it asked.
func TestHealth(t *testing.T) {
	why := []string{"t/0 is parked: no ledger"}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status := http.StatusOK
		if r.URL.Path == "/ready" && len(why) > 0 {
			status = http.StatusServiceUnavailable
		}
		writeJSON(w, status, map[string]any{"why": why})
	}))
	defer srv.Close()
	ask := func(args ...string) string {
		cmd := healthCommand()
		var out bytes.Buffer
		cmd.SetArgs(args)
		cmd.SetOut(&out)
		cmd.SilenceErrors, cmd.SilenceUsage = true, true
		if err := cmd.Execute(); err != nil {
			return err.Error()
		}
		return out.String()
	}
	if got := ask("--url", srv.URL); !strings.Contains(got, "not ready: t/0 is parked: no ledger") {
		t.Error(got)
	}
	if got := ask("--url", srv.URL, "--live"); got != "ok\n" {
		t.Error(got)
	}
	why = nil
	if got := ask("--url", srv.URL); got != "ok\n" {
		t.Error(got)
	}
	srv.Close()
	if got := ask("--url", srv.URL); !strings.Contains(got, "connection refused") {
		t.Error(got)
	}
	for listen, want := range map[string]string{":9464": "http://127.0.0.1:9464", "0.0.0.0:1": "http://127.0.0.1:1", "[::]:1": "http://127.0.0.1:1", "10.0.0.1:1": "http://10.0.0.1:1", "[::1]:1": "http://[::1]:1"} {
		if got, err := localURL(listen); err != nil || got != want {
			t.Errorf("localURL(%q) = %q, %v", listen, got, err)
		}
	}
	if _, err := localURL("127.0.0.1:0"); err == nil {
		t.Error("port 0 cannot be asked")
	}
}
