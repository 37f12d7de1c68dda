package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	"github.com/agentrisk/agentrisk/ingest"
	"github.com/agentrisk/agentrisk/rules"
	"github.com/agentrisk/agentrisk/scoring/redact"
)

// keyFile holds the keys of a deployment. All its processes need the same file.
type keyFile struct {
	// State keys the hashes in the state and in snapshots. It is never rotated: under another one a saved state cannot
	// be read, and agents look new until the log is judged again.
	State string `yaml:"state"`
	// Fingerprints on rows; the first is in use, the others tell what older rows were keyed by.
	Fingerprints []fingerprintKey `yaml:"fingerprints"`
}

type fingerprintKey struct {
	Key   string `yaml:"key"`
	Since string `yaml:"since"` // when it was made, RFC 3339
}

func parseKey(name, s string) (key redact.Key, err error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(key) {
		return key, fmt.Errorf("%s: want 32 hexadecimal digits (openssl rand -hex 16)", name)
	}
	return redact.Key(b), nil
}

func newKey() string {
	var k redact.Key
	_, _ = rand.Read(k[:]) // never fails, see crypto/rand
	return hex.EncodeToString(k[:])
}

// parse returns the key of the state and those of fingerprints, the one in use first.
func (f *keyFile) parse() (state redact.Key, prints []redact.Key, err error) {
	if state, err = parseKey("state", f.State); err != nil {
		return state, nil, err
	}
	if len(f.Fingerprints) == 0 {
		return state, nil, errors.New("fingerprints: at least one key is needed")
	}
	for i, x := range f.Fingerprints {
		k, err := parseKey(fmt.Sprintf("fingerprints[%d].key", i), x.Key)
		if err != nil {
			return state, nil, err
		}
		prints = append(prints, k)
	}
	return state, prints, nil
}

func readKeys(path string) (*keyFile, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w; `agentrisk keys new %s` makes one", err, path)
	}
	if err != nil {
		return nil, err
	}
	var f keyFile
	if err := rules.DecodeYAML(text, &f); err != nil {
		var at *rules.YAMLError
		if errors.As(err, &at) { // without its excerpt: the source is secret
			err = fmt.Errorf("line %d: %s", at.Line, at.Message)
		}
		return nil, fmt.Errorf("keys %s: not a file of keys: %w", path, err)
	}
	if _, _, err := f.parse(); err != nil {
		return nil, fmt.Errorf("keys %s: %w", path, err)
	}
	return &f, nil
}

// write replaces the file in one step.
func (f *keyFile) write(path string) error {
	text, err := yaml.Marshal(f)
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".keys-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.WriteString("# Keys of agentrisk: secret. Every process needs the same file.\n" + string(text))
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}

// keys are the state's key and the fingerprints' of the configuration.
func (c *Config) keys() (state, print redact.Key, err error) {
	switch {
	case c.FingerprintKey != "" && c.KeysFile != "":
		return state, print, errors.New("fingerprint_key and keys_file: want one of them")
	case c.KeysFile != "":
		f, err := readKeys(c.KeysFile)
		if err != nil {
			return state, print, fmt.Errorf("keys_file: %w", err)
		}
		state, prints, err := f.parse()
		if err != nil {
			return state, print, err
		}
		return state, prints[0], nil
	case c.FingerprintKey != "":
		print, err = parseKey("fingerprint_key", c.FingerprintKey)
		return print, print, err
	}
	return state, print, nil
}

func keysCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "keys",
		Short: "Make and rotate the keys of fingerprints",
		Long: `Rows hold keyed fingerprints of content, and of the columns that a binding's redaction names. The keys stand in a
file of their own, which keys_file in the configuration names and which every process of a deployment shares.

To rotate: ` + "`agentrisk keys rotate FILE`" + `, give the new file to every process, restart them one after the other. Scores
and state do not change. Rows name their key (column key_id); fingerprints of different keys do not compare, and
` + "`agentrisk keys fingerprint FILE`" + ` says what a value is under each of them.`,
	}
	cmd.AddCommand(
		&cobra.Command{Use: "new FILE", Short: "Make a file of new keys", Example: "  agentrisk keys new /etc/agentrisk/keys.yaml", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := os.Lstat(args[0]); err == nil {
				return fmt.Errorf("%s is there already: `agentrisk keys rotate %s` adds a key to it", args[0], args[0])
			}
			f := &keyFile{State: newKey(), Fingerprints: []fingerprintKey{{newKey(), now()}}}
			return f.report(cmd.OutOrStdout(), args[0])
		}},
		&cobra.Command{Use: "rotate FILE", Short: "Put a new key in front", Example: "  agentrisk keys rotate /etc/agentrisk/keys.yaml", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
			f, err := readKeys(args[0])
			if err != nil {
				return err
			}
			f.Fingerprints = append([]fingerprintKey{{newKey(), now()}}, f.Fingerprints...)
			return f.report(cmd.OutOrStdout(), args[0])
		}},
		keysListCommand(), keysFingerprintCommand(),
	)
	return cmd
}

func now() string { return time.Now().UTC().Format(time.RFC3339) }

func (f *keyFile) report(w io.Writer, path string) error {
	if err := f.write(path); err != nil {
		return err
	}
	_, prints, err := f.parse()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s: fingerprints are made with key %s from the next start on (%d in the file)\n", path, prints[0].ID(), len(prints))
	return err
}

func keysListCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "list FILE", Short: "List the ids of the keys, the one in use first", Example: "  agentrisk keys list /etc/agentrisk/keys.yaml --output json", Args: cobra.ExactArgs(1)}
	asJSON := output(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		f, err := readKeys(args[0])
		if err != nil {
			return err
		}
		_, prints, err := f.parse()
		if err != nil {
			return err
		}
		type row struct {
			ID    string `json:"key_id"`
			Since string `json:"since"`
			InUse bool   `json:"in_use"`
		}
		rows := make([]row, len(prints))
		for i, k := range prints {
			rows[i] = row{k.ID(), f.Fingerprints[i].Since, i == 0}
		}
		if asJSON() {
			e := json.NewEncoder(cmd.OutOrStdout())
			e.SetIndent("", "  ")
			return e.Encode(rows)
		}
		w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "KEY_ID\tSINCE\tIN USE")
		for _, r := range rows {
			use := ""
			if r.InUse {
				use = "yes"
			}
			fmt.Fprintf(w, "%s\t%s\t%s\n", r.ID, r.Since, use)
		}
		return w.Flush()
	}
	return cmd
}

func keysFingerprintCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "fingerprint FILE",
		Short: "Print the fingerprints of values under every key",
		Long: `Reads values from standard input, one a line, and prints for each of them and each key: the number of the line, the
id of the key, what stands in a column of texts, and what stands in a *_fingerprint column. Values are not printed.`,
		Example: `  echo u-1234 | agentrisk keys fingerprint keys.yaml
  clickhouse-client -q "SELECT * FROM verdicts WHERE user_id IN ('fp_...', 'fp_...')"`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := readKeys(args[0])
			if err != nil {
				return err
			}
			_, prints, err := f.parse()
			if err != nil {
				return err
			}
			in := bufio.NewScanner(cmd.InOrStdin())
			in.Buffer(nil, 1<<20)
			w := bufio.NewWriter(cmd.OutOrStdout())
			for n := 1; in.Scan(); n++ {
				for _, k := range prints {
					fmt.Fprintf(w, "%d\t%s\t%s\t%d\n", n, k.ID(), k.Text(in.Text()), k.Number(in.Text()))
				}
			}
			return errors.Join(in.Err(), w.Flush())
		},
	}
}

// putSettings stores what the ledger's lines name by its digest.
func (p *parts) putSettings(ctx context.Context, key redact.Key) error {
	for i := range p.config.Bindings {
		text, err := p.config.Bindings[i].Settings(key, int64(p.config.Memory.State))
		if err != nil {
			return err
		}
		if err := p.patiently(ctx, func() error { return p.db.PutSettings(ctx, ingest.SettingsDigest(text), text) }); err != nil {
			return err
		}
	}
	return nil
}
