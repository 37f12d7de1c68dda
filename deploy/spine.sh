#!/usr/bin/env bash
# The spine: recorded events on Apache Kafka, two processes in one group, SIGKILL at ten random moments, ClickHouse
# killed twice. At the end every origin has exactly one row or one dead letter without FINAL, scores equal
# `agentrisk score` to the bit, and the ledger adds up.
set -euo pipefail
data=$1
seed=${SEED:-$RANDOM}
RANDOM=$seed
dir=$(mktemp -d)
pids=()
finish() {
  for p in "${pids[@]}"; do kill -9 "$p" 2>/dev/null || true; done
  bin/devstack down "$dir" || true
  rm -rf "$dir"
}
trap finish EXIT
trap 'exit 130' INT TERM

echo "spine: seed $seed, servers in $dir"
bin/devstack up "$dir" --kafka apache
. "$dir/env"
config=$dir/agentrisk.yaml
sql() { curl -sf "http://$CLICKHOUSE_HTTP/" --data-binary "$1"; }
files=("$data"/*.events.ndjson.gz)
events=$(zcat "${files[@]}" | wc -l)
providers=$(zcat "${files[@]}" | grep -o '"provider":"[^"]*"' | sort -u | cut -d'"' -f4)
n=$(wc -w <<<"$providers")
# 32 lanes over the providers' topics
sed -i "s/partitions: .*/partitions: $(((32 + n - 1) / n))/; s/^providers: .*/providers: [$(paste -sd, <<<"$providers")]/" "$config"
bin/agentrisk migrate --config "$config" >/dev/null
# The table as it is shipped merges doubled rows away in time; here they stay for who counts them.
ddl=$(sql "SHOW CREATE TABLE agentrisk.verdicts FORMAT TSVRaw")
sql "DROP TABLE agentrisk.verdicts SYNC"
sql "${ddl/ReplacingMergeTree/MergeTree}"
lanes=$(sql "SELECT 1" >/dev/null && echo $((n * ((32 + n - 1) / n))))
echo "spine: $events events, $n providers, $lanes lanes"

start() { bin/agentrisk run --config "$config" >>"$dir/run-$1.log" 2>&1 & pids[$1]=$!; }
start 0
start 1
args=()
for f in "${files[@]}"; do args+=(--file "$f"); done
bin/agentrisk simulate --config "$config" --to kafka "${args[@]}" --rate "${RATE:-2800}" &
publisher=$!
for i in $(seq 10); do
  sleep "$((5 + RANDOM % 6)).$((RANDOM % 10))"
  w=$((RANDOM % 2))
  kill -9 "${pids[$w]}" 2>/dev/null || true
  wait "${pids[$w]}" 2>/dev/null || true
  if [ "$i" = 3 ] || [ "$i" = 7 ]; then
    echo "spine: kill $i, process $w and ClickHouse, at $(sql 'SELECT count() FROM agentrisk.verdicts') rows"
    bin/devstack ctl "$dir" kill clickhouse
    sleep 2
  else
    echo "spine: kill $i, process $w, at $(sql 'SELECT count() FROM agentrisk.verdicts' || echo '?') rows"
  fi
  bin/devstack up "$dir" >/dev/null 2>&1 # starts what is not running
  start "$w"
done
wait "$publisher"
for _ in $(seq 240); do
  for w in 0 1; do kill -0 "${pids[$w]}" 2>/dev/null || start "$w"; done
  bin/devstack up "$dir" >/dev/null 2>&1
  total=$(sql "SELECT (SELECT uniqExact(topic, partition, offset, item) FROM agentrisk.verdicts) + (SELECT uniqExact(topic, partition, offset, item) FROM agentrisk.dead_letters)")
  [ "$total" -ge "$events" ] && break
  sleep 1
done
sleep 3
for w in 0 1; do kill -TERM "${pids[$w]}" 2>/dev/null || true; done
wait "${pids[0]}" "${pids[1]}" 2>/dev/null || true

echo "spine: rows and distinct origins, dead letters:"
sql "SELECT count(), uniqExact(topic, partition, offset, item), (SELECT uniqExact(topic, partition, offset, item) FROM agentrisk.dead_letters) FROM agentrisk.verdicts"
echo "spine: ledger: ranges, rows, of them settled from rows that stood already:"
sql "SELECT count(), sum(rows), sumIf(rows, status = 'mixed') FROM (SELECT DISTINCT topic, partition, epoch, from_offset, to_offset, status, rows FROM agentrisk.batches WHERE status != 'idle')"
bin/agentrisk reconcile --config "$config"
echo "spine: scores against agentrisk score"
bin/agentrisk score "${files[@]}" 2>/dev/null |
  python3 -c 'import json,sys
for l in sys.stdin:
    v = json.loads(l)
    print(v["event_id"], "%.3f" % v["score"], "%.3f" % v["session_score"], "%.3f" % v["agent_score"], v["level"], ",".join(h["rule"] + ":" + "%.3f" % h["contribution"] for h in v["hits"]))' | sort >"$dir/score.txt"
sql "SELECT event_id, toDecimalString(score, 3), toDecimalString(session_score, 3), toDecimalString(agent_score, 3), level, arrayStringConcat(arrayMap((r, c) -> concat(r, ':', toDecimalString(c, 3)), hits.rule, hits.contribution), ',') FROM agentrisk.verdicts FORMAT TSV" | tr '\t' ' ' | sort >"$dir/rows.txt"
if diff -q "$dir/score.txt" "$dir/rows.txt" >/dev/null; then
  echo "spine: $(wc -l <"$dir/rows.txt") verdicts, all equal to the bit"
else
  diff "$dir/score.txt" "$dir/rows.txt" >"$dir/differ.txt" || true
  sed -n 1,10p "$dir/differ.txt"
  echo "spine: $(grep -c '^[<>]' "$dir/differ.txt") lines differ"
  exit 1
fi
