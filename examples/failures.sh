#!/bin/sh
# Test how a shell script handles failures of the Pandium API. Requires curl 7.76 and the emulator:
#
#     pip install 'pandium[emulator]'
#     sh failures.sh
#
# PYTHON is the interpreter in which the emulator is installed. The default is python3.
set -eu
export no_proxy=127.0.0.1

# --- The script under test ------------------------------------------------------------------------

# Send a request. An error status is an error.
api() {
    curl --silent --fail-with-body --max-time 10 --header 'X-API-KEY: any key' "$@"
}

# Print all tenants. curl retries a GET after a rate limit, an error of the server or a lost connection.
list_tenants() {
    api --retry 3 --retry-all-errors "$url/v2/tenants?limit=500"
}

# Trigger a sync and print the trigger's id. It is not retried, because it may have been executed.
sync_tenant() {
    response=$(api --request POST "$url/v2/tenants/$1/sync?mode=normal") || return 1
    echo "$response" | sed 's/.*"trigger_id":"\([0-9]*\)".*/\1/'
}

# Poll until the run ends and print its status. A 404 means that the run does not exist yet.
wait_for_run() {
    while true; do
        code=$(curl --silent --output "$folder/status" --write-out '%{http_code}' \
            --header 'X-API-KEY: any key' "$url/v2/runs/triggers/$1/status")
        status=$(sed 's/.*"status":"\([^"]*\)".*/\1/' "$folder/status")
        case "$code $status" in
        '200 Succeeded' | '200 Failed'*) echo "$status" && return ;;
        200* | 404*) sleep 0.1 ;;
        *) return 1 ;;
        esac
    done
}

# --- The emulator ---------------------------------------------------------------------------------

folder=$(mktemp -d)
mkfifo "$folder/output"
"${PYTHON:-python3}" -m pandium.emulator --port 0 >"$folder/output" &
emulator=$!
trap 'set +e; exec 2>/dev/null; kill "$emulator"; wait "$emulator"; rm -r "$folder"' EXIT
trap 'exit 1' INT TERM
read -r line <"$folder/output" || { echo 'the emulator did not start' && exit 1; }
url=${line#Pandium emulator: }

# Send a request to the control API. All operations are described at /_emulator/docs.
control() {
    curl --silent --show-error --fail-with-body --request "$1" "$url/_emulator$2" \
        --header 'Content-Type: application/json' ${3:+--data "$3"}
}

reset() {
    control PUT /state '{"integrations": [{}], "tenants": [{}, {}, {}]}' >/dev/null
}

expect() {
    if [ "$2" != "$3" ]; then
        echo "not ok - $1: expected '$2', got '$3'"
        exit 1
    fi
    echo "ok - $1"
}

# --- The tests ------------------------------------------------------------------------------------

reset
control POST /faults '{"operation": "tenants.list", "times": 1,
    "fault": {"type": "rate_limit", "retry_after": 1}}' >/dev/null
expect 'a listing is retried after a rate limit' 3 \
    "$(list_tenants | grep -o '"name":"tenant-' | wc -l | tr -d ' ')"

reset
control POST /faults '{"operation": "tenants.sync", "times": 1,
    "fault": {"type": "reset", "after_work": true}}' >/dev/null
sync_tenant 2 >/dev/null && outcome=triggered || outcome=unknown
expect 'a lost response leaves the outcome unknown' unknown "$outcome"
expect 'and the sync is not sent again' '[{"operation":"tenants.sync","tenant":2,"count":1}]' \
    "$(control GET /effects)"

reset
control PUT /scripts '{"tenant": 1, "appears_after": {"polls": 2},
    "phases": [["Running", {"polls": 1}], ["Failed (Timeout)", 0]]}' >/dev/null
expect 'a run that appears late and fails is followed to its end' 'Failed (Timeout)' \
    "$(wait_for_run "$(sync_tenant 1)")"

reset
control POST /outages '{"fault": {"type": "status", "status": 503}}' >/dev/null
sync_tenant 3 >/dev/null && outcome=triggered || outcome=failed
expect 'during an outage, a sync fails' failed "$outcome"
control DELETE /faults
expect 'after it, a sync succeeds' Succeeded "$(wait_for_run "$(sync_tenant 3)")"
