package redact

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"

	"github.com/dchest/siphash"
)

// Key keys fingerprints: equal values have equal fingerprints under one key, and who does not hold it cannot try values
// out. The zero Key is known to everyone.
type Key [16]byte

// Unkeyed is the id of the zero key.
const Unkeyed = "unkeyed"

// ID names the key on rows and tells nothing of it.
func (k Key) ID() string {
	if k == (Key{}) {
		return Unkeyed
	}
	sum := sha256.Sum256(append([]byte("agentrisk fingerprint key "), k[:]...))
	return hex.EncodeToString(sum[:4])
}

// halves are the key as SipHash takes it.
func (k Key) halves() (uint64, uint64) {
	return binary.LittleEndian.Uint64(k[:8]), binary.LittleEndian.Uint64(k[8:])
}

// Number is what a fingerprint column holds for a value.
func (k Key) Number(value string) uint64 {
	k0, k1 := k.halves()
	return siphash.Hash(k0, k1, []byte(value))
}

// Text is what a text column holds for a value: the same number, in hexadecimal.
func (k Key) Text(value string) string { return fmt.Sprintf("fp_%016x", k.Number(value)) }
