#!/usr/bin/env bash
# lint.sh: gofmt, go vet, and staticcheck of the pinned version with the rules that staticcheck.conf names.
set -euo pipefail
cd "$(dirname "$0")/.."
echo "lint: gofmt"
unformatted=$(gofmt -l $(git ls-files '*.go'))
[ -z "$unformatted" ] || { echo "$unformatted"; echo "lint: run gofmt -w on these" >&2; exit 1; }
echo "lint: go vet"
go vet ./...
(cd cmd/dns && go vet ./...)
(cd e2e/conformance && go vet ./...)
echo "lint: staticcheck $(cat hack/staticcheck.version)"
mkdir -p bin/.tools
GOBIN=$PWD/bin/.tools go install "honnef.co/go/tools/cmd/staticcheck@$(cat hack/staticcheck.version)"
bin/.tools/staticcheck ./...
