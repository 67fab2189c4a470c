#!/usr/bin/env bash
# up.sh: from a clean checkout to a cluster that runs a demo (`make up`). Each step says what it does and how long it took.
set -euo pipefail
cd "$(dirname "$0")/.."
begin=$(date +%s.%N)
say() { printf '%6.1fs  %s\n' "$(echo "$(date +%s.%N) - $begin" | bc -l 2>/dev/null || awk -v a="$(date +%s.%N)" -v b="$begin" 'BEGIN{print a-b}')" "$*"; }
fail() { echo "make up: $*" >&2; exit 1; }

[ "$(uname -s)" = Linux ] || fail "machines are made of Linux namespaces; this is $(uname -s)"
[ "$(id -u)" = 0 ] || fail "needs root: sudo make up"
command -v go >/dev/null || fail "needs Go 1.26 or later: https://go.dev/dl/"
hack/need.sh runc conmon iptables busybox:busybox-static make git
hack/need.sh crun || say "no crun here: runc does its work, at twice the processor time"
say "this machine has what is needed"
make --no-print-directory build
say "programs built"
make --no-print-directory images
say "images built"
bin/skiff up
export KUBECONFIG=/var/lib/skiff/clusters/skiff/admin.conf
bin/skiff apply -f deploy/demo/web.yaml
bin/skiff rollout status deployment/web --timeout=120s
say "demo runs"
echo
bin/skiff get nodes -o wide
echo
bin/skiff get pods -o wide
echo
address=$(bin/skiff get service web -o jsonpath='{.spec.clusterIP}')
echo "The Service web has the address $address. Asked for from within the machine node-1 until three pods have answered:"
declare -A answers=()
for _ in $(seq 60); do
	answer=$(bin/skiff machine exec node-1 -- busybox timeout 2 busybox wget -q -O - "http://$address/") || continue
	answers[$answer]=1
	[ ${#answers[@]} -lt 3 ] || break
done
printf '  %s\n' "${!answers[@]}"
[ ${#answers[@]} -ge 3 ] || fail "only ${#answers[@]} pods answered"
echo
echo "From this host, through the API server:"
echo "  skiff get --raw /api/v1/namespaces/default/services/web:http/proxy/"
printf '  -> %s\n' "$(bin/skiff get --raw /api/v1/namespaces/default/services/web:http/proxy/)"
cat <<TEXT

Your kubeconfig has the context skiff-skiff, so kubectl works as it is; so does bin/skiff with the same verbs:
  kubectl get pods --all-namespaces
  bin/skiff status
  bin/skiff machine exec node-1 -- bash
  make down                    # ends all of it
TEXT
say "done"
