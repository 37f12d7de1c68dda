package scoring

import (
	"encoding/hex"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/dchest/siphash"
	"golang.org/x/net/publicsuffix"
)

// DeriveScratch holds buffers that Derive uses again. The zero value is ready.
type DeriveScratch struct {
	args args
	buf  []byte
}

// Derive fills fields that the provider did not send and that what it did send implies: the effect of a tool from its
// name, a hash of its arguments, a command and a destination from them. It is a pure function, changes nothing that
// was sent, and doing it twice is doing it once. Arguments were bounded by the decoder; what is deeper or larger than
// this parser goes is left underived and flagged.
func Derive(e *Event, s *DeriveScratch) {
	if !e.Has(FieldToolOp) && e.Str(FieldKind) == "tool_call" {
		if op := toolOp(e.Str(FieldToolName)); op != "" {
			e.SetStr(FieldToolOp, op)
			e.Flags |= FlagDerived
		}
	}
	if raw := e.Str(FieldToolArgs); raw != "" {
		if s.args.parse(raw) {
			deriveArgs(e, s)
		} else {
			e.Flags |= FlagDeriveFailed
		}
	}
	if e.Has(FieldDstHost) {
		destination(e, e.Str(FieldDstHost))
	}
}

// deriveArgs takes what the arguments imply.
func deriveArgs(e *Event, s *DeriveScratch) {
	if !e.Has(FieldToolArgsHash) {
		s.buf = s.args.canonical(s.buf[:0])
		var sum [8]byte
		h := siphash.Hash(0x6167656e74726973, 0x6b2d617267756d65, s.buf) // fixed keys: equal for everyone
		for i := range sum {
			sum[i] = byte(h >> (56 - 8*i))
		}
		e.SetStr(FieldToolArgsHash, hex.EncodeToString(sum[:]))
		e.Flags |= FlagDerived
	}
	if !e.Has(FieldExecCmd) && e.Str(FieldToolOp) == "exec" {
		if cmd := s.args.first(commandNames); cmd != "" {
			e.SetStr(FieldExecCmd, cmd)
			e.Flags |= FlagDerived
		}
	}
	if e.Has(FieldDstHost) || e.Has(FieldDstDomain) {
		return
	}
	if v := s.args.first(addressNames); v != "" {
		host, port := hostOf(v)
		if host == "" {
			return
		}
		e.SetStr(FieldDstHost, host)
		e.Flags |= FlagDerived
		if port > 0 && !e.Has(FieldDstPort) {
			e.SetInt(FieldDstPort, int64(port))
		}
	}
}

var (
	commandNames = []string{"command", "cmd", "bash", "shell", "script", "code"}
	addressNames = []string{"url", "uri", "endpoint", "webhook", "webhook_url", "host", "hostname", "address", "server"}
)

// verbs say what a tool does. A name is read from the left: the first verb decides, so that get_payment reads.
var verbs = map[string]string{}

func init() {
	for op, list := range map[string]string{
		"read":    "get list read search fetch find view show query check lookup describe browse visit download retrieve count summarize look select scan open",
		"write":   "write create update add set edit append insert modify save put upload rename move copy book reserve schedule change assign invite register star fork",
		"delete":  "delete remove drop erase purge destroy clear cancel unlink wipe",
		"exec":    "exec execute run bash shell eval python terminal command",
		"send":    "send email mail message reply forward notify dm sms share",
		"pay":     "pay transfer purchase buy charge refund checkout remit withdraw",
		"publish": "publish post tweet broadcast release deploy push",
		"admin":   "grant revoke chmod enable disable configure approve login unlock lock reset permission password",
		"install": "install uninstall upgrade",
	} {
		for v := range strings.FieldsSeq(list) {
			verbs[v] = op
		}
	}
}

// chineseVerbs are looked for anywhere in a name that has no Latin verb, in this order.
var chineseVerbs = []struct{ verb, op string }{
	{"删除", "delete"}, {"清空", "delete"}, {"支付", "pay"}, {"转账", "pay"}, {"付款", "pay"}, {"发送", "send"}, {"发布", "publish"}, {"安装", "install"},
	{"执行", "exec"}, {"运行", "exec"}, {"授权", "admin"}, {"创建", "write"}, {"写入", "write"}, {"修改", "write"}, {"更新", "write"}, {"查询", "read"}, {"获取", "read"}, {"搜索", "read"}, {"读取", "read"},
}

