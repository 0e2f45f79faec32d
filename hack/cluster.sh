#!/bin/sh
# Runs the local cluster kit from the checkout: hack/cluster.sh up
# It builds the kit itself first, when its source is newer than its binary.
set -eu
hack=$(cd "$(dirname "$0")" && pwd)
cache=${DIZUO_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/dizuo}
kit=$cache/bin/cluster
if [ ! -x "$kit" ] || [ -n "$(find "$hack/cluster" -newer "$kit" -type f)" ]; then
	mkdir -p "$cache/bin"
	(cd "$hack/cluster" && CGO_ENABLED=0 GOWORK=off ${DIZUO_GO:-go} build -buildvcs=false -o "$kit" . && touch "$kit")
fi
DIZUO_HACK=$hack exec "$kit" "$@"
