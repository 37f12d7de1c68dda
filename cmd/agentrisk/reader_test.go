package main

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// A provider's reader sees its own rows, and no way round that lets out another's: the rows of the other provider bear a
// word that no answer and no error may hold, and a number of rows that no count may come to.
func TestReaderSeesOneProvider(t *testing.T) {
	t.Parallel()
	x := startSecure(t)
	s := secureSystem(t, x, secureDatabase.reader)
	db, views := s.database, s.database+"_alpha"
	t.Cleanup(func() {
		x.Query(t, "DROP DATABASE IF EXISTS "+views+" SYNC")
		x.Query(t, "DROP DATABASE IF EXISTS "+db+" SYNC")
	})
	s.migrate()
	const canary = "canary-7f3a"
	const ours, theirs = 100, 70321
	for provider, n := range map[string]int{"alpha": ours, "beta": theirs} {
		mark := map[string]string{"alpha": "plain", "beta": canary}[provider]
		// Equal inserts are one: the tables drop a block that they have seen.
		x.Query(t, fmt.Sprintf(`INSERT INTO %s.verdicts (provider, tenant_id, agent_id, session_id, event_id, excerpt, topic, partition, epoch, offset, item, time, kafka_time)
			SELECT '%s', '%s-tenant', '%s-agent', '%s-session', concat('%s-event-', toString(number)), '%s said', 'ev.%s', 0, 0, number, 0, now64(3), now64(3) FROM numbers(%d)
			SETTINGS insert_deduplication_token = '%s'`, db, provider, mark, mark, mark, mark, mark, provider, n, provider))
		x.Query(t, fmt.Sprintf(`INSERT INTO %s.dead_letters (topic, partition, offset, item, epoch, kafka_time, provider, reason, detail) SETTINGS insert_deduplication_token = '%s' VALUES ('ev.%s', 0, 1, 0, 0, now64(3), '%s', 'malformed', '%s detail')`,
			db, provider, provider, provider, mark))
	}
	// One part, whose first granule holds rows of both; nothing is merged while the reader asks.
	x.Query(t, "OPTIMIZE TABLE "+db+".verdicts FINAL")
	for statement := range strings.SplitSeq(printAccess(t, db, "clickhouse", "--provider", "alpha", "--views"), ";\n") {
		if strings.TrimSpace(statement) != "" {
			x.Query(t, statement)
		}
	}
	reader := func(sql string, settings url.Values) answer {
		return askAs(t, x, "agentrisk_reader_alpha", userSecret, sql, settings)
	}

	// What a reader is for.
	for sql, want := range map[string]string{
		"SELECT count(), uniqExact(provider), any(excerpt) FROM " + views + ".verdicts":                                   fmt.Sprintf("%d\t1\tplain said", ours),
		"SELECT events FROM " + views + ".sessions":                                                                       fmt.Sprint(ours),
		"SELECT detail FROM " + views + ".dead_letters":                                                                   "plain detail",
		"SELECT count() FROM " + views + ".rules":                                                                         "0",
		"SELECT event_id FROM " + views + ".verdicts ORDER BY offset LIMIT 1 SETTINGS max_execution_time = 5":             "plain-event-0",
		"SELECT count() FROM " + views + ".verdicts AS a JOIN " + views + ".sessions AS b ON a.session_id = b.session_id": fmt.Sprint(ours),
	} {
		if got := reader(sql, nil); got.status != http.StatusOK || strings.TrimSpace(got.text) != want {
			t.Errorf("%s\ngot  %s\nwant %s", sql, got.text, want)
		}
	}

	// Ways round.
	v, o := views+".verdicts", db+".verdicts"
	attacks := []string{
		// the tables themselves, and what looks like them
		"SELECT * FROM " + o + " LIMIT 5",
		"SELECT count() FROM " + o,
		"SELECT * FROM " + db + ".sessions", "SELECT * FROM " + db + ".hits", "SELECT * FROM " + db + ".dead_letters", "SELECT * FROM " + db + ".provider_hour",
		"SELECT * FROM " + db + ".snapshots", "SELECT * FROM " + db + ".batches",
		"SELECT * FROM view(SELECT * FROM " + o + ")",
		"SELECT * FROM viewIfPermitted(SELECT tenant_id FROM " + o + " ELSE null('tenant_id String'))",
		"SELECT * FROM merge('" + db + "', '.*')", "SELECT * FROM merge('.*', 'verdicts')",
		"SELECT * FROM merge(REGEXP('" + s.database + ".*'), 'verdicts')",
		"SELECT * FROM remote('127.0.0.1', '" + db + "', 'verdicts')", "SELECT * FROM remoteSecure('127.0.0.1', '" + db + "', 'verdicts')",
		"SELECT * FROM remote('127.0.0.1', view(SELECT * FROM " + o + "))",
		"SELECT * FROM cluster('default', '" + db + "', 'verdicts')", "SELECT * FROM clusterAllReplicas('default', '" + db + "', 'verdicts')",
		"SELECT * FROM loop('" + db + "', 'verdicts') LIMIT 5",
		"SELECT * FROM mysql('127.0.0.1', '" + db + "', 'verdicts', 'default', '')",
		// parts, indexes, logs
		"SELECT * FROM mergeTreeIndex('" + db + "', 'verdicts', with_marks = true, with_minmax = true)", "SELECT * FROM mergeTreeIndex('" + views + "', 'verdicts')",
		"SELECT * FROM mergeTreeProjection('" + db + "', 'verdicts', 'p')", "SELECT * FROM mergeTreeAnalyzeIndexes('" + db + "', 'verdicts')",
		"SELECT * FROM system.parts", "SELECT * FROM system.parts_columns", "SELECT * FROM system.part_log", "SELECT * FROM system.query_log", "SELECT * FROM system.processes",
		"SELECT * FROM system.errors", "SELECT * FROM system.text_log", "SELECT * FROM system.row_policies", "SELECT * FROM system.users", "SELECT * FROM system.grants",
		"SELECT * FROM system.tables WHERE database = '" + db + "'", "SELECT * FROM system.columns WHERE database = '" + db + "'", "SELECT * FROM information_schema.tables",
		"SHOW CREATE TABLE " + o, "DESCRIBE " + o, "SHOW TABLES FROM " + db, "SHOW PROCESSLIST",
		// the view, made to look further
		"SELECT * FROM " + v + " FINAL WHERE provider != 'alpha'", "SELECT * FROM " + v + " SAMPLE 1 WHERE provider = 'beta'",
		"SELECT count() FROM " + v + " WHERE provider = 'beta' OR 1", "SELECT _part, _partition_id, _part_offset, tenant_id FROM " + v,
		"SELECT * FROM " + v + " PREWHERE startsWith(tenant_id, 'canary')",
		"SELECT count() FROM (SELECT * FROM " + v + " UNION ALL SELECT * FROM " + o + ")",
		"SELECT groupUniqArray(tenant_id) FROM " + v, "SELECT topK(5)(excerpt) FROM " + v, "SELECT * FROM " + v + " ORDER BY tenant_id LIMIT 1",
		"SELECT (SELECT any(tenant_id) FROM " + o + ") FROM " + v, "SELECT tenant_id IN (SELECT tenant_id FROM " + o + ") FROM " + v,
		// errors that would say a value
		"SELECT toInt8(tenant_id) FROM " + v + " WHERE startsWith(tenant_id, 'canary')",
		"SELECT count() FROM " + v + " WHERE toInt8(if(startsWith(tenant_id, 'canary'), tenant_id, '1')) = 1",
		"SELECT count() FROM " + v + " WHERE throwIf(startsWith(tenant_id, 'canary'), 'a tenant of beta') = 0",
		"SELECT count() FROM " + v + " WHERE intDiv(1, if(provider = 'beta', 0, 1)) = 1",
		"SELECT sum(sleepEachRow(if(provider = 'beta', 0.001, 0))) FROM " + v,
		"SELECT CAST(excerpt AS Enum8('a' = 1)) FROM " + v + " WHERE startsWith(excerpt, 'canary')",
		"SELECT dictGet('" + db + ".d', 'x', 1)", "SELECT joinGet('" + o + "', 'tenant_id', 'x')", "SELECT hasColumnInTable('" + db + "', 'verdicts', 'tenant_id')",
		// plans
		"EXPLAIN SELECT * FROM " + o, "EXPLAIN PLAN actions = 1, indexes = 1 SELECT * FROM " + v, "EXPLAIN ESTIMATE SELECT * FROM " + v, "EXPLAIN PIPELINE SELECT * FROM " + v,
		"EXPLAIN QUERY TREE SELECT * FROM " + v, "EXPLAIN TABLE OVERRIDE mysql('127.0.0.1', '" + db + "', 'verdicts', 'default', '') COLUMNS (x Int8)",
		// things of one's own
		"CREATE TEMPORARY TABLE mine AS SELECT * FROM " + o, "CREATE VIEW " + views + ".mine AS SELECT * FROM " + o, "CREATE TABLE " + views + ".mine ENGINE = Memory AS SELECT * FROM " + o,
		"CREATE DICTIONARY " + views + ".d (offset UInt64, tenant_id String) PRIMARY KEY offset SOURCE(CLICKHOUSE(DB '" + db + "' TABLE 'verdicts')) LAYOUT(FLAT()) LIFETIME(0)",
		"CREATE OR REPLACE VIEW " + v + " AS SELECT * FROM " + o, "ALTER TABLE " + v + " MODIFY QUERY SELECT * FROM " + o, "DROP VIEW " + v, "INSERT INTO " + o + " (tenant_id) VALUES ('x')",
		"CREATE FUNCTION f AS () -> (SELECT any(tenant_id) FROM " + o + ")",
		// out of the database
		"SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')", "SELECT * FROM file('*', 'LineAsString')", "SELECT * FROM executable('sh', 'TSV', 'a String', (SELECT tenant_id FROM " + o + "))",
		"SELECT * FROM s3('http://127.0.0.1:1/a', 'CSV')", "INSERT INTO FUNCTION url('http://127.0.0.1:1/', 'CSV', 'a String') SELECT tenant_id FROM " + o, "BACKUP TABLE " + o + " TO Disk('default', 'x')",
		// somebody else
		"EXECUTE AS default SELECT * FROM " + o, "EXECUTE AS agentrisk_views_alpha SELECT * FROM " + o, "SET ROLE ALL", "GRANT SELECT ON " + o + " TO agentrisk_reader_alpha", "DROP ROW POLICY p ON " + o,
		"KILL QUERY WHERE 1", "SYSTEM FLUSH LOGS", "SET readonly = 0",
		"SELECT * FROM " + v + " SETTINGS additional_table_filters = {'" + o + "': '1'}", "SELECT count() FROM " + v + " SETTINGS use_skip_indexes = 1", "SELECT count() FROM " + v + " SETTINGS max_execution_time = 600",
	}
	refused := 0
	holds := func(what string, got answer) {
		if got.status != http.StatusOK {
			refused++
		}
		for _, leak := range []string{canary, fmt.Sprint(theirs), fmt.Sprint(theirs + ours)} {
			// An attack may have said the word itself, and its error then quotes it.
			if strings.Contains(strings.ReplaceAll(got.text, what, ""), leak) {
				t.Errorf("%s\nlets out %q: %.300s", what, leak, got.text)
			}
		}
	}
	for _, sql := range attacks {
		holds(sql, reader(sql, nil))
	}
	for _, settings := range []url.Values{{"readonly": {"0"}}, {"user": {"default"}}, {"database": {db}}, {"role": {"default"}}, {"additional_table_filters": {"{'" + o + "': '1'}"}},
		{"allow_ddl": {"1"}}, {"use_skip_indexes": {"1"}}, {"use_query_cache": {"1"}}, {"param_t": {o}}, {"quota_key": {"x"}}, {"default_view_definer": {"default"}}} {
		holds("SELECT count(), any(tenant_id) FROM verdicts", reader("SELECT count(), any(tenant_id) FROM verdicts", settings))
		holds("SELECT * FROM {t:Identifier} LIMIT 3", reader("SELECT * FROM {t:Identifier} LIMIT 3", settings))
	}
	if refused < 60 {
		t.Errorf("only %d of %d attempts were refused", refused, len(attacks))
	}

	// Whether another provider has a value cannot be asked for: plan and rows read are the same for one that it has and
	// one that nobody has.
	for _, query := range []string{"EXPLAIN indexes = 1 SELECT * FROM " + v + " WHERE event_id = '%s'", "SELECT count() FROM " + v + " WHERE event_id = '%s'", "SELECT count() FROM " + v + " WHERE session_id = '%s'"} {
		var said []string
		for _, value := range []string{canary + "-event-7", "nobody-has-this-7"} {
			got := reader(fmt.Sprintf(query, value), nil)
			_, read, _ := strings.Cut(got.header.Get("X-ClickHouse-Summary"), `"read_rows":`)
			read, _, _ = strings.Cut(read, ",")
			said = append(said, strings.ReplaceAll(got.text, value, "?")+read)
		}
		if said[0] != said[1] {
			t.Errorf("%s tells what another provider has:\n%s\n%s", query, said[0], said[1])
		}
	}

	// Nobody comes in as the views' owner, or with a wrong password.
	for user, password := range map[string]string{"agentrisk_views_alpha": "", "agentrisk_reader_alpha": "wrong"} {
		if got := askAs(t, x, user, password, "SELECT 1", nil); got.status == http.StatusOK {
			t.Errorf("%s with password %q came in", user, password)
		}
	}
}

