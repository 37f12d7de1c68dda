-- The ledger: a line a range, written after everything else of the range is stored.
CREATE TABLE IF NOT EXISTS {database}.batches
(
    `topic` LowCardinality(String) COMMENT 'lane: topic',
    `partition` Int32 COMMENT 'lane: partition',
    `epoch` Int32 COMMENT 'epoch of the binding',
    `from_offset` Int64 COMMENT 'first offset of the range' CODEC(DoubleDelta, ZSTD(1)),
    `to_offset` Int64 COMMENT 'offset after the last: everything below is done' CODEC(DoubleDelta, ZSTD(1)),
    `status` LowCardinality(String) COMMENT 'done; mixed: some rows stood already; lost: the log no longer held it; idle: nothing new',
    `rows` UInt64 COMMENT 'rows in verdicts',
    `dead_letters` UInt64 COMMENT 'records and items that became dead letters',
    `duplicates` UInt64 COMMENT 'rows that are a retry of the producer',
    `control` UInt64 COMMENT 'markers of transactions',
    `aborted` UInt64 COMMENT 'records of aborted transactions',
    `gaps` UInt64 COMMENT 'offsets that hold nothing',
    `alerts` UInt64 COMMENT 'alerts written to the outbox',
    `hash` UInt64 COMMENT 'over origins and scores of the rows, in order',
    `last_offset` Int64 COMMENT 'of the record before to_offset, -1 for none',
    `last_hash` UInt64 COMMENT 'of its key and value: tells this log from another',
    `last_known` Bool COMMENT 'false: there was no record to remember',
    `first_time` DateTime64(3, 'UTC') COMMENT 'Kafka time of the first record' CODEC(Delta(8), ZSTD(1)),
    `last_time` DateTime64(3, 'UTC') COMMENT 'Kafka time of the last record' CODEC(Delta(8), ZSTD(1)),
    `state_from` Int64 COMMENT 'offset of the last cold start of the lane',
    `pack` LowCardinality(String) COMMENT 'digest of the pack',
    `engine` LowCardinality(String) COMMENT 'version of the engine',
    `incarnation` LowCardinality(String) COMMENT 'start of the process that wrote the line',
    `written` DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when the line was written'
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(written)
ORDER BY (topic, partition, epoch, from_offset, to_offset)
TTL toDateTime(written) + INTERVAL 400 DAY
SETTINGS non_replicated_deduplication_window = 20000, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'The ledger: what each stored range holds. A line means that everything below to_offset is done';

CREATE TABLE IF NOT EXISTS {database}.dead_letters
(
    `topic` LowCardinality(String) COMMENT 'origin: topic',
    `partition` Int32 COMMENT 'origin: partition',
    `offset` Int64 COMMENT 'origin: offset' CODEC(DoubleDelta, ZSTD(1)),
    `item` Int32 COMMENT 'origin: item within the record',
    `epoch` Int32 COMMENT 'epoch of the binding',
    `kafka_time` DateTime64(3, 'UTC') COMMENT 'append time of the record',
    `provider` LowCardinality(String) COMMENT 'that of the binding',
    `reason` LowCardinality(String) COMMENT 'why it is no event; a bounded set',
    `detail` String COMMENT 'which field, which limit, where' CODEC(ZSTD(1)),
    `size` UInt64 COMMENT 'bytes of the whole record',
    `sha256` String COMMENT 'of the whole record, hexadecimal' CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(kafka_time)
ORDER BY (provider, topic, partition, epoch, offset, item)
TTL toDateTime(kafka_time) + INTERVAL 30 DAY
SETTINGS non_replicated_deduplication_window = 20000, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Records and items that could not become events. What they held stands in the dead-letter topic only';

-- Saved state of lanes: chunks first, their manifest last.
CREATE TABLE IF NOT EXISTS {database}.snapshots
(
    `topic` LowCardinality(String) COMMENT 'lane: topic',
    `partition` Int32 COMMENT 'lane: partition',
    `epoch` Int32 COMMENT 'epoch of the binding',
    `offset` Int64 COMMENT 'everything below is in the state, nothing else',
    `id` String COMMENT 'random: two writers never mix',
    `chunk` Int32 COMMENT 'number of the chunk, -1 for the manifest',
    `data` String COMMENT 'a chunk; of the manifest, the SHA-256 of every chunk in order' CODEC(ZSTD(1)),
    `state_from` Int64 COMMENT 'offset of the last cold start of the lane',
    `pack` LowCardinality(String) COMMENT 'digest of the pack',
    `engine` LowCardinality(String) COMMENT 'version of the engine',
    `written` DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when it was written'
)
ENGINE = MergeTree
ORDER BY (topic, partition, epoch, offset, id, chunk)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'State of lanes. The newest two of a lane are kept, however old';

CREATE TABLE IF NOT EXISTS {database}.claim
(
    `deployment` String COMMENT 'short id: prefixes every insert token and query id',
    `cluster` String COMMENT 'id of the Kafka cluster',
    `consumer_group` String COMMENT 'consumer group',
    `written` DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when the claim was made'
)
ENGINE = MergeTree
ORDER BY deployment
SETTINGS non_replicated_deduplication_window = 100, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Which deployment owns this database: one row';
