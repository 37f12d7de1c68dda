package redact

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"testing/quick"
	"unicode/utf8"
)

// Made up for the tests; no key of anyone. They are put together so that no scanner takes them for real ones.
var (
	awsID     = "AKIA" + "J7QWERTY4ZXCVB2N"
	awsSecret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCY" + "a1b2c3d4e5"
	aliyun    = "LTAI" + "5tQ9mXw2Zk7Rv3Bn8Yc4"
	aliSecret = "Xk29fJ3mQz8LrT5vWb7NcYp" + "4HsGd1e"
	tencent   = "AKID" + "z8krbsJ5yKBZQpn74WFkmLPx3gnPhESA"
	tenSecret = "Gu5t9xGARNpq86cd98joQYCN3" + "EXAmPl3"
	huaweiID  = "UDSIAMSTUB" + "TEST00AB12"
	openai    = "sk-" + "proj-Ab12Cd34Ef56Gh78Ij90Kl12"
	dashscope = "sk-" + "0123456789abcdef0123456789abcdef"
	github    = "ghp_" + "16C7e42F292c6912E7710c838347Ae178B4a"
	slack     = "xoxb-" + "123456789012-abcdefGHIJKL"
	jwt       = "eyJ" + "hbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"
	pem       = "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA7bq\nq8Zk+/3f\n-----END RSA PRIVATE KEY-----"
	idCard    = "11010519491231002" + "X"
	idCard2   = "440308199901011517"
	mobile    = "138" + "12345678"
	card      = "6222021234567890" + "128"
	visa      = "4111111111111111"
	passNo    = "E12345678"
	mail      = "zhang.san+test@example.com.cn"
)

