-- What operators order, and what came of it: rows are only ever added, so the table is the audit of who and why.
CREATE TABLE IF NOT EXISTS {database}.lane_orders
(
    `id` String COMMENT 'random; an order is taken once',
    `topic` LowCardinality(String) COMMENT 'lane: topic',
    `partition` Int32 COMMENT 'lane: partition',
    `epoch` Int32 COMMENT 'epoch of the binding',
    `verb` LowCardinality(String) COMMENT 'skip: leave offsets out; resume: try again',
    `from_offset` Int64 COMMENT 'skip: where the lane stood when it was ordered; refused when it stands elsewhere',
    `to_offset` Int64 COMMENT 'skip: where the lane goes on',
    `force` Bool COMMENT 'ordered although the lane was not parked',
    `state` LowCardinality(String) COMMENT 'ordered; then, in a row of its own, done or refused',
    `who` String COMMENT 'ordered: user and host of the operator; done, refused: incarnation of the process',
    `why` String COMMENT 'ordered: the reason given; done, refused: what came of it',
    `written` DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when'
)
ENGINE = MergeTree
ORDER BY (topic, partition, epoch, written, id)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Orders to lanes. One without an answer is open for a day';

-- What processes say of their lanes.
CREATE TABLE IF NOT EXISTS {database}.lane_status
(
    `topic` LowCardinality(String) COMMENT 'lane: topic',
    `partition` Int32 COMMENT 'lane: partition',
    `epoch` Int32 COMMENT 'epoch of the binding',
    `incarnation` String COMMENT 'start of the process that says so',
    `host` String COMMENT 'its host',
    `state` LowCardinality(String) COMMENT 'starting, running, retrying, waiting, parked or drained',
    `reason` LowCardinality(String) COMMENT 'why it is parked',
    `detail` String COMMENT 'what was found and what an operator can do' CODEC(ZSTD(1)),
    `since` DateTime64(3, 'UTC') COMMENT 'when it came into this state',
    `done_offset` Int64 COMMENT 'everything below is in the ledger',
    `plan_to` Int64 COMMENT 'end of the range that is being stored, 0 without one',
    `written` DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when it was said; what is older than half a minute is history'
)
ENGINE = ReplacingMergeTree(written)
ORDER BY (topic, partition, incarnation)
TTL toDateTime(written) + INTERVAL 7 DAY
COMMENT 'The newest word of each process on its lanes';
