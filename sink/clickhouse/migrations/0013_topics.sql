-- How many partitions a topic had when it was first read: more of them would split agents over two lanes.
CREATE TABLE IF NOT EXISTS {database}.topics
(
    `topic` LowCardinality(String) COMMENT 'name of the topic',
    `epoch` Int32 COMMENT 'epoch of the binding',
    `partitions` Int32 COMMENT 'how many it had when a process first read it under this epoch; the oldest row counts',
    `written` DateTime64(6, 'UTC') DEFAULT now64(6) COMMENT 'when that was'
)
ENGINE = MergeTree
ORDER BY (topic, epoch, written)
SETTINGS non_replicated_deduplication_window = 100, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Partitions of each topic when it was first read';
