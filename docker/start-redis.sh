#!/bin/sh
# Starts Redis with two users: `monitor`, who may do what the monitor needs, and `default`, for backups and repairs.
# The file of users holds hashes of the passwords, so no password is in a file, a command line or the environment.
set -eu
secrets="${SECRETS:-/run/secrets}" users="${USERS_FILE:-/run/redis/users.acl}"
hash() { tr -d '\n' <"$secrets/$1" | sha256sum | cut -c1-64; }
for name in redis_password redis_admin_password; do
  [ -s "$secrets/$name" ] || { echo "the secret $name is missing or empty: run docker/make-secrets.sh" >&2; exit 1; }
done
umask 077
{
  echo "user default on #$(hash redis_admin_password) ~* &* +@all"
  echo "user monitor on #$(hash redis_password) ~ood:* &ood:* +@read +@write +@scripting +@connection +@pubsub +time -@dangerous +info"
} >"$users"
exec redis-server "${REDIS_CONF:-/etc/redis/redis.conf}" "$@"
