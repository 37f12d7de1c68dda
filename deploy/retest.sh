#!/usr/bin/env bash
# retest.sh FLAG... ./PACKAGE...: go test, and a test that fails runs once more; both outcomes are printed. Real servers on a
# busy machine are slow now and then; more than five failures are no accident and end it.
set -euo pipefail
flags=()
packages=()
for a in "$@"; do
	case $a in
	./*) packages+=("$a") ;;
	*) flags+=("$a") ;;
	esac
done
exec go run gotest.tools/gotestsum@v1.13.0 --format standard-quiet --rerun-fails=1 --rerun-fails-max-failures=5 \
	--packages="${packages[*]}" -- "${flags[@]}"
