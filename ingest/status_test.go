package ingest

import (
	"testing"
	"time"

	"github.com/agentrisk/agentrisk/scoring"
)

// The age of a plan rests on the monotonic clock: one that is set meanwhile makes no plan an hour old, and pages nobody.
func TestPlanAgeDoesNotRestOnTheWallClock(t *testing.T) {
	var s laneStatus
	now := time.Now()
	s.planned(scoring.Range{}, now)
	at := *s.planAt.Load()
	if at == at.Round(0) || now.Add(time.Second).Sub(at) != time.Second {
		t.Errorf("%v has no monotonic reading", at)
	}
}
