-- Two fields do not read as zero when a provider is silent about them: an agent counts as registered, and the similarity
-- of step and task is -1. Rows say what the rules saw.
ALTER TABLE {database}.verdicts MODIFY COLUMN `agent_registered` DEFAULT true;

ALTER TABLE {database}.verdicts MODIFY COLUMN `prov_intent_match` DEFAULT -1;

-- Where the ledger of a lane leaves something out: what lies between is not done, and the next start begins there.
CREATE VIEW IF NOT EXISTS {database}.ledger_gaps AS
SELECT topic, partition, epoch, reach AS from_offset, start AS to_offset, start - reach AS offsets
FROM (
    SELECT topic, partition, epoch, from_offset AS start, row_number() OVER lane AS n,
        max(to_offset) OVER (PARTITION BY topic, partition, epoch ORDER BY from_offset, to_offset ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS reach
    FROM {database}.batches
    WINDOW lane AS (PARTITION BY topic, partition, epoch ORDER BY from_offset, to_offset)
)
WHERE n > 1 AND start > reach;
