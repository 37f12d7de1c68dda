// Package clickhouse keeps verdicts, ledger and state in ClickHouse.
//
// One insert goes through ch-go, the core that clickhouse-go stands on: the block of verdicts of a planned range, whose
// columns are used again. Everything else goes through clickhouse-go. No insert is believed because it answered OK: it
// must say besides that no block was dropped as a duplicate; whatever else happened is settled by comparing.
package clickhouse
