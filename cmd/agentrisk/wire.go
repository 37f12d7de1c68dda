package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"os"

	"github.com/agentrisk/agentrisk/ingest"
	"github.com/agentrisk/agentrisk/ingest/kafka"
	"github.com/agentrisk/agentrisk/scoring"
	"github.com/agentrisk/agentrisk/sink/clickhouse"
)

// parts are the connections that the commands share. This file is the only place that names adapters.
type parts struct {
	config *Config
	log    *slog.Logger
	kafka  *kafka.Client
	db     *clickhouse.DB
}

// wire reads the configuration; connections are made by the methods that need them.
func wire(path string) (*parts, error) {
	c, err := loadConfig(path)
	if err != nil {
		return nil, err
	}
	log, err := c.logger(os.Stderr)
	if err != nil {
		return nil, err
	}
	return &parts{config: c, log: log}, nil
}

// newIncarnation names this start of the process.
func newIncarnation() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails, see crypto/rand
	return hex.EncodeToString(b[:])
}

// topics lists the topics that the bindings match.
func (p *parts) topics(ctx context.Context) ([]string, error) {
	var list []string
	seen := map[string]bool{}
	for i := range p.config.Bindings {
		found, err := p.kafka.Topics(ctx, p.config.Bindings[i].Topics)
		if err != nil {
			return nil, fmt.Errorf("look up topics %s: %w", p.config.Bindings[i].Topics, err)
		}
		for _, t := range found {
			if !seen[t] {
				seen[t] = true
				list = append(list, t)
			}
		}
	}
	return list, nil
}

var _ = ingest.MaxBatchRows
var _ scoring.Range