func TestTextMasks(t *testing.T) {
	for _, tt := range []struct{ name, text, secret, want string }{
		{"AWS key id", "use " + awsID + " now", awsID, "use [secret] now"},
		{"AWS secret", "key " + awsSecret + ".", awsSecret, "key [secret]."},
		{"Aliyun key id", "(" + aliyun + ")", aliyun, "([secret])"},
		{"Aliyun secret", aliSecret, aliSecret, "[secret]"},
		{"Tencent key id", tencent, tencent, "[secret]"},
		{"Tencent secret", "k " + tenSecret, tenSecret, "k [secret]"},
		{"Huawei key id", "ak " + huaweiID, huaweiID, "ak [secret]"},
		{"OpenAI", "key=" + openai, openai, "key=[secret]"},
		{"DashScope", dashscope, dashscope, "[secret]"},
		{"a length byte before a key", "l" + "sk-ant-api03-" + "Ab12Cd34Ef56Gh78Ij90Kl12mn34", "Ab12Cd34", "[secret]"},
		{"GitHub", "https://x/?t=" + github + "&n=1", github, "https://x/?t=[secret]&n=1"},
		{"Slack", slack, slack, "[secret]"},
		{"JWT", "a " + jwt + " b", jwt, "a [secret] b"},
		{"cut JWT", "a " + jwt[:60], jwt[10:60], "a [secret]"},
		{"private key", "x " + pem + " y", "MIIEpAIBAAKCAQEA7bq", "x [secret] y"},
		{"private key in JSON", strings.ReplaceAll(pem, "\n", `\n`), "q8Zk+/3f", "[secret]"},
		{"cut private key", pem[:60], "MIIEpAIBAAK", "[secret]"},
		{"bearer", "Authorization: Bearer abc.def-123", "abc.def-123", "Authorization: [secret]"},
		{"bearer alone", "-H 'Bearer abcdef123456'", "abcdef123456", "-H 'Bearer [secret]'"},
		{"basic", "Basic dXNlcjpwYXNz", "dXNlcjpwYXNz", "Basic [secret]"},
		{"password pair", "password=hunter2 next", "hunter2", "password=[secret] next"},
		{"password colon", "Password: hunter2\nok", "hunter2", "Password: [secret]\nok"},
		{"prefixed name", "DB_PASSWORD=hunter2", "hunter2", "DB_PASSWORD=[secret]"},
		{"camel case", `{"clientSecret":"hunter2","a":1}`, "hunter2", `{"clientSecret":"[secret]","a":1}`},
		{"JSON", `{"api_key": "hun\"ter2", "a": 1}`, "ter2", `{"api_key": "[secret]", "a": 1}`},
		{"JSON in JSON", `{"x":"{\"pwd\":\"hunter2\",\"b\":1}"}`, "hunter2", `{"x":"{\"pwd\":\"[secret]\",\"b\":1}"}`},
		{"an object", `{"credentials":{"user":"bob","key":"hunter2"},"b":1}`, "hunter2", `{"credentials":[secret],"b":1}`},
		{"a number", `{"otp":424242,"b":1} x`, "424242", `{"otp":[secret]"b":1} x`},
		{"flag", "tool --password hunter2 --force", "hunter2", "tool --password [secret] --force"},
		{"prose", "my password is hunter2 ok", "hunter2", "my password is [secret] ok"},
		{"passphrase", "passphrase: correct horse battery\nnext", "horse battery", "passphrase: [secret]\nnext"},
		{"Chinese", "登录密码：hunter2，谢谢", "hunter2", "登录密码：[secret]，谢谢"},
		{"Chinese verb", "口令是hunter2 吧", "hunter2", "口令是[secret] 吧"},
		{"XML", "<password>hunter2</password>", "hunter2", "<password>[secret]"},
		{"cookie", "Cookie: sid=hunter2", "hunter2", "Cookie: [secret]"},
		{"escaped pair", "password%3Dhunter2&x", "hunter2", "password%3D[secret]"},
		{"no end", `{"password":"hunter2`, "hunter2", `{"password":"[secret]`},
		{"postgres", "postgres://app:hunter2@db:5432/x", "hunter2", "postgres://[secret]@db:5432/x"},
		{"redis", "redis://:hunter2@cache", "hunter2", "redis://[secret]@cache"},
		{"a slash in the password", "amqp://u:hun/ter2@mq/v", "ter2", "amqp://[secret]@mq/v"},
		{"an at in the password", "amqp://u:hun@ter2@mq/v", "ter2", "amqp://[secret]@mq/v"},
		{"MySQL DSN", "root:hunter2@tcp(db:3306)/x", "hunter2", "root:[secret]@tcp(db:3306)/x"},
		{"ADO", "Server=db;Uid=sa;Pwd=hunter2;", "hunter2", "Server=db;Uid=sa;Pwd=[secret]"},

		{"resident id", "号" + idCard + "。", idCard, "号[id]。"},
		{"resident id, digits", "id " + idCard2, idCard2, "id [id]"},
		{"resident id, small x", strings.ToLower(idCard), idCard[:17], "[id]"},
		{"mobile", "call " + mobile + "!", mobile, "call [phone]!"},
		{"mobile behind letters", "tel" + mobile, mobile, "tel[phone]"},
		{"mobile with code", "+86 " + mobile, mobile, "+[phone]"},
		{"mobile in groups", "138-1234-5678", "5678", "[phone]"},
		{"mobile behind a date", "2026-11-29 " + mobile, mobile, "2026-11-29 [phone]"},
		{"UnionPay", "card " + card + " ok", card, "card [card] ok"},
		{"Visa in groups", "4111 1111 1111 1111", "1111 1111", "[card]"},
		{"mail", "to " + mail + ", bye", mail, "to [email], bye"},
		{"mail of a number", mobile + "@163.com", mobile, "[email]"},
		{"passport", "no " + passNo + ".", passNo, "no [passport]."},
		{"passport, two letters", "EA1234567", "EA1234567", "[passport]"},
		{"permit", "H1234567890", "H1234567890", "[passport]"},
		{"named passport", "passport no: 99X-77", "99X-77", "passport no: [personal]"},
		{"named id", "身份证号：不明12", "12", "身份证号：[personal]"},

		{"resident id before letters", "id " + idCard + "abc", idCard[:17], "id [id]abc"},
		{"resident id, digits, before letters", idCard2 + "abc", idCard2, "[id]abc"},

		// What is beside its name, behind an escape or encoded.
		{"key and value", `{"key":"password","value":"hunter2"}`, "hunter2", `{"key":"password","value":"[secret]"}`},
		{"OTLP", `{"key":"api_key","value":{"stringValue":"hun}ter2"}},1`, "ter2", `{"key":"api_key","value":[secret]},1`},
		{"OTLP in JSON", `"{\"key\":\"api_key\",\"value\":{\"stringValue\":\"hun}ter2\"}}"`, "ter2", `"{\"key\":\"api_key\",\"value\":[secret]}"`},
		{"a brace in a text", `{"credentials":{"a":"x}y","key":"hunter2"},"b":1}`, "hunter2", `{"credentials":[secret],"b":1}`},
		{"passport behind an escape", `{"a":"x\n` + passNo + `"}`, passNo, `{"a":"x\n[passport]"}`},
		{"name behind an escape", `x\npin: 4711`, "4711", `x\npin: [secret]`},
		{"base64", `"bytes":"` + base64.StdEncoding.EncodeToString([]byte("password: x")) + `",`, "cGFzc3dvcmQ6", `"bytes":"[secret]",`},
		{"base64 of a mobile", base64.StdEncoding.EncodeToString([]byte(mobile)), "MTM4", "[secret]"},
		{"base64 without its end", "x " + base64.RawURLEncoding.EncodeToString([]byte(passNo+"?")), "RTEyMzQ1", "x [secret]"},
		{"hexadecimal", "id " + hex.EncodeToString([]byte(mail)) + ".", hex.EncodeToString([]byte(mail)), "id [secret]."},

		// What a value is made of must not hide what follows.
		{"chain", "password: passport: hunter2", "hunter2", "password: [secret]"},
		{"chain, spaces", "password : passport : hunter2 x", "hunter2", "password : [secret] x"},
		{"chain of quotes", `"password":"token":"hunter2"`, "hunter2", `"password":"[secret]"`},
		{"chain of four", "token=secret: pwd = apikey: hunter2", "hunter2", "token=[secret]"},
		{"chain over a line", "password:\npassport:\n hunter2", "hunter2", "password:\n[secret]"},
		{"chain, Chinese", "密码：口令：hunter2", "hunter2", "密码：[secret]"},
		{"chain to a private key", "password: " + pem + " y", "MIIEpAIBAAKCAQEA7bq", "password: [secret] y"},
		{"chain to a card", "password: 4111 1111 1111 1111", "1111", "password: [secret]"},
		{"name is a key", awsID + "-password=hunter2", "hunter2", "[secret]=[secret]"},
		{"key in a name", "password=" + mail + " " + awsID, awsID, "password=[secret] [secret]"},
		{"two in a row", mobile + " " + idCard, idCard, "[phone] [id]"},
		{"card, then mobile", card + "-" + mobile, mobile, "[card]-[phone]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := Text(tt.text, 4096)
			if strings.Contains(got, tt.secret) {
				t.Errorf("Text(%q) = %q: the secret %q survives", tt.text, got, tt.secret)
			}
			if tt.name == "name is a key" { // how much of the name goes does not matter
				return
			}
			if got != tt.want {
				t.Errorf("Text(%q)\n got %q\nwant %q", tt.text, got, tt.want)
			}
		})
	}
}

