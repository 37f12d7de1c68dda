package redact

import "strings"

// schemes stand between a name and its secret.
var schemes = []string{"bearer", "basic", "digest", "token", "apikey", "is", "="}

// secretNames end the names of secrets, in lower case and without joints: db_password, X-Api-Key, clientSecret.
var secretNames = []string{
	"password", "passwd", "passphrase", "passcode", "pwd", "secret", "secrets", "apikey", "apikeys", "accesskey", "accesskeyid", "accesskeysecret",
	"secretkey", "secretid", "secretaccesskey", "token", "authorization", "cookie", "credential", "credentials", "privatekey", "signingkey", "encryptionkey",
	"accountkey", "sharedaccesskey", "fingerprintkey", "authtoken", "authkey", "otp", "cvv", "cvv2", "cvc", "pincode", "licensekey",
}

// wholeNames are names of secrets only as they stand, or behind a joint: DB_PASS but not bypass.
var wholeNames = []string{"pass", "ak", "sk", "pin", "auth", "pw"}

var personalNames = []string{"passport", "passportno", "passportnumber", "idcard", "idcardno", "idcardnumber", "identitycard", "residentid", "bankcard", "bankcardno", "cardno", "cardnumber", "ssn"}

// wideNames are names in Chinese.
var wideNames = []struct{ name, mark string }{
	{"密码", markSecret}, {"口令", markSecret}, {"密钥", markSecret}, {"私钥", markSecret}, {"令牌", markSecret}, {"凭证", markSecret}, {"凭据", markSecret}, {"验证码", markSecret},
	{"护照", markPersonal}, {"身份证", markPersonal}, {"银行卡", markPersonal}, {"卡号", markPersonal},
}

// named returns the mark for values of a name, "" when the name says nothing of them, and whether they go to the end
// of the line. It is bounded: only the end of a long name is read.
func named(name string) (mark string, line bool) {
	const most = 20 // of a name in the lists
	var buf [most]byte
	n, joint := 0, -1
	i := len(name) - 1
	for ; i >= 0 && n < most; i-- {
		switch c := name[i]; {
		case c == '_' || c == '-' || c == '.' || c == '+':
			if joint < 0 && n > 0 {
				joint = n
			}
			continue
		case c >= 'A' && c <= 'Z':
			c += 'a' - 'A'
			fallthrough
		default:
			n++
			buf[most-n] = c
		}
	}
	plain := buf[most-n:]
	if joint < 0 && i < 0 {
		joint = n
	}
	for _, s := range secretNames {
		if hasSuffix(plain, s) {
			return markSecret, s == "passphrase"
		}
	}
	for _, s := range wholeNames {
		if len(s) == joint && hasSuffix(plain, s) {
			return markSecret, false
		}
	}
	for _, s := range personalNames {
		if hasSuffix(plain, s) {
			return markPersonal, false
		}
	}
	if name == "" || name[len(name)-1] < 0x80 {
		return "", false
	}
	for _, w := range wideNames {
		if strings.HasSuffix(name, w.name) || strings.HasSuffix(name, w.name+"号") || strings.HasSuffix(name, w.name+"号码") {
			return w.mark, false
		}
	}
	return "", false
}

func hasSuffix(b []byte, s string) bool { return len(b) >= len(s) && string(b[len(b)-len(s):]) == s }
