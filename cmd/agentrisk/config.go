package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/spf13/cobra"

	"github.com/agentrisk/agentrisk/ingest"
	"github.com/agentrisk/agentrisk/rules"
)

// Config is the one configuration file.
type Config struct {
	Kafka       KafkaConfig      `yaml:"kafka"`
	ClickHouse  ClickHouseConfig `yaml:"clickhouse"`
	Bindings    []ingest.Binding `yaml:"bindings"`
	Providers   []string         `yaml:"providers"` // whose topics migrate and simulate make
	Pack        string           `yaml:"pack"`      // folder of a pack; empty: the built-in one
	Batch       BatchConfig      `yaml:"batch"`
	Memory      MemoryConfig     `yaml:"memory"`
	Alerts      AlertsConfig     `yaml:"alerts"`
	DeadLetters DeadLetterConfig `yaml:"dead_letters"`
	HTTP        HTTPConfig       `yaml:"http"`
	Log         LogConfig        `yaml:"log"`

	KeysFile       string `yaml:"keys_file"`       // made by agentrisk keys new: keys of fingerprints and state
	FingerprintKey string `yaml:"fingerprint_key"` // in place of keys_file: 32 hexadecimal digits for fingerprints and state, which cannot be rotated
}

// KafkaConfig names the cluster and the consumer group.
type KafkaConfig struct {
	Brokers     []string   `yaml:"brokers"`     // host:port, several for a cluster
	Group       string     `yaml:"group"`       // consumer group of all processes of a deployment; a database belongs to it
	Replication int        `yaml:"replication"` // of topics that migrate makes; 0: the broker's default
	TLS         TLSConfig  `yaml:"tls"`
	SASL        SASLConfig `yaml:"sasl"`
}

// ClickHouseConfig names the database.
type ClickHouseConfig struct {
	Addresses    []string  `yaml:"addresses"`     // host:port of the native protocol
	Database     string    `yaml:"database"`      // of this deployment alone; migrate makes it
	User         string    `yaml:"user"`          // who we are to the database
	Password     string    `yaml:"password"`      // better: password_file or the environment
	PasswordFile string    `yaml:"password_file"` // file that holds the password, in place of it
	TLS          TLSConfig `yaml:"tls"`
}

// BatchConfig says how old a batch may grow.
type BatchConfig struct {
	MinAge Duration `yaml:"min_age"` // of a batch with few lanes: how soon rows can be queried
	MaxAge Duration `yaml:"max_age"` // with many lanes, which share the inserts that a process may make
}

// MemoryConfig bounds memory.
type MemoryConfig struct {
	Budget Size `yaml:"budget"` // of all open batches
	State  Size `yaml:"state"`  // of agents and sessions, each lane
}

// AlertsConfig says where alerts go.
type AlertsConfig struct {
	Topic   string        `yaml:"topic"` // the outbox
	Webhook WebhookConfig `yaml:"webhook"`
}

// WebhookConfig is a Standard Webhooks receiver.
type WebhookConfig struct {
	URL     string   `yaml:"url"`     // that pages are posted to; empty: nobody is told
	Secrets []string `yaml:"secrets"` // whsec_...; two while one is being replaced
	Allow   []string `yaml:"allow"`   // inward addresses that are allowed all the same: CIDR or host:port
}

// DeadLetterConfig names the dead-letter topic.
type DeadLetterConfig struct {
	Topic string `yaml:"topic"` // that holds what could not become an event, whole
}

// HTTPConfig is where metrics and health are served.
type HTTPConfig struct {
	Listen string `yaml:"listen"` // host:port; 0.0.0.0:9464 for others than this machine
	Pprof  bool   `yaml:"pprof"`  // serve Go's profiles, too
}

// LogConfig shapes the log on standard error.
type LogConfig struct {
	Level  string `yaml:"level"`  // debug, info, warn, error
	Format string `yaml:"format"` // text or json
}

// Duration is a time.Duration in YAML: 500ms, 5s.
type Duration time.Duration

// UnmarshalYAML reads 500ms.
func (d *Duration) UnmarshalYAML(n ast.Node) error {
	v, err := time.ParseDuration(scalar(n))
	if err != nil {
		return &yaml.SyntaxError{Message: fmt.Sprintf("%q is no duration: want a number with its unit, as in 500ms, 5s or 2m", scalar(n)), Token: n.GetToken()}
	}
	*d = Duration(v)
	return nil
}

