-- Rows say by which policy and under which key they were redacted, and what shaped them beside pack and engine.
ALTER TABLE {database}.verdicts ADD COLUMN IF NOT EXISTS `args_excerpt` String COMMENT 'beginning of the arguments, masked, as far as the binding allows; empty by default' CODEC(ZSTD(1));

ALTER TABLE {database}.verdicts ADD COLUMN IF NOT EXISTS `redaction` LowCardinality(String) COMMENT 'policy that the row was kept by: version of the masks, then what became of what';

ALTER TABLE {database}.verdicts ADD COLUMN IF NOT EXISTS `key_id` LowCardinality(String) COMMENT 'key of the fingerprints on the row; those of different keys do not compare';

ALTER TABLE {database}.verdicts MODIFY COLUMN `excerpt` COMMENT 'beginning of the content, masked, as far as the binding allows; empty by default';

ALTER TABLE {database}.batches ADD COLUMN IF NOT EXISTS `settings` LowCardinality(String) COMMENT 'digest of what shaped the rows beside pack and engine: see the table settings';

CREATE TABLE IF NOT EXISTS {database}.settings
(
    `digest` String COMMENT 'as ledger lines name it',
    `text` String COMMENT 'binding, redaction, id of the key, caps: one setting a line' CODEC(ZSTD(1)),
    `written` DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when a process first ran with it'
)
ENGINE = ReplacingMergeTree
ORDER BY digest
COMMENT 'What shaped rows beside pack and engine';
