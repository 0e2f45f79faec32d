#!/bin/sh
# Runs the local cluster kit from the checkout: hack/cluster.sh up
# It builds the kit itself first, unless the cache has one of this source: checkouts of several commits share the cache.
set -eu
hack=$(cd "$(dirname "$0")" && pwd)
cache=${DIZUO_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/dizuo}
source=$(cd "$hack/cluster" && find . -type f | LC_ALL=C sort | xargs sha256sum | sha256sum | cut -c1-12)
kit=$cache/bin/cluster-$source
if [ ! -x "$kit" ]; then
	mkdir -p "$cache/bin"
	find "$cache/bin" -name 'cluster-*' -atime +30 -delete # of checkouts that are gone
	(cd "$hack/cluster" && CGO_ENABLED=0 GOWORK=off ${DIZUO_GO:-go} build -buildvcs=false -o "$kit.$$" .)
	mv "$kit.$$" "$kit" # whole or not at all
fi
DIZUO_HACK=$hack exec "$kit" "$@"
