#!/usr/bin/env bash
# The alerts of deploy/prometheus and the dashboards' expressions, checked and tested with promtool: the one on the PATH
# (Debian's package prometheus), or with PROMTOOL=build one built from its Go module. Where there is none, it says so.
set -euo pipefail
cd "$(dirname "$0")/.."
version=v0.316.0 # of the module github.com/prometheus/prometheus: Prometheus 3.16
promtool=${PROMTOOL:-$(command -v promtool || true)}
if [ "$promtool" = build ]; then
  mkdir -p .cache/bin
  GOBIN=$PWD/.cache/bin ${GO:-go} install "github.com/prometheus/prometheus/cmd/promtool@$version"
  promtool=$PWD/.cache/bin/promtool
fi
if [ -z "$promtool" ]; then
  echo "alerts: NOT RUN: no promtool; apt-get install prometheus, or PROMTOOL=build make alerts"
  exit 0
fi
"$promtool" --version 2>&1 | head -1
AGENTRISK_PROMTOOL=$promtool ${GO:-go} test -count=1 -v -run 'TestMetricsNamedInDeployExist|TestAlertsWithPromtool' ./cmd/agentrisk
