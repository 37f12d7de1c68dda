package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/agentrisk/agentrisk/ingest"
	"github.com/agentrisk/agentrisk/ingest/compose"
	"github.com/agentrisk/agentrisk/ingest/kafka"
	"github.com/agentrisk/agentrisk/scoring"
)

// formPublisher writes events in another form than our JSON and hands them on. What is no event is handed on as it is.
type formPublisher struct {
	publisher
	form *compose.Form
	read ingest.Format
}

// newFormPublisher returns next itself for our JSON.
func newFormPublisher(next publisher, name, to string) (publisher, error) {
	if name == "json" {
		return next, nil
	}
	form, err := compose.Find(name)
	if err != nil {
		return nil, usageError{fmt.Errorf("--format: %w", err)}
	}
	if to == "-" && (wholeFile(form.Format) || strings.HasSuffix(name, "_binary")) {
		return nil, usageError{fmt.Errorf("--format %s has no lines for standard output: want --to kafka", name)}
	}
	read, err := ingest.NewFormat("json")
	return &formPublisher{next, form, read}, err
}

func (p *formPublisher) publish(ctx context.Context, provider string, key []byte, rec ingest.Record) error {
	var e scoring.Event
	var err error
	p.read.Decode(&ingest.Record{Value: rec.Value}, &e, func(_ int32, reject *scoring.Reject) {
		if reject == nil {
			rec, err = p.form.Write(&e)
		}
	})
	if err != nil {
		return err
	}
	return p.publisher.publish(ctx, provider, key, rec)
}

// headersOf copies headers for Kafka.
func headersOf(list []ingest.Header) (out []kafka.Header) {
	for _, h := range list {
		out = append(out, kafka.Header{Key: []byte(h.Key), Value: slices.Clone(h.Value)})
	}
	return out
}

// formNames are what --format takes.
func formNames() (names []string) {
	for i := range compose.Forms {
		names = append(names, compose.Forms[i].Name)
	}
	return names
}
