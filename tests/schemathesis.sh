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
trap 'kill "$process" 2>/dev/null || true; rm -rf "$directory"' EXIT
(umask 077; printf 0123456789abcdef0123456789abcdef >"$directory/key")

# start ARGUMENT...: the hub in a folder of its own; its URL is then in $url
start() {
  rm -f "$directory"/alarms.db*
  (cd "$directory" && exec "$hub" --listen 127.0.0.1:0 --log error "$@") >"$directory/said" &
  process=$!
  until url=$(grep -o 'http://[0-9.:]*' "$directory/said" | head -1) && [ -n "$url" ]; do sleep 0.1; done
}

# judge CHECK... -- ARGUMENT...
judge() {
  .venv/bin/st run "$url/openapi.yaml" --url "$url" --no-color --max-examples "${examples}" --workers 1 \
    --exclude-path '/connection/{user}' --continue-on-failure --request-timeout 20 "$@"
}

examples=${1:-100}
start
judge --exclude-checks ignored_auth
kill "$process"; wait "$process" 2>/dev/null || true

examples=$((examples / 4 + 1))
start --auth jwt --jwt-key-file key
token=$("$hub" token --user tiaz --scope publish,sessions,metrics --key-file "$directory/key")
judge --header "Authorization: Bearer $token" --exclude-checks positive_data_acceptance
kill "$process"; wait "$process" 2>/dev/null || true
