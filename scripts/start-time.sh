#!/usr/bin/env bash
# How long a start takes: from launching the processor on an empty state directory to the first line it
# prints, over the embedded broker with one sale in its topic. Prints the least, the median and the most
# of N starts in milliseconds.
#
#   scripts/start-time.sh [N]        (default 20)
#
# Uses the build of scripts/demo.sh; SALES_STREAM_BINARY names another. CARGO_TARGET_DIR is respected.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [[ ${1:-} == -h || ${1:-} == --help ]]; then
    sed -n '2,/^set -euo/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
    exit 0
fi
starts=${1:-20}
[[ $starts =~ ^[1-9][0-9]*$ ]] || { echo "how many starts? not \"$starts\" (see --help)" >&2; exit 2; }
binary=${SALES_STREAM_BINARY:-${CARGO_TARGET_DIR:-target}/release/sales-stream}
[[ -x $binary ]] || { echo "there is no $binary: build it with cargo build --release" >&2; exit 2; }

home=$(mktemp -d)
"$binary" broker --topic sales:3 >"$home/broker" 2>/dev/null &
broker=$!
trap 'kill "$broker" 2>/dev/null || true; rm -rf "$home"' EXIT
for _ in {1..200}; do
    [[ -s $home/broker ]] && break
    sleep 0.05
done
address=$(head -n 1 "$home/broker")
[[ -n $address ]] || { echo "the embedded broker did not start" >&2; exit 1; }
"$binary" produce sales --brokers "$address" --events 1 --rate unlimited 2>/dev/null

for start in $(seq "$starts"); do
    began=${EPOCHREALTIME/[.,]/}
    exec 3< <(exec "$binary" --brokers "$address" --checkpoint-dir "$home/state-$start" \
        --group-id "start-$start" --starting-offsets earliest --trigger 0s 2>/dev/null)
    processor=$!
    read -r _ <&3 || { echo "start $start printed nothing" >&2; exit 1; }
    printed=${EPOCHREALTIME/[.,]/}
    kill "$processor"
    cat <&3 >/dev/null
    exec 3<&-
    echo "$(((printed - began) / 100))"
done | sort -n | awk '
    { tenths[NR] = $1 }
    END {
        if (NR == 0) exit 1
        middle = NR % 2 ? tenths[(NR + 1) / 2] : (tenths[NR / 2] + tenths[NR / 2 + 1]) / 2
        printf "%d starts to the first printed line: least %.1f ms, median %.1f ms, most %.1f ms\n",
            NR, tenths[1] / 10, middle / 10, tenths[NR] / 10
    }'
