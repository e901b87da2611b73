#!/bin/sh
# Sets a Vault up for Signet, from nothing: the KV v2 mount that it keeps its vault in, the transit key that wraps its root key,
# the least policy that suffices, and an AppRole to sign in with. What is there already is left as it is, so it may be repeated.
#
#   VAULT_ADDR=https://vault.example:8200 VAULT_TOKEN=… [VAULT_CACERT=FILE] [VAULT_NAMESPACE=…] ./setup.sh SECRET-ID-FILE >vault.yaml
#
# VAULT_TOKEN is an administrator's. SECRET-ID-FILE is made, mode 0600; where it is there no new secret id is made. What is printed
# says how this Vault is reached, and is what signetd init --vault takes; it holds no secret. Other names than the usual come from
# SIGNET_MOUNT (signet), SIGNET_PATH (vault), SIGNET_TRANSIT (transit), SIGNET_KEY, SIGNET_ROLE and SIGNET_POLICY (signet). It needs
# curl.
set -eu

fail() { echo "setup.sh: $*" >&2; exit 1; }

[ $# -eq 1 ] || fail "give the file that the secret id is to be written to"
case $1 in '' | -*) fail "give the file that the secret id is to be written to; what else there is to say stands at the top of this script" ;; esac
case ${VAULT_ADDR:-} in https://*) ;; *) fail "VAULT_ADDR is not set to https://HOST:PORT; signetd speaks nothing else" ;; esac
VAULT_ADDR=${VAULT_ADDR%/}
[ -n "${VAULT_TOKEN:-}" ] || fail "VAULT_TOKEN is not set"
file=$1
[ -s "$file" ] || { [ -d "$(dirname "$file")" ] && [ -w "$(dirname "$file")" ]; } || fail "$file cannot be written"
mount=${SIGNET_MOUNT:-signet} path=${SIGNET_PATH:-vault} transit=${SIGNET_TRANSIT:-transit}
key=${SIGNET_KEY:-signet} role=${SIGNET_ROLE:-signet} policy=${SIGNET_POLICY:-signet}
for name in "$mount" "$path" "$transit" "$key" "$role" "$policy"; do
	case $name in '' | *[!A-Za-z0-9_./-]*) fail "a name is letters, digits, '-', '_', '.' and '/'" ;; esac
done
here=$(cd "$(dirname "$0")" && pwd)
umask 077

# api METHOD PATH [JSON] prints what Vault answers. The token goes by standard input: command lines can be read by others.
api() {
	{
		printf 'header = "X-Vault-Token: %s"\n' "$VAULT_TOKEN"
		[ -z "${VAULT_NAMESPACE:-}" ] || printf 'header = "X-Vault-Namespace: %s"\n' "$VAULT_NAMESPACE"
		[ -z "${VAULT_CACERT:-}" ] || printf 'cacert = "%s"\n' "$VAULT_CACERT"
	} | curl --silent --show-error --fail-with-body --max-time 30 -K - -X "$1" ${3:+--data "$3"} "$VAULT_ADDR/v1/$2" || fail "$1 $2 has failed"
}
there() { (api GET "$1") >/dev/null 2>&1; }
field() { sed -n 's/.*"'"$1"'" *: *"\([^"]*\)".*/\1/p'; }

api GET sys/mounts >/dev/null # does Vault answer, and is the token an administrator's?

there "sys/mounts/$mount" || api POST "sys/mounts/$mount" '{"type":"kv","description":"Signet","options":{"version":"2"}}' >&2
# A new mount is not ready at once.
n=0
until (api POST "$mount/config" '{"cas_required":true,"delete_version_after":"0s"}') >/dev/null 2>&1; do
	n=$((n + 1))
	[ $n -lt 50 ] || fail "the mount $mount is not a KV v2 engine that can be configured"
	sleep 0.2
done

there "sys/mounts/$transit" || api POST "sys/mounts/$transit" '{"type":"transit"}' >&2
there "$transit/keys/$key" || api POST "$transit/keys/$key" '{"type":"aes256-gcm96","derived":true}' >/dev/null

text=$(sed -e "s|\"signet/\([a-z]*\)/vault/|\"$mount/\1/$path/|" -e "s|\"signet/config\"|\"$mount/config\"|" \
	-e "s|mounts/signet\"|mounts/$mount\"|" -e "s|\"transit/\([a-z]*\)/signet\"|\"$transit/\1/$key\"|" "$here/policy.hcl" |
	sed -e '/^#/d' -e '/^$/d' -e 's/\\/\\\\/g' -e 's/"/\\"/g' | awk '{printf "%s\\n", $0}')
api PUT "sys/policies/acl/$policy" "{\"policy\":\"$text\"}" >&2

there sys/auth/approle || api POST sys/auth/approle '{"type":"approle"}' >&2
api POST "auth/approle/role/$role" \
	"{\"token_policies\":[\"$policy\"],\"token_no_default_policy\":true,\"token_ttl\":\"1h\",\"token_max_ttl\":\"24h\",\"secret_id_num_uses\":0}" >&2
id=$(api GET "auth/approle/role/$role/role-id" | field role_id)
[ -n "$id" ] || fail "Vault did not say the role id"
if [ -s "$file" ]; then
	echo "setup.sh: $file is there, and is left as it is" >&2
else
	secret=$(api POST "auth/approle/role/$role/secret-id" '{}' | field secret_id)
	[ -n "$secret" ] || fail "Vault did not make a secret id"
	printf '%s\n' "$secret" >"$file"
fi

# whole FILE is its path from the root. Quoted as YAML has it: what stands between ' is as it is, but for ' itself.
whole() { echo "$(cd "$(dirname "$1")" && pwd)/$(basename "$1")"; }
quoted() { printf "'%s'" "$(printf '%s' "$1" | sed "s/'/''/g")"; }
echo "address: $(quoted "$VAULT_ADDR")"
[ -z "${VAULT_CACERT:-}" ] || echo "ca: $(quoted "$(whole "$VAULT_CACERT")")"
[ -z "${VAULT_NAMESPACE:-}" ] || echo "namespace: $(quoted "$VAULT_NAMESPACE")"
cat <<END
mount: $mount
path: $path
auth:
  approle:
    secret_id_file: $(quoted "$(whole "$file")")
    role_id: $id
END
usual=
[ "$transit/$key" = transit/signet ] || usual=" --kek vault-transit:$transit/$key"
echo "setup.sh: Vault is set up; with what was printed in vault.yaml: signetd init --dir DIR --vault vault.yaml$usual" >&2
