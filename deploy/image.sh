#!/usr/bin/env bash
# The image around a static binary that is built here: nothing is downloaded inside of the build. GO_IMAGE needs no Go for
# that, only a shell. Prints the image's name. IMAGE=name, PLATFORM=arch of the binary (amd64, arm64), COMMIT=what `version` says.
set -euo pipefail
cd "$(dirname "$0")/.."
commit=${COMMIT:-$(git describe --always --dirty 2>/dev/null || echo unknown)}
arch=${PLATFORM:-$(${GO:-go} env GOARCH)}
image=${IMAGE:-agentrisk:$commit}
CGO_ENABLED=0 GOOS=linux GOARCH=$arch ${GO:-go} build -trimpath -ldflags "-s -w -X main.commit=$commit" -o bin/image/agentrisk ./cmd/agentrisk
${DOCKER:-docker} build -q -f deploy/Dockerfile --build-arg GO_IMAGE="${GO_IMAGE:-golang:1.26}" --build-arg PREBUILT=bin/image/agentrisk \
  --build-arg COMMIT="$commit" -t "$image" . >&2
echo "$image"
