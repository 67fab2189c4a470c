#!/usr/bin/env bash
# test-vm.sh: boots Debian's cloud kernel, which has cgroup v2 alone, in an emulated machine whose whole disk is a RAM
# disk made here, and runs `skiff up`, the demo and some end-to-end tests in it. Emulated means slow (no KVM is needed, and
# none is used): half an hour. VM_TESTS chooses the tests, VM_MEMORY the machine's megabytes, VM_TIMEOUT (seconds) when it is given
# up; VM_SCRIPT is a script for the machine to run instead.
set -euo pipefail
cd "$(dirname "$0")/.."
tests=${VM_TESTS:-'TestContainersOfAPodShare|TestSetImageRestartsOneContainer|TestOutOfMemoryIsSaid|TestKilledNodeAgentDisturbsNoContainer'}
memory=${VM_MEMORY:-4096}
work=$PWD/bin/.vm
begin=$SECONDS
say() { printf '%5ds  %s\n' $((SECONDS - begin)) "$*"; }
fail() { echo "test-vm: $*" >&2; exit 1; }

[ "$(uname -m)" = x86_64 ] || fail "knows x86-64 alone; this is $(uname -m)"
hack/need.sh qemu-system-x86_64:qemu-system-x86 cpio busybox:busybox-static runc crun conmon iptables gzip depmod:kmod
mkdir -p "$work"

