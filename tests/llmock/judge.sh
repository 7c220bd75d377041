#!/usr/bin/env bash
# Lets a server that others wrote judge the command: `llmock` breaks its answers in every way that servers break, sees what
# is asked of it and when, and says at the end whether a client misbehaved. By hand; see README.md.
#
# Needs Python 3.10 or newer with venv, curl, and what Ergane itself needs. The first run fetches about 50 MB into .bed,
# where git ignores it.
set -euo pipefail
cd "$(dirname "$0")"

llmock=llmock==0.2.2

mkdir -p .bed
[ -x .bed/venv/bin/python ] || python3 -m venv .bed/venv
.bed/venv/bin/python -m pip --disable-pip-version-check install --quiet "$llmock"
cargo build --quiet -p ergane-cli --bin ergane
target=$(cargo metadata --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
ergane=$target/debug/ergane

port=$(.bed/venv/bin/python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
url=http://127.0.0.1:$port
.bed/venv/bin/llmock serve --port "$port" --log-level warning >.bed/llmock.log 2>&1 &
server=$!
trap 'kill "$server" 2>/dev/null || true' EXIT
for _ in $(seq 120); do
    if curl --silent --fail --output /dev/null --max-time 2 "$url/health"; then break; fi
    sleep 0.5
done

export JUDGE_KEY=of-the-judge ERGANE_CONFIG=/dev/null
work=$(mktemp -d)
echo "seven degrees" >"$work/weather.txt"
trials=0 wrong=0

# trial PROVIDER BASE WHAT EXIT COMMAND FAULT...: with these faults in line, the command must end so.
trial() {
    local provider=$1 base=$2 what=$3 expected=$4 command=$5 faults status=0
    shift 5
    faults=$(printf '%s,' "$@")
    curl --silent --fail --output /dev/null --request DELETE "$url/_llmock/scenario"
    curl --silent --fail --output /dev/null --data "{\"behaviors\": [${faults%,}]}" "$url/_llmock/scenario"
    trials=$((trials + 1))
    # Every trial asks something else: the judge takes what asks the same for the same call.
    # shellcheck disable=SC2086 # some words of the command are options
    "$ergane" $command "Trial $trials: what is the weather?" --journal :memory: --quiet --provider "$provider" --model mock \
        --base-url "$base" --api-key-env JUDGE_KEY --cwd "$work" --idle-timeout 2s >.bed/out.txt 2>.bed/err.txt || status=$?
    if [ "$status" != "$expected" ]; then
        wrong=$((wrong + 1))
        echo "$provider, $what: exit $status, not $expected: $(cat .bed/out.txt .bed/err.txt)"
    fi
}

for format in openai=/v1 openai_responses=/v1 anthropic=/anthropic gemini=/gemini/v1beta; do
    provider=${format%%=*} base=$url${format#*=}
    try() { trial "$provider" "$base" "$@"; }
    ask=query
    try "a server that asks to wait" 0 "$ask" '{"type": "fail", "status": 429, "retry_after": 1, "times": 2}'
    try "a server with no room" 0 "$ask" '{"type": "fail", "status": 503, "times": 2}'
    try "an overloaded server" 0 "$ask" '{"type": "fail", "status": 529}'
    try "a broken server" 0 "$ask" '{"type": "fail", "status": 500}'
    try "a server that stays broken" 3 "$ask --retries 2" '{"type": "fail", "status": 502, "times": null}'
    try "a wrong key" 3 "$ask" '{"type": "fail", "status": 401}'
    try "a forbidden model" 3 "$ask" '{"type": "fail", "status": 403}'
    try "a request that is refused" 1 "$ask" '{"type": "fail", "status": 400}'
    try "an answer that is cut off" 0 "$ask" '{"type": "stream_fault", "kind": "disconnect", "after_chunks": 2}'
    try "an answer that ends too early" 0 "$ask" '{"type": "stream_fault", "kind": "truncate", "after_chunks": 2}'
    try "an answer that is nonsense" 3 "$ask" '{"type": "stream_fault", "kind": "malformed", "after_chunks": 1}'
    try "an answer that stops coming" 0 "$ask" '{"type": "stream_fault", "kind": "stall", "after_chunks": 2, "stall_seconds": 20}'
    try "a slow beginning" 0 "$ask" '{"type": "slow_first_token", "seconds": 1}'
    read='{"type": "reply", "tool_calls": [{"name": "read", "arguments": {"path": "weather.txt"}}]}'
    try "a call" 0 "run --tools read" "$read"
    try "a call that is cut off" 0 "run --tools read" "$read" "$read" \
        '{"type": "stream_fault", "kind": "disconnect", "after_chunks": 1}'
    try "a call whose arguments are nonsense" 0 "run --tools read" '{"type": "tool_fault", "kind": "malformed_arguments"}'
    try "a call of a tool that was not offered" 0 "run --tools read" '{"type": "tool_fault", "kind": "unknown_tool"}'
done
rm -rf "$work"

echo "$trials trials, $wrong of them did not end as they should"
.bed/venv/bin/llmock report --url "$url" "$@"
[ "$wrong" = 0 ]
