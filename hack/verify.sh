#!/usr/bin/env bash
# verify.sh: all checks but end-to-end tests; generated files must come out as they are in the repository.
set -euo pipefail
cd "$(dirname "$0")/.."
hack/lint.sh
echo "verify: generated files"
before=$(git status --porcelain)
make --no-print-directory generate
[ "$before" = "$(git status --porcelain)" ] || { git status --short; echo "verify: make generate changed files" >&2; exit 1; }
echo "verify: every module's requirements are as they should be"
go mod verify >/dev/null
hack/test.sh unit
