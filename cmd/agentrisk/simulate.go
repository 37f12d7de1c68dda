package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/time/rate"

	"github.com/agentrisk/agentrisk/ingest"
	"github.com/agentrisk/agentrisk/ingest/file"
	"github.com/agentrisk/agentrisk/ingest/fleet"
	"github.com/agentrisk/agentrisk/ingest/kafka"
	"github.com/agentrisk/agentrisk/scoring"
)

// simulation is what the flags say.
type simulation struct {
	files     []string
	to        string
	config    string
	truth     string
	seed      uint64
	events    int
	agents    int
	misbehave int
	providers []string
	start     string
	rate      float64
	format    *string
}

func simulateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "simulate",
		Short: "Publish events: from files, or of a fleet made up from a seed",
		Long: `Publishes each event to its provider's topic, keyed by tenant/agent, or writes it to standard output.

With --file the events are those of files (NDJSON, plain or .gz). Otherwise a fleet of agents is made up: honest work of
several kinds, and one session in --misbehave follows a script that the rules are about. The same seed gives the same
bytes. --format writes them in another form, which the binding of the topic must name. --truth writes which session does
what. Topics that are missing are made as ` + "`agentrisk migrate`" + ` makes them.

A broker that goes away is waited for: what it did not acknowledge is written again, so that an event may stand in the
log twice. When nothing was acknowledged for ` + patience.String() + ` that is an error.`,
		Example: `  agentrisk simulate --config agentrisk.yaml --to kafka --seed 1 --events 100000 --agents 500
  agentrisk simulate --seed 1 --events 1000 --truth truth.ndjson | agentrisk score
  agentrisk simulate --config agentrisk.yaml --to kafka --file events.ndjson.gz`,
		Args: cobra.NoArgs,
	}
	var s simulation
	s.format = choose(cmd, "format", "", "form of the records, as the topic's binding reads them", formNames()...)
	f := cmd.Flags()
	f.StringArrayVar(&s.files, "file", nil, "publish the events of this file; may be repeated")
	f.StringVar(&s.to, "to", "-", "kafka, or - for standard output")
	f.StringVarP(&s.config, "config", "c", os.Getenv("AGENTRISK_CONFIG"), "configuration file, for --to kafka")
	f.StringVar(&s.truth, "truth", "", "write the truth about each session to this file")
	f.Uint64Var(&s.seed, "seed", 1, "of the fleet")
	f.IntVar(&s.events, "events", 10_000, "how many")
	f.IntVar(&s.agents, "agents", 100, "how many")
	f.IntVar(&s.misbehave, "misbehave", 40, "one session in so many follows a script; -1 for none")
	f.StringSliceVar(&s.providers, "providers", nil, "providers of the fleet (default: those of the configuration)")
	f.StringVar(&s.start, "start", "", "time of the first event, RFC 3339 (default: so that the last is about now)")
	f.Float64Var(&s.rate, "rate", 0, "events a second at most; 0: as fast as it goes")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return s.run(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr())
	}
	return cmd
}

// publisher takes events; flush returns when all are stored.
type publisher interface {
	publish(ctx context.Context, provider string, key []byte, rec ingest.Record) error
	flush(ctx context.Context) error
}

func (s *simulation) run(ctx context.Context, stdout, stderr io.Writer) error {
	var out publisher
	tell := newProgress(stderr)
	switch s.to {
	case "-":
		out = &linePublisher{bufio.NewWriterSize(stdout, 1<<16)}
	case "kafka":
		p, err := wire(s.config)
		if err != nil {
			return err
		}
		defer p.close()
		if len(s.providers) == 0 {
			s.providers = p.config.Providers
		}
		out = &kafkaPublisher{p: p, producer: p.kafka.NewProducer(kafka.None), tell: tell, waiting: map[string][]kafka.Message{}, made: map[string]bool{}}
	default:
		return usageError{fmt.Errorf("--to %q: want kafka or -", s.to)}
	}
	out, err := newFormPublisher(out, *s.format, s.to)
	if err != nil {
		return err
	}
	n, err := s.each(ctx, out, tell)
	err = errors.Join(err, out.flush(ctx))
	if tell.clear(); s.to != "-" {
		tell.done("simulate: %d events, %.0f/s", n, tell.rate(n))
	}
	return err
}

func (s *simulation) each(ctx context.Context, out publisher, tell *progress) (n int64, err error) {
	limit := rate.NewLimiter(rate.Inf, 1)
	if s.rate > 0 {
		limit = rate.NewLimiter(rate.Limit(s.rate), max(1, int(s.rate/20)))
	}
	put := func(provider string, key, line []byte) error {
		if err := limit.Wait(ctx); err != nil {
			return err
		}
		if n++; n%1000 == 0 && len(s.files) == 0 {
			tell.bar("simulate", "events", n, int64(s.events))
		}
		return out.publish(ctx, provider, key, ingest.Record{Value: line})
	}
	if len(s.files) > 0 {
		return n, s.recorded(ctx, put, tell)
	}
	return n, s.fleet(ctx, put)
}

