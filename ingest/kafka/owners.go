package kafka

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/segmentio/kafka-go"
)

// Owner is the member of a group that serves a partition.
type Owner struct {
	Member      string // id that the broker gave
	Client      string // id that the program gave itself
	Host        string // address that it comes from
	Incarnation string // start of the process, 16 hexadecimal digits; empty for other programs
}

// Owners tells the state of a group (Stable, Empty, Dead, ...) and who serves which partition of which topic.
func (c *Client) Owners(ctx context.Context, group string) (state string, owners map[string]map[int32]Owner, err error) {
	ctx, cancel := bounded(ctx, 0)
	defer cancel()
	res, err := c.kafka.DescribeGroups(ctx, &kafka.DescribeGroupsRequest{GroupIDs: []string{group}})
	if err == nil && len(res.Groups) != 1 {
		err = errors.New("the broker answered for other groups than asked")
	}
	if err == nil {
		err = res.Groups[0].Error
	}
	owners = map[string]map[int32]Owner{}
	if errors.Is(err, kafka.GroupIdNotFound) { // some brokers say so of a group that never was
		return "Dead", owners, nil
	}
	if err != nil {
		return "", nil, fmt.Errorf("kafka: members of group %s: %w", group, denied(c.routing(ctx, err), "DESCRIBE", "group", group))
	}
	for _, m := range res.Groups[0].Members {
		o := Owner{Member: m.MemberID, Client: m.ClientID, Host: strings.TrimPrefix(m.ClientHost, "/")}
		if mine, ok := decodeClaim(m.MemberMetadata.UserData); ok {
			o.Incarnation = fmt.Sprintf("%016x", mine.incarnation)
		}
		for _, t := range m.MemberAssignments.Topics {
			if owners[t.Topic] == nil {
				owners[t.Topic] = map[int32]Owner{}
			}
			for _, p := range t.Partitions {
				owners[t.Topic][int32(p)] = o
			}
		}
	}
	return res.Groups[0].GroupState, owners, nil
}
