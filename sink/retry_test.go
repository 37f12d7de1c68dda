package sink

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

func TestRetryClasses(t *testing.T) {
	base := errors.New("no")
	for _, tt := range []struct {
		name      string
		err       error
		permanent bool
		wait      time.Duration
	}{
		{"plain", base, false, 0},
		{"permanent", Permanent(base), true, 0},
		{"permanent, wrapped", fmt.Errorf("webhook: %w", Permanent(base)), true, 0},
		{"asked to wait, wrapped", fmt.Errorf("webhook: %w", RetryAfter(base, time.Minute)), false, time.Minute},
		{"nil", nil, false, 0},
		{"permanent nil", Permanent(nil), false, 0},
		{"nil later", RetryAfter(nil, time.Minute), false, 0},
	} {
		if got := IsPermanent(tt.err); got != tt.permanent {
			t.Errorf("%s: IsPermanent = %v", tt.name, got)
		}
		if got := Wait(tt.err); got != tt.wait {
			t.Errorf("%s: Wait = %v, want %v", tt.name, got, tt.wait)
		}
		if tt.permanent && !errors.Is(tt.err, base) {
			t.Errorf("%s: the cause is hidden", tt.name)
		}
	}
}
