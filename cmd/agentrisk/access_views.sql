-- What the reader of {{.Provider}} sees. Run it as an administrator, once the reader's file is in users.d, and again after
-- a migration: a view keeps the columns that its table had.
CREATE DATABASE IF NOT EXISTS `{{.Database}}_{{.Provider}}`;

CREATE OR REPLACE VIEW `{{.Database}}_{{.Provider}}`.verdicts
DEFINER = `agentrisk_views_{{.Provider}}` SQL SECURITY DEFINER
AS SELECT * FROM `{{.Database}}`.verdicts WHERE provider = '{{.Provider}}';

CREATE OR REPLACE VIEW `{{.Database}}_{{.Provider}}`.dead_letters
DEFINER = `agentrisk_views_{{.Provider}}` SQL SECURITY DEFINER
AS SELECT * FROM `{{.Database}}`.dead_letters WHERE provider = '{{.Provider}}';

CREATE OR REPLACE VIEW `{{.Database}}_{{.Provider}}`.sessions
DEFINER = `agentrisk_views_{{.Provider}}` SQL SECURITY DEFINER
AS SELECT tenant_id, agent_id, session_id, min(time) AS first_time, max(time) AS last_time, count() AS events,
    max(session_score) AS score, arraySort(groupUniqArrayArray(`hits.rule`)) AS rules, countIf(alert != '') AS alerts
FROM `{{.Database}}`.verdicts WHERE provider = '{{.Provider}}'
GROUP BY tenant_id, agent_id, session_id;

CREATE OR REPLACE VIEW `{{.Database}}_{{.Provider}}`.rules
DEFINER = `agentrisk_views_{{.Provider}}` SQL SECURITY DEFINER
AS SELECT * FROM `{{.Database}}`.rules;
