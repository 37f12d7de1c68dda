#!/usr/bin/env bash
# fuzz.sh TIME [PACKAGE]...: every fuzz target for TIME, one after the other. Ends with 1 after a finding, whose input Go
# has then written to the target's testdata. Go's own engine now and then reports the end of its time as a failure
# ("context deadline exceeded", no input): that is no finding, and is said.
set -euo pipefail
time=${1:?want a time, as in 20s}; shift
[ $# -gt 0 ] || set -- $(go list ./...)
log=$(mktemp); trap 'rm -f "$log"' EXIT
for p in "$@"; do
	for f in $(go test -list '^Fuzz' "$p" | grep '^Fuzz' || true); do
		echo "$p $f"
		if go test -run '^$' -fuzz "^$f\$" -fuzztime "$time" -fuzzminimizetime 5x "$p" >"$log" 2>&1; then
			tail -n 2 "$log"
		elif grep -q 'context deadline exceeded' "$log" && ! grep -q 'Failing input written' "$log"; then
			echo "  the time ended while an input ran: no finding"
		else
			cat "$log"
			exit 1
		fi
	done
done
