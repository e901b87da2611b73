#!/bin/sh
# Makes a CA and Vault's certificate, for the names that are given, unless they are there. The CA's key is not kept. It needs openssl.
#
#   [TLS_OWNER=UID:GID] ./tls.sh SERVER-DIR CA-DIR NAME…
#
# vault.pem and vault.key, which TLS_OWNER gets, go to SERVER-DIR, ca.pem to CA-DIR.
set -eu
umask 077

fail() { echo "tls.sh: $*" >&2; exit 1; }

[ $# -ge 3 ] || fail "give two directories and at least one name"
server=$1 cas=$2
shift 2
if [ -e "$server/vault.pem" ] && [ -e "$cas/ca.pem" ]; then
	echo "tls.sh: they are there already"
	exit 0
fi
names=
for name in "$@"; do
	case $name in '' | *[!A-Za-z0-9.-]*) fail "a name is letters, digits, '-' and '.'" ;; esac
	names=$names${names:+,}DNS:$name
done
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem -days 3650 -subj "/CN=CA of Vault's certificate" \
	-addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign 2>/dev/null || fail "openssl made no CA"
openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout vault.key -out vault.csr -subj "/CN=Vault" 2>/dev/null || fail "openssl made no key"
printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth\n' "$names" >vault.ext
openssl x509 -req -in vault.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out vault.pem -days 3650 -extfile vault.ext 2>/dev/null || fail "openssl made no certificate"
[ -z "${TLS_OWNER:-}" ] || chown "$TLS_OWNER" vault.key vault.pem
chmod 0644 ca.pem
# In an order in which a run that is cut short is repeated whole.
mv ca.pem "$cas/ca.pem"
mv vault.key "$server/vault.key"
mv vault.pem "$server/vault.pem"
[ -z "${TLS_OWNER:-}" ] || chown "$TLS_OWNER" "$server"
echo "tls.sh: made a CA, and a certificate for $names"
