package deadletter

import (
	"os"
	"testing"

	"github.com/agentrisk/agentrisk/deploy/stacktest"
)

func TestMain(m *testing.M) { os.Exit(stacktest.Main(m)) }

// brokers are those of the real Kafka that this process shares.
func brokers(t *testing.T) []string {
	t.Helper()
	return stacktest.Start(t).Brokers
}
