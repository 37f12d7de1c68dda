package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/agentrisk/agentrisk/ingest"
	"github.com/agentrisk/agentrisk/ingest/file"
	"github.com/agentrisk/agentrisk/ingest/kafka"
	"github.com/agentrisk/agentrisk/rules"
)

// feedCheck is what the flags of check say.
type feedCheck struct {
	config  string
	topic   string
	records int64
	rules   string
	format  string
	keyedBy string
}

func checkCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check [FILE|-]...",
		Short: "Read a feed and tell its provider what is wrong with it and what it lacks",
		Long: `Reads the newest records of a topic, or files, as the pipeline would, and says: what becomes a dead letter and why, which
fields are never sent and which rules therefore never fire, whether the keys of the records keep the promise of the
binding's keyed_by, whether times and ids make sense, and what an event should look like.

It joins no group, commits nothing and writes nothing: it may run beside the pipeline. Status 3 when the provider must
change something; what would merely let more rules judge leaves it 0.`,
		Example: `  agentrisk check --config agentrisk.yaml --topic agent.events.alpha
  agentrisk check --config agentrisk.yaml --topic agent.events.alpha --records 100000 --output json
  agentrisk check --keyed-by session events.ndjson.gz`,
	}
	var c feedCheck
	f := cmd.Flags()
	f.StringVarP(&c.config, "config", "c", os.Getenv("AGENTRISK_CONFIG"), "configuration file (or AGENTRISK_CONFIG); for --topic")
	f.StringVar(&c.topic, "topic", "", "read this topic")
	f.Int64Var(&c.records, "records", 10_000, "how many of the topic's newest records")
	f.StringVar(&c.rules, "rules", "", "folder of a pack (default: that of the configuration, or the built-in one)")
	keyed := choose(cmd, "keyed-by", "", "what records are keyed by (default: as the binding says; agent for files)", append([]string{""}, ingest.KeyedByNames...)...)
	form := choose(cmd, "format", "", "format of the records (default: as the binding says; json for files)", append([]string{""}, ingest.FormatNames...)...)
	completeTopics(cmd, "topic", &c.config)
	asJSON := output(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c.keyedBy, c.format = *keyed, *form
		switch {
		case c.topic != "" && len(args) > 0:
			return usageError{fmt.Errorf("want --topic or files, not both")}
		case c.records < 1:
			return usageError{fmt.Errorf("--records %d: want at least 1", c.records)}
		}
		report, err := c.run(cmd.Context(), args, cmd.InOrStdin(), cmd.ErrOrStderr())
		if err != nil {
			return err
		}
		if asJSON() {
			e := json.NewEncoder(cmd.OutOrStdout())
			e.SetIndent("", "  ")
			err = e.Encode(report)
		} else {
			err = report.write(cmd.OutOrStdout())
		}
		if err == nil && len(report.Problems) > 0 {
			return errFindings
		}
		return err
	}
	return cmd
}

func (c *feedCheck) run(ctx context.Context, files []string, stdin io.Reader, stderr io.Writer) (*feedReport, error) {
	if c.topic != "" {
		return c.ofTopic(ctx, stderr)
	}
	pack, err := loadPack(c.rules)
	if err != nil {
		return nil, err
	}
	b := c.adjust(ingest.Binding{Topics: "file"})
	in, err := ingest.NewInspector(pack.Pack, b, "")
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		files = []string{"-"}
	}
	tell := newProgress(stderr)
	read := file.Files{Paths: files, Stdin: stdin, Progress: func(read, total int64) { tell.bar("check", "B", read, total) }}
	err = read.Each(ctx, func(l file.Line) error {
		return in.Record(&ingest.Record{Topic: l.Path, Offset: int64(l.Number), Value: l.Data})
	})
	tell.clear()
	if err != nil {
		return nil, err
	}
	return newFeedReport(strings.Join(files, ", "), b, pack, in.Seen()), nil
}

// adjust lets the flags win over the binding.
func (c *feedCheck) adjust(b ingest.Binding) ingest.Binding {
	if c.keyedBy != "" {
		b.KeyedBy = c.keyedBy
	}
	if c.format != "" {
		b.Format = c.format
	}
	_ = b.Check() // fills defaults; what is wrong is said by who uses it
	return b
}

