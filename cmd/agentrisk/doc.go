// Agentrisk watches what cloud AI agents do and scores the risk of every event.
//
// This is a tour of the program, bottom up: from what judges an event to what keeps the promise that each one
// counts once. It names the place where each idea lives.
//
// # The judgement: package scoring
//
// [scoring.Event] is one thing an agent did: some 130 typed fields from one table, [scoring.Fields], and
// attributes for the rest. [scoring.Derive] fills what a provider did not send and the content allows: what a tool
// does from its name, a command and a destination from arguments. [scoring.Engine] holds state for each agent and
// session: features (count, sum, max, distinct, since, sequence) over windows of the agent's own time. It asks a
// pack which rules match, and combines the hits into a [scoring.Verdict]. Scores are integers: the strongest hit of
// each family counts, the chance of being harmless is multiplied, and the score is shared among the hits so that
// the shares add up. Nothing here reads a clock or the network, so the same events give the same verdicts.
//
// # Rules: package rules
//
// A pack is a folder of YAML: features, rules, lists, tests. Conditions are expr-lang expressions over a closed
// environment made from the same table of fields. An index of necessary equalities picks the rules that can match.
// The pack's digest covers everything that shapes a verdict and stands on every row.
//
// # From record to event: package ingest
//
// A format decodes a record into events; what cannot become one is a dead letter with its reason. A [ingest.Judge]
// ties format, derivation and engine together; `agentrisk score` and the pipeline share it, so both give the same
// verdicts to the bit.
//
// # Exactly once: the lane
//
// A lane is one topic partition and everything that serves it, in one goroutine:
//
//	fetch -> decode -> judge -> block     fill: until the batch is full, old, or the day changes
//	commit(a, {to: b})                    plan: the bounds are law, and everything below a is acknowledged
//	insert under a token, settle          store: clean, or compared and completed
//	alerts, dead letters                  so that nobody misses what is stored
//	a line in the ledger                  everything below b is done
//
// Whoever takes over begins at the end of the ledger, checks that the record before it is the one that was judged,
// loads the newest snapshot of the state, feeds it the rest of the log, and settles the plan that it finds. The
// files lane.go and start.go of package ingest tell it in that order; sink/clickhouse/store.go tells how an insert
// is settled. A lane that needs an operator parks and says so; the others go on.
//
// # The adapters
//
// ingest/kafka fetches record batches raw, because only there the broker's append time is kept, and holds the
// membership in the group. sink/clickhouse holds schema, insert, ledger and snapshots; sink/alert the outbox and
// the channels that page; sink/deadletter the dead-letter topic. Packages rules, ingest and sink import scoring and
// not one another; wire.go in this folder is the only place that names adapters. imports_test.go holds the arrows.
//
// # The commands
//
// One file a command: run, score, rules, check, migrate, notify, reconcile, lanes, dlq, simulate, receive,
// health, access, config, schema, version. status.go holds exit statuses and what every command shares; documents that are
// made from the code are listed in documents_test.go, and `make docs` writes them.
package main
