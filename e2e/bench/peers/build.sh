#!/usr/bin/env bash
# build.sh DIR: builds upstream's programs into DIR, one after the other, keeping what is there. FORCE=1 builds all anew.
# Some 15 minutes on two cores with an empty build cache.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
dir=$(cd "$1" && pwd)
version=v1.37.2
base=k8s.io/component-base/version
# containerd keeps its version in a variable of its own, and the kubelet asks for it.
ldflags="-s -w -X $base.gitVersion=$version -X $base.gitMajor=1 -X $base.gitMinor=37 -X $base.gitTreeState=clean
	-X k8s.io/client-go/pkg/version.gitVersion=$version -X github.com/containerd/containerd/v2/version.Version=v2.2.9"
export CGO_ENABLED=0 GOFLAGS=-buildvcs=false
programs=(
	"etcd            .          go.etcd.io/etcd/server/v3"
	"kube-apiserver  .          k8s.io/kubernetes/cmd/kube-apiserver"
	"kube-scheduler  .          k8s.io/kubernetes/cmd/kube-scheduler"
	"kube-controller-manager .  k8s.io/kubernetes/cmd/kube-controller-manager"
	"kube-proxy      .          k8s.io/kubernetes/cmd/kube-proxy"
	"kubectl         .          k8s.io/kubernetes/cmd/kubectl"
	"containerd      containerd github.com/containerd/containerd/v2/cmd/containerd"
	"containerd-shim-runc-v2 containerd github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2"
	"ctr             containerd github.com/containerd/containerd/v2/cmd/ctr"
	"kubelet         .          k8s.io/kubernetes/cmd/kubelet"
)
n=0
for line in "${programs[@]}"; do
	read -r program module package <<<"$line"
	n=$((n + 1))
	if [ -x "$dir/$program" ] && [ -z "${FORCE:-}" ]; then continue; fi
	start=$SECONDS
	printf 'peers: %d of %d: %s ...' "$n" "${#programs[@]}" "$program" >&2
	# Beside the target first: what is cut short must not look built. Without these drivers containerd needs no C libraries.
	(cd "$here/$module" && go build -p "${JOBS:-2}" -tags no_btrfs,no_devmapper,no_zfs,no_aufs -ldflags "$(tr '\n' ' ' <<<"$ldflags")" \
		-o "$dir/.$program" "$package")
	mv "$dir/.$program" "$dir/$program"
	printf ' %d s\n' $((SECONDS - start)) >&2
done
