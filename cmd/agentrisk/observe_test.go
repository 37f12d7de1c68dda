package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/agentrisk/agentrisk/deploy/stacktest"
)

const (
	rulesFile  = "../../deploy/prometheus/agentrisk.rules.yaml"
	rulesTests = "../../deploy/prometheus/agentrisk.rules_test.yaml"
	dashboards = "../../deploy/grafana/dashboards/*.json"
)

// alertRules reads the expressions of the alerts, by name.
func alertRules(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile(rulesFile)
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Rules []struct {
				Alert, Expr string
				Annotations map[string]string
				Labels      map[string]string
			}
		}
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	m := map[string]string{}
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			m[r.Alert] = r.Expr
			if r.Annotations["summary"] == "" || r.Annotations["summary_zh"] == "" || r.Annotations["description"] == "" {
				t.Errorf("%s: summary, summary_zh and description are needed", r.Alert)
			}
			if s := r.Labels["severity"]; s != "critical" && s != "warning" {
				t.Errorf("%s: severity %q", r.Alert, s)
			}
		}
	}
	return m
}

// panel is what a dashboard asks: PromQL in expr or SQL in rawSql.
type panel struct {
	Title   string
	Targets []struct{ Expr, RawSQL string }
}

// panels lists the panels of every dashboard by file and title.
func panels(t *testing.T) map[string]panel {
	t.Helper()
	files, err := filepath.Glob(dashboards)
	if err != nil || len(files) == 0 {
		t.Fatalf("dashboards: %v %v", files, err)
	}
	m := map[string]panel{}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var board struct{ Panels []panel }
		if err := json.Unmarshal(text, &board); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		for i, p := range board.Panels {
			if len(p.Targets) == 0 {
				t.Errorf("%s: %s asks nothing", f, p.Title)
			}
			m[fmt.Sprintf("%s %02d %s", filepath.Base(f), i+1, p.Title)] = p
		}
	}
	return m
}

// promQL fills Grafana's variables in.
func promQL(expr string) string {
	return strings.NewReplacer("$__rate_interval", "5m", "$topic", ".*").Replace(expr)
}

// An alert or a panel that names a metric which the program does not have would be quiet for ever.
func TestMetricsNamedInDeployExist(t *testing.T) {
	have := map[string]bool{}
	for _, m := range describeMetrics(servedMetrics()...) {
		have[m.name] = true
		if m.kind == "histogram" {
			have[m.name+"_bucket"], have[m.name+"_sum"], have[m.name+"_count"] = true, true, true
		}
	}
	name := regexp.MustCompile(`\bagentrisk_\w+`)
	check := func(where, expr string) {
		for _, n := range name.FindAllString(expr, -1) {
			if !have[n] {
				t.Errorf("%s: the program has no metric %s", where, n)
			}
		}
	}
	rules := alertRules(t)
	for alert, expr := range rules {
		check(alert, expr)
	}
	for where, p := range panels(t) {
		for _, target := range p.Targets {
			check(where, target.Expr)
		}
	}
	tests, err := os.ReadFile(rulesTests)
	if err != nil {
		t.Fatal(err)
	}
	for alert := range rules {
		for _, how := range []string{" fires\n", " stays quiet\n"} {
			if !strings.Contains(string(tests), "name: "+alert+how) {
				t.Errorf("no test of %s:%s", alert, how)
			}
		}
	}
}

