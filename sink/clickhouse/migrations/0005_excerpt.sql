-- The beginning of what was said, only where a binding allows it; empty everywhere else.
ALTER TABLE {database}.verdicts ADD COLUMN IF NOT EXISTS `excerpt` String COMMENT 'beginning of the content, as far as the binding allows; empty by default' CODEC(ZSTD(1));
