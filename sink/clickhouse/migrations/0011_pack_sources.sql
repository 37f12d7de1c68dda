-- What packs were made from, so that any process can compile the one that is in force.
CREATE TABLE IF NOT EXISTS {database}.pack_sources
(
    `digest` String COMMENT 'digest of the pack, as in packs',
    `source` String COMMENT 'its files by name, as JSON: comments and tests are in it' CODEC(ZSTD(3)),
    `written` DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when it was stored'
)
ENGINE = ReplacingMergeTree
ORDER BY digest
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Sources of the packs that were activated or have judged here';

ALTER TABLE {database}.activations ADD COLUMN IF NOT EXISTS `id` String COMMENT 'random: one act of an operator, however often it was tried';

ALTER TABLE {database}.activations MODIFY SETTING fsync_after_insert = 1, fsync_part_directory = 1;
