#!/usr/bin/env bash
# fuzz.sh TIME [PACKAGE|TARGET]...: fuzz targets for TIME each, one after the other: all of them, those of packages
# (./ingest), or those of these names (FuzzLane). A line of a table for each: target, executions, inputs that reached new
# code, result. Ends with 1 after a finding, whose input Go has then written to the target's testdata and whose output is
# printed. Go's own engine now and then reports the end of its time as a failure ("context deadline exceeded", no input):
# that is no finding.
set -euo pipefail
time=${1:?want a time, as in 20s}; shift
packages=() names=()
for a in "$@"; do
	case $a in Fuzz*) names+=("$a") ;; *) packages+=("$a") ;; esac
done
[ ${#packages[@]} -gt 0 ] || mapfile -t packages < <(grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n1 dirname | sort -u)
log=$(mktemp); trap 'rm -f "$log"' EXIT
found=0 ran=0
echo "| Target | Executions | New inputs | Result |"
echo "|---|---|---|---|"
for p in "${packages[@]}"; do
	for f in $(go test -list '^Fuzz' "$p" | grep '^Fuzz' || true); do
		[ ${#names[@]} -eq 0 ] || printf '%s\n' "${names[@]}" | grep -qxF "$f" || continue
		ran=$((ran + 1))
		result="no finding"
		if ! go test -run '^$' -fuzz "^$f\$" -fuzztime "$time" -fuzzminimizetime 5x "$p" >"$log" 2>&1; then
			if grep -q 'Failing input written' "$log" || ! grep -q 'context deadline exceeded' "$log"; then
				result="FINDING"
				found=1
			fi
		fi
		last=$(grep -o 'execs: [0-9]* .*' "$log" | tail -n 1 || true)
		echo "| ${p#./} $f | $(sed -n 's/^execs: \([0-9]*\).*/\1/p' <<<"$last") | $(sed -n 's/.*new interesting: \([0-9]*\).*/\1/p' <<<"$last") | $result |"
		[ "$result" = "no finding" ] || cat "$log"
	done
done
[ $ran -gt 0 ] || { echo "no such target" >&2; exit 2; }
exit $found
