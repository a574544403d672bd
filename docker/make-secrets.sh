#!/bin/sh
# Makes the secrets of compose.yml, each a file of its own. One that is there already stays as it is.
set -eu
folder="$(dirname "$0")/secrets"
mkdir -p "$folder"
chmod 0700 "$folder" # only the owner gets in here; inside a container only the mounted file is seen
for name in redis_password redis_admin_password http_token ingest_token grafana_password; do
  [ -s "$folder/$name" ] && continue
  od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"$folder/$name"
  chmod 0444 "$folder/$name" # a container reads it as a user of its own
  echo "made $folder/$name"
done
