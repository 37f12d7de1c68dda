package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Secrets of Standard Webhooks hold 24 to 64 random bytes.
const (
	secretPrefix = "whsec_"
	minSecret    = 24
	maxSecret    = 64
)

// signer signs with every secret that is valid now.
type signer struct{ keys [][]byte }

func newSigner(secrets []string) (*signer, error) {
	if len(secrets) == 0 {
		return nil, errors.New("no secret: want whsec_ and base64, as in whsec_$(openssl rand -base64 32)")
	}
	s := &signer{}
	for i, secret := range secrets {
		text, ok := strings.CutPrefix(strings.TrimSpace(secret), secretPrefix)
		key, err := base64.StdEncoding.DecodeString(text)
		if !ok || err != nil || len(key) < minSecret || len(key) > maxSecret { // the error of base64 would show a part
			return nil, fmt.Errorf("secret %d of %d: want whsec_ and base64 of %d to %d bytes", i+1, len(secrets), minSecret, maxSecret)
		}
		s.keys = append(s.keys, key)
	}
	return s, nil
}

// sign sets the three headers. The signed text is id, unix seconds of the attempt and body, with dots between.
func (s *signer) sign(h http.Header, id string, at time.Time, body []byte) {
	stamp := strconv.FormatInt(at.Unix(), 10)
	signatures := make([]string, len(s.keys))
	for i, key := range s.keys {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(id + "." + stamp + "."))
		mac.Write(body)
		signatures[i] = "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	}
	h.Set("webhook-id", id)
	h.Set("webhook-timestamp", stamp)
	h.Set("webhook-signature", strings.Join(signatures, " "))
}

// String keeps keys out of anything that prints a signer.
func (s *signer) String() string { return fmt.Sprintf("%d secrets", len(s.keys)) }

// GoString is String.
func (s *signer) GoString() string { return s.String() }
