// Package fleet makes up what a fleet of agents does: honest work of several kinds, and scripted misbehaviour that the
// rules are about. It is the labelled feed of the demo, the tests and the benchmarks.
//
// The same configuration gives the same bytes on any machine. Events come in the order of their times, those of one
// agent in their own order; each is about 1 KB of our JSON.
package fleet

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"time"
)

// Config says how large the fleet is. Zero values take the defaults named.
type Config struct {
	Seed      uint64
	Events    int           // in all
	Agents    int           // 100
	Providers []string      // alibaba_cloud, huawei_cloud, tencent_cloud
	Start     time.Time     // 2026-06-01T00:00:00Z
	Misbehave int           // one session in so many follows a script; 40. Negative: none
	Pace      time.Duration // mean time between two events of an agent; 2 s
}

// Event is one line of the feed.
type Event struct {
	Line     []byte // JSON without a line break; valid until the next call
	Provider string
	Key      []byte // tenant/agent: what the record is keyed by
	Time     time.Time
	Truth    *Truth // set on the first event of a session
}

// Truth says what a session is about.
type Truth struct {
	Session string   `json:"session_id"`
	Label   int      `json:"label"`           // 1: misbehaves
	Script  string   `json:"script"`          // kind of work, or of misbehaviour
	Rules   []string `json:"rules,omitempty"` // that must hit
	Agent   string   `json:"agent_id"`        //
	Tenant  string   `json:"tenant_id"`       //
	Cloud   string   `json:"provider"`        //
}

// Fleet is a stream of events.
type Fleet struct {
	cfg    Config
	r      *rand.Rand
	agents agents
	made   int
	serial int // of sessions
	w      writer
	key    []byte
}

// New returns a fleet at its first event.
func New(cfg Config) *Fleet {
	if cfg.Agents <= 0 {
		cfg.Agents = 100
	}
	if len(cfg.Providers) == 0 {
		cfg.Providers = []string{"alibaba_cloud", "huawei_cloud", "tencent_cloud"}
	}
	if cfg.Start.IsZero() {
		cfg.Start = time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	}
	if cfg.Misbehave == 0 {
		cfg.Misbehave = 40
	}
	if cfg.Pace <= 0 {
		cfg.Pace = 2 * time.Second
	}
	f := &Fleet{cfg: cfg, r: rand.New(rand.NewPCG(cfg.Seed, 0x6167656e74))}
	for i := range cfg.Agents {
		p := i % len(cfg.Providers)
		f.agents = append(f.agents, &agent{
			n: i, provider: cfg.Providers[p], region: regions[f.r.IntN(len(regions))],
			tenant: fmt.Sprintf("tn_%04d", f.r.IntN(1+cfg.Agents/4)), id: fmt.Sprintf("ag_%06d", i), work: f.r.IntN(len(honest)),
			clock: cfg.Start.Add(time.Duration(f.r.Int64N(int64(cfg.Pace) * 10))),
		})
	}
	heap.Init(&f.agents)
	return f
}

var regions = []string{"cn-hangzhou", "cn-shanghai", "cn-north-4", "ap-guangzhou", "ap-beijing", "cn-shenzhen"}

// Next fills e with the next event and reports whether there is one.
func (f *Fleet) Next(e *Event) bool {
	if f.made >= f.cfg.Events {
		return false
	}
	f.made++
	a := f.agents[0]
	if len(a.steps) == 0 { // its very first
		a.truth = f.session(a)
	}
	s := a.steps[0]
	a.steps = a.steps[1:]
	e.Line, e.Provider, e.Time, e.Truth = f.write(a, s), a.provider, a.clock, a.truth
	f.key = append(append(append(f.key[:0], a.tenant...), '/'), a.id...)
	e.Key, a.truth = f.key, nil
	if len(a.steps) == 0 {
		a.truth = f.session(a)
	}
	a.clock = a.clock.Add(f.gap(a.steps[0]))
	heap.Fix(&f.agents, 0)
	return true
}

func (f *Fleet) gap(s step) time.Duration {
	if s.gap > 0 {
		return s.gap
	}
	return f.cfg.Pace/4 + time.Duration(f.r.Int64N(int64(f.cfg.Pace)*3/2+1))
}

