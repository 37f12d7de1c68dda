package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// health answers what an orchestrator asks.
type health struct {
	// ready lists what keeps the process from doing its whole work; empty is ready.
	ready func() []string
	// remarks lists what an operator should know although the process does its work.
	remarks func() []string
	// lanes is the detail behind it, as JSON.
	lanes func() any
}

// serveHTTP serves metrics, health and, by choice, pprof until ctx ends.
func serveHTTP(ctx context.Context, c HTTPConfig, reg *prometheus.Registry, h health, log *slog.Logger) error {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{Registry: reg}))
	mux.HandleFunc("GET /live", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]bool{"live": true})
	})
	mux.HandleFunc("GET /ready", func(w http.ResponseWriter, _ *http.Request) {
		status, why := http.StatusOK, h.ready()
		if len(why) > 0 {
			status = http.StatusServiceUnavailable
		}
		answer := map[string]any{"ready": len(why) == 0, "why": why}
		if h.remarks != nil {
			if remarks := h.remarks(); len(remarks) > 0 {
				answer["remarks"] = remarks
			}
		}
		writeJSON(w, status, answer)
	})
	mux.HandleFunc("GET /lanes", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, h.lanes()) })
	if c.Pprof {
		mux.HandleFunc("/debug/pprof/", pprof.Index)
		mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
		mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	}
	l, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return err
	}
	log.Info("serves metrics and health", "url", "http://"+l.Addr().String()+"/metrics")
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() {
		<-ctx.Done()
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		_ = srv.Shutdown(stop)
	}()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the caller went away: nothing to tell him
}