func (c *feedCheck) ofTopic(ctx context.Context, stderr io.Writer) (*feedReport, error) {
	p, err := wire(c.config)
	if err != nil {
		return nil, err
	}
	defer p.close()
	b, err := p.bindingOf(c.topic)
	if err != nil {
		return nil, err
	}
	dir := c.rules
	if dir == "" {
		dir = p.config.Pack
	}
	pack, err := loadPack(dir)
	if err != nil {
		return nil, err
	}
	adjusted := c.adjust(*b)
	in, err := ingest.NewInspector(pack.Pack, adjusted, c.topic)
	if err != nil {
		return nil, err
	}
	partitions, err := p.partitions(ctx, c.topic)
	if err != nil {
		return nil, err
	}
	tell := newProgress(stderr)
	err = in.Topic(ctx, kafka.NewLog(p.kafka), partitions, c.records, func(done, total int64) { tell.bar("check", "records", done, total) })
	tell.clear()
	if err != nil {
		return nil, err
	}
	r := newFeedReport(c.topic, adjusted, pack, in.Seen())
	if clock, err := p.kafka.TimestampType(ctx, c.topic); err == nil && clock != "LogAppendTime" {
		r.advise("clock", fmt.Sprintf("the topic keeps %s, the producer's clock: with the broker's a verdict can be recomputed from the log alone", clock),
			"kafka-configs.sh --alter --entity-type topics --entity-name "+c.topic+" --add-config message.timestamp.type=LogAppendTime")
	}
	return r, nil
}

// bindingOf is the first binding that matches the topic, as in the pipeline.
func (p *parts) bindingOf(topic string) (*ingest.Binding, error) {
	var all []string
	for i := range p.config.Bindings {
		b := &p.config.Bindings[i]
		if b.Match(topic) {
			return b, nil
		}
		all = append(all, b.Topics)
	}
	return nil, fmt.Errorf("no binding is for topic %s: the pipeline would not read it; bindings are for %s", topic, strings.Join(all, ", "))
}

// partitions is how many the topic has; a topic that is not there is an error that names those that are.
func (p *parts) partitions(ctx context.Context, topic string) (int, error) {
	found, err := p.kafka.Topics(ctx, topic)
	if err != nil {
		return 0, err
	}
	if len(found) == 1 {
		return found[0].Partitions, nil
	}
	known, err := p.topics(ctx)
	if err != nil {
		return 0, err
	}
	if len(known) == 0 {
		return 0, fmt.Errorf("topic %s does not exist, and no topic does that the bindings match: `agentrisk migrate` makes those of the configured providers", topic)
	}
	return 0, fmt.Errorf("topic %s does not exist; the bindings match %s", topic, strings.Join(known, ", "))
}

// feedReport is what check says of a feed.
type feedReport struct {
	Feed       string `json:"feed"`
	Format     string `json:"format"`
	KeyedBy    string `json:"keyed_by"`
	Pack       string `json:"pack"`
	PackDigest string `json:"pack_digest"`
	*ingest.Inspection
	Problems []remark         `json:"problems"` // that the provider must change
	Advice   []remark         `json:"advice"`   // that would let agentrisk see more
	Missing  []missingField   `json:"missing"`  // fields that are never sent and that rules read, the most wanted first
	Rules    []rules.Coverage `json:"rules"`
	CanFire  int              `json:"rules_that_can_fire"`
	Sample   json.RawMessage  `json:"sample"`
}

// remark is one thing to tell the provider.
type remark struct {
	About string `json:"about"`
	Count int64  `json:"count,omitempty"`
	What  string `json:"what"`
	First string `json:"first,omitempty"` // where it was seen first
	Do    string `json:"do"`
}

// missingField is a field that is never sent.
type missingField struct {
	Field string   `json:"field"`
	Doc   string   `json:"doc"`
	Rules []string `json:"rules"` // that read it
}

func (r *feedReport) problem(about string, n int64, first, what, do string) {
	r.Problems = append(r.Problems, remark{about, n, what, first, do})
}

func (r *feedReport) advise(about, what, do string) {
	r.Advice = append(r.Advice, remark{About: about, What: what, Do: do})
}
