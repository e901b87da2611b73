#!/bin/sh
# Brings a Vault of one machine up for Signet: initializes it, once, unseals it, every time, and has setup.sh set it up, once. What is
# there already is left as it is. It needs curl.
#
#   VAULT_ADDR=https://vault:8200 VAULT_CACERT=FILE [SIGNET_OWNER=UID:GID] ./up.sh KEYS-DIR SEED-DIR SETUP.SH [DIR…]
#
# KEYS-DIR/init.json gets the key that unseals Vault, and the token of its administrator: whoever reads it has all that is in Vault.
# It is for trying things out. Elsewhere people unseal Vault, or a KMS does, and the token is revoked when Vault is set up.
# SEED-DIR gets vault.yaml, which signetd init takes, and the secret id that it names. They and the DIRs go to SIGNET_OWNER.
set -eu
umask 077

fail() { echo "up.sh: $*" >&2; exit 1; }

[ $# -ge 3 ] || fail "give the directory of Vault's keys, the one for signetd, and setup.sh"
keys=$1 seed=$2 setup=$3
shift 3

# api METHOD PATH prints what Vault answers to what comes from standard input: command lines can be read by others.
api() { curl --silent --show-error --fail-with-body --max-time 30 --cacert "$VAULT_CACERT" -X "$1" --data @- "$VAULT_ADDR/v1/$2"; }
status() { curl --silent --max-time 5 --cacert "$VAULT_CACERT" "$VAULT_ADDR/v1/sys/seal-status"; }
field() { tr -d ' \n' <"$keys/init.json" | sed -n 's/.*"'"$1"'":\[\{0,1\}"\([^"]*\)".*/\1/p'; }

n=0
until is=$(status) && [ -n "$is" ]; do
	n=$((n + 1))
	[ $n -lt 60 ] || fail "Vault does not answer at $VAULT_ADDR"
	sleep 1
done
case $is in
*'"initialized":false'*)
	[ ! -e "$keys/init.json" ] || fail "Vault is empty, and there are keys of another one: restore its storage, or start over without volumes"
	printf '{"secret_shares":1,"secret_threshold":1}' | api PUT sys/init >"$keys/init.new" || fail "Vault could not be initialized"
	sync
	mv "$keys/init.new" "$keys/init.json"
	is='"sealed":true'
	echo "up.sh: Vault is initialized"
	;;
esac
case $is in
*'"sealed":true'*)
	[ -e "$keys/init.json" ] || fail "Vault is sealed, and its key is not here: unseal it, and run this again"
	printf '{"key":"%s"}' "$(field keys_base64)" | api PUT sys/unseal >/dev/null || fail "Vault could not be unsealed"
	echo "up.sh: Vault is unsealed"
	;;
esac
n=0
until curl --silent --fail --output /dev/null --max-time 5 --cacert "$VAULT_CACERT" "$VAULT_ADDR/v1/sys/health"; do
	n=$((n + 1))
	[ $n -lt 60 ] || fail "Vault does not become ready"
	sleep 1
done
if [ ! -e "$seed/vault.yaml" ]; then
	rm -f "$seed/secret-id" # of a run that was cut short
	VAULT_TOKEN=$(field root_token)
	export VAULT_TOKEN
	sh "$setup" "$seed/secret-id" >"$seed/vault.new"
	mv "$seed/vault.new" "$seed/vault.yaml"
fi
[ -z "${SIGNET_OWNER:-}" ] || chown "$SIGNET_OWNER" "$seed" "$seed/vault.yaml" "$seed/secret-id" "$@"