func TestTextKeepsWhatIsNoFinding(t *testing.T) {
	for _, s := range []string{
		"", "a", "tool_call", "read_file", "the disk-usage of task-17 rose to 84.5%", "https://docs.example.com/a/b?page=2#top", "http://host:8080/path",
		"see section 3.1.4: words", "2026-11-29T12:32:51.000Z", "1764419571000", "1764419571000000000", "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
		"a94a8fe5ccb19ba61c4c0873d391e987982fbbd3", "0af7651916cd43dd8448eb211c80319c", "550e8400-e29b-41d4-a716-446655440000", "192.168.10.20", "3.14159265358979",
		"max_tokens", `{"max_tokens": 500, "tokens_in": 12}`, "tokens: 12", "bypass: yes", "the token bucket", "basic understanding of it", "bearer of news", "secretary: Ms Li",
		"keyboard=qwerty", "risk-based", "密码重置页面", "项目编号 20261129", "订单 1234567890123", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
		"/usr/local/lib/python3.12/site-packages/requests/Session2.py", "user@localhost", "git@host", "C:\\Users\\Bob", "E1234567", "E123456789", "1381234567", "138123456789",
		"110105194912310022", "4111111111111112", "ghp_short", "AKIASHORT", "sk-learn", "eyJhb", "<b>bold</b>", "中文内容，没有什么特别的。", "a\xff\xfeb",
		"get_webpage", "aGVsbG8gd29ybGQ=", "internationalization", `{"key":"colour","value":{"stringValue":"red"}}`, `C:\\new\\texts`, "agent.id = backup-7, net.bytes_out = 4096", "convention-2026", "mcp://tools.example/server", "Qwen2.5-72B-Instruct-GPTQ-Int4",
	} {
		if got := Text(s, 4096); got != s {
			t.Errorf("Text(%q) = %q", s, got)
		}
	}
}

