-- An insert of 50,000 rows took 700 MiB of the server's memory: in a wide part each of some 150 columns has write buffers
-- of several MiB. What comes in goes into compact parts, whose columns share a file, and merges, which make wide parts
-- once they are large, begin with small buffers: 121 MiB, and less time (sink/clickhouse/memory_test.go).
ALTER TABLE {database}.verdicts MODIFY SETTING min_bytes_for_wide_part = 134217728, min_columns_to_activate_adaptive_write_buffer = 1;
