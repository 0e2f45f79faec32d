#!/bin/sh
# Signs the sample agreements with keys made for the purpose: puts the approvers' public keys into the organisations and the
# approvals into the agreements, in place.
#
#   config/samples/sign.sh [henan-pilots|county|sharing ...]      default: all
#
#   DIZUO   the CLI; default: dizuo
#   KEYS    where the private keys go, <organisation>.pem, and are taken from if they are there; default: a folder that is
#           removed at the end, so that nobody can sign these samples again with the keys that stand in them
#
# A private key of a real approver never goes through a script: each party runs `dizuo agreement approve` for itself.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
dizuo=${DIZUO:-dizuo}
if [ -z "${KEYS:-}" ]; then
	KEYS=$(mktemp -d)
	trap 'rm -rf "$KEYS"' EXIT INT TERM
fi
umask 077

# put_key FILE ORGANISATION: makes the organisation's key, and writes its public half over the one marked "# key: ORGANISATION".
put_key() {
	[ -s "$KEYS/$2.pem" ] || "$dizuo" key new --out "$KEYS/$2.pem"
	public=$("$dizuo" key public --key "$KEYS/$2.pem")
	if ! grep -q "publicKey: .*# key: $2\$" "$1"; then
		echo "$1: no line with 'publicKey:' that ends in '# key: $2'; put it back" >&2
		exit 1
	fi
	sed "/# key: $2\$/s|publicKey: [A-Za-z0-9+/=]*|publicKey: $public|" "$1" >"$KEYS/edited"
	cat "$KEYS/edited" >"$1" # keeps the file's mode
	rm "$KEYS/edited"
}

# sign AGREEMENT ORGANISATION APPROVER FILES...: adds the approval to the agreement, or replaces it. FILES, files or folders, hold its
# Datasets and its parties too: an approval covers what the agreement relies on of them.
sign() {
	agreement=$1 organisation=$2 approver=$3
	shift 3
	for f; do set -- "$@" -f "$f"; shift; done
	"$dizuo" agreement approve "$@" --name "$agreement" --organization "$organisation" --approver "$approver" --key "$KEYS/$organisation.pem" -w
}

henan_pilots() {
	dir=$here/henan-pilots
	for o in henan-health zhengzhou-civil-affairs jinghu-property; do put_key "$dir/organizations.yaml" $o; done
	sign civil-affairs-elder-visits henan-health data-office "$dir"
	sign civil-affairs-elder-visits zhengzhou-civil-affairs data-office "$dir"
	sign property-elder-visits henan-health data-office "$dir"
	sign property-elder-visits jinghu-property manager "$dir"
	"$dizuo" agreement verify -f "$dir" >&2
}

county() {
	f=$here/county/county.yaml
	for o in helan-fire helan-natural-resources; do put_key "$f" $o; done
	sign fire-addresses helan-natural-resources data-office "$f"
	sign fire-addresses helan-fire data-office "$f"
	"$dizuo" agreement verify -f "$f" >&2
}

# The agreements say themselves who signs: "# sign: AGREEMENT ORGANISATION ...", above each.
sharing() {
	dir=$here/sharing
	for o in $(sed -n 's/.*# key: //p' "$dir/organizations.yaml"); do put_key "$dir/organizations.yaml" "$o"; done
	for f in "$dir"/a*.yaml "$dir"/deny/*.yaml; do
		sed -n 's/^# sign: //p' "$f" | while read -r agreement parties; do
			for o in $parties; do sign "$agreement" "$o" data-office "$dir/organizations.yaml" "$dir/datasets.yaml" "$f"; done
		done
	done
	"$dizuo" agreement verify -f "$dir" >&2
}

for sample in ${*:-henan-pilots county sharing}; do
	case $sample in
	henan-pilots) henan_pilots ;;
	county) county ;;
	sharing) sharing ;;
	*) echo "$sample: no such sample; write henan-pilots, county or sharing" >&2; exit 2 ;;
	esac
done