func TestValue(t *testing.T) {
	for _, tt := range []struct{ name, value, want string }{
		{"password", "hunter2", "[secret]"}, {"db.pass", "x", "[secret]"}, {"headers.X-Api-Key", "x", "[secret]"}, {"用户密码", "x", "[secret]"}, {"passport_no", "1", "[personal]"},
		{"note", "hunter2", "hunter2"}, {"note", "call " + mobile, "call [phone]"}, {"password", "", ""},
	} {
		if got := Value(tt.name, tt.value, 100); got != tt.want {
			t.Errorf("Value(%q, %q) = %q, want %q", tt.name, tt.value, got, tt.want)
		}
	}
}

// Wherever the bound falls, no piece of four bytes of a secret is left.
func TestTextMasksBeforeItCuts(t *testing.T) {
	for _, secret := range planted {
		text := "说明 abc " + secret.text + " end of it"
		for max := range len(text) + 20 {
			got := Text(text, max)
			if len(got) > max {
				t.Fatalf("Text(%q, %d) has %d bytes", text, max, len(got))
			}
			if !utf8.ValidString(got) {
				t.Fatalf("Text(%q, %d) = %q cuts a character", text, max, got)
			}
			for i := 0; i+4 <= len(secret.value); i++ {
				if piece := secret.value[i : i+4]; strings.Contains(got, piece) {
					t.Fatalf("Text(%q, %d) = %q holds %q", text, max, got, piece)
				}
			}
		}
	}
}

