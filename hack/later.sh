#!/usr/bin/env bash
# later.sh TARGET FOLDER WHAT: runs FOLDER/run.sh if the repository has it; else says plainly that it has not.
set -euo pipefail
if [ -x "$2/run.sh" ]; then
	echo "$1: $3"
	exec "$2/run.sh"
fi
echo "make $1: this version of Skiff has no program for it ($2/run.sh: $3)" >&2
exit 1
