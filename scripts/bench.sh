#!/usr/bin/env bash
# Measures sales-stream beside other stream processors on one machine, in one run. `--help` teaches it.
#
# Invariants: a run's time counts only if its results were right, as far as they can be compared, and the table says how far
# that is; what is compared was measured in the same call, in turn; nothing is left running and nothing outside the run's
# directory is changed. Start at `main`. The parts:
# bench/parts.sh (building, the broker, one measured run), bench/systems.sh (how each system is started), benches/tool
# (workload, recount, checks, measuring, probes, table), benches/peers (the other systems' programs), kafka.sh (the
# broker), lib/install.sh (Java and Maven).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# shellcheck source=scripts/lib/install.sh
. scripts/lib/install.sh
# shellcheck source=scripts/bench/parts.sh
. scripts/bench/parts.sh
# shellcheck source=scripts/bench/systems.sh
. scripts/bench/systems.sh

usage() {
    cat <<'USAGE'
Measures sales-stream, and other stream processors beside it, on this machine.

  scripts/bench.sh                                  sales-stream and the limit probes
  scripts/bench.sh --peers flink,kafka-streams      …and the same work by Flink and Kafka Streams
  scripts/bench.sh --latency                        only the latency of sales-stream
  scripts/bench.sh --events 200000 --rounds 1 --latency-seconds 5
                                                    a quick look whether everything works

The work: JSON sales of 74 bytes in one topic of 3 partitions on one Kafka broker on this machine; parse, sum by store
in windows of 30 s of event time, watermark 30 s, each closed window once, state durable. Event time covers an hour
with up to 20 s of disorder. All systems read the same topics. Before a run's time counts, its results are compared
with sums recounted from the topic: each of them, to the cent, where the system keeps its results (sales-stream files,
flink, kafka-streams, bytewax, polars, probe checkpoint). Of one that keeps none (sales-stream none, spark, the other
probes) the numbers of records and results are compared that it tells, and of most probes the sum of all; the table
marks these rows. A run that is wrong is called WRONG, and this script then fails.

Results go where each system is at home: those of sales-stream into synced files, for it has no Kafka sink, those of
Flink and Kafka Streams into a topic, in transactions, those of Bytewax and Polars into a file; Spark's nowhere. What
keeps no results is compared with sales-stream none, the rest with sales-stream files.

Options
  --peers LIST       none (default), all, or of: flink kafka-streams spark bytewax polars, with commas between them;
                     flink is both of its backends, flink:heap and flink:rocksdb
  --stores LIST      numbers of stores, each a workload (default 100,100000)
  --events N         events of a workload (default 10000000; 1.1 GB of disk for each workload)
  --rounds N         rounds; in each every system runs once on every workload (default 3)
  --no-probes        leave the limit probes out
  --no-restarts      leave the starts and restarts out
  --no-latency       leave the latency out
  --latency          measure the latency and nothing else
  --rates LIST       records a second at which latency is measured (default 1000,100000)
  --latency-seconds N  seconds that count of each, behind 10 s that do not (default 60)
  --out DIR          where raw output goes (default benches/runs/DATE-COMMIT)
  --dir DIR          where Kafka and the systems keep their data; what is loaded there is used again
                     (default: a temporary directory, deleted at the end)
  --port N           port of the broker (default 29792)
  --timeout S        most seconds of one run (default 900)

Measured for each run: user and system CPU seconds of the process and its children, peak resident memory, wall time from
launch to exit, or to the last record read for Flink and Kafka Streams, whose last commit may wait for its interval. CPU
is that of the whole process from its launch on: it includes starting and, in a JVM, compiling (some seconds, for Spark
about twenty: the fewer events, the more it weighs), and not what the broker spends.

Once a round each system is also started with small batches, killed with SIGKILL after its first one, and started again;
the times to the first batch are those of these starts. After another SIGKILL it runs to the end, and its results are
compared like the others, but for those of a system that keeps none: a killed process takes its counts with it. Flink
and Kafka Streams have no batches: their first *record* counts; they are killed once, behind a checkpoint, and their
second start is the one that runs to the end.

Latency, once a round at each rate: from the moment a record's acknowledgement by the broker reaches its producer to the
moment sales-stream tells, in its line of progress, that the batch with the record is out: durable, its file of running
totals synced (--output-mode update --trigger 0s), and marked. Event time passes as the clock does, 100 stores. All
records behind the warm-up count. "From due" counts from when the record was to be sent, so that a producer or broker
that is slow does not hide. The totals are compared with a recount as well; a rate that was not kept is a failure.

The table goes to stdout; raw figures, logs, versions and the table go to --out. The first run of a peer fetches it:
Java and Maven for the JVM's, Python with venv for spark, bytewax and polars, into ~/.cache/sales-stream; all of them
are about a gigabyte.

Environment
  BENCH_JAVA_OPTS    options of the JVM of Flink and Kafka Streams (default: none, so that their heap may grow to a
                     quarter of the machine's memory; Spark's driver has 4 GB), as in BENCH_JAVA_OPTS=-Xmx1g
  KAFKA_HEAP_OPTS    those of the broker (default -Xms1g -Xmx1g)
USAGE
}