// Size is a number of bytes in YAML: 512MiB, 1GiB, 1048576.
type Size int64

// UnmarshalYAML reads 512MiB.
func (s *Size) UnmarshalYAML(node ast.Node) error {
	text := scalar(node)
	unit := int64(1)
	for _, u := range []struct {
		suffix string
		n      int64
	}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}} {
		if t, ok := strings.CutSuffix(text, u.suffix); ok {
			text, unit = strings.TrimSpace(t), u.n
		}
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || n > 1<<62/unit {
		return &yaml.SyntaxError{Message: fmt.Sprintf("%q is no size: want bytes, KiB, MiB or GiB, as in 512MiB", scalar(node)), Token: node.GetToken()}
	}
	*s = Size(n * unit)
	return nil
}

// scalar is the text of a value, without its quotes.
func scalar(n ast.Node) string {
	if t := n.GetToken(); t != nil {
		return t.Value
	}
	return n.String()
}

func defaultConfig() Config {
	return Config{
		Kafka:       KafkaConfig{Group: "agentrisk"},
		ClickHouse:  ClickHouseConfig{Database: "agentrisk", User: "default"},
		Batch:       BatchConfig{MinAge: Duration(500 * time.Millisecond), MaxAge: Duration(5 * time.Second)},
		Memory:      MemoryConfig{Budget: 512 << 20, State: 256 << 20},
		Alerts:      AlertsConfig{Topic: "agentrisk.alerts"},
		DeadLetters: DeadLetterConfig{Topic: "agentrisk.deadletters"},
		HTTP:        HTTPConfig{Listen: "127.0.0.1:9464"},
		Log:         LogConfig{Level: "info", Format: "text"},
	}
}

// secretVariables are the environment variables that stand above the file, so that no file need hold a secret.
var secretVariables = []struct {
	name string
	set  func(*Config, string)
	what string
}{
	{"AGENTRISK_KAFKA_PASSWORD", func(c *Config, v string) { c.Kafka.SASL.Password, c.Kafka.SASL.PasswordFile = v, "" }, "kafka.sasl.password"},
	{"AGENTRISK_CLICKHOUSE_PASSWORD", func(c *Config, v string) { c.ClickHouse.Password, c.ClickHouse.PasswordFile = v, "" }, "clickhouse.password"},
	{"AGENTRISK_WEBHOOK_SECRETS", func(c *Config, v string) { c.Alerts.Webhook.Secrets = strings.Split(v, ",") }, "alerts.webhook.secrets, comma-separated"},
	{"AGENTRISK_FINGERPRINT_KEY", func(c *Config, v string) { c.FingerprintKey = v }, "fingerprint_key"},
}

// loadConfig reads the file over the defaults and the environment over the file. An unknown key is an error
// with line and column.
func loadConfig(path string) (*Config, error) {
	if path == "" {
		return nil, usageError{errors.New("--config is needed: the path of agentrisk.yaml (`agentrisk config sample` prints one, make up DIR=d writes one)")}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	return readConfig(path, text)
}

func readConfig(path string, text []byte) (*Config, error) {
	c := defaultConfig()
	if err := rules.DecodeYAML(text, &c); err != nil {
		var at *rules.YAMLError
		if errors.As(err, &at) && at.Line > 0 {
			err = fmt.Errorf("[%d:%d] %s\n%s", at.Line, at.Column, hideSecrets(at.Message), rules.ExcerptYAML([]byte(hideSecrets(string(text))), at.Line, at.Column))
		}
		return nil, fmt.Errorf("configuration %s:\n%w", path, err)
	}
	for _, v := range secretVariables {
		if value, ok := os.LookupEnv(v.name); ok {
			v.set(&c, value)
		}
	}
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("configuration %s:\n%w", path, place(text, err))
	}
	return &c, nil
}

