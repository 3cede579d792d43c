#!/usr/bin/env bash
# Runs the `sales` job in Apache Spark and in sales-stream (--compat spark-4) side by side, on one topic of a
# real Kafka, and compares what the two consoles show, batch by batch and byte for byte.
#
#   scripts/side-by-side.sh [--minutes 5] [--seed 1] [--port 29492] [--out DIR]
#
# Both are started while the topic is empty; records are produced only in the middle between two ticks of the
# 10-second trigger, so that both must put them into the same batch. Exit 0 when the texts are equal, 1 when
# they differ (the difference is printed), 2 on misuse. DIR (default: a temporary one) keeps both texts.
#
# The first run installs pyspark into a virtual environment under the cache directory (~/.cache/sales-stream)
# and fetches the Kafka connector's jars with Maven. Needs Java 17 or later and Python 3 with venv.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# shellcheck source=scripts/lib/install.sh
source scripts/lib/install.sh

die() {
    say "side-by-side.sh: $*"
    exit 1
}

minutes=5 seed=1 port=29492 out=
while [[ $# -gt 0 ]]; do
    case $1 in
    --minutes | --seed | --port | --out)
        [[ $# -ge 2 ]] || { say "side-by-side.sh: $1 needs a value"; exit 2; }
        case $1 in
        --minutes) minutes=$2 ;;
        --seed) seed=$2 ;;
        --port) port=$2 ;;
        --out) out=$2 ;;
        esac
        shift 2
        ;;
    -h | --help)
        sed -n '2,/^set -euo/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
        exit 0
        ;;
    *)
        say "side-by-side.sh: unknown argument $1 (see --help)"
        exit 2
        ;;
    esac
done

version=$(sed -n 's:.*<spark.version>\(.*\)</spark.version>.*:\1:p' scripts/spark/connector.pom.xml)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/sales-stream
python=$cache/pyspark-$version/bin/python
jars=$cache/spark-$version-kafka

ensure_java_and_maven
if ! "$python" -c 'import pyspark' 2>/dev/null; then
    say "Installing pyspark $version into $cache/pyspark-$version (about 450 MB)"
    python3 -m venv "$cache/pyspark-$version" || { apt_install python3-venv && python3 -m venv "$cache/pyspark-$version"; }
    "$python" -m pip install --quiet "pyspark==$version" || die "pyspark could not be installed"
fi
if [[ $(cat "$jars/.pom-cksum" 2>/dev/null) != "$(cksum <scripts/spark/connector.pom.xml)" ]]; then
    say "Fetching Spark's Kafka connector with Maven into $jars"
    rm -rf "$jars"
    mvn -q -B -f scripts/spark/connector.pom.xml dependency:copy-dependencies -DoutputDirectory="$jars" >&2
    cksum <scripts/spark/connector.pom.xml >"$jars/.pom-cksum"
fi
ensure_build_tools
cargo build --release --locked
binary=${CARGO_TARGET_DIR:-target}/release/sales-stream

work=$(mktemp -d)
out=${out:-$work/out}
mkdir -p "$out"
spark_pid='' ours_pid=''
cleanup() {
    [[ -n $spark_pid ]] && kill -9 "$spark_pid" 2>/dev/null || true
    [[ -n $ours_pid ]] && kill -9 "$ours_pid" 2>/dev/null || true
    scripts/kafka.sh stop --dir "$work/kafka" --port "$port" --clean >/dev/null 2>&1 || true
}
trap cleanup EXIT

scripts/kafka.sh start --dir "$work/kafka" --port "$port" >&2
brokers=localhost:$port
"$binary" topics create sales --partitions 3 --brokers "$brokers" >&2

"$binary" pipeline show sales >"$work/sales.toml"
"$python" -m pyspark.find_spark_home >/dev/null 2>&1 || true
home=$("$python" -c 'import os, pyspark; print(os.path.dirname(pyspark.__file__))')
classpath=$(printf '%s,' "$jars"/*.jar)
PYSPARK_PYTHON=$python "$home/bin/spark-submit" --master 'local[2]' --driver-memory 1g \
    --conf spark.sql.session.timeZone=UTC --conf spark.sql.shuffle.partitions=3 --conf spark.ui.enabled=false \
    --jars "${classpath%,}" scripts/spark/sales_job.py "$brokers" sales "$work/spark-checkpoint" \
    >"$out/spark.txt" 2>"$out/spark.log" &
spark_pid=$!
printf '\n[spark]\nshuffle_partitions = 3\n' >>"$work/sales.toml"
"$binary" --pipeline "$work/sales.toml" --compat spark-4 --trigger 10s --starting-offsets earliest \
    --brokers "$brokers" --checkpoint-dir "$work/checkpoints" >"$out/sales-stream.txt" 2>"$out/sales-stream.log" &
ours_pid=$!

# Batch 0 is printed at once, also over an empty topic: both are up when both show it.
deadline=$((SECONDS + 120))
until grep -q '^Batch: 0' "$out/spark.txt" && grep -q '^Batch: 0' "$out/sales-stream.txt"; do
    kill -0 "$spark_pid" 2>/dev/null || { tail -n 20 "$out/spark.log" >&2; die "Spark ended early"; }
    kill -0 "$ours_pid" 2>/dev/null || { tail -n 20 "$out/sales-stream.log" >&2; die "sales-stream ended early"; }
    [[ $SECONDS -lt $deadline ]] || die "the two were not up within two minutes; see $out"
    sleep 0.2
done

rounds=$((minutes * 6))
say "Both are up. Producing for $minutes minutes, once between every two ticks."
start=$(date -u +%s)
for ((round = 1; round <= rounds; round++)); do
    # 4 s behind a tick: far from the last one and from the next.
    now=$(date +%s%3N)
    sleep "$(awk -v now="$now" 'BEGIN { left = 14000 - now % 10000; if (left > 10000) left -= 10000; print left / 1000 }')"
    at=$(date -u -d "@$((start + round * 10))" +%Y-%m-%dT%H:%M:%SZ)
    "$binary" produce sales --brokers "$brokers" --events $((20 + (round * 37 + seed) % 150)) --rate unlimited \
        --seed "$((seed * 1000 + round))" --stores 7 --time-scale 150 --out-of-order 20s --late-fraction 0.05 \
        --malformed-fraction 0.02 --start-time "$at" >/dev/null 2>&1
    [[ -t 2 ]] && printf '\rround %d of %d' "$round" "$rounds" >&2
done
[[ -t 2 ]] && printf '\n' >&2
# What the last records closed is shown at the tick after the next.
sleep 25
kill -TERM "$ours_pid" "$spark_pid" 2>/dev/null || true
wait "$ours_pid" || true
wait "$spark_pid" 2>/dev/null || true
spark_pid='' ours_pid=''

batches=$(grep -c '^Batch: ' "$out/spark.txt" || true)
rows=$(grep -c '^|store-' "$out/spark.txt" || true)
if cmp -s "$out/spark.txt" "$out/sales-stream.txt"; then
    echo "equal: $batches batches, $rows rows, $(wc -c <"$out/spark.txt") bytes; spark $version and sales-stream --compat spark-4"
else
    echo "different: Spark showed $batches batches, sales-stream $(grep -c '^Batch: ' "$out/sales-stream.txt" || true)"
    diff "$out/spark.txt" "$out/sales-stream.txt" | head -n 40
    exit 1
fi