// An analyst reads everything and changes nothing, and neither a file nor a network is within reach.
func TestAnalystOnlyReads(t *testing.T) {
	t.Parallel()
	x := startSecure(t)
	db := secureDatabase.rights
	for _, sql := range []string{
		"INSERT INTO " + db + ".verdicts (tenant_id) VALUES ('x')", "DROP TABLE " + db + ".verdicts", "ALTER TABLE " + db + ".verdicts DELETE WHERE 1", "CREATE TABLE " + db + ".mine (x Int8) ENGINE = Memory",
		"CREATE TEMPORARY TABLE mine (x Int8)", "SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')", "SELECT * FROM file('*', 'LineAsString')", "SELECT * FROM remote('127.0.0.1', 'system', 'one')",
		"SELECT * FROM executable('sh', 'TSV', 'a String')", "SELECT * FROM s3('http://127.0.0.1:1/a', 'CSV')", "INSERT INTO FUNCTION url('http://127.0.0.1:1/', 'CSV', 'a String') SELECT 'x'",
		"SET readonly = 0", "SELECT 1 SETTINGS max_execution_time = 6000", "SELECT 1 SETTINGS max_memory_usage = 0", "SELECT * FROM system.users", "SELECT * FROM system.query_log", "GRANT SELECT ON *.* TO agentrisk_analyst",
		"KILL QUERY WHERE 1", "SYSTEM RELOAD CONFIG", "SELECT * FROM " + secureDatabase.reader + ".verdicts",
	} {
		if got := askAs(t, x, "agentrisk_analyst", userSecret, sql, nil); got.status == http.StatusOK {
			t.Errorf("%s: %.200s", sql, got.text)
		}
	}
	if got := askAs(t, x, "agentrisk_analyst", userSecret, "SELECT 1 SETTINGS max_execution_time = 5", nil); strings.TrimSpace(got.text) != "1" {
		t.Errorf("an honest query: %s", got.text)
	}
}
