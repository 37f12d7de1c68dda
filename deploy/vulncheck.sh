#!/usr/bin/env bash
# Known vulnerabilities that our code reaches. The database is Go's own, from vuln.go.dev, or where that cannot be reached
# from the module golang.org/x/vulndb, which module proxies carry. A finding in a module fails. One in Go's standard
# library is printed: the Go that builds a release decides, see the line "go version".
set -euo pipefail
cd "$(dirname "$0")/.."
govulncheck=golang.org/x/vuln/cmd/govulncheck@v1.9.0
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
db=https://vuln.go.dev
if ! curl -sfI -m 10 "$db/index/db.json" >/dev/null; then
  vulndb=$(cd "$tmp" && go mod download -json golang.org/x/vulndb@latest | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
  (cd "$tmp" && go run golang.org/x/vulndb/cmd/indexdb@latest -vulns "$vulndb/data/osv" -out "$tmp/db" 2>/dev/null)
  db=file://$tmp/db
  echo "database: ${vulndb##*/}"
fi
go version
status=0
for dir in . cmd/devstack; do
  echo "== $dir"
  go run -C "$dir" "$govulncheck" -db "$db" ./... >"$tmp/out" 2>&1 || true
  grep -E '^(No vulnerabilities|Your code|Vulnerability|=== Symbol)|Found in|Fixed in' "$tmp/out" || { cat "$tmp/out"; status=1; }
  if grep -A6 '^Vulnerability' "$tmp/out" | grep -q '^ *Module: '; then
    echo "a module that we use has a known vulnerability: go get the fixed version" >&2
    status=1
  fi
done
exit $status
