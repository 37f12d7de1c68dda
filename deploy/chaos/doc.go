// Package chaos breaks the promise of "every event once" on purpose: a fleet's events stream through several processes
// while everything around them is cut, frozen, put to sleep, killed and restarted from a printed seed. Then every row,
// column, ledger line, dead letter, alert and saved state is compared with those of a quiet run over the same log.
//
// `make chaos SEED=n` is the long form; a short one runs with the tests. A plan can be replayed from its seed.
package chaos
