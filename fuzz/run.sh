#!/usr/bin/env bash
# Runs the fuzz targets on the stable compiler: ./run.sh [SECONDS [TARGET...]], 180 s of each by default. See README.md.
#
# What `cargo fuzz` asks of a nightly compiler is LLVM's coverage pass, which a stable one takes as well when it is named in
# full. Needs what Ergane itself needs, a C++ compiler for libFuzzer, and Python 3 to make seeds of the cassettes.
set -euo pipefail
cd "$(dirname "$0")"

seconds=${1:-180}
targets=("${@:2}")
[ ${#targets[@]} -gt 0 ] || targets=(openai responses ollama anthropic gemini dialect)
host=$(rustc -vV | sed -n 's/^host: //p')

# The versions that Ergane is tested with; cargo adds what only this folder needs.
cp ../Cargo.lock Cargo.lock

# With --target the flags are for the targets only, and not for build scripts and macros.
flags=(--cfg fuzzing -Cdebug-assertions -Coverflow-checks -Ccodegen-units=1 -Cpasses=sancov-module)
for flag in level=4 inline-8bit-counters pc-table trace-compares; do
    flags+=("-Cllvm-args=-sanitizer-coverage-$flag")
done
RUSTFLAGS="${flags[*]}" CARGO_INCREMENTAL=0 cargo build --release --target "$host"

python3 seeds.py ../tests/cassettes seeds
failed=()
for target in "${targets[@]}"; do
    mkdir -p "corpus/$target" "artifacts/$target" "seeds/$target"
    echo "== $target, $seconds s"
    dictionary=()
    [ ! -f "$target.dict" ] || dictionary=("-dict=$target.dict")
    # What it finds new goes to the corpus, so a later run goes on from there; what fails, to the artifacts.
    "target/$host/release/$target" "corpus/$target" "seeds/$target" "${dictionary[@]}" \
        -max_total_time="$seconds" -max_len=8192 -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 \
        -artifact_prefix="artifacts/$target/" 2>"artifacts/$target.log" || failed+=("$target")
    grep -E '^(stat::number_of_executed_units|stat::new_units_added|stat::peak_rss_mb|Done)|ERROR|panicked|Test unit written' \
        "artifacts/$target.log" || true
done
if [ ${#failed[@]} -gt 0 ]; then
    echo "failed: ${failed[*]}; see artifacts/TARGET.log, and give the binary the file in artifacts/TARGET to see it again" >&2
    exit 1
fi
