#!/bin/sh
# Writes the secrets of a new installation into a folder, one file each; existing files stay as they are.
set -eu
umask 077
folder=${1:-$(dirname "$0")/secrets}
mkdir -p "$folder"

keep() {
    [ -s "$folder/$1" ] || printf '%s' "$2" > "$folder/$1"
}

random() {
    openssl rand -hex "$1"
}

keep postgres_password "$(random 24)"
keep service_password "$(random 24)"
keep valkey_password "$(random 24)"
keep grafana_password "$(random 12)"
keep installation_key "$(random 32)"
keep encryption_keys "1:$(random 32)"
keep lookup_key "$(random 32)"
keep audit_key "$(random 32)"
keep migration_database_url "postgresql://synccash:$(cat "$folder/postgres_password")@postgres:5432/synccash"
keep database_url "postgresql://synccash_service:$(cat "$folder/service_password")@postgres:5432/synccash"
keep valkey_url "redis://:$(cat "$folder/valkey_password")@valkey:6379/0"
keep valkey.conf "bind * -::*
requirepass $(cat "$folder/valkey_password")
save \"\"
appendonly yes
appendfsync everysec
"
# Compose mounts the files with their owner: the containers read them as other users.
chmod 755 "$folder"
chmod 644 "$folder"/*
echo "The secrets are in $folder. Keep installation_key, encryption_keys and lookup_key apart from the backups."
