#!/usr/bin/env bash
# docker-compose.yml, really brought up: the simulated rows stand in ClickHouse, reconcile finds nothing, pages arrived,
# Prometheus scrapes and evaluates every alert, a broken feed is explained, another image and the first one again go on
# where the one before ended, Ctrl-C and `down` leave nothing. Under a project name and on ports of its
# own, so that it disturbs no other stack of the machine. Where it cannot be run it says NOT RUN and why, with status 0;
# with REQUIRE=1 that fails.
#
# KAFKA_IMAGE, CLICKHOUSE_IMAGE, PROMETHEUS_IMAGE and GO_IMAGE (any with a shell: the program is built outside) name other
# images than the official ones. Without PROMETHEUS_IMAGE the prometheus on the PATH is wrapped into one where there is one,
# else the official one is taken. Grafana is not brought up: its dashboards' queries are asked of Prometheus and, in
# the Go tests, of ClickHouse.
set -euo pipefail
cd "$(dirname "$0")/.."
say() { printf '== %s (%ss)\n' "$*" "$SECONDS"; }
not_run() {
  echo "compose: NOT RUN: $*"
  [ "${REQUIRE:-}" != 1 ] || exit 1
  exit 0
}

export KAFKA_IMAGE=${KAFKA_IMAGE:-apache/kafka:4.3.1}
export CLICKHOUSE_IMAGE=${CLICKHOUSE_IMAGE:-clickhouse/clickhouse-server:26.7}
export EVENTS=${EVENTS:-20000}
docker=${DOCKER:-docker}
command -v "$docker" >/dev/null || not_run "no docker: install Docker, or Debian's packages docker.io and docker-compose"
why=$("$docker" version --format '{{.Server.Version}}' 2>&1) || not_run "no engine answers (DOCKER_HOST=${DOCKER_HOST:-}): $why"
if "$docker" compose version >/dev/null 2>&1; then compose=("$docker" compose); elif command -v docker-compose >/dev/null; then compose=(docker-compose); else
  not_run "neither docker compose nor docker-compose: apt-get install docker-compose"
fi
have() { "$docker" image inspect "$1" >/dev/null 2>&1 || "$docker" pull -q "$1" >/dev/null 2>&1; }
for image in "$KAFKA_IMAGE" "$CLICKHOUSE_IMAGE"; do
  have "$image" || not_run "the image $image cannot be had here: set KAFKA_IMAGE and CLICKHOUSE_IMAGE to images of the same interface"
done
say "engine $why, $("${compose[@]}" version --short 2>/dev/null || true), $KAFKA_IMAGE, $CLICKHOUSE_IMAGE"

