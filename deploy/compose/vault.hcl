# Vault of deploy/compose.yaml: a real server, with TLS, that keeps what it knows in a volume. The simplest storage, for one machine.
ui = false
api_addr = "https://vault:8200"

storage "file" {
  path = "/vault/file"
}

listener "tcp" {
  address       = "0.0.0.0:8200"
  tls_cert_file = "/tls/vault.pem"
  tls_key_file  = "/tls/vault.key"
}