// check reports everything that is wrong at once.
func (c *Config) check() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	addresses := func(name string, list []string) {
		if len(list) == 0 {
			bad("%s: at least one host:port is needed", name)
		}
		for _, a := range list {
			if _, _, err := net.SplitHostPort(a); err != nil {
				bad("%s: %q is not host:port", name, a)
			}
		}
	}
	addresses("kafka.brokers", c.Kafka.Brokers)
	addresses("clickhouse.addresses", c.ClickHouse.Addresses)
	errs = append(errs, c.Kafka.TLS.check("kafka.tls")...)
	errs = append(errs, c.Kafka.SASL.check("kafka.sasl")...)
	errs = append(errs, c.ClickHouse.TLS.check("clickhouse.tls")...)
	if c.ClickHouse.Password != "" && c.ClickHouse.PasswordFile != "" {
		bad("clickhouse: password and password_file: give one")
	}
	if len(c.Bindings) == 0 {
		bad("bindings: none; without one no topic is read, for instance {topics: \"agent.events.*\"}")
	}
	for i := range c.Bindings {
		if err := c.Bindings[i].Check(); err != nil {
			errs = append(errs, &placedError{fmt.Sprintf("$.bindings[%d]", i), err})
		}
	}
	if c.Memory.Budget < ingest.MinBudget {
		bad("memory.budget: %d MiB is less than the %d MiB that one batch can need", c.Memory.Budget>>20, int64(ingest.MinBudget)>>20)
	}
	if c.Memory.State < 1<<20 {
		bad("memory.state: want at least 1MiB a lane")
	}
	if c.Batch.MinAge <= 0 || c.Batch.MaxAge < c.Batch.MinAge {
		bad("batch: want 0 < min_age <= max_age")
	}
	if _, _, err := c.keys(); err != nil {
		errs = append(errs, err)
	}
	if _, err := c.logger(io.Discard); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (c *Config) logger(w io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Log.Level)); err != nil {
		return nil, fmt.Errorf("log.level: %q: want debug, info, warn or error", c.Log.Level)
	}
	o := &slog.HandlerOptions{Level: level}
	switch c.Log.Format {
	case "text":
		return slog.New(slog.NewTextHandler(w, o)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, o)), nil
	}
	return nil, fmt.Errorf("log.format: %q: want text or json", c.Log.Format)
}

func configFlag(cmd *cobra.Command) *string {
	path := cmd.Flags().StringP("config", "c", os.Getenv("AGENTRISK_CONFIG"), "configuration file (or AGENTRISK_CONFIG)")
	_ = cmd.MarkFlagFilename("config", "yaml", "yml") // for completion; fails only for a flag that is not there
	return path
}

func configCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "config", Short: "Print a sample of the configuration, or check one"}
	var vars strings.Builder
	for _, v := range secretVariables {
		fmt.Fprintf(&vars, "  %-30s %s\n", v.name, v.what)
	}
	check := &cobra.Command{
		Use:   "check",
		Short: "Say what is wrong with a configuration file, or what it comes to",
		Long:  "Reads the file over the defaults and prints the result, without secrets. Unknown keys are errors.\n\nSecrets may come from the environment, which stands above the file:\n" + vars.String(),
		Example: `  agentrisk config check --config agentrisk.yaml
  agentrisk config check --config agentrisk.yaml --output json | jq .kafka.brokers`,
		Args: cobra.NoArgs,
	}
	path := configFlag(check)
	asJSON := output(check)
	check.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := loadConfig(*path)
		if err != nil {
			return err
		}
		if err := c.readFiles(); err != nil {
			return fmt.Errorf("configuration %s: %w", *path, err)
		}
		shown := *c
		for _, s := range []*string{&shown.Kafka.SASL.Password, &shown.ClickHouse.Password, &shown.FingerprintKey} {
			if *s != "" {
				*s = "(set)"
			}
		}
		if n := len(shown.Alerts.Webhook.Secrets); n > 0 {
			shown.Alerts.Webhook.Secrets = []string{fmt.Sprintf("(%d set)", n)}
		}
		out, err := yaml.Marshal(shown)
		if err == nil && asJSON() {
			out, err = yaml.YAMLToJSON(out)
		}
		if err != nil {
			return err
		}
		_, err = cmd.OutOrStdout().Write(out)
		return err
	}
	cmd.AddCommand(check, configSample())
	return cmd
}

// MarshalYAML prints "5s".
func (d Duration) MarshalYAML() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// MarshalYAML prints "512MiB".
func (s Size) MarshalYAML() ([]byte, error) {
	for _, u := range []struct {
		suffix string
		n      Size
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if s > 0 && s%u.n == 0 {
			return fmt.Appendf(nil, "%d%s", s/u.n, u.suffix), nil
		}
	}
	return fmt.Appendf(nil, "%d", int64(s)), nil
}
