package kafka

import "fmt"

// Reason says why a batch cannot be read.
type Reason uint8

const (
	// ReasonChecksum: CRC-32C differs. Fetch again before believing it, the fault may be on the way.
	ReasonChecksum Reason = iota + 1
	// ReasonMalformed: the bytes are those that the producer sent, and make no sense.
	ReasonMalformed
	// ReasonTooLarge: the batch exceeds the decoder's limit, as sent or after decompression.
	ReasonTooLarge
	// ReasonCodec: compressed in a way that this decoder does not know.
	ReasonCodec
	// ReasonMagic: a record format other than version 2 (Kafka 0.11, 2017).
	ReasonMagic
)

var reasonNames = [...]string{ReasonChecksum: "checksum differs", ReasonMalformed: "malformed", ReasonTooLarge: "too large", ReasonCodec: "unknown compression", ReasonMagic: "old record format"}

func (r Reason) String() string {
	if int(r) < len(reasonNames) && reasonNames[r] != "" {
		return reasonNames[r]
	}
	return fmt.Sprintf("reason %d", uint8(r))
}

// BatchError says that nothing can be read from the offsets First to Last, both included; everything before and
// after can be. Offsets of the batch that were delivered before the fault was met are not in the range.
type BatchError struct {
	First, Last int64
	Reason      Reason
	Err         error // what a parser or library said; may be nil
}

func (e *BatchError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("records %d to %d: %s", e.First, e.Last, e.Reason)
	}
	return fmt.Sprintf("records %d to %d: %s: %v", e.First, e.Last, e.Reason, e.Err)
}

func (e *BatchError) Unwrap() error { return e.Err }
