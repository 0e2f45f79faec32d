#!/bin/sh
# Runs the local cluster kit from the checkout: hack/cluster.sh up
# It builds the kit itself first, when its binary is of another source: several checkouts share the cache.
set -eu
hack=$(cd "$(dirname "$0")" && pwd)
cache=${DIZUO_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/dizuo}
kit=$cache/bin/cluster
source=$(cd "$hack/cluster" && find . -type f | LC_ALL=C sort | xargs sha256sum | sha256sum)
if [ ! -x "$kit" ] || [ "$source" != "$(cat "$kit.source" 2>/dev/null)" ]; then
	mkdir -p "$cache/bin"
	(cd "$hack/cluster" && CGO_ENABLED=0 GOWORK=off ${DIZUO_GO:-go} build -buildvcs=false -o "$kit" .)
	echo "$source" > "$kit.source"
fi
DIZUO_HACK=$hack exec "$kit" "$@"