// promtool checks the rules, runs their tests and parses what the dashboards ask. `make alerts` names the program.
func TestAlertsWithPromtool(t *testing.T) {
	promtool := os.Getenv("AGENTRISK_PROMTOOL")
	if promtool == "" {
		t.Skip("NOT RUN: make alerts runs it, with promtool from Debian's package prometheus or from its Go module")
	}
	dir := t.TempDir()
	write := func(name string, text []byte) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	run := func(args ...string) {
		t.Helper()
		out, err := exec.Command(promtool, args...).CombinedOutput()
		if err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	run("check", "rules", rulesFile)

	rules, err := os.ReadFile(rulesFile)
	if err != nil {
		t.Fatal(err)
	}
	write("agentrisk.rules.yaml", regexp.MustCompile(`(?m)^        annotations:\n(?:          .*\n)+`).ReplaceAll(rules, nil))
	tests, err := os.ReadFile(rulesTests)
	if err != nil {
		t.Fatal(err)
	}
	run("test", "rules", write("tests.yaml", tests))

	var asked strings.Builder
	asked.WriteString("groups:\n  - name: dashboards\n    rules:\n")
	n := 0
	for _, p := range panels(t) {
		for _, target := range p.Targets {
			if target.Expr != "" {
				n++
				fmt.Fprintf(&asked, "      - {record: 'panel:%d', expr: %q}\n", n, promQL(target.Expr))
			}
		}
	}
	run("check", "rules", write("dashboards.yaml", []byte(asked.String())))
	t.Logf("%d alerts and %d expressions of dashboards", len(alertRules(t)), n)
}

// dashboardSQL fills the macros and variables of Grafana's ClickHouse plugin in.
func dashboardSQL(sql string) string {
	sql = regexp.MustCompile(`\$__timeFilter\((\w+)\)`).ReplaceAllString(sql, "$1 >= toDateTime(1) AND $1 <= toDateTime(4000000000)")
	sql = regexp.MustCompile(`\$__timeInterval\((\w+)\)`).ReplaceAllString(sql, "toStartOfInterval(toDateTime($1), INTERVAL 60 second)")
	return strings.ReplaceAll(sql, "${provider:singlequote}", "'alpha','beta'")
}

// Every panel over ClickHouse is asked of a database in which a fleet's events were judged.
func TestDashboardsOverClickHouse(t *testing.T) {
	t.Parallel()
	s := newSystem(t, stacktest.Start(t), "")
	s.publish(s.fleet(2000, 5))
	p := s.run()
	s.settled(2000)
	p.stop(t)
	for where, panel := range panels(t) {
		for _, target := range panel.Targets {
			if target.RawSQL == "" {
				continue
			}
			got := s.stack.Query(t, s.within(dashboardSQL(target.RawSQL)))
			if got == "" && !strings.Contains(target.RawSQL, "dead_letters WHERE") {
				t.Errorf("%s shows nothing", where)
			}
		}
	}
}

// within names the database of the tables and views that a query reads, as Grafana's data source has it by default.
func (s *system) within(sql string) string {
	return regexp.MustCompile(`(FROM|LEFT JOIN) (\w+)`).ReplaceAllString(sql, "$1 "+s.database+".$2")
}

// What `make compose-test` has brought up: Prometheus scrapes the pipeline, evaluates every alert, and every panel over
// it can be asked.
func TestComposedPrometheus(t *testing.T) {
	base := os.Getenv("AGENTRISK_PROMETHEUS")
	if base == "" {
		t.Skip("NOT RUN: deploy/compose-test.sh runs it and says where Prometheus is")
	}
	get := func(path string, into any) error {
		res, err := http.Get(base + path)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s %s %w", path, res.Status, body, err)
		}
		return json.Unmarshal(body, into)
	}
	ask := func(expr string) (n int, err error) {
		var answer struct{ Data struct{ Result []any } }
		err = get("/api/v1/query?query="+url.QueryEscape(promQL(expr)), &answer)
		return len(answer.Data.Result), err
	}
	eventually(t, "Prometheus has scraped rows", func() bool {
		n, err := ask("agentrisk_rows_total > 0 and on () rate(agentrisk_records_total[5m])")
		return err == nil && n > 0
	})
	var rules struct {
		Data struct {
			Groups []struct {
				Rules []struct {
					Name, Health, State, LastError string
					Labels                         map[string]string
				}
			}
		}
	}
	eventually(t, "every alert is evaluated", func() bool {
		if err := get("/api/v1/rules?type=alert", &rules); err != nil {
			return false
		}
		n := 0
		for _, g := range rules.Data.Groups {
			for _, r := range g.Rules {
				if r.Health == "err" {
					t.Fatalf("%s: %s", r.Name, r.LastError)
				}
				if r.Health == "ok" {
					n++
				}
			}
		}
		return n == len(alertRules(t))
	})
	for _, g := range rules.Data.Groups {
		for _, r := range g.Rules {
			if r.State == "firing" {
				t.Errorf("%s fires on a healthy system", r.Name)
			}
		}
	}
	empty := 0
	for where, p := range panels(t) {
		for _, target := range p.Targets {
			if target.Expr == "" {
				continue
			}
			n, err := ask(target.Expr)
			if err != nil {
				t.Errorf("%s: %v", where, err)
			}
			if n == 0 {
				empty++
				t.Logf("no data yet: %s: %s", where, target.Expr)
			}
		}
	}
	if empty > 3 { // rates of what never happened
		t.Errorf("%d panels show nothing", empty)
	}
}
