#!/usr/bin/env bash
# The main job, end to end, against a real server on this machine: freeze a pipeline, then trigger it with curl, twice
# at once. Ends with 0 only if both runs completed with the metrics of their own parameters.
#
#   DEMO_HOME=DIR   keep everything in DIR instead of a temporary home
#   DEMO_KEEP=1     leave the server running, to go on by hand
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export PATH=$PWD/.venv/bin:$PATH no_proxy=127.0.0.1
for name in $(compgen -e PENSTOCK_ || true); do unset "$name"; done # settings of the person's own Penstock
scratch=$(mktemp -d "${TMPDIR:-/tmp}/penstock-demo.XXXXXX")
export PENSTOCK_HOME=${DEMO_HOME:-$scratch/home}
server= # its process id

bold='' plain=''
[ ! -t 1 ] || bold=$'\033[1m' plain=$'\033[0m'
say() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
show() { printf '$ %s\n' "$*"; }
fail() {
  printf '\nThe demo failed: %s\n' "$*" >&2
  [ ! -s "$scratch/server.log" ] || { echo "The server's last words:" >&2 && tail -n 20 "$scratch/server.log" >&2; }
  exit 1
}

finish() {
  local status=$?
  if [ -n "$server" ] && { [ "${DEMO_KEEP:-}" != 1 ] || [ "$status" != 0 ]; }; then
    penstock down >>"$scratch/server.log" 2>&1 || kill "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
    server=
  fi
  [ -n "$server" ] || rm -rf "$scratch"
  exit "$status"
}
trap finish EXIT

start_server() {
  PENSTOCK_PORT=$(python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  export PENSTOCK_PORT
  url=http://127.0.0.1:$PENSTOCK_PORT
  show "penstock up &"
  penstock up >"$scratch/server.log" 2>&1 </dev/null &
  server=$!
  local deadline=$((SECONDS + 60))
  until curl -fsS -o /dev/null "$url/health" 2>/dev/null; do
    kill -0 "$server" 2>/dev/null || fail "the server ended before it was healthy."
    [ "$SECONDS" -lt "$deadline" ] || fail "the server was not healthy within a minute."
    sleep 0.05
  done
  echo "Healthy at $url, with its home in $PENSTOCK_HOME"
}

field() { # file, names: what stands in a JSON document under these names
  python -c 'import functools, json, sys; print(functools.reduce(dict.get, sys.argv[2:], json.load(open(sys.argv[1]))))' "$@"
}

trigger() { # label, body: the accepted run goes to $scratch/LABEL.json
  curl -sS --fail-with-body -X POST "$url/api/v1/run_templates/daily-retraining/runs" -o "$scratch/$1.json" \
    -w 'HTTP %{http_code}, the run is stored: %header{location}\n' \
    -H "Authorization: Bearer $key" -H "Content-Type: application/json" -H "Idempotency-Key: demo-$1-$started" -d "$2"
}

follow() { # label: the ended run goes to $scratch/LABEL.json; each request waits on the server's side
  local id deadline=$((SECONDS + 300))
  id=$(field "$scratch/$1.json" id)
  while [ "$(field "$scratch/$1.json" ended)" = None ]; do
    [ "$SECONDS" -lt "$deadline" ] || fail "run $id did not end within five minutes."
    curl -sS --fail-with-body "$url/api/v1/runs/$id" -o "$scratch/$1.json" \
      -H "Authorization: Bearer $key" -H "Prefer: wait=20" || fail "run $id could not be read: $(cat "$scratch/$1.json")"
  done
}

by_hand() { # body: the same call, to be typed
  cat <<CALL

curl -X POST "\$URL/api/v1/run_templates/daily-retraining/runs" \\
  -H "Authorization: Bearer \$KEY" -H 'Content-Type: application/json' -H 'Prefer: wait=60' \\
  -d '$1'
CALL
}

tools/need_curl.sh
started=$(date +%s)
say "1. Start the server"
start_server

say "2. Freeze the pipeline as a run template"
freeze=(penstock pipeline create-run-template examples/training/pipeline.py:training_pipeline --name daily-retraining)
show "${freeze[*]}"
"${freeze[@]}" </dev/null || fail "the pipeline could not be frozen."

say "3. Give the outside a key"
show "penstock service-account create ci --create-api-key"
penstock service-account create ci --create-api-key --output json >"$scratch/account.json" </dev/null ||
  fail "the service account could not be made: $(cat "$scratch/account.json")"
key=$(field "$scratch/account.json" api_key key)
echo "${key:0:12}... (the server keeps only its hash)"

say "4. Pull the gate with curl: two runs at once"
cancer="{\"parameters\": {\"data_url\": \"$PWD/examples/training/data/breast_cancer.csv\", \"model_type\": \"random_forest\"}}"
wine="{\"parameters\": {\"data_url\": \"$PWD/examples/training/data/wine.csv\", \"model_type\": \"gradient_boosting\"}}"
show "curl -X POST \$URL/api/v1/run_templates/daily-retraining/runs -H \"Authorization: Bearer \$KEY\" -d '$cancer' &"
show "curl -X POST \$URL/api/v1/run_templates/daily-retraining/runs -H \"Authorization: Bearer \$KEY\" -d '$wine' &"
trigger cancer "$cancer" &
first=$!
trigger wine "$wine" &
second=$!
wait "$first" || fail "the first run was not accepted: $(cat "$scratch/cancer.json" 2>/dev/null)"
wait "$second" || fail "the second run was not accepted: $(cat "$scratch/wine.json" 2>/dev/null)"
follow cancer
follow wine

say "5. Two runs, each with the metrics of its own parameters"
python -m tools.demo_check "$scratch/cancer.json" "$cancer" "$scratch/wine.json" "$wine" || fail "the runs are not as asked."

say "By hand"
if [ "${DEMO_KEEP:-}" = 1 ]; then
  echo "The server keeps running; 'penstock down' ends it."
  # shellcheck disable=SC2016 # the person's PATH, not ours
  printf '\nexport PENSTOCK_HOME=%q URL=%q KEY=%q PATH=%q:$PATH\n' "$PENSTOCK_HOME" "$url" "$key" "$PWD/.venv/bin"
else
  echo "The server stops now. 'make demo DEMO_KEEP=1' leaves it running and says what URL and KEY are; then:"
fi
by_hand "$cancer"
by_hand "$wine"
