package fleet

import (
	"fmt"
	"strings"
	"time"
)

// job is a kind of honest work.
type job struct {
	name  string
	tools string // declared, as JSON texts
	steps func(f *Fleet) []step
}

func quoted(names ...string) string { return `"` + strings.Join(names, `","`) + `"` }

// honest are the kinds of work that agents do.
var honest = []job{
	{"support", quoted("search_tickets", "get_customer", "send_reply", "update_ticket"), func(f *Fleet) []step {
		n := f.r.IntN(3) + 1
		s := begin(f)
		for range n {
			s = append(s, think(f), tool("search_tickets", "read", f.r.IntN(900)), result("search_tickets"),
				step{kind: "data_read", fields: fmt.Sprintf(`,"resource.id":"crm/customer/%d","data.level":"general","data.pi":true,"data.pi_subjects":1,"data.consent":"general"`, f.r.IntN(5000))},
				think(f), tool("send_reply", "send", f.r.IntN(900), `,"net.dst_class":"allowlisted","net.dst_domain":"mail.example.cn","net.bytes_out":1480`), result("send_reply"))
		}
		return end(append(s, tool("update_ticket", "write", f.r.IntN(900)), result("update_ticket")))
	}},
	{"coding", quoted("read_file", "search_code", "write_file", "run_tests"), func(f *Fleet) []step {
		s := begin(f)
		for range f.r.IntN(5) + 2 {
			s = append(s, think(f), tool("read_file", "read", f.r.IntN(90000)), result("read_file"), tool("write_file", "write", f.r.IntN(90000)), result("write_file"),
				step{kind: "code_exec", fields: `,"exec.cmd":"go test ./...","runtime.user":"app","runtime.privileged":false,"tool.status":"ok"`})
		}
		return end(s)
	}},
	{"analyst", quoted("query_warehouse", "render_chart", "publish_internal"), func(f *Fleet) []step {
		s := begin(f)
		for range f.r.IntN(4) + 1 {
			s = append(s, think(f), tool("query_warehouse", "read", f.r.IntN(90000)),
				step{kind: "data_read", fields: fmt.Sprintf(`,"resource.id":"dwh/sales/%d","data.level":"important","task.data_levels":["general","important"],"data.pi":false`, f.r.IntN(300))},
				result("query_warehouse"), think(f), tool("render_chart", "write", f.r.IntN(90000)), result("render_chart"))
		}
		return end(s)
	}},
	{"payments", quoted("get_invoice", "pay_invoice", "list_invoices"), func(f *Fleet) []step {
		s := begin(f)
		for range f.r.IntN(2) + 1 {
			amount := 1000 + f.r.IntN(90000)
			s = append(s, think(f), tool("get_invoice", "read", f.r.IntN(9000)), result("get_invoice"),
				step{kind: "approval", fields: fmt.Sprintf(`,"approval.state":"approved","approval.approver":"p_%d","approval.latency_s":%d.5`, f.r.IntN(40), 20+f.r.IntN(300))},
				tool("pay_invoice", "pay", f.r.IntN(900000), fmt.Sprintf(`,"tool.amount":%d,"task.max_amount":500000,"tool.impact":"high","tool.irreversible":true,"approval.state":"approved"`, amount)), result("pay_invoice"))
		}
		return end(s)
	}},
	{"travel", quoted("search_flights", "book_flight", "search_hotels"), func(f *Fleet) []step {
		s := begin(f)
		for range f.r.IntN(4) + 1 {
			s = append(s, think(f), tool("search_flights", "read", f.r.IntN(9000)), result("search_flights"),
				step{kind: "net_connect", fields: `,"net.dst_host":"api.flights.example.cn","net.dst_domain":"example.cn","net.dst_port":443,"net.dst_class":"allowlisted","net.bytes_out":812,"net.bytes_in":20480`})
		}
		return end(append(s, tool("book_flight", "write", f.r.IntN(90000), `,"approval.state":"approved"`), result("book_flight")))
	}},
	{"operations", quoted("get_metrics", "restart_service", "read_logs"), func(f *Fleet) []step {
		s := begin(f)
		for range f.r.IntN(6) + 2 {
			s = append(s, think(f), tool("get_metrics", "read", f.r.IntN(9000)), result("get_metrics"), tool("read_logs", "read", f.r.IntN(9000)), result("read_logs"))
		}
		return end(append(s, step{kind: "code_exec", fields: `,"exec.cmd":"systemctl status web","runtime.user":"agent","tool.status":"ok"`}))
	}},
}

func begin(f *Fleet) []step {
	return []step{
		{kind: "task_start", fields: `,"task.budget_tokens":200000,"task.data_levels":["general"]`},
		{kind: "user_message", fields: fmt.Sprintf(`,"content":"Please take care of request %d and tell me when it is done.","prov.trust":"user"`, f.r.IntN(100000))},
	}
}

func end(s []step) []step {
	return append(s, step{kind: "task_end", fields: `,"out.claims_success":true,"out.verification":"passed"`})
}

func think(f *Fleet) step {
	return step{kind: "model_call", fields: fmt.Sprintf(`,"llm.tokens_in":%d,"llm.tokens_out":%d,"llm.model_requested":"model-l","data.level":"general"`, 300+f.r.IntN(2000), 50+f.r.IntN(400))}
}

// tool is a call: name, effect and an argument that tells it from others.
func tool(name, op string, arg int, more ...string) step {
	return step{kind: "tool_call", fields: strings.Join(append([]string{fmt.Sprintf(`,"tool.name":"%s","tool.kind":"function","tool.op":"%s","tool.call_id":"c_%d","tool.status":"ok","tool.server":"mcp.%s.example.cn","tool.args":{"ref":"%06d","limit":20}`, name, op, arg, op, arg)}, more...), "")}
}

func result(name string) step {
	return step{kind: "tool_result", fields: fmt.Sprintf(`,"tool.name":"%s","tool.status":"ok","outcome":"ok","prov.trust":"trusted","content":"ok: 20 entries"`, name)}
}

// every returns n steps with the same gap.
func every(n int, gap time.Duration, fn func(i int) step) []step {
	var s []step
	for i := range n {
		x := fn(i)
		x.gap = gap
		s = append(s, x)
	}
	return s
}