parse_options() {
    PEERS=none STORES_LIST=100,100000 EVENTS=10000000 ROUNDS=3 PROBES=yes RESTARTS=yes OUT='' DIR='' PORT=29792 TIMEOUT=900
    LATENCY=yes WORKLOADS=yes RATES_LIST=1000,100000 LATENCY_SECONDS=60
    while [ $# -gt 0 ]; do
        case $1 in
            -h | --help) usage; exit 0 ;;
            --no-probes) PROBES=; shift; continue ;;
            --no-restarts) RESTARTS=; shift; continue ;;
            --no-latency) LATENCY=; shift; continue ;;
            --latency) WORKLOADS=; shift; continue ;;
            --*) [ $# -ge 2 ] || misuse "$1 wants a value." ;;
        esac
        case $1 in
            --peers) PEERS=$2 ;;
            --stores) STORES_LIST=$2 ;;
            --events) EVENTS=$2; require_number "$1" "$2" ;;
            --rounds) ROUNDS=$2; require_number "$1" "$2" ;;
            --rates) RATES_LIST=$2 ;;
            --latency-seconds) LATENCY_SECONDS=$2; require_number "$1" "$2" ;;
            --out) OUT=$2 ;;
            --dir) DIR=$2 ;;
            --port) PORT=$2; require_number "$1" "$2" ;;
            --timeout) TIMEOUT=$2; require_number "$1" "$2" ;;
            *) misuse "Unknown argument $1." ;;
        esac
        shift 2
    done
    case $PEERS in
        none) PEER_NAMES=() ;;
        all) PEER_NAMES=(flink kafka-streams spark bytewax polars) ;;
        *) IFS=, read -r -a PEER_NAMES <<<"$PEERS" ;;
    esac
    IFS=, read -r -a STORES_NAMES <<<"$STORES_LIST"
    IFS=, read -r -a RATES <<<"$RATES_LIST"
    [ -n "$WORKLOADS" ] || STORES_NAMES=() PEER_NAMES=()
    [ -n "$LATENCY" ] || RATES=()
    [ -n "$WORKLOADS$LATENCY" ] || misuse "--latency and --no-latency leave nothing to measure."
    local name
    check_peers
    for name in "${STORES_NAMES[@]}"; do require_number --stores "$name"; done
    for name in "${RATES[@]}"; do require_number --rates "$name"; done
}

# Refuses peers that are none, and those that would be measured twice.
check_peers() {
    local name twice
    for name in "${PEER_NAMES[@]}"; do
        is_peer "$name" || misuse "--peers: there is no '$name'."
    done
    twice=$(for name in "${PEER_NAMES[@]}"; do variants_of "$name"; done | sort | uniq -d | paste -sd , -)
    [ -z "$twice" ] || misuse "--peers $PEERS: $twice would be measured twice."
}

topic_of() { printf 'bench-%s-%s\n' "$EVENTS" "$1"; }
truth_of() { printf '%s/recounts/%s\n' "$DIR" "$(topic_of "$1")"; }

# Loads the workload of $1 stores and recounts it, unless that was done in this directory before.
load_workload() {
    local topic truth
    topic=$(topic_of "$1") truth=$(truth_of "$1")
    make_topic "$topic"
    say "Loading $topic"
    in_background "$TOOL" load --brokers "$BROKERS" --topic "$topic" --events "$EVENTS" --stores "$1"
    # Always read anew: the recount is of what is in the topic now.
    in_background "$TOOL" recount --brokers "$BROKERS" --topic "$topic" --out "$truth" >"$truth.summary"
    say "  $(<"$truth.summary")"
}

