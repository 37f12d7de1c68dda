package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/agentrisk/agentrisk/ingest"
)

// sampleValues are what the sample shows for settings that have no value by default: "live" ones are needed, the
// others stand there commented out.
var sampleValues = map[string]struct {
	value string
	live  bool
}{
	"kafka.brokers":              {`["localhost:9092"]`, true},
	"kafka.tls.ca":               {"/etc/agentrisk/kafka-ca.pem", false},
	"kafka.tls.cert":             {"/etc/agentrisk/client.pem", false},
	"kafka.tls.key":              {"/etc/agentrisk/client-key.pem", false},
	"kafka.tls.server_name":      {"kafka.example.com", false},
	"kafka.tls.min_version":      {`"1.3"`, false},
	"kafka.sasl.mechanism":       {"SCRAM-SHA-512", false},
	"kafka.sasl.user":            {"agentrisk", false},
	"kafka.sasl.password_file":   {"/run/secrets/kafka", false},
	"clickhouse.addresses":       {`["localhost:9000"]`, true},
	"clickhouse.password_file":   {"/run/secrets/clickhouse", false},
	"clickhouse.tls.ca":          {"/etc/agentrisk/clickhouse-ca.pem", false},
	"bindings.topics":            {`"agent.events.*"`, true},
	"bindings.redaction.columns": {"{user_id: fingerprint}", false},
	"keys_file":                  {"/run/secrets/agentrisk-keys.yaml", false},
	"providers":                  {"[alpha, beta]", true},
	"pack":                       {"/etc/agentrisk/my-pack", false},
	"alerts.webhook.url":         {"https://oncall.example.com/agentrisk", false},
	"alerts.webhook.secrets":     {`["whsec_..."]`, false},
	"alerts.webhook.allow":       {`["10.20.0.0/16"]`, false},
}

// writeSample makes the sample of the configuration from the struct that holds it: its settings, their defaults, and
// the comments beside them in the source.
func writeSample(w io.Writer) error {
	c := defaultConfig()
	b := ingest.Binding{Topics: "agent.events.*"}
	if err := b.Check(); err != nil {
		return err
	}
	c.Bindings = []ingest.Binding{b}
	s := &sampler{docs: map[string]map[string]string{}}
	body, _, err := s.members(reflect.ValueOf(c), "", "")
	if err != nil {
		return err
	}
	var vars strings.Builder
	for _, v := range secretVariables {
		fmt.Fprintf(&vars, "#   %-30s %s\n", v.name, v.what)
	}
	_, err = io.WriteString(w, `# Configuration of agentrisk: every setting, with its default. What is commented out has no default and is not needed.
# Made from the code by `+"`make docs`"+`, printed by `+"`agentrisk config sample`"+`; `+"`agentrisk config check --config FILE`"+` says what a file comes to.
#
# Secrets may come from the environment, which stands above this file:
`+vars.String()+body)
	return err
}

type sampler struct{ docs map[string]map[string]string }

// members writes the settings of a struct and reports whether one of them is live.
func (s *sampler) members(v reflect.Value, path, indent string) (text string, live bool, err error) {
	var out strings.Builder
	docs, err := s.docsOf(v.Type())
	if err != nil {
		return "", false, err
	}
	for i := range v.NumField() {
		f := v.Type().Field(i)
		key, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if key == "" || key == "-" || !f.IsExported() {
			continue
		}
		at := strings.TrimPrefix(path+"."+key, ".")
		doc := docs[f.Name]
		section := v.Field(i)
		list := section.Kind() == reflect.Slice && section.Type().Elem().Kind() == reflect.Struct
		if list {
			if section.Len() == 0 {
				section = reflect.New(section.Type().Elem()).Elem()
			} else {
				section = section.Index(0)
			}
		}
		if isSection(section.Type()) {
			if doc == "" {
				if doc, err = s.docOfType(section.Type()); err != nil {
					return "", false, err
				}
			}
			inner, innerLive, err := s.members(section, at, indent+"  ")
			if err != nil {
				return "", false, err
			}
			if list {
				inner = firstItem(inner, indent)
			}
			if path == "" {
				out.WriteString("\n")
			}
			out.WriteString(comment(doc, section.Type().Name(), key, indent))
			out.WriteString(setting(indent, key, "", innerLive))
			out.WriteString(inner)
			live = live || innerLive
			continue
		}
		if doc == "" {
			return "", false, fmt.Errorf("%s.%s (%s) has no comment: it is what the sample tells of the setting", v.Type().Name(), f.Name, at)
		}
		value, isLive, err := sampleValue(v.Field(i), at)
		if err != nil {
			return "", false, err
		}
		if path == "" {
			out.WriteString("\n")
		}
		out.WriteString(comment(doc, f.Name, key, indent) + setting(indent, key, value, isLive))
		live = live || isLive
	}
	return out.String(), live, nil
}

