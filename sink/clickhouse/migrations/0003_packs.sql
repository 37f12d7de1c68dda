CREATE TABLE IF NOT EXISTS {database}.packs
(
    `digest` String COMMENT 'SHA-256 over everything that shapes a verdict',
    `name` LowCardinality(String) COMMENT 'name of the pack',
    `version` LowCardinality(String) COMMENT 'its version',
    `canonical` String COMMENT 'what the digest is made of' CODEC(ZSTD(3)),
    `written` DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'first seen'
)
ENGINE = ReplacingMergeTree
ORDER BY digest
COMMENT 'Packs that have judged here';

CREATE TABLE IF NOT EXISTS {database}.rules
(
    `pack` String COMMENT 'digest of the pack',
    `rule` LowCardinality(String) COMMENT 'id of the rule',
    `family` LowCardinality(String) COMMENT 'of whose hits the strongest counts',
    `title_en` String COMMENT 'title in English',
    `title_zh` String COMMENT 'title in Chinese',
    `severity` LowCardinality(String) COMMENT 'info to critical',
    `weight` UInt16 COMMENT 'thousandths',
    `status` LowCardinality(String) COMMENT 'shadow, test or stable'
)
ENGINE = ReplacingMergeTree
ORDER BY (pack, rule)
COMMENT 'Titles and weights of the rules of each pack';

CREATE TABLE IF NOT EXISTS {database}.activations
(
    `pack` String COMMENT 'digest of the pack',
    `who` String COMMENT 'who activated it',
    `why` String COMMENT 'and why',
    `written` DateTime64(6, 'UTC') DEFAULT now64(6) COMMENT 'the newest row is in force'
)
ENGINE = MergeTree
ORDER BY written
COMMENT 'Which pack was in force since when';
