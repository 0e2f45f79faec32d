#!/usr/bin/env bash
# Brings a local cluster with Dizuo up, applies config/samples/henan-pilots and tells the story. `make up` calls it.
# It may be run again at any time, also after it was interrupted: each step does only what is missing.
#
#   hack/up.sh [--install-only]     --install-only stops before the sample
set -euo pipefail
cd "$(dirname "$0")/.."
kit=hack/cluster.sh
go=${GO:-${DIZUO_GO:-go}}
began=$SECONDS

step() { printf '\n== %s  (%ds)\n' "$*" $((SECONDS - began)); }

case ${1:-} in
"" | --install-only) ;;
*)
	echo "usage: $0 [--install-only]" >&2
	exit 2
	;;
esac
if [ "$(id -u)" != 0 ]; then
	# shellcheck disable=SC2016 # shown to a person, who lets the shell expand it
	echo 'make up needs root: sudo -E env "PATH=$PATH" "HOME=$HOME" make up' >&2
	exit 1
fi

step "1/5 programs: Debian packages"
if ! command -v mosquitto_pub >/dev/null; then
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -q
	apt-get install -y --no-install-recommends mosquitto-clients
fi

step "2/5 cluster: Kubernetes and cert-manager from Go modules (about 10 minutes the first time, seconds after)"
$kit up
eval "$($kit env)"

step "3/5 Dizuo: binaries and image (about 4 minutes the first time)"
make --no-print-directory build GO="$go" 2> >(grep -v '^go: downloading' >&2)
# The tag says what is in the image, so that what runs an older one is replaced, and nothing is restarted for nothing.
build=$(cat bin/operator bin/node bin/dizuo | sha256sum | cut -c1-12)
loaded=$(kubectl get nodes -o jsonpath='{.items[*].status.images[*].names[*]}')
for tag in dev "dev-$build"; do
	[ "$tag" != dev ] && [[ " $loaded " == *"/dizuo/dizuo:$tag "* ]] && continue
	$kit image --name "dizuo/dizuo:$tag" --bin bin/operator --bin bin/node --bin bin/dizuo --user 65532
done
rm -f "${DIZUO_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/dizuo}"/images/dizuo_dizuo_dev-*.tar

step "4/5 operator: charts/dizuo"
kubectl apply --server-side --force-conflicts -f charts/dizuo/crds >/dev/null # helm installs CRDs, and never updates them
helm upgrade --install dizuo charts/dizuo --namespace dizuo-system --create-namespace --wait --timeout 3m \
	--set "image.tag=dev-$build,nodeImage.tag=dev-$build,postgresImage.repository=dizuo/postgres,postgresImage.tag=15-dev,bundles.enabled=true"
# Platforms that stand already take the new image; a story told in the middle of that would see pods go.
for ns in $(kubectl get gridplatforms -A -o jsonpath='{.items[*].metadata.namespace}'); do
	workloads=(statefulset/dizuo-broker deployment/dizuo-auth deployment/dizuo-grid statefulset/dizuo-gateway)
	kubectl -n "$ns" wait --timeout=2m "--for=jsonpath={.spec.template.spec.containers[0].image}=dizuo/dizuo:dev-$build" "${workloads[@]}" >/dev/null
	for w in "${workloads[@]}"; do kubectl -n "$ns" rollout status --timeout=2m "$w" >/dev/null; done
done
if [ "${1:-}" = --install-only ]; then
	step "installed"
	exit 0
fi

step "5/5 the ten pilot communities of Henan, and the story"
mkdir -p bin
$go build -o bin/story ./test/e2e/cmd/story 2> >(grep -v '^go: downloading' >&2)
bin/story

cat <<END

The cluster runs on. Look further:

  eval "\$(hack/cluster.sh env)"                          # kubectl, helm and the kubeconfig
  bin/dizuo status -n henan                              # the platform as a tree
  kubectl -n henan get gp,com,org,dataset,dsa            # kubectl explain gridplatform.spec
  kubectl -n henan port-forward service/dizuo-grid 8443 &
  bin/dizuo cases --server https://localhost:8443 --platform henan/henan --secret henan/jinghu-committee-grid-tls \\
    --organization jinghu-committee --subject me --role CommunityWorker
  bin/dizuo render -f config/samples/minimal             # what the operator would apply, without a cluster
  kubectl -n henan edit community jinghu                 # change something, and watch: bin/dizuo status -n henan -w
  make story                                             # once more
  make down                                              # stop and remove all of it
END
