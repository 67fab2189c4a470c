#!/bin/sh
# Makes definitions.json: what OpenAPI says of every type that the API server serves. It reads the sources of the Go
# modules that go.mod names, so that descriptions and markers are those of the types that are compiled in.
# Usage: go generate ./apiserver/openapi
set -eu
cd "$(dirname "$0")/../../.."
version=$(go list -m -f '{{.Version}}' k8s.io/kube-openapi)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp" apiserver/openapi/generate/defs' EXIT
GOBIN="$tmp" GOFLAGS=-mod=mod sh -c "cd $tmp && go install k8s.io/kube-openapi/cmd/openapi-gen@$version"
api=k8s.io/api
set -- $api/admissionregistration/v1 $api/apps/v1 $api/authentication/v1 $api/authorization/v1 $api/autoscaling/v1 \
  $api/autoscaling/v2 $api/batch/v1 $api/certificates/v1 $api/coordination/v1 $api/core/v1 $api/discovery/v1 $api/events/v1 \
  $api/flowcontrol/v1 $api/networking/v1 $api/node/v1 $api/policy/v1 $api/rbac/v1 $api/resource/v1 $api/scheduling/v1 \
  $api/scheduling/v1alpha3 $api/storage/v1 $api/storagemigration/v1 \
  k8s.io/apimachinery/pkg/api/resource k8s.io/apimachinery/pkg/apis/meta/v1 k8s.io/apimachinery/pkg/runtime \
  k8s.io/apimachinery/pkg/util/intstr k8s.io/apimachinery/pkg/version \
  k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1 k8s.io/kube-aggregator/pkg/apis/apiregistration/v1
mkdir -p apiserver/openapi/generate/defs
"$tmp/openapi-gen" --output-dir apiserver/openapi/generate/defs --output-file defs.go --go-header-file /dev/null \
  --output-pkg github.com/skiff-project/skiff/apiserver/openapi/generate/defs --report-filename "$tmp/report" "$@"
go run -tags generate ./apiserver/openapi/generate > "$tmp/definitions.json"
mv "$tmp/definitions.json" apiserver/openapi/definitions.json
chmod 644 apiserver/openapi/definitions.json
