#!/usr/bin/env bash
# test.sh all|unit|e2e: runs tests, shows go's own lines, and ends with the sum of what passed and failed.
set -uo pipefail
cd "$(dirname "$0")/.."
what=${1:-all}
export SKIFF_EGRESS=${SKIFF_TEST_EGRESS:-false} # no test leaves this machine
[ "$(id -u)" = 0 ] || { echo "test: tests make namespaces and mounts: run as root" >&2; exit 1; }
command -v go >/dev/null || { echo "test: needs Go 1.26 or later" >&2; exit 1; }
hack/need.sh runc crun conmon iptables ip:iproute2 busybox:busybox-static nft:nftables curl containerd || exit 1
# The runtime interface is tested on containerd, with the plug-ins that it has its networks from.
[ -x /opt/cni/bin/bridge ] || hack/need.sh /usr/lib/cni/bridge:containernetworking-plugins || exit 1
export CGO_ENABLED=0 # as the programs are built, so that nothing is compiled twice
log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0
lines=bin/.tools/testlines # built, since `go run` adds a line of its own to each failure
go build -o "$lines" ./hack/testlines || exit 1

run() { # NAME TIMEOUT PACKAGES..., of the module in $dir
	local name=$1 timeout=$2
	shift 2
	echo "== $name"
	# shellcheck disable=SC2086 # TESTFLAGS is a list
	go test -C "${dir:-.}" -json -timeout "$timeout" ${TESTFLAGS:-} "$@" | tee -a "$log" | "$lines" || status=1
}

if [ "$what" != e2e ]; then
	mapfile -t packages < <(go list ./... | grep -v '/e2e')
	run "packages" 20m "${packages[@]}"
	dir=e2e/conformance run "the conformance runner" 5m ./...
	dir=e2e/h2spec run "HTTP/2 by its conformance suite" 5m ./...
fi
if [ "$what" != unit ]; then
	if [ "$what" = all ]; then
		make --no-print-directory build images e2e-kubectl || exit 1
	fi
	run "end to end" 20m -count=1 ./e2e/...
fi
"$lines" -sum <"$log" || status=1
exit $status