// session begins a session: honest work, or a script.
func (f *Fleet) session(a *agent) *Truth {
	f.serial++
	a.session, a.task, a.trace = fmt.Sprintf("s_%08d", f.serial), fmt.Sprintf("task_%08d", f.serial), fmt.Sprintf("%016x%016x", f.r.Uint64(), f.r.Uint64())
	a.user = fmt.Sprintf("u_%04d", f.r.IntN(1000))
	t := &Truth{Session: a.session, Agent: a.id, Tenant: a.tenant, Cloud: a.provider}
	job := honest[a.work]
	a.tools = job.tools
	t.Script, a.steps = job.name, job.steps(f)
	if f.cfg.Misbehave > 0 && f.r.IntN(f.cfg.Misbehave) == 0 {
		bad := scripts[f.r.IntN(len(scripts))]
		t.Label, t.Script, t.Rules = 1, bad.name, bad.rules
		tail := a.steps[len(a.steps)-1]
		a.steps = append(append(a.steps[:len(a.steps)/2:len(a.steps)/2], bad.steps(f, a)...), tail)
	}
	if a.seq > 0 { // not the first of the agent: time has passed
		a.steps[0].gap = 31*time.Minute + time.Duration(f.r.Int64N(int64(20*time.Minute)))
	}
	a.seq = 0
	return t
}

// agent is one member of the fleet.
type agent struct {
	n                            int
	provider, region, tenant, id string
	session, task, trace, user   string
	work, seq                    int
	tools                        string
	clock                        time.Time // of its next event
	truth                        *Truth    // of the session that begins with it
	steps                        []step
}

// agents is a heap by clock: the agent whose turn it is stands first.
type agents []*agent

func (h agents) Len() int { return len(h) }
func (h agents) Less(i, j int) bool {
	if !h[i].clock.Equal(h[j].clock) {
		return h[i].clock.Before(h[j].clock)
	}
	return h[i].n < h[j].n
}
func (h agents) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *agents) Push(x any)   { *h = append(*h, x.(*agent)) }
func (h *agents) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}

// step is one event of a session: its kind and the fields that are its own, as JSON members.
type step struct {
	kind   string
	fields string
	gap    time.Duration // since the event before; 0: by the fleet's pace
}

// writer builds a line.
type writer struct{ b []byte }

func (w *writer) str(name, value string) {
	w.b = append(append(append(append(append(w.b, ',', '"'), name...), `":"`...), value...), '"')
}

func (w *writer) num(name string, value int) { w.b = fmt.Appendf(w.b, `,"%s":%d`, name, value) }

// write makes the line of a step: what all events of the agent share, and the step's own.
func (f *Fleet) write(a *agent, s step) []byte {
	w := &f.w
	a.seq++
	w.b = append(w.b[:0], `{"id":"`...)
	w.b = append(append(append(w.b, a.session...), '-'), fmt.Sprint(a.seq)...)
	w.b = a.clock.AppendFormat(append(w.b, `","time":"`...), "2006-01-02T15:04:05.000Z")
	w.b = append(append(append(w.b, `","kind":"`...), s.kind...), '"')
	w.str("source", "urn:cloud:"+a.provider+":"+a.region+":agent-gw-1")
	w.num("seq", a.seq)
	w.str("provider.id", a.provider)
	w.str("provider.region", a.region)
	w.str("tenant.id", a.tenant)
	w.str("user.id", a.user)
	if s.kind != "control" && s.kind != "approval" {
		w.str("actor.type", "agent")
	} else {
		w.str("actor.type", "human")
	}
	w.str("agent.id", a.id)
	w.str("agent.instance", a.id+"-0")
	w.str("agent.name", honest[a.work].name+" assistant")
	w.str("agent.version", "2026.5."+fmt.Sprint(a.n%7))
	w.str("agent.framework", "native")
	w.str("conversation.id", a.session)
	w.str("trace.id", a.trace)
	w.str("task.id", a.task)
	w.b = append(append(append(w.b, `,"task.declared_tools":[`...), a.tools...), ']')
	w.str("identity.principal", "spiffe://"+a.provider+"/"+a.tenant+"/"+a.id)
	w.str("identity.cred_id", fmt.Sprintf("cred_%06x", a.n))
	w.str("llm.provider", "native")
	w.str("llm.model_served", "model-l-2026-04")
	w.str("policy.version", "2026-05-20")
	w.b = append(w.b, s.fields...)
	w.b = append(w.b, '}')
	return w.b
}
