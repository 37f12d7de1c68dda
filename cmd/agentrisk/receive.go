package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/agentrisk/agentrisk/sink/alert/webhook"
)

// maxPage bounds the body of a page; ours stay below 20 KB.
const maxPage = 1 << 20

func receiveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "receive",
		Short: "Receive pages on this machine and print them",
		Long: `A receiver for first steps and for trying a configuration: it takes what ` + "`agentrisk run`" + ` and ` + "`agentrisk notify`" + `
post, checks the signature as Standard Webhooks says, and prints a line a page. A page that was delivered before (the
same webhook-id) is marked as a repetition. What is not signed with one of the secrets, or is more than five minutes old,
is answered with 401 and said.

GET / answers how many pages came: {"pages", "repeated", "refused"}; GET /live answers while it runs.`,
		Example: `  export AGENTRISK_WEBHOOK_SECRETS=whsec_$(openssl rand -base64 32)
  agentrisk receive --listen 127.0.0.1:8088 &
  # agentrisk.yaml: alerts: {webhook: {url: "http://127.0.0.1:8088/", allow: ["127.0.0.1:8088"]}}`,
		Args: cobra.NoArgs,
	}
	listen := cmd.Flags().String("listen", "127.0.0.1:8088", "host:port")
	secrets := cmd.Flags().StringSlice("secret", nil, "whsec_...; may be repeated (default: AGENTRISK_WEBHOOK_SECRETS, comma-separated)")
	output := cmd.Flags().StringP("output", "o", "text", "text, or json: the pages as they came, one a line")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if v := os.Getenv("AGENTRISK_WEBHOOK_SECRETS"); len(*secrets) == 0 && v != "" {
			*secrets = strings.Split(v, ",")
		}
		r, err := newPageReceiver(*secrets, *output, cmd.OutOrStdout(), cmd.ErrOrStderr())
		if err != nil {
			return usageError{err}
		}
		return r.serve(cmd.Context(), *listen)
	}
	return cmd
}

// pageReceiver checks and prints pages. It is safe for concurrent use.
type pageReceiver struct {
	hooks    []*standardwebhooks.Webhook
	json     bool
	out, log io.Writer

	mu    sync.Mutex
	seen  map[string]bool
	count struct {
		Pages    int `json:"pages"`    // different ones
		Repeated int `json:"repeated"` // deliveries of a page that had come before
		Refused  int `json:"refused"`  // not signed with our secret, too old, or no page
	}
}

func newPageReceiver(secrets []string, output string, out, log io.Writer) (*pageReceiver, error) {
	if len(secrets) == 0 {
		return nil, errors.New("no secret: set --secret or AGENTRISK_WEBHOOK_SECRETS to the one in alerts.webhook.secrets (new: whsec_$(openssl rand -base64 32))")
	}
	if output != "text" && output != "json" {
		return nil, fmt.Errorf("--output %q: want text or json", output)
	}
	r := &pageReceiver{json: output == "json", out: out, log: log, seen: map[string]bool{}}
	for i, s := range secrets {
		s = strings.TrimSpace(s)
		h, err := standardwebhooks.NewWebhook(s)
		if err != nil || !strings.HasPrefix(s, "whsec_") {
			return nil, fmt.Errorf("secret %d of %d: want whsec_ and base64, as in whsec_$(openssl rand -base64 32)", i+1, len(secrets))
		}
		r.hooks = append(r.hooks, h)
	}
	return r, nil
}

// serve answers until ctx ends.
func (r *pageReceiver) serve(ctx context.Context, listen string) error {
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	fmt.Fprintf(r.log, "receives pages at http://%s/\n", l.Addr())
	srv := &http.Server{Handler: r, ReadHeaderTimeout: 5 * time.Second}
	stopped := context.AfterFunc(ctx, func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		_ = srv.Shutdown(end)
	})
	defer stopped()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (r *pageReceiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	switch {
	case req.Method == http.MethodPost:
		r.page(w, req)
	case req.URL.Path == "/live":
		writeJSON(w, http.StatusOK, map[string]bool{"live": true})
	case req.Method == http.MethodGet:
		r.mu.Lock()
		count := r.count
		r.mu.Unlock()
		writeJSON(w, http.StatusOK, count)
	default:
		http.Error(w, "want POST", http.StatusMethodNotAllowed)
	}
}

func (r *pageReceiver) page(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxPage))
	if err != nil {
		r.refuse(w, http.StatusRequestEntityTooLarge, "a body of more than 1 MiB")
		return
	}
	for _, h := range r.hooks {
		if err = h.Verify(body, req.Header); err == nil {
			break
		}
	}
	if err != nil {
		r.refuse(w, http.StatusUnauthorized, "not signed with our secret: "+err.Error())
		return
	}
	var page webhook.Body
	if err := json.Unmarshal(body, &page); err != nil {
		r.refuse(w, http.StatusBadRequest, "signed, but no page: "+err.Error())
		return
	}
	id := req.Header.Get("webhook-id")
	r.mu.Lock()
	defer r.mu.Unlock()
	again := ""
	if r.seen[id] {
		r.count.Repeated++
		again = " (came before)"
	} else {
		r.seen[id] = true
		r.count.Pages++
	}
	if r.json {
		fmt.Fprintf(r.out, "%s\n", body)
		return
	}
	d := page.Data
	fmt.Fprintf(r.out, "%s %s%s\n  %s\n  %s\n", d.Time.UTC().Format(time.RFC3339), d.Level, again, d.Summary.EN, d.Summary.ZH)
}

func (r *pageReceiver) refuse(w http.ResponseWriter, status int, why string) {
	r.mu.Lock()
	r.count.Refused++
	fmt.Fprintln(r.log, "refused:", why)
	r.mu.Unlock()
	http.Error(w, why, status)
}