// toolOp is the effect class of a tool by its name, "" when the name does not say.
func toolOp(name string) string {
	if len(name) > 256 {
		return ""
	}
	for start, i := 0, 0; i <= len(name); i++ {
		end := i == len(name) || name[i] == '_' || name[i] == '-' || name[i] == '.' || name[i] == '/' || name[i] == ' ' || name[i] == ':'
		camel := !end && i > start && name[i] >= 'A' && name[i] <= 'Z' && name[i-1] >= 'a' && name[i-1] <= 'z'
		if !end && !camel {
			continue
		}
		if i > start {
			if op := verbs[strings.ToLower(name[start:i])]; op != "" {
				return op
			}
		}
		if start = i; end {
			start = i + 1
		}
	}
	for _, v := range chineseVerbs {
		if strings.Contains(name, v.verb) {
			return v.op
		}
	}
	return ""
}

// hostOf takes host and port from a URL, host:port or host; "" when it is none of them.
func hostOf(s string) (host string, port int) {
	if s = strings.TrimSpace(s); s == "" || len(s) > 2048 {
		return "", 0
	}
	if !strings.Contains(s, "://") {
		s = "//" + s
	}
	u, err := url.Parse(s)
	if err != nil || u.Hostname() == "" || len(u.Hostname()) > 253 || strings.ContainsAny(u.Hostname(), " \t\n\"'<>") {
		return "", 0
	}
	port, _ = strconv.Atoi(u.Port())
	if port > 65535 {
		port = 0
	}
	if !strings.ContainsAny(u.Hostname(), ".:") && u.Scheme == "" && u.Hostname() != "localhost" && !numeric(u.Hostname()) {
		return "", 0 // a bare word is no host
	}
	return strings.ToLower(strings.TrimSuffix(u.Hostname(), ".")), port
}

func numeric(s string) bool {
	_, ok := looseIP(s)
	return ok
}

// metadataHosts answer with a machine's credentials.
var metadataHosts = map[string]bool{"metadata.google.internal": true, "metadata.tencentyun.com": true, "metadata": true, "100.100.100.200": true, "169.254.169.254": true, "169.254.170.2": true, "fd00:ec2::254": true, "169.254.0.23": true}

// destination fills domain and class of a host.
func destination(e *Event, host string) {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	ip, isIP := looseIP(host)
	if !e.Has(FieldDstDomain) && !isIP && len(host) <= 253 {
		if d, err := publicsuffix.EffectiveTLDPlusOne(host); err == nil {
			e.SetStr(FieldDstDomain, d)
			e.Flags |= FlagDerived
		}
	}
	if e.Has(FieldDstClass) {
		return
	}
	class := "unlisted"
	switch {
	case metadataHosts[host], isIP && metadataHosts[ip.String()]:
		class = "metadata"
	case host == "localhost", strings.HasSuffix(host, ".localhost"), isIP && (ip.IsLoopback() || ip.IsUnspecified()):
		class = "loopback"
	case isIP && (ip.IsPrivate() || ip.IsLinkLocalUnicast()), strings.HasSuffix(host, ".internal"), strings.HasSuffix(host, ".local"):
		class = "private"
	}
	e.SetStr(FieldDstClass, class)
	e.Flags |= FlagDerived
}

// looseIP reads an address as browsers and C libraries do: decimal, hexadecimal and octal parts, fewer than four of
// them, and IPv4 in IPv6.
func looseIP(s string) (netip.Addr, bool) {
	if a, err := netip.ParseAddr(s); err == nil {
		return a.Unmap().WithZone(""), true
	}
	parts := strings.Split(s, ".")
	if len(parts) > 4 || s == "" {
		return netip.Addr{}, false
	}
	var v uint64
	for i, p := range parts {
		n, err := strconv.ParseUint(p, 0, 32)
		if err != nil || strings.ContainsAny(p, "_+") || strings.HasPrefix(strings.ToLower(p), "0b") || strings.HasPrefix(strings.ToLower(p), "0o") {
			return netip.Addr{}, false
		}
		if i == len(parts)-1 { // the last part fills what is left
			left := 8 * uint(5-len(parts))
			if n >= 1<<left {
				return netip.Addr{}, false
			}
			v = v<<left | n
		} else {
			if n > 255 {
				return netip.Addr{}, false
			}
			v = v<<8 | n
		}
	}
	return netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)}), true
}
