package deadletter

import (
	"os"
	"testing"
)

func brokers(t *testing.T) []string {
	return []string{os.Getenv("AGENTRISK_TEST_KAFKA")}
}