# Sets the variables of a run of SYSTEM with $1 stores, told apart from others of its kind by $2.
set_run() {
    NAME=${SYSTEM%% *} VARIANT=${SYSTEM#* } STORES=$1
    TOPIC=$(topic_of "$STORES") TRUTH=$(truth_of "$STORES") RUN_EVENTS=$EVENTS
    RUN_ID=$(printf '%s' "$SYSTEM-$STORES-$KIND${2:+-$2}-$ROUND" | tr -c 'a-zA-Z0-9-' '-')
    # Kafka remembers groups and transactions of earlier calls.
    GROUP=$RUN_ID-$STAMP
    RUN_DIR=$WORK/$RUN_ID
    mkdir -p "$RUN_DIR"
}

# Appends a line to the file of runs and tells of it; $1 the phase that was measured, $2 that of the restart or nothing.
record() {
    local right=true
    [ -z "$FAILURE" ] || right=false
    printf '{"system":"%s","stores":%s,"events":%s,"round":%s,"kind":"%s","right":%s,"said":%s,"figures":%s,"restarted":%s,"latency":%s}\n' \
        "$SYSTEM" "$STORES" "$RUN_EVENTS" "$ROUND" "$KIND" "$right" "$(json_text "${FAILURE:-$VERDICT}")" "$(figures "$1")" \
        "$(figures "${2:-none}")" "$(figures latency)" >>"$RUNS"
    if [ -n "$FAILURE" ]; then
        FAILURES=$((FAILURES + 1))
        say "  $FAILURE"
    else
        say "  $VERDICT"
    fi
}

# One system on one workload, from the topic's begin to its end.
run_whole() {
    KIND=run
    case $SYSTEM in probe*) KIND=probe ;; esac
    set_run "$1"
    say "round $ROUND of $ROUNDS, $1 stores: $SYSTEM"
    FAILURE='' VERDICT=''
    run_phase whole
    [ -n "$FAILURE" ] || check whole
    [ -n "$FAILURE" ] || VERDICT="$VERDICT; $(summary whole)"
    record whole
    finish_run
}

# Starts one system with small batches, kills it, starts it again, kills it, and lets it run to the end; one that knows no
# batches is killed once, and its second start is the one that runs to the end.
run_restart() {
    local again=again
    KIND=restart
    set_run "$1"
    say "round $ROUND of $ROUNDS, $1 stores: $SYSTEM, killed and started again"
    FAILURE='' VERDICT=''
    run_phase start
    if has_batches "$NAME"; then run_phase again; else again=rest; fi
    run_phase rest
    # What keeps nothing can only be counted, and its counts are of one process.
    case $RESULTS in
        files:* | topic:* | lines:*) [ -n "$FAILURE" ] || check rest ;;
        *) VERDICT="results are not kept, so they were not compared" ;;
    esac
    [ -n "$FAILURE" ] || VERDICT="$VERDICT; $(first start) s, again $(first "$again") s"
    record start "$again"
    finish_run
}

# What waits for a result to come out: records at rate $1 into a topic of their own.
run_latency() {
    local rate=$1 warm_up=10
    KIND=latency SYSTEM="sales-stream files"
    set_run 100 "$rate"
    TOPIC=$GROUP TRUTH=$RUN_DIR/truth RUN_EVENTS=$((rate * (warm_up + LATENCY_SECONDS)))
    say "round $ROUND of $ROUNDS, latency of $SYSTEM at $rate records a second"
    FAILURE='' VERDICT=''
    make_topic "$TOPIC"
    "command_$NAME" "$VARIANT" latency
    in_background "$TOOL" "${PLACES[@]}" latency --brokers "$BROKERS" --topic "$TOPIC" --rate "$rate" --seconds "$LATENCY_SECONDS" \
        --warm-up "$warm_up" --stores "$STORES" --out "$RUN_DIR/latency.json" --log "$OUT/logs/$RUN_ID.log" \
        -- "${COMMAND[@]}" 2>"$RUN_DIR/said" || FAILURE="FAILED: $(<"$RUN_DIR/said")"
    if [ -z "$FAILURE" ]; then
        in_background "$TOOL" recount --brokers "$BROKERS" --topic "$TOPIC" --out "$TRUTH" >/dev/null
        check latency
    fi
    [ -n "$FAILURE" ] || VERDICT="$VERDICT; $(latency_summary)"
    record none
    delete_topics "$TOPIC"
    finish_run
}

