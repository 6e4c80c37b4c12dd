#!/usr/bin/env bash
# Lets schemathesis make up requests from openapi.yaml and judge the answers of the real hub: without tokens, where every
# call is reachable, and with one. `tests/schemathesis.sh [EXAMPLES]`; not part of `make test`, it takes minutes.
#
# The stream is left out: it has no end to wait for, tests/it holds it to its description.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build -q
hub=${CARGO_TARGET_DIR:-target}/debug/alarm-hub
hub=$(realpath "$hub")
python3 -m venv .venv
.venv/bin/python -m pip install -q --disable-pip-version-check schemathesis==4.32.5

directory=$(mktemp -d)
set -m # what runs in the background is a group, and ends with all that it started
process= reader=
trap 'kill -- $process $reader 2>/dev/null || true; rm -rf "$directory"' EXIT
(umask 077; printf 0123456789abcdef0123456789abcdef >"$directory/key")

# start ARGUMENT...: the hub in a folder of its own; its URL is then in $url
start() {
  rm -f "$directory"/alarms.db*
  (cd "$directory" && exec "$hub" --listen 127.0.0.1:0 --log error "$@") >"$directory/said" &
  process=$!
  until url=$(grep -o 'http://[0-9.:]*' "$directory/said" | head -1) && [ -n "$url" ]; do sleep 0.1; done
}

# judge ARGUMENT...
judge() {
  .venv/bin/st "${settings[@]}" run "$url/openapi.yaml" --url "$url" --no-color --max-examples "${examples}" --workers 1 \
    --exclude-path '/connection/{user}' --continue-on-failure --request-timeout 20 "$@"
}

examples=${1:-100} settings=()
start
judge --exclude-checks ignored_auth
kill "$process"; wait "$process" 2>/dev/null || true

# With a token the user is the one that it names, who is connected, however often a request ends that.
examples=$((examples / 4 + 1)) settings=(--config-file "$directory/settings")
printf '[parameters]\n"path.user" = "tiaz"\n' >"$directory/settings"
start --auth jwt --jwt-key-file key
"$hub" token --user tiaz --scope publish,sessions,metrics --key-file "$directory/key" >"$directory/token"
while sleep 0.1; do
  "$hub" tail --user tiaz --url "$url" --token-file "$directory/token" >/dev/null 2>&1 || true
done &
reader=-$!
judge --header "Authorization: Bearer $(cat "$directory/token")" --exclude-checks positive_data_acceptance
kill "$process"; wait "$process" 2>/dev/null || true
