-- Who mends a lane right now (reconcile --repair): the lane itself waits before it goes over stored ranges again.
CREATE TABLE IF NOT EXISTS {database}.lane_holds
(
    `topic` LowCardinality(String) COMMENT 'lane: topic',
    `partition` Int32 COMMENT 'lane: partition',
    `epoch` Int32 COMMENT 'epoch of the binding',
    `id` String COMMENT 'random, one a run of the repair',
    `who` String COMMENT 'user and host',
    `until` DateTime64(3, 'UTC') COMMENT 'when the hold ends unless it is renewed',
    `written` DateTime64(6, 'UTC') DEFAULT now64(6) COMMENT 'the newest row of an id holds'
)
ENGINE = ReplacingMergeTree(written)
ORDER BY (topic, partition, epoch, id)
TTL toDateTime(written) + INTERVAL 7 DAY
COMMENT 'Holds on lanes while ranges of them are mended';

-- What became of dead letters: rows are only ever added.
CREATE TABLE IF NOT EXISTS {database}.dead_letter_states
(
    `topic` LowCardinality(String) COMMENT 'origin: topic',
    `partition` Int32 COMMENT 'origin: partition',
    `epoch` Int32 COMMENT 'epoch of the binding',
    `offset` Int64 COMMENT 'origin: offset',
    `item` Int32 COMMENT 'origin: item within the record',
    `state` LowCardinality(String) COMMENT 'replayed: it is a row now; failed: a replay was refused and it stays; discarded: an operator gave it up',
    `reason` LowCardinality(String) COMMENT 'failed: why it still is no event',
    `detail` String COMMENT 'failed: which field, which limit, where' CODEC(ZSTD(1)),
    `who` String COMMENT 'user and host of the operator',
    `why` String COMMENT 'the reason that the operator gave',
    `written` DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when; the newest counts'
)
ENGINE = MergeTree
ORDER BY (topic, partition, epoch, offset, item, written)
TTL toDateTime(written) + INTERVAL 180 DAY
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'What became of dead letters, by whom and why';