// recorded publishes the events of files. What is no event has no provider and goes where the last one went, so that
// the pipeline sees it too.
func (s *simulation) recorded(ctx context.Context, put func(provider string, key, line []byte) error, tell *progress) error {
	format, err := ingest.NewFormat("json")
	if err != nil {
		return err
	}
	var e scoring.Event
	provider := ""
	var key []byte
	files := file.Files{Paths: s.files, Stdin: os.Stdin, Progress: func(read, total int64) { tell.bar("simulate", "B", read, total) }}
	return files.Each(ctx, func(l file.Line) error {
		format.Decode(&ingest.Record{Value: l.Data}, &e, func(_ int32, reject *scoring.Reject) {
			if reject == nil && e.Str(scoring.FieldProvider) != "" {
				provider = string(append([]byte(nil), e.Str(scoring.FieldProvider)...))
				key = fmt.Appendf(key[:0], "%s/%s", e.Str(scoring.FieldTenant), e.Str(scoring.FieldAgent))
			}
		})
		if provider == "" {
			return fmt.Errorf("%s:%d: the first event names no provider: there is no topic for it", l.Path, l.Number)
		}
		return put(provider, key, l.Data)
	})
}

func (s *simulation) fleet(ctx context.Context, put func(provider string, key, line []byte) error) error {
	cfg := fleet.Config{Seed: s.seed, Events: s.events, Agents: s.agents, Providers: s.providers, Misbehave: s.misbehave}
	if s.start != "" {
		t, err := time.Parse(time.RFC3339, s.start)
		if err != nil {
			return usageError{fmt.Errorf("--start: %w", err)}
		}
		cfg.Start = t
	} else if s.to == "kafka" {
		span := time.Duration(s.events/max(s.agents, 1)+1) * 4 * time.Second
		cfg.Start = time.Now().Add(-span).Truncate(time.Second)
	}
	var truth io.Writer = io.Discard
	if s.truth != "" {
		f, err := os.Create(s.truth)
		if err != nil {
			return err
		}
		defer f.Close()
		w := bufio.NewWriter(f)
		defer w.Flush()
		truth = w
	}
	labels := json.NewEncoder(truth)
	fl := fleet.New(cfg)
	for e := (fleet.Event{}); fl.Next(&e); {
		if e.Truth != nil {
			if err := labels.Encode(e.Truth); err != nil {
				return err
			}
		}
		if err := put(e.Provider, e.Key, e.Line); err != nil {
			return err
		}
	}
	return nil
}

// linePublisher writes lines.
type linePublisher struct{ w *bufio.Writer }

func (l *linePublisher) publish(_ context.Context, _ string, _ []byte, rec ingest.Record) error {
	if _, err := l.w.Write(rec.Value); err != nil {
		return err
	}
	return l.w.WriteByte('\n')
}

func (l *linePublisher) flush(context.Context) error { return l.w.Flush() }

// kafkaPublisher writes records in batches, each topic's in order.
type kafkaPublisher struct {
	p        *parts
	producer *kafka.Producer
	tell     *progress
	waiting  map[string][]kafka.Message
	bytes    int
	made     map[string]bool
}

const (
	publishBytes = 4 << 20     // how much waits before it is written
	patience     = time.Minute // how long a broker may acknowledge nothing
)

func (k *kafkaPublisher) publish(ctx context.Context, provider string, key []byte, rec ingest.Record) error {
	topic, err := k.topic(ctx, provider)
	if err != nil {
		return err
	}
	k.waiting[topic] = append(k.waiting[topic], kafka.Message{Key: slices.Clone(key), Value: slices.Clone(rec.Value), Headers: headersOf(rec.Headers)})
	if k.bytes += len(rec.Value); k.bytes < publishBytes {
		return nil
	}
	return k.flush(ctx)
}

func (k *kafkaPublisher) flush(ctx context.Context) error {
	for topic, list := range k.waiting {
		if err := k.write(ctx, topic, list); err != nil {
			return err
		}
		k.waiting[topic] = list[:0]
	}
	k.bytes = 0
	return nil
}

// write writes again what was not acknowledged, each partition's in order, for as long as that may help.
func (k *kafkaPublisher) write(ctx context.Context, topic string, list []kafka.Message) error {
	last := time.Now() // that something was acknowledged
	for wait := time.Second / 2; ; wait = min(2*wait, 5*time.Second) {
		err := k.producer.Produce(ctx, topic, list)
		var some *kafka.ProduceError
		if err == nil || ctx.Err() != nil || !errors.As(err, &some) || !kafka.Passes(err) {
			return err
		}
		if len(some.Unacknowledged) < len(list) {
			last = time.Now()
		}
		left := make([]kafka.Message, 0, len(some.Unacknowledged))
		for _, i := range some.Unacknowledged {
			left = append(left, list[i])
		}
		if list = left; time.Since(last) > patience {
			return fmt.Errorf("nothing was acknowledged for %s: %w", patience, err)
		}
		k.tell.clear()
		k.tell.done("simulate: %d events are not acknowledged: writing them again in %s: %v", len(list), wait, some.Err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}

// topic is the provider's, made if it is missing.
func (k *kafkaPublisher) topic(ctx context.Context, provider string) (string, error) {
	for i := range k.p.config.Bindings {
		name := k.p.config.Bindings[i].TopicOf(provider)
		if name == "" {
			continue
		}
		if !k.made[name] {
			// A producer may write to its topic, and neither make topics nor read their settings.
			found, err := k.p.kafka.Topics(ctx, name)
			if err == nil && len(found) == 0 {
				_, err = k.p.makeTopics(ctx, []string{provider}, len(k.made) > 0)
			}
			if err != nil {
				return "", err
			}
			k.made[name] = true
		}
		return name, nil
	}
	return "", fmt.Errorf("no binding has a topic for provider %q: add one, for instance {topics: \"agent.events.*\"}", provider)
}
