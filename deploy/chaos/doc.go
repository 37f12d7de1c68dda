// Package chaos breaks the promise of "every event once" on purpose: a fleet's events stream through several processes
// while everything around them is cut, frozen, put to sleep, killed and restarted from a printed seed. Then every row,
// column, ledger line, dead letter, alert and saved state is compared with those of a quiet run over the same log.
//
// `make chaos SEED=n` is the long form; a short one runs with the tests. A plan can be replayed from its seed. The long
// form obeys AGENTRISK_CHAOS_EVENTS, _FAULTS and _RATE, and AGENTRISK_CHAOS_KINDS, a regular expression that narrows the
// kinds of fault, so that one can be tried alone.
package chaos