tmp=$(mktemp -d)
project=agentrisk-test-$$
export AGENTRISK_IMAGE=$project
export COMPOSE_PROJECT_NAME=$project COMPOSE_HTTP_TIMEOUT=120
wrapped=
foreground=
finish() {
  status=$?
  trap '' INT TERM
  [ -z "$foreground" ] || kill -INT "$foreground" 2>/dev/null || true
  if [ "$status" != 0 ]; then "${compose[@]}" --profile monitoring logs --no-color --tail=40 2>&1 | tail -200 || true; fi
  "${compose[@]}" --profile monitoring down -v --remove-orphans --timeout 20 >/dev/null 2>&1 || true
  # The network's name was chosen by compose; what carries the project's label is ours.
  "$docker" rmi -f "$project" "$project-next" ${wrapped:+"$wrapped"} >/dev/null 2>&1 || true
  rm -rf "$tmp"
  exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

free_port() { # a port that is free now and was not given out before
  local p
  while :; do
    p=$((20000 + RANDOM % 12000))
    if ! grep -qx "$p" "$tmp/ports" 2>/dev/null && ! (exec 3<>"/dev/tcp/127.0.0.1/$p") 2>/dev/null; then
      echo "$p" | tee -a "$tmp/ports"
      return
    fi
  done
}
for name in KAFKA_PORT CLICKHOUSE_PORT CLICKHOUSE_HTTP_PORT AGENTRISK_PORT RECEIVE_PORT PROMETHEUS_PORT; do
  export "$name=$(free_port)"
done

say "the image"
# The build stage only copies the program: any image with a shell serves, and the broker's is here already.
IMAGE=$project DOCKER=$docker GO_IMAGE=${GO_IMAGE:-$KAFKA_IMAGE} deploy/image.sh
"$docker" image inspect --format 'user {{.Config.User}}, {{.Size}} bytes, health check {{.Config.Healthcheck.Test}}' "$project"
"$docker" run --rm --read-only --network none "$project" version

monitoring=
if [ -z "${PROMETHEUS_IMAGE:-}" ] && command -v prometheus >/dev/null; then
  # The program of this machine with the libraries that it loads, under the official image's paths.
  say "an image around $(command -v prometheus)"
  mkdir -p "$tmp/p/bin" "$tmp/p/prometheus"
  chmod 777 "$tmp/p/prometheus"
  cp "$(command -v prometheus)" "$tmp/p/bin/prometheus"
  ldd "$(command -v prometheus)" | grep -o '/[^ ]*' | while read -r lib; do mkdir -p "$tmp/p$(dirname "$lib")" && cp -L "$lib" "$tmp/p$lib"; done
  printf 'FROM scratch\nCOPY . /\nUSER 65534\nWORKDIR /prometheus\nENTRYPOINT ["/bin/prometheus"]\n' >"$tmp/Dockerfile"
  wrapped=$project-prometheus
  "$docker" build -q -f "$tmp/Dockerfile" -t "$wrapped" "$tmp/p" >/dev/null
  export PROMETHEUS_IMAGE=$wrapped monitoring=1
elif have "${PROMETHEUS_IMAGE:-prom/prometheus:v3.5.0}"; then
  monitoring=1
else
  echo "Prometheus: NOT RUN: neither a prometheus on the PATH nor its image"
fi

say "docker compose up"
# Again where it failed: on a busy machine a new broker may take longer to make its topics than `migrate` waits.
for try in 1 2 3; do
  if "${compose[@]}" up -d --no-build kafka clickhouse migrate receive run simulate ${monitoring:+prometheus} >"$tmp/up" 2>&1; then break; fi
  cat "$tmp/up"
  [ "$try" != 3 ] || exit 1
done

sql() { curl -sf -u "agentrisk:for-this-machine-only" "http://127.0.0.1:$CLICKHOUSE_HTTP_PORT/?database=agentrisk" --data-binary "$1"; }
until_true() { # what, seconds, command...
  local what=$1 end=$((SECONDS + $2))
  shift 2
  until "$@"; do
    [ "$SECONDS" -lt "$end" ] || { echo "did not come true: $what" >&2; return 1; }
    sleep 0.5
  done
}
stored() { [ "$(sql 'SELECT count() FROM verdicts' 2>/dev/null)" = "$EVENTS" ]; }
until_true "$EVENTS rows stand in ClickHouse" 600 stored
say "$EVENTS simulated events, $(sql 'SELECT count() FROM verdicts') rows, $(sql 'SELECT uniqExact(topic, partition, epoch, offset, item) FROM verdicts') origins"

settled() { "${compose[@]}" exec -T run /agentrisk reconcile 2>&1 | tee "$tmp/reconcile" | grep -q ' 0 findings'; }
until_true "reconcile finds nothing" 300 settled || { cat "$tmp/reconcile"; exit 1; }
tail -1 "$tmp/reconcile"

paged() { curl -sf "http://127.0.0.1:$RECEIVE_PORT/" >"$tmp/pages" && ! grep -q '"pages":0' "$tmp/pages"; }
until_true "pages arrive" 300 paged
say "pages: $(cat "$tmp/pages")"
grep -q '"refused":0' "$tmp/pages"
"${compose[@]}" exec -T run /agentrisk health
# Nobody's user, and a root that cannot be written.
"$docker" inspect --format 'run: user {{.Config.User}}, read-only root {{.HostConfig.ReadonlyRootfs}}, capabilities dropped {{.HostConfig.CapDrop}}' "$("${compose[@]}" ps -q run)" | tee "$tmp/how"
grep -q 'user 65532:65532, read-only root true' "$tmp/how"

if [ -n "$monitoring" ]; then
  say "Prometheus"
  AGENTRISK_PROMETHEUS=http://127.0.0.1:$PROMETHEUS_PORT ${GO:-go} test -count=1 -v -run TestComposedPrometheus ./cmd/agentrisk
fi

say "a broken feed"
agentrisk() { "${compose[@]}" exec -T run /agentrisk "$@"; }
agentrisk simulate --to kafka --file - <<'END'
{"id": "b1", "time": "2026-11-01T08:00:00Z", "provider": "huawei_cloud", "tenant.id": "t1", "agent.id": "a1", "kind": "tool_call", "tool.name": "read_file"}
{"id": "b2", "time": "2026-11-01T08:00:01Z", "provider": "huawei_cloud", "tenant.id": "t1", "agent.id": "a1", "kind":
END
rows=$((EVENTS + 1))
explained() { agentrisk dlq list | tee "$tmp/dlq" | grep -q '^invalid_json  *agent.events.huawei_cloud  *1  *1 '; }
until_true "dlq list counts the broken line" 300 explained || { cat "$tmp/dlq"; exit 1; }
cat "$tmp/dlq"
counted() { curl -sf "http://127.0.0.1:$AGENTRISK_PORT/metrics" | grep '^agentrisk_dead_letters_total{reason="invalid_json"} 1$'; }
until_true "the metric counts it" 60 counted
agentrisk check --topic agent.events.huawei_cloud --records 100 >"$tmp/check" && code=0 || code=$?
grep -m 2 invalid_json "$tmp/check" && [ "$code" = 3 ] || { cat "$tmp/check"; echo "check ended with status $code"; exit 1; }
agentrisk dlq discard --reason-is invalid_json --reason "cut off at the provider"

ready() { "$docker" ps --filter "label=com.docker.compose.project=$project" --filter label=com.docker.compose.service=run --filter health=healthy -q | grep -q .; }
COMMIT=next IMAGE=$project-next DOCKER=$docker GO_IMAGE=${GO_IMAGE:-$KAFKA_IMAGE} deploy/image.sh
for image in "$project-next" "$project"; do
  say "the image $image takes over"
  AGENTRISK_IMAGE=$image "${compose[@]}" up -d --no-build run >"$tmp/up" 2>&1 || { cat "$tmp/up"; exit 1; }
  until_true "$image is healthy" 300 ready
  "$docker" inspect --format '{{.Config.Image}}' "$("${compose[@]}" ps -q run)" | grep -x "$image"
  agentrisk version
  agentrisk simulate --to kafka --seed "$rows" --events 1000
  rows=$((rows + 1000))
  stored() { [ "$(sql 'SELECT count() FROM verdicts' 2>/dev/null)" = "$rows" ]; }
  until_true "$rows rows" 300 stored
  until_true "reconcile finds nothing" 300 settled || { cat "$tmp/reconcile"; exit 1; }
  tail -1 "$tmp/reconcile"
done

say "a clean stop, and up again"
"${compose[@]}" stop run >/dev/null 2>&1
code=$("$docker" inspect --format '{{.State.ExitCode}}' "$("$docker" ps -aq --filter "label=com.docker.compose.project=$project" --filter label=com.docker.compose.service=run)")
[ "$code" = 0 ] || { echo "run ended with status $code"; exit 1; }
"${compose[@]}" --profile monitoring down --timeout 20 >/dev/null 2>&1 # the volumes stay

# In the foreground, as a user has it; EVENTS=0 so that what the volumes hold is what is there. Job control gives it a
# process group, and Ctrl-C at a terminal is SIGINT to that.
set -m
EVENTS=0 "${compose[@]}" up --no-build kafka clickhouse migrate receive run >"$tmp/up.log" 2>&1 &
foreground=$!
set +m
until_true "run is healthy again" 600 ready || { tail -30 "$tmp/up.log"; exit 1; }
[ "$(sql 'SELECT count() FROM verdicts')" = "$rows" ] || { echo "rows changed over a restart: $(sql 'SELECT count() FROM verdicts')"; exit 1; }
say "Ctrl-C"
kill -INT -- "-$foreground"
wait "$foreground" || true
foreground=
running=$("$docker" ps -q --filter "label=com.docker.compose.project=$project")
[ -z "$running" ] || { echo "still running after Ctrl-C: $running"; exit 1; }
"${compose[@]}" --profile monitoring down -v --remove-orphans >/dev/null 2>&1
for kind in container network volume; do
  left=$("$docker" "$kind" ls -q $([ "$kind" != container ] || echo -a) --filter "label=com.docker.compose.project=$project")
  [ -z "$left" ] || { echo "down left a $kind: $left"; exit 1; }
done
say "nothing is left"
