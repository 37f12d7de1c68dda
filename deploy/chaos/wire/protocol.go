package wire

import (
	"bytes"
	"encoding/binary"
	"io"
)

// kafkaNames are the requests that faults may name, by API key (Kafka protocol guide).
var kafkaNames = map[uint16]string{
	0: "Produce", 1: "Fetch", 2: "ListOffsets", 3: "Metadata", 8: "OffsetCommit", 9: "OffsetFetch", 10: "FindCoordinator",
	11: "JoinGroup", 12: "Heartbeat", 13: "LeaveGroup", 14: "SyncGroup",
}

// readKafka passes requests one by one: each begins with its length (int32) and its API key (int16).
func readKafka(c *conn) error {
	var head [6]byte
	for {
		if _, err := io.ReadFull(c.client, head[:]); err != nil {
			return err
		}
		rest := int64(binary.BigEndian.Uint32(head[:])) - 2
		name := kafkaNames[binary.BigEndian.Uint16(head[4:])]
		if err := c.send(c.p.take(name), head[:], rest); err != nil {
			return err
		}
	}
}

// insertText is how the rows' own insert begins; the native protocol has no frames that could be counted, but sends the
// text of a query before its data.
var insertText = []byte("INSERT INTO ")

// minBlock tells a block of rows, whose column names alone are longer, from the empty block that comes before it.
const minBlock = 4 << 10

// readClickHouse passes what the client sends as it comes. What follows the text of an insert is the point "Insert"; the
// text of an insert of ledger lines is the point "Ledger".
func readClickHouse(c *conn) error {
	buf := make([]byte, 64<<10)
	inserting := false
	for {
		n, err := c.client.Read(buf)
		if n > 0 {
			b := buf[:n]
			point := "Query"
			if inserting && n >= minBlock {
				point, inserting = "Insert", false
			}
			if bytes.Contains(b, insertText) && bytes.Contains(b, []byte("verdicts")) {
				inserting = true
			}
			if bytes.Contains(b, insertText) && bytes.Contains(b, []byte("batches")) {
				point = "Ledger"
			}
			fault := c.p.take(point)
			if fault == nil && point == "Ledger" {
				fault = c.p.take("Query") // which it is, too
			}
			if err := c.send(fault, b, 0); err != nil {
				return err
			}
		}
		if err != nil {
			return err
		}
	}
}
