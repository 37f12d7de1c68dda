-- Plain views for people: nothing is stored twice, and nothing stands between an insert and its table.
CREATE VIEW IF NOT EXISTS {database}.sessions AS
SELECT provider, tenant_id, agent_id, session_id, min(time) AS first_time, max(time) AS last_time, count() AS events,
    max(session_score) AS score, arraySort(groupUniqArrayArray(`hits.rule`)) AS rules, countIf(alert != '') AS alerts
FROM {database}.verdicts
GROUP BY provider, tenant_id, agent_id, session_id;

CREATE VIEW IF NOT EXISTS {database}.hits AS
SELECT v.time AS time, v.provider AS provider, v.tenant_id AS tenant_id, v.agent_id AS agent_id, v.session_id AS session_id, v.event_id AS event_id,
    v.score AS score, h.1 AS rule, h.2 AS severity, h.3 AS contribution, h.4 AS why, r.title_en AS title_en, r.title_zh AS title_zh
FROM (SELECT *, arrayJoin(arrayZip(`hits.rule`, `hits.severity`, `hits.contribution`, `hits.why`)) AS h FROM {database}.verdicts) AS v
LEFT JOIN (SELECT pack, rule, any(title_en) AS title_en, any(title_zh) AS title_zh FROM {database}.rules GROUP BY pack, rule) AS r
    ON r.pack = v.pack AND r.rule = h.1;

CREATE VIEW IF NOT EXISTS {database}.provider_hour AS
SELECT provider, toStartOfHour(kafka_time) AS hour, count() AS events, uniq(tenant_id) AS tenants, uniq(tenant_id, agent_id) AS agents,
    countIf(score >= 60) AS high, max(score) AS max_score, avg(toFloat64(score)) AS mean_score
FROM {database}.verdicts
GROUP BY provider, hour;

CREATE VIEW IF NOT EXISTS {database}.common_rules AS
SELECT rule, toStartOfHour(kafka_time) AS hour, uniqExact(provider) AS providers, uniqExact(provider, tenant_id) AS tenants,
    uniqExact(provider, tenant_id, agent_id) AS agents, count() AS hits, arraySort(groupUniqArray(provider)) AS which
FROM {database}.verdicts
ARRAY JOIN `hits.rule` AS rule
GROUP BY rule, hour
HAVING providers >= 2;
