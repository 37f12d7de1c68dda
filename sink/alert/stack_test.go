package alert_test

import (
	"testing"

	"github.com/agentrisk/agentrisk/deploy/stacktest"
)

// brokers are those of the real Kafka that this process shares.
func brokers(t *testing.T) []string {
	t.Helper()
	return stacktest.Start(t).Brokers
}