func TestTextDoesNotAllocateWithoutFindings(t *testing.T) {
	s := strings.Repeat("the agent read a page at https://docs.example.com/a?b=1 and wrote 17 lines; ", 40)
	if n := testing.AllocsPerRun(20, func() { Text(s, 1<<20); Text(s, 300); Value("note", s, 1<<20) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// Texts made to be slow: the work must grow as the text does. A quadratic scan would take minutes.
func TestTextIsLinear(t *testing.T) {
	for _, piece := range []string{"a", "1", "-", "/", "a/", "A1/", "a-", "sk-", "eyJ", "eyJ.", "MTM5", "A/", "31", "ghp_", "AKIA", "@", "a@", "a@b.", ":", "a:", "://", "a://", "a://b:", "password", "password:",
		"password=\"", "password={\"", `"key":"pwd","value":{`, "\\n", "token [", "{", "\"", "\\", "\\\"", "1 ", "1-", "Bearer ", "basic\n", "-----BEGIN ", "-----BEGIN PRIVATE", "密", "密码", "密码：", " ", "passphrase "} {
		s := strings.Repeat(piece, 1<<18/len(piece))
		if got := Text(s, 1<<20); len(got) > 1<<20 {
			t.Errorf("%q: %d bytes", piece, len(got))
		}
	}
}

type plant struct{ text, value string }

// planted are secrets as they stand in a text.
var planted = []plant{
	{awsID, awsID}, {aliyun, aliyun}, {tencent, tencent}, {openai, openai[8:]}, {github, github}, {jwt, jwt}, {pem, "MIIEpAIBAAKCAQEA7bq"}, {idCard, idCard}, {mobile, mobile}, {card, card}, {visa, "411111"},
	{passNo, passNo}, {mail, "zhang.san"}, {"password: hunterXY2", "hunterXY2"}, {"password: passport: hunterXY2", "hunterXY2"}, {`"secret":"hunterXY2"`, "hunterXY2"},
	{"Bearer hunterXY22", "hunterXY22"}, {"pg://u:hunterXY2@h/x", "hunterXY2"}, {"密码：hunterXY2", "hunterXY2"}, {awsSecret, "wJalrXUt"}, {aliSecret, aliSecret}, {huaweiID, huaweiID},
}

func check(t *testing.T, s string, max int) string {
	t.Helper()
	got := Text(s, max)
	switch {
	case len(got) > max:
		t.Errorf("Text(%q, %d) has %d bytes", s, max, len(got))
	case Text(got, max) != got:
		t.Errorf("Text(%q, %d) = %q, again: %q", s, max, got, Text(got, max))
	case utf8.ValidString(s) && !utf8.ValidString(got):
		t.Errorf("Text(%q, %d) = %q cuts a character", s, max, got)
	}
	return got
}

func FuzzText(f *testing.F) {
	for i, p := range planted {
		f.Add("before ", " after", i, 64)
		f.Add(p.text+" ", "", i+1, 1000)
		f.Add("", p.value+":", i, 20)
	}
	f.Add("password: ", "", 1, 200)
	f.Add("{\"a\":\"", "\"}", 3, 200)
	f.Fuzz(func(t *testing.T, before, after string, which, max int) {
		max &= 1<<12 - 1
		check(t, before+after, max)
		p := planted[(which%len(planted)+len(planted))%len(planted)]
		// Beside letters and digits no form can be told from what it stands in.
		got := check(t, before+" "+p.text+" "+after, max)
		if strings.Contains(got, p.value) && !strings.Contains(before+after, p.value) {
			t.Errorf("%q survives in %q of %q, %q", p.value, got, before, after)
		}
	})
}

func TestTextOfRandomPieces(t *testing.T) {
	pieces := []string{"password", ":", "=", " ", "\"", "'", "\\", "{", "}", "[", "]", "@", "://", "a.com", "token", "138", "12345678", "-", "x", "密码", "：", "是", "Bearer", "\n", "[secret]", "[phone]", ".", "sk-", "E", "is"}
	for _, p := range planted {
		pieces = append(pieces, p.text)
	}
	if err := quick.Check(func(which []uint8, max uint16) bool {
		var b strings.Builder
		for _, w := range which {
			b.WriteString(pieces[int(w)%len(pieces)])
		}
		s := b.String()
		return check(t, s, int(max)%400) != "\x00"
	}, &quick.Config{MaxCount: 20_000}); err != nil {
		t.Error(err)
	}
}

func BenchmarkText(b *testing.B) {
	s := strings.Repeat("the agent read a page at https://docs.example.com/a?b=1 and wrote 17 lines; ", 14)
	for _, max := range []int{256, 1024} {
		b.Run(fmt.Sprint(max), func(b *testing.B) {
			b.SetBytes(int64(max))
			for b.Loop() {
				Text(s, max)
			}
		})
	}
}
