# What Signet may do in Vault: the least that suffices. setup.sh puts in other names than these:
# the KV v2 mount is signet, the path of the vault below it is vault; the transit mount is transit, the key signet.

# The root is only ever replaced, by check-and-set, and never deleted.
path "signet/data/vault/root" {
  capabilities = ["create", "read", "update"]
}
path "signet/metadata/vault/root" {
  capabilities = ["read"]
}

# That there was a root is written down once.
path "signet/data/vault/created" {
  capabilities = ["create", "read"]
}

# Blobs are written once; what no root reaches any more is deleted.
path "signet/data/vault/blobs/*" {
  capabilities = ["create", "read"]
}
path "signet/metadata/vault/blobs" {
  capabilities = ["list"]
}
path "signet/metadata/vault/blobs/*" {
  capabilities = ["delete"]
}

# Registers are replaced by check-and-set: the leases of replicas and the checkpoints of their logs. One that is no longer
# needed is deleted.
path "signet/data/vault/registers/*" {
  capabilities = ["create", "read", "update"]
}
path "signet/metadata/vault/registers" {
  capabilities = ["list"]
}
path "signet/metadata/vault/registers/*" {
  capabilities = ["delete"]
}

# A mount that would delete what it keeps is refused at start.
path "signet/config" {
  capabilities = ["read"]
}
path "sys/internal/ui/mounts/signet" {
  capabilities = ["read"]
}

# The KEK vault-transit:transit/signet. It can be used, not exported, rotated or deleted.
path "transit/keys/signet" {
  capabilities = ["read"]
}
path "transit/encrypt/signet" {
  capabilities = ["update"]
}
path "transit/decrypt/signet" {
  capabilities = ["update"]
}

# Its own token; the policy named default is not needed.
path "auth/token/lookup-self" {
  capabilities = ["read"]
}
path "auth/token/renew-self" {
  capabilities = ["update"]
}
path "auth/token/revoke-self" {
  capabilities = ["update"]
}
