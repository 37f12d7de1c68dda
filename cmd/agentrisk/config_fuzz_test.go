package main

import (
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// plantedSecret must stand in no error.
const plantedSecret = "hunter2c0ffee"

// plantedIn are places where a configuration holds a secret.
var plantedIn = []string{
	"fingerprint_key: S", "clickhouse: {password: S}", "clickhouse:\n  password: S", "clickhouse:\n  password: |\n    S", "clickhouse:\n  password:\n    S", "\"fingerprint_key\": \"S\"",
	"kafka:\n  sasl:\n    password: 'S'", "alerts: {webhook: {secrets: [whsec_S, S]}}", "alerts:\n  webhook:\n    secrets:\n    - whsec_S\n    - S", "kafka: {sasl: {user: u, password: S}, tls: {}}", "clickhouse: {tls: {key: S}}",
}

// FuzzConfig: any file is refused with an error that holds no secret and is not long, or is a configuration that comes back
// as it is when it is printed and read again.
func FuzzConfig(f *testing.F) {
	base := "kafka: {brokers: [\"a:1\"]}\nclickhouse: {addresses: [\"b:2\"]}\nbindings: [{topics: \"agent.events.*\"}]\n"
	for i := range plantedIn {
		f.Add("", base, i)
		f.Add(base, "", i)
		f.Add("http: {listen: 7, x: y}\n", "batch: [1]\n", i)
		f.Add("memory: {budget: 1}\nbatch: {min_age: soon, a: [}\n", "\t- }", i)
		f.Add("", "unknown: "+strings.Repeat("x", 500)+"\n", i)
	}
	for _, s := range []string{"", "\x00", "[]", "kafka: [", "memory: {budget: 9223372036854775807GiB}", "memory: {budget: -1}", "batch: {min_age: 1e9h}", "bindings: [{topics: a, partitions: 99999999999999999999}]", "bindings: [{topics: \"" + strings.Repeat("*", 3000) + "\"}]", "kafka: &a {tls: *a}", "<<: *x", "log: {level: !!int debug}", "clickhouse: !!binary x", base + "---\n" + base} {
		f.Add(s, "", -1)
		f.Add(base, s, -1)
	}
	f.Fuzz(func(t *testing.T, before, after string, which int) {
		text := before + after
		if which >= 0 && which < len(plantedIn) {
			text = before + "\n" + strings.ReplaceAll(plantedIn[which], "S", plantedSecret) + "\n" + after
		}
		c, err := readConfig("f", []byte(text))
		if err != nil {
			if s := err.Error(); strings.Contains(s, plantedSecret) && !strings.Contains(before+after, plantedSecret) {
				t.Errorf("the error tells a secret: %s", s)
			} else if len(s) > 100_000+20*len(text) {
				t.Errorf("an error of %d bytes for a file of %d", len(s), len(text))
			}
			return
		}
		printed, err := yaml.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		again, err := readConfig("f", printed)
		if err != nil {
			t.Fatalf("what was printed is refused: %v\n%s", err, printed)
		}
		if twice, err := yaml.Marshal(again); err != nil || string(twice) != string(printed) {
			t.Fatalf("%v\n%s\n%s", err, printed, twice)
		}
	})
}
