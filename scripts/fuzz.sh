#!/usr/bin/env bash
# Fuzzes the readers of bytes from outside (src/fuzz.rs) with libFuzzer, guided by coverage.
#
#   scripts/fuzz.sh [--seconds N] [--seed N] [TARGET...]
#
#   --seconds N   for each target (default 60)
#   --seed N      of libFuzzer's own choices (default: another one each time)
#   TARGET        records, specs, checkpoint_values, visible_file, cli_values (default: all)
#
# Begins with what fuzz/corpus has, which `cargo test` replays too. Of what it finds, small inputs that reach new
# code are kept there (at most 512 bytes each, until a target has 120); an input that breaks something is
# written to fuzz/artifacts. Only our own code is instrumented, so that RocksDB and librdkafka are those of the
# ordinary release build; `cargo +nightly fuzz run TARGET` instruments everything.
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
            -Cllvm-args=-sanitizer-coverage-trace-compares
        ;;
    esac
    exec "$@"
fi

MOST_KEPT=120
seconds=60 seed='' targets=()
while [ $# -gt 0 ]; do
    case $1 in
    --seconds) seconds=${2:?--seconds needs a number}; shift 2 ;;
    --seed) seed=${2:?--seed needs a number}; shift 2 ;;
    -h | --help) sed -n '2,/^set -euo/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit 0 ;;
    -*) echo "unknown argument: $1 (see --help)" >&2; exit 2 ;;
    *) targets+=("$1"); shift ;;
    esac
done
[ ${#targets[@]} -gt 0 ] || targets=(records specs checkpoint_values visible_file cli_values)
# libFuzzer takes 32 bits, and 0 as none.
[ -n "$seed" ] || seed=$RANDOM$RANDOM
seed=$((seed % 4294967295 + 1))

# Why it cannot be done here, if that is so.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
echo 'pub fn one(byte: u8) -> u8 { if byte == 7 { 1 } else { 2 } }' >"$work/one.rs"
if ! rustc --crate-type lib --emit obj -o "$work/one.o" -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters "$work/one.rs" 2>"$work/why"; then
    echo "fuzzing: SKIPPED, this compiler ($(rustc --version)) has no pass for coverage: $(head -n 1 "$work/why")"
    exit 0
fi
if ! command -v c++ >/dev/null; then
    echo "fuzzing: SKIPPED, there is no C++ compiler for libFuzzer"
    exit 0
fi

# The packages of fuzz/Cargo.lock are those of Cargo.lock, so that nothing is compiled for it that is there.
target_dir=${CARGO_TARGET_DIR:-$PWD/target}
SALES_STREAM_FUZZ_WRAPPER=1 RUSTC_WRAPPER="$PWD/scripts/fuzz.sh" CARGO_TARGET_DIR="$target_dir" \
    cargo build --release --locked --manifest-path fuzz/Cargo.toml

# Keeps of the inputs in $2 those that reach what fuzz/corpus/$1 does not, as long as there are not too many.
keep() {
    local corpus=fuzz/corpus/$1 merged="$work/merged-$1" small="$work/small-$1" room file
    mkdir -p "$merged" "$small"
    find "$2" -type f -size -513c -exec cp -t "$small" {} +
    cp "$corpus"/* "$merged"
    # What is in the first directory stays, and only what adds to it comes in.
    "$target_dir/release/$1" -merge=1 "$merged" "$small" >"$work/log" 2>&1 || return 0
    room=$((MOST_KEPT - $(find "$corpus" -type f | wc -l)))
    while ((room-- > 0)) && read -r _ file; do
        cp "$merged/$file" "$corpus/"
    done < <(find "$merged" -type f -printf '%s %f\n' | sort -n | while read -r size file; do
        [ -e "$corpus/$file" ] || echo "$size $file"
    done)
}

runs=0 started=$SECONDS
mkdir -p fuzz/artifacts
for target in "${targets[@]}"; do
    mkdir -p "fuzz/corpus/$target" "$work/$target"
    "$target_dir/release/$target" "$work/$target" "fuzz/corpus/$target" -artifact_prefix="fuzz/artifacts/$target-" \
        -max_total_time="$seconds" -seed="$seed" -timeout=10 -rss_limit_mb=1024 -max_len=65536 -print_final_stats=1 \
        >"$work/log" 2>&1 || {
        tail -n 40 "$work/log" >&2
        exit 1
    }
    done_runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$work/log")
    covered=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$work/log" | tail -n 1)
    before=$(find "fuzz/corpus/$target" -type f | wc -l)
    keep "$target" "$work/$target"
    echo "$target: $done_runs runs, $covered places reached," \
        "$(($(find "fuzz/corpus/$target" -type f | wc -l) - before)) inputs kept"
    runs=$((runs + done_runs))
done
result="RESULT {\"harness\":\"fuzz\",\"seed\":$seed,\"seconds\":$((SECONDS - started)),\"ok\":true,\"fuzz_runs\":$runs}"
echo "$result"
[ -z "${SALES_STREAM_RESULTS:-}" ] || echo "$result" >>"$SALES_STREAM_RESULTS"
