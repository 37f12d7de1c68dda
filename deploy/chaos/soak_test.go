package chaos

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestSoak streams events for AGENTRISK_SOAK (a duration) with a fault a minute. Memory, goroutines and parts must be
// flat: what a process holds in the last third of its minutes is at most a fifth above the middle third. Then everything
// is compared with a quiet run. `make soak` runs it; the tests do not.
func TestSoak(t *testing.T) {
	v := os.Getenv("AGENTRISK_SOAK")
	if v == "" {
		t.Skip("NOT RUN: an hour long; make soak")
	}
	took, err := time.ParseDuration(v)
	if err != nil {
		t.Fatalf("AGENTRISK_SOAK=%q: want a duration, as in 60m", v)
	}
	s, seed := size{partitions: 16, processes: 3, rate: 1000, kinds: possible(t, kinds), agents: 2000}, uint64(1)
	for name, to := range map[string]*int{"RATE": &s.rate} {
		if v := os.Getenv("AGENTRISK_SOAK_" + name); v != "" {
			if *to, err = strconv.Atoi(v); err != nil {
				t.Fatalf("AGENTRISK_SOAK_%s=%q: want a number", name, v)
			}
		}
	}
	s.events, s.faults = int(took.Seconds())*s.rate, int(took.Minutes())
	fmt.Printf("soak: %s, %d events, %d lanes, %d processes, a fault a minute\n", took, s.events, s.partitions, s.processes)
	d := newDeployment(t, s)
	published, unwatch := d.begin(s, seed)

	var minutes []minute
	for i, f := range draw(seed, s, took) {
		began := time.Now()
		hit := d.strike(t.Context(), f)
		time.Sleep(time.Until(began.Add(time.Minute)))
		m := d.measure()
		minutes = append(minutes, m)
		word := ""
		if !hit {
			word = " (nothing came by)"
		}
		fmt.Printf("soak: minute %d: %s%s: %s\n", i+1, f, word, m)
	}
	<-published
	fmt.Printf("soak: %d rows\n", d.drained("attacked"))
	d.stop()
	unwatch()
	for _, of := range []struct {
		name string
		get  func(minute) float64
	}{
		{"MiB resident of all processes", func(m minute) float64 { return m.resident }},
		{"MiB of Go's heap in use", func(m minute) float64 { return m.heap }},
		{"goroutines", func(m minute) float64 { return m.goroutines }},
		{"active parts", func(m minute) float64 { return m.parts }},
	} {
		third := len(minutes) / 3
		middle, last := mean(minutes[third:2*third], of.get), mean(minutes[2*third:], of.get)
		fmt.Printf("soak: %s: %.0f in the middle third, %.0f in the last\n", of.name, middle, last)
		if last > 1.2*middle {
			t.Errorf("%s are not flat: %.0f in the middle third, %.0f in the last", of.name, middle, last)
		}
	}
	d.judge()
}

// minute is what one look at everything saw.
type minute struct {
	resident, heap, state, goroutines, parts float64
	behind                                   int64
}

func (m minute) String() string {
	return fmt.Sprintf("%.0f MiB resident, %.0f MiB heap, %.0f MiB state, %.0f goroutines, %.0f parts, %d offsets behind", m.resident, m.heap, m.state, m.goroutines, m.parts, m.behind)
}

func mean(list []minute, get func(minute) float64) float64 {
	sum := 0.0
	for _, m := range list {
		sum += get(m)
	}
	return sum / float64(max(1, len(list)))
}

func (d *deployment) measure() (m minute) {
	for _, p := range d.procs {
		m.resident += float64(p.memory())
		for name, v := range scrape(p.metrics) {
			switch {
			case name == "go_goroutines":
				m.goroutines += v
			case name == "go_memstats_heap_inuse_bytes":
				m.heap += v / (1 << 20)
			case strings.HasPrefix(name, "agentrisk_state_bytes"):
				m.state += v / (1 << 20)
			}
		}
	}
	m.parts, _ = strconv.ParseFloat(d.stack.Query(d.t, "SELECT count() FROM system.parts WHERE database = 'attacked' AND active"), 64)
	m.behind = d.behind("attacked")
	return m
}

// scrape reads a process's metrics; one that is down has none.
func scrape(url string) map[string]float64 {
	m := map[string]float64{}
	res, err := (&http.Client{Timeout: 5 * time.Second}).Get(url)
	if err != nil {
		return m
	}
	defer res.Body.Close()
	for in := bufio.NewScanner(res.Body); in.Scan(); {
		if i := strings.LastIndexByte(in.Text(), ' '); i > 0 && in.Text()[0] != '#' {
			if v, err := strconv.ParseFloat(in.Text()[i+1:], 64); err == nil {
				m[in.Text()[:i]] = v
			}
		}
	}
	return m
}