# The kernel, from Debian's package, not installed.
package=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends:/{print $2; exit}')
[ -n "$package" ] || { apt-get update -qq; package=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends:/{print $2; exit}'); }
[ -n "$package" ] || fail "apt knows no linux-image-cloud-amd64"
if [ ! -d "$work/kernel-$package" ]; then
	say "kernel: $package"
	(cd "$work" && apt-get download -qq "$package" && dpkg -x "$package"_*.deb "kernel-$package.new" && mv "kernel-$package.new" "kernel-$package" && rm -f "$package"_*.deb)
fi
kernel=$(ls "$work/kernel-$package"/boot/vmlinuz-*)
release=${kernel##*/vmlinuz-}

say "tests and kubectl"
go build -buildvcs=false -o bin/ ./e2e/kubectl
go test -c -o "$work/e2e.test" ./e2e
# What is different on cgroup v2 has tests of its own: control groups, and the runtime's contract with both OCI runtimes.
go test -c -o "$work/cgroups.test" ./nodeagent/cgroups
go test -c -o "$work/oci.test" ./nodeagent/runtime/oci

say "RAM disk"
root=$work/root
rm -rf "$root"
mkdir -p "$root"/{bin,sbin,usr/bin,usr/sbin,usr/lib,proc,sys,dev,run,tmp,etc,root,var/lib,var/log,opt,new,lib,lib64,skiff/bin,skiff/e2e,skiff/deploy}
chmod 1777 "$root/tmp"
cp /bin/busybox "$root/bin/"
for applet in $(/bin/busybox --list); do
	[ -e "$root/bin/$applet" ] || ln -s busybox "$root/bin/$applet"
done
add() { # PROGRAM...: copies programs and the libraries they load to where they are here
	for f in "$@"; do
		f=$(command -v "$f")
		mkdir -p "$root$(dirname "$f")"
		cp -L "$f" "$root$f"
		ldd "$f" 2>/dev/null | grep -o '/[^ ]*' | while read -r lib; do
			mkdir -p "$root$(dirname "$lib")"
			cp -Ln "$lib" "$root$lib"
		done
	done
}
PATH=$PATH:/usr/sbin add runc crun conmon xtables-nft-multi
for name in iptables iptables-save iptables-restore ip6tables ip6tables-save ip6tables-restore; do
	ln -sf "$(command -v xtables-nft-multi || echo /usr/sbin/xtables-nft-multi)" "$root/usr/sbin/$name"
done
cp -r --parents /usr/lib/x86_64-linux-gnu/xtables "$root"
# The modules that machines and pods ask for, with what these need; the rest of 250 MB stays out.
modules=$work/kernel-$package/lib/modules/$release
[ -e "$modules/modules.dep" ] || depmod -b "$work/kernel-$package" "$release"
wanted='overlay|veth|bridge|br_netfilter|nf_tables|nft_compat|nft_chain_nat|nft_counter|nf_nat|nf_conntrack|nf_conntrack_netlink|xt_[A-Za-z0-9_]+|ipt_[A-Za-z]+|ip_tables|x_tables|nf_reject_ipv4|nf_log_syslog|nft_[a-z_]+|dummy|vxlan|nfnetlink'
{ awk -F: -v w="/($wanted)\\.ko" '$1 ~ w {print $1; print $2}' "$modules/modules.dep" | tr ' ' '\n' | grep . | sort -u; } |
	while read -r m; do
		mkdir -p "$root/lib/modules/$release/$(dirname "$m")"
		cp "$modules/$m" "$root/lib/modules/$release/$m"
	done
cp "$modules"/modules.{dep,alias,symbols,builtin,order} "$root/lib/modules/$release/"
# The project as a checkout has it: programs, images, demo, tests.
cp bin/{apiserver,controller-manager,scheduler,nodeagent,proxy,pause,machine-init,skiff,kubectl} "$root/skiff/bin/"
cp -r bin/images "$root/skiff/bin/"
cp -r deploy/demo "$root/skiff/deploy/"
cp go.mod "$root/skiff/"
cp "$work"/{e2e,cgroups,oci}.test "$root/skiff/e2e/"
echo "root:x:0:0:root:/root:/bin/sh" >"$root/etc/passwd"
echo "root:x:0:" >"$root/etc/group"
echo "127.0.0.1 localhost" >"$root/etc/hosts"
printf 'PRETTY_NAME="RAM disk of make test-vm"\nID=skiff-vm\n' >"$root/etc/os-release"
: >"$root/etc/resolv.conf"

cat >"$root/init" <<'INIT'
#!/bin/sh
# From the initial RAM disk into a tmpfs: pivot_root, which machines and containers need, does not work on the former.
mount -t tmpfs -o size=90%,mode=755 tmpfs /new
for d in /*; do [ "$d" = /new ] || cp -a "$d" /new/; done
mkdir -p /new/new
exec switch_root /new /run-tests
INIT
cat >"$root/run-tests" <<RUN
#!/bin/sh
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root SKIFF_EGRESS=false SKIFF_E2E_PATIENCE=${VM_PATIENCE:-20}
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount --make-rshared /
ip link set lo up
hostname vm
for m in overlay veth bridge br_netfilter nf_tables nft_compat nft_chain_nat xt_comment xt_conntrack xt_MASQUERADE xt_mark xt_statistic ipt_REJECT xt_tcpudp xt_addrtype xt_nat xt_multiport xt_recent; do modprobe \$m 2>/dev/null; done
cd /skiff
echo "VM: kernel \$(uname -r), cgroup controllers: \$(cat /sys/fs/cgroup/cgroup.controllers)"
. /script
sync
poweroff -f
RUN
cat >"$work/script" <<RUN
run() { echo "VM: \$(cut -d. -f1 /proc/uptime)s \$*"; "\$@"; code=\$?; [ \$code = 0 ] || { echo "VM: FAILED with \$code: \$*"; explain; poweroff -f; }; }
# What a failure leaves to be read: the cluster if it is up, and the last lines of its programs.
explain() {
	bin/skiff get pods -A -o wide 2>&1 | tail -n 12
	bin/skiff get events -A 2>&1 | tail -n 12
	for c in nodeagent apiserver controller-manager scheduler proxy; do echo "-- \$c"; bin/skiff machine exec node-1 -- busybox tail -n 5 /var/log/skiff/\$c.log 2>&1; done
}
# A test that waits says nothing for minutes here; so the pods are shown now and then.
watch() { while sleep 60; do echo "VM: \$(cut -d. -f1 /proc/uptime)s \$(KUBECONFIG=\$(ls /var/lib/skiff/clusters/*/admin.conf 2>/dev/null | head -n 1) bin/skiff get pods -A --no-headers --request-timeout=50s 2>&1 | awk '{printf "%s %s %s; ", \$2, \$3, \$4}')"; done; }
run e2e/cgroups.test -test.v
run e2e/oci.test -test.v -test.run Contract -test.timeout 40m
watch &
run bin/skiff up --timeout 20m
run bin/skiff apply -f deploy/demo/web.yaml
run bin/skiff rollout status deployment/web --timeout=900s
run bin/skiff get nodes,pods,services -o wide
address=\$(bin/skiff get service web -o 'jsonpath={.spec.clusterIP}')
for i in 1 2 3; do run bin/skiff machine exec node-1 -- busybox wget -qO- http://\$address/; done
run bin/skiff status
ps -o args | grep -o '[-]-runtime /[^ ]*' | sort | uniq -c
run bin/skiff down
cd e2e
run ./e2e.test -test.v -test.parallel 1 -test.timeout 70m -test.run '^($tests)\$'
echo "VM: ALL PASSED"
RUN
cp "${VM_SCRIPT:-$work/script}" "$root/script"
chmod +x "$root/init" "$root/run-tests"
(cd "$root" && find . | cpio -o -H newc --quiet | gzip -1) >"$work/initrd.gz"

say "booting $release ($(du -h "$work/initrd.gz" | cut -f1) RAM disk, $memory MB)"
# One processor: two emulated ones on a busy host wait for each other's interrupts until the kernel believes them stuck. A
# model without AVX, which is dear to emulate, and with what speeds up TLS.
timeout "${VM_TIMEOUT:-5400}" qemu-system-x86_64 -accel tcg -cpu Westmere,+rdrand -smp 1 -m "$memory" -nic none -display none -no-reboot \
	-kernel "$kernel" -initrd "$work/initrd.gz" -append "console=ttyS0 quiet panic=-1 systemd.unified_cgroup_hierarchy=1" \
	-serial stdio -monitor none </dev/null | tee "$work/console.log" | tr -d '\r'
say "machine is off"
grep -q 'VM: ALL PASSED' "$work/console.log" || fail "see $work/console.log"
passed=$(grep -c -- '--- PASS' "$work/console.log" || true)
echo "$passed passed, 0 failed"