latency_summary() {
    sed 's/.*"acknowledged":{"p50_ms":\([0-9.]*\),"p90_ms":[0-9.]*,"p99_ms":\([0-9.]*\).*"max_ms":\([0-9.]*\)},"due".*/\1 \2 \3/' \
        "$RUN_DIR/latency.json" | awk '{ printf "p50 %.1f ms, p99 %.1f ms, most %.1f ms", $1, $2, $3 }'
}

finish_run() {
    if declare -F "after_$NAME" >/dev/null; then "after_$NAME"; fi
    rm -rf "$RUN_DIR"
}

first() { figure "$1" first_s | awk '{ printf "%.3f", $1 } END { if (NR == 0) printf "no batch in any" }'; }
summary() {
    awk -v events="$EVENTS" -v user="$(figure "$1" user_s)" -v kernel="$(figure "$1" system_s)" -v wall="$(figure "$1" wall_s)" \
        -v peak="$(figure "$1" peak_mib)" 'BEGIN { printf "%.2f CPU-seconds, %.2f s, %.0f MiB, %.0f K events per CPU-second",
            user + kernel, wall, peak, events / 1000 / (user + kernel) }'
}

# The systems of this run in the order of the table, one a line: what is compared most closely runs side by side, because
# a machine's speed drifts.
systems() {
    local name
    variants_of sales-stream
    [ -z "$PROBES" ] || variants_of probe
    for name in "${PEER_NAMES[@]}"; do variants_of "$name"; done
}

run_rounds() {
    local stores rate order
    for ((ROUND = 1; ROUND <= ROUNDS; ROUND++)); do
        # Back and forth: who runs later finds the machine as the others left it, its memory above all.
        mapfile -t order < <(if [ $((ROUND % 2)) -eq 1 ]; then systems; else systems | tac; fi)
        for stores in "${STORES_NAMES[@]}"; do
            warm_up "$(topic_of "$stores")"
            for SYSTEM in "${order[@]}"; do
                if ! can_do "${SYSTEM%% *}" "$stores"; then
                    say "round $ROUND of $ROUNDS, $stores stores: $SYSTEM is left out (benches/peers/${SYSTEM%% *}/README.md)"
                    continue
                fi
                run_whole "$stores"
                if [ -n "$RESTARTS" ] && [ "${SYSTEM%% *}" != probe ]; then run_restart "$stores"; fi
            done
        done
        for rate in "${RATES[@]}"; do run_latency "$rate"; done
    done
}

main() {
    parse_options "$@"
    trap cleanup EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    local name stores
    ensure_java_and_maven ''
    build
    make_places ''
    RUNS=$OUT/runs.jsonl
    [ ! -s "$RUNS" ] || misuse "$RUNS is there already: choose another --out."
    for name in "${PEER_NAMES[@]}"; do "prepare_${name%%:*}"; done
    write_environment "$@"
    {
        for name in "${PEER_NAMES[@]}"; do "version_${name%%:*}"; done
        printf 'java options of flink and kafka-streams: %s\n' "${BENCH_JAVA_OPTS:-none}"
    } >>"$OUT/environment.txt"
    start_kafka
    for stores in "${STORES_NAMES[@]}"; do load_workload "$stores"; done
    FAILURES=0 STAMP=$(date -u +%s)
    run_rounds
    {
        printf 'Median (least to most) of %s rounds; %s\n\n' "$ROUNDS" "$(sed -n 's/^\(processor\|commit\): //p' "$OUT/environment.txt" | paste -sd ';' | sed 's/;/; /g')"
        "$TOOL" table "$RUNS"
    } | tee "$OUT/table.md"
    tell_places
    say "Raw figures and logs: $OUT"
    [ "$FAILURES" -eq 0 ] || die "runs that were wrong or failed, and whose times do not count: $FAILURES."
}

main "$@"
