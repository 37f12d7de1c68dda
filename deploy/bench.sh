#!/usr/bin/env bash
# End to end: a topic is filled first, then one process empties it. Prints events a second and core of the program's own
# CPU, its resident memory, and ClickHouse's CPU for a million rows. DATA=dir measures the recorded feed too.
set -euo pipefail
dir=$(mktemp -d)
pid=
finish() {
  [ -z "$pid" ] || kill -9 "$pid" 2>/dev/null || true
  bin/devstack down "$dir" || true
  rm -rf "$dir"
}
trap finish EXIT
trap 'exit 130' INT TERM
bin/devstack up "$dir"
. "$dir/env"
sql() { curl -sf "http://$CLICKHOUSE_HTTP/" --data-binary "$1"; }
# CPU of a process and of the session that it leads: ClickHouse's library is a child of what supervises it
ticks() { cat /proc/[0-9]*/stat 2>/dev/null | sed 's/(.*)/x/' | awk -v s="$1" '$1 == s || $6 == s {n += $14 + $15} END {print n}'; }
hz=$(getconf CLK_TCK)

feed() { # name group-of-simulate-arguments...
  local name=$1
  shift
  sed "s/database: .*/database: bench_$name/; s/group: .*/group: bench_$name/; s/agent\.events\./$name.events./" "$dir/agentrisk.yaml" >"$dir/$name.yaml"
  bin/agentrisk migrate --config "$dir/$name.yaml" >/dev/null
  bin/agentrisk simulate --config "$dir/$name.yaml" --to kafka "$@" 2>/dev/null
  local ch0 n=0 last=-1 same=0 began rss
  ch0=$(ticks "$(cut -d' ' -f1 "$dir/clickhouse.pid")")
  began=$(date +%s.%N)
  bin/agentrisk run --config "$dir/$name.yaml" >"$dir/$name.log" 2>&1 &
  pid=$!
  while [ "$same" -lt 16 ]; do # a server that is busy merging takes its time
    sleep 0.5
    n=$(sql "SELECT count() FROM bench_$name.verdicts")
    if [ "$n" = "$last" ] && [ "$n" -gt 0 ]; then same=$((same + 1)); else same=0; fi
    last=$n
  done
  local wall cpu ch
  wall=$(echo "$(date +%s.%N) - $began - 8" | bc)
  cpu=$(ticks "$pid")
  rss=$(awk '/VmHWM/ {print int($2 / 1024)}' "/proc/$pid/status")
  ch=$(($(ticks "$(cut -d' ' -f1 "$dir/clickhouse.pid")") - ch0))
  kill -TERM "$pid"
  wait "$pid" || true
  pid=
  awk -v name="$name" -v n="$n" -v cpu="$cpu" -v hz="$hz" -v wall="$wall" -v rss="$rss" -v ch="$ch" 'BEGIN {
    printf "| %s | %d | %.0f | %.1f | %.0f | %d | %.1f |\n", name, n, n / (cpu / hz), cpu / hz / n * 1e6, n / wall, rss, ch / hz / n * 1e6 }'
}

echo
echo "commit $(git describe --always --dirty 2>/dev/null), $(nproc) cores, $(go version | cut -d' ' -f3), $(date -u +%F)"
echo "| feed | events | events/s and core | own CPU µs/event | events/s, wall | peak RSS MiB | ClickHouse CPU s/million rows |"
echo "|---|---|---|---|---|---|---|"
feed labelled --seed 1 --events "${EVENTS:-400000}" --agents 2000
if [ -n "${DATA:-}" ]; then
  args=()
  for f in "$DATA"/*.events.ndjson.gz; do args+=(--file "$f"); done
  feed recorded "${args[@]}"
fi
