package ingest

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
)

// Bounds of a batch (design section 12). They are constants so that any machine can replay any plan.
const (
	MaxBatchRows  = 50_000
	MaxBatchBytes = 16 << 20 // of record values
)

// plan is what a commit says beside its offset: the end of the range that is about to be stored, and the fence
// against another log. A commit of offset a with To b acknowledges everything below a and makes [a, b) law.
// It fits in the 4096 bytes that brokers accept.
type plan struct {
	Version     int    `json:"v"`
	To          int64  `json:"to,omitempty"` // 0: nothing is planned
	Epoch       int32  `json:"ep"`
	Shard       int    `json:"sh"`
	Cluster     string `json:"cl"`
	Incarnation string `json:"in"`
	LastOffset  int64  `json:"lo"` // of the record before the position, -1 when unknown
	LastHash    uint64 `json:"lh,string"`
	Clock       int64  `json:"t,omitempty"` // Kafka time of records whose topic keeps the producer's clock
	Clean       bool   `json:"c,omitempty"` // the process stopped cleanly here
	Tries       int    `json:"n,omitempty"` // starts at this position that followed an unclean end
}

const planVersion = 1

func (p plan) encode() string {
	b, err := json.Marshal(p)
	if err != nil { // a struct of numbers and texts always marshals
		panic(err)
	}
	return string(b)
}

// parsePlan reads the metadata of a commit. Foreign metadata, an empty text included, is an error.
func parsePlan(metadata string) (plan, error) {
	var p plan
	if err := json.Unmarshal([]byte(metadata), &p); err != nil {
		return plan{}, fmt.Errorf("commit metadata %.80q is not ours: %.100q", metadata, err.Error()) // which may quote all of it
	}
	if p.Version != planVersion {
		return plan{}, fmt.Errorf("commit metadata has version %d, this program reads %d", p.Version, planVersion)
	}
	return p, nil
}

// recordHash is the fence against a log that was replaced: 64 bits of SHA-256 over key and value.
func recordHash(key, value []byte) uint64 {
	h := sha256.New()
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(len(key)))
	h.Write(n[:])
	h.Write(key)
	h.Write(value)
	return binary.BigEndian.Uint64(h.Sum(nil))
}

// Planned reads the metadata of a group's commit: the end of the range that was about to be stored, 0 for none, and who
// wrote it. Metadata that is not ours is an error.
func Planned(metadata string) (to int64, epoch int32, incarnation string, err error) {
	p, err := parsePlan(metadata)
	return p.To, p.Epoch, p.Incarnation, err
}
