package ingest

import (
	"context"
	"fmt"

	"github.com/agentrisk/agentrisk/scoring"
)

// refuseGrowth parks a lane of a partition that its topic did not have when it was first read: producers now send some
// agents' events here whose earlier ones stand in another lane, so windows would be halved and sequences inverted. Lanes
// without a ledger ask; the others were there from the start. Where nothing depends on the key there is nothing to refuse.
func (l *lane) refuseGrowth(ctx context.Context) error {
	if l.p.Partitions == nil || l.binding.Keyed() == scoring.KeyedByNone {
		return nil
	}
	first, err := l.p.Partitions(ctx, l.topic, l.binding.Epoch)
	if err != nil || l.partition < first {
		return err
	}
	return &Park{ParkGrown, fmt.Sprintf("%s: the topic had %d partitions when it was first read and has more now, which splits agents over two lanes: make a new topic with as many as are needed and send events there; or raise the binding's epoch to judge this one anew from its start; or say keyed_by: none, which judges without state", l, first)}
}