// isSection reports whether a type is written as a block of settings: a struct without a form of its own.
func isSection(t reflect.Type) bool {
	_, own := reflect.New(t).Interface().(yaml.BytesUnmarshaler)
	return t.Kind() == reflect.Struct && !own
}

func setting(indent, key, value string, live bool) string {
	line := indent + key + ":"
	if value != "" {
		line += " " + value
	}
	if !live { // no space: prose has one
		line = indent + "#" + strings.TrimPrefix(line, indent)
	}
	return line + "\n"
}

// firstItem makes the settings of a list's element one item of it.
func firstItem(text, indent string) string {
	var out strings.Builder
	item := false
	for line := range strings.Lines(text) {
		if body := strings.TrimPrefix(line, indent+"  "); !item && !strings.HasPrefix(body, "#") {
			line, item = indent+"  - "+body, true
		} else {
			line = indent + "    " + body
		}
		out.WriteString(line)
	}
	return out.String()
}

func sampleValue(v reflect.Value, path string) (string, bool, error) {
	if s, ok := sampleValues[path]; ok {
		return s.value, s.live, nil
	}
	switch {
	case v.Kind() == reflect.String && v.Len() == 0:
		return `""`, false, nil
	case v.Kind() == reflect.Slice && v.Len() == 0:
		return "[]", false, nil
	case v.Kind() == reflect.Map && v.Len() == 0:
		return "{}", false, nil
	}
	b, err := yaml.MarshalWithOptions(v.Interface(), yaml.Flow(true))
	return strings.TrimSpace(string(b)), true, err
}

// comment writes a Go comment as a YAML one: "KeyedBy says ..." is "keyed_by says ..." there.
func comment(doc, goName, key, indent string) string {
	doc = strings.ReplaceAll(doc, "one of [FormatNames]", strings.Join(ingest.FormatNames, ", "))
	doc = regexp.MustCompile(`\[(?:\w+\.)?(\w+)\]`).ReplaceAllString(doc, "$1")
	if rest, ok := strings.CutPrefix(doc, goName+" "); ok {
		doc = key + " " + rest
	}
	var out strings.Builder
	line := indent + "#"
	for word := range strings.FieldsSeq(doc) {
		if len(line)+1+len(word) > 118 {
			out.WriteString(line + "\n")
			line = indent + "#"
		}
		line += " " + word
	}
	return out.String() + line + "\n"
}

const modulePath = "github.com/agentrisk/agentrisk/"

// docsOf reads the comments of a struct's fields from the source.
func (s *sampler) docsOf(t reflect.Type) (map[string]string, error) {
	if err := s.read(t.PkgPath()); err != nil {
		return nil, err
	}
	docs, ok := s.docs[t.PkgPath()+"."+t.Name()]
	if !ok {
		return nil, fmt.Errorf("%s: its source is not found", t)
	}
	return docs, nil
}

func (s *sampler) docOfType(t reflect.Type) (string, error) {
	docs, err := s.docsOf(t)
	return docs[""], err
}

func (s *sampler) read(pkg string) error {
	if _, done := s.docs[pkg]; done {
		return nil
	}
	s.docs[pkg] = nil
	dir := "."
	if pkg != "main" {
		dir = filepath.Join("..", "..", strings.TrimPrefix(pkg, modulePath))
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return err
	}
	for _, name := range files {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		for _, decl := range f.Decls {
			g, ok := decl.(*ast.GenDecl)
			if !ok || g.Tok != token.TYPE {
				continue
			}
			for _, spec := range g.Specs {
				if st, ok := spec.(*ast.TypeSpec).Type.(*ast.StructType); ok {
					docs := map[string]string{"": g.Doc.Text()}
					for _, field := range st.Fields.List {
						for _, n := range field.Names {
							docs[n.Name] = field.Doc.Text() + field.Comment.Text()
						}
					}
					s.docs[pkg+"."+spec.(*ast.TypeSpec).Name.Name] = docs
				}
			}
		}
	}
	return nil
}

// The sample that the program prints is accepted, and with everything uncommented it is still the same settings.
func TestSampleIsAccepted(t *testing.T) {
	out, err := exec.Command(program, "config", "sample").Output()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "agentrisk.yaml")
	if err := os.WriteFile(path, out, 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(program, "config", "check", "--config", path).CombinedOutput(); err != nil {
		t.Errorf("config check of the sample: %v\n%s", err, out)
	}
	all := regexp.MustCompile(`(?m)^( *)#(\w+:)`).ReplaceAll(out, []byte("$1$2"))
	var c Config
	if err := yaml.NewDecoder(bytes.NewReader(all), yaml.Strict()).Decode(&c); err != nil {
		t.Errorf("with everything uncommented: %s", yaml.FormatError(err, false, true))
	}
	if len(c.Bindings) != 1 || c.Pack == "" || c.Kafka.SASL.Mechanism == "" {
		t.Errorf("with everything uncommented something is still not said: %+v", c)
	}
}
