#!/usr/bin/env bash
# Fuzzes the readers of bytes from outside (src/fuzz.rs) with libFuzzer, guided by coverage.
#
#   scripts/fuzz.sh [--seconds N] [TARGET...]
#
#   --seconds N   for each target (default 60)
#   TARGET        records, specs, checkpoint_values, visible_file, cli_values (default: all)
#
# What it finds new goes to fuzz/corpus, which `cargo test` replays; an input that breaks something is written to
# fuzz/artifacts. Only our own code is instrumented, so that RocksDB and librdkafka are those of the ordinary build;
# `cargo +nightly fuzz run TARGET` instruments everything.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# cargo calls this script as the compiler's wrapper.
if [ -n "${SALES_STREAM_FUZZ_WRAPPER:-}" ]; then
    cd "$OLDPWD"
    name=
    for ((i = 1; i < $#; i++)); do
        if [ "${!i}" = --crate-name ]; then
            j=$((i + 1))
            name=${!j}
        fi
    done
    case $name in
    sales_stream | records | specs | checkpoint_values | visible_file | cli_values)
        exec "$@" --cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
            -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
            -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1
        ;;
    esac
    exec "$@"
fi

seconds=60 targets=()
while [ $# -gt 0 ]; do
    case $1 in
    --seconds) seconds=$2; shift 2 ;;
    -h | --help) sed -n '2,/^set -euo/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit 0 ;;
    -*) echo "unknown argument: $1 (see --help)" >&2; exit 2 ;;
    *) targets+=("$1"); shift ;;
    esac
done
[ ${#targets[@]} -gt 0 ] || targets=(records specs checkpoint_values visible_file cli_values)

target_dir=${CARGO_TARGET_DIR:-$PWD/target}
SALES_STREAM_FUZZ_WRAPPER=1 RUSTC_WRAPPER="$PWD/scripts/fuzz.sh" CARGO_TARGET_DIR="$target_dir/fuzzing" \
    cargo build --release --manifest-path fuzz/Cargo.toml
runs=0 started=$SECONDS
for target in "${targets[@]}"; do
    mkdir -p "fuzz/corpus/$target" fuzz/artifacts
    log=$(mktemp)
    "$target_dir/fuzzing/release/$target" "fuzz/corpus/$target" -artifact_prefix="fuzz/artifacts/$target-" \
        -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -max_len=65536 -print_final_stats=1 2>"$log" || {
        tail -n 40 "$log" >&2
        exit 1
    }
    done_runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    echo "$target: $done_runs runs"
    runs=$((runs + done_runs))
    rm -f "$log"
done
result="RESULT {\"harness\":\"fuzz\",\"seconds\":$((SECONDS - started)),\"ok\":true,\"fuzz_runs\":$runs}"
echo "$result"
[ -z "${SALES_STREAM_RESULTS:-}" ] || echo "$result" >>"$SALES_STREAM_RESULTS"
