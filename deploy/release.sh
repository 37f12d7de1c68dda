#!/usr/bin/env bash
# release.sh DIR: static binaries for linux amd64 and arm64 and darwin arm64, their SBOMs (CycloneDX, of what is linked
# into each) and SHA256SUMS. The same commit gives the same bytes on any machine with the same Go: no paths, no time, no
# user stand in them. VERIFY=1 builds all of it a second time from a copy of the commit in another folder and compares.
set -euo pipefail
cd "$(dirname "$0")/.."
out=$(mkdir -p "${1:?want a folder}" && cd "$1" && pwd)
go=${GO:-go}
gomod=github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0
commit=$(git describe --always --dirty)
case $commit in *-dirty) [ "${DIRTY:-}" = 1 ] || { echo "release: there are changes that are not committed (DIRTY=1 builds all the same)" >&2; exit 1; } ;; esac
export CGO_ENABLED=0 GOFLAGS=-trimpath GOWORK=off
tools=$PWD/.cache/bin
mkdir -p "$tools"
[ -x "$tools/cyclonedx-gomod" ] || GOBIN=$tools $go install "$gomod"

build() { # source folder, output folder
  local platform name
  for platform in linux/amd64 linux/arm64 darwin/arm64; do
    name=agentrisk_${commit}_${platform/\//_}
    (cd "$1" && GOOS=${platform%/*} GOARCH=${platform#*/} $go build -buildvcs=false -ldflags "-s -w -buildid= -X main.commit=$commit" -o "$2/$name" ./cmd/agentrisk)
    # The SBOM is read from the binary itself. Without serial number and time it is as reproducible as the binary.
    "$tools/cyclonedx-gomod" bin -json -std -noserial -version "$commit" -output "$2/$name.cdx.json" "$2/$name" 2>/dev/null
    grep -v '"timestamp":' "$2/$name.cdx.json" >"$2/$name.tmp" && mv "$2/$name.tmp" "$2/$name.cdx.json"
  done
  (cd "$2" && sha256sum agentrisk_* >SHA256SUMS)
}

rm -f "$out"/agentrisk_* "$out/SHA256SUMS"
build "$PWD" "$out"
cat "$out/SHA256SUMS"
$go version
if [ "${VERIFY:-}" = 1 ]; then
  tmp=$(mktemp -d)
  trap 'rm -rf "$tmp"' EXIT
  mkdir "$tmp/elsewhere" "$tmp/out"
  export GOCACHE=$tmp/cache # nothing compiled before is taken
  git archive HEAD | tar -x -C "$tmp/elsewhere"
  build "$tmp/elsewhere" "$tmp/out"
  cmp "$out/SHA256SUMS" "$tmp/out/SHA256SUMS" || { echo "release: not reproducible" >&2; diff "$out/SHA256SUMS" "$tmp/out/SHA256SUMS" >&2; exit 1; }
  echo "reproducible: a second build in another folder has the same checksums"
fi
