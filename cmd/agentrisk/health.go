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
	"time"

	"github.com/spf13/cobra"
)

// healthWait is how long a health check waits for an answer: less than the three seconds that orchestrators give it.
const healthWait = 2 * time.Second

func healthCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Ask a running process whether it does its work",
		Long: `Asks /ready of the process that runs with the same configuration (http.listen), prints what keeps it from its
whole work and ends with status 1 then. It is the health check of the image, which holds no shell and no curl.

--live asks whether the process answers at all: what an orchestrator may restart it for. A parked lane needs an operator
and not a restart, so it makes a process unready and not dead.`,
		Example: `  agentrisk health --config agentrisk.yaml
  agentrisk health --url http://127.0.0.1:9464 --live`,
		Args: cobra.NoArgs,
	}
	path := configFlag(cmd)
	url := cmd.Flags().String("url", "", "scheme, host and port to ask, instead of http.listen of the configuration")
	live := cmd.Flags().Bool("live", false, "ask whether it answers, not whether it does its work")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		base := strings.TrimSuffix(*url, "/")
		if base == "" {
			c, err := loadConfig(*path)
			if err != nil {
				return err
			}
			if base, err = localURL(c.HTTP.Listen); err != nil {
				return err
			}
		}
		page := "/ready"
		if *live {
			page = "/live"
		}
		return askHealth(cmd.Context(), base+page, cmd.OutOrStdout())
	}
	return cmd
}

// localURL is where a process on this machine that listens there is reached.
func localURL(listen string) (string, error) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return "", fmt.Errorf("http.listen: %q is not host:port", listen)
	}
	if port == "0" {
		return "", errors.New("http.listen ends with port 0, so the port is only in the log of the process: name it with --url")
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port), nil
}

// askHealth prints what the page answers. Anything but 200 is an error.
func askHealth(ctx context.Context, url string, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, healthWait)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return usageError{fmt.Errorf("--url: want http://host:port: %w", err)}
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) || ctx.Err() != nil {
			return fmt.Errorf("%s: no answer within %s", url, healthWait)
		}
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return fmt.Errorf("%s: %w", url, err)
	}
	if res.StatusCode == http.StatusOK {
		_, err = fmt.Fprintln(out, "ok")
		return err
	}
	var answer struct{ Why []string }
	if json.Unmarshal(body, &answer) != nil || len(answer.Why) == 0 {
		return fmt.Errorf("%s: %s", url, res.Status)
	}
	return fmt.Errorf("not ready: %s", strings.Join(answer.Why, "; "))
}
