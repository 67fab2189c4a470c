#!/usr/bin/env bash
# need.sh COMMAND[:PACKAGE]...: installs Debian packages for commands (or files, by path) that this machine lacks, or says
# that it cannot.
set -euo pipefail
missing=()
for want in "$@"; do
	command=${want%%:*} package=${want##*:}
	case $command in
	/*) [ -e "$command" ] || missing+=("$package") ;;
	*) PATH=$PATH:/usr/sbin:/sbin command -v "$command" >/dev/null || missing+=("$package") ;;
	esac
done
[ ${#missing[@]} -gt 0 ] || exit 0
echo "installing what is missing here: ${missing[*]}"
if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
	echo "need.sh: install these packages by hand: ${missing[*]} (this script does it as root on Debian and Ubuntu)" >&2
	exit 1
fi
apt-get update -qq || true # an old list is good enough if the network is not there
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
