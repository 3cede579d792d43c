#!/usr/bin/env bash
# Measures how the cost of an event, a checkpoint and a recovery grows, and draws the curves. `--help` teaches it.
#
# Invariants: a point counts only if its results were right; a round measures all points of a curve, and both systems of a
# point, in turn; nothing is left running and nothing outside the run's directory, and docs/ where asked, is changed. Start
# at `main`. The parts:
# bench/parts.sh (building, the broker, one measured run), bench/systems.sh (how each system is started), benches/tool
# (workload, recount, checks, measuring, held states, pictures).
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
Measures how the cost of sales-stream grows, beside that of the limit probe, and draws the curves.

  scripts/growth.sh --docs                 all curves; docs/growth.md and docs/growth/*.svg are made anew
  scripts/growth.sh --quick                the same on a small scale, to see whether everything works
  scripts/growth.sh --curves groups,held   some of them

Curves
  partitions   cost of an event in topics of 1, 4, 16 and 96 partitions, in batches of a producer of 16 KiB
  windows      cost of an event with 1, 10, 100, 1,000 and 10,000 open windows and the same number of groups
  groups       cost of an event with 10^2 to 10^6 open groups
  backlog      cost of an event in a backlog of 1 minute to 6 hours of 2,000 events a second
  changed      time of a checkpoint by the groups that changed, while a million are held
  held         time of a checkpoint by the groups that are held, while 10,000 change
  recovery     time to open a checkpoint and read it back, by the size of the state, up to more than a gigabyte

Options
  --curves LIST      which, with commas between them (default: all)
  --rounds N         rounds of each point (default 5)
  --events N         events of a point of the first three curves (default 3000000)
  --backlog MINUTES  the longest backlog (default 360, which is 43 million events and 5 GB)
  --held GROUPS      the most groups of a recovery (default 20000000: 2 GB of memory)
  --docs             put the page and the pictures into docs/ too; only with all curves
  --quick            a round of few small points, each once; pictures say that they are no measurement
  --out DIR          where points, logs, page and pictures go (default benches/runs/DATE-COMMIT-growth)
  --dir DIR          where Kafka and the systems keep their data (default: a temporary directory, deleted at the end)
  --port N           port of the broker (default 29792)
  --timeout S        most seconds of one run (default 900)

The cost of an event is the CPU time of the process, less that of a start on an empty topic just before, by the number
of events. A round measures all points of a curve, back and forth, and points are compared within rounds. Of the first
four curves a point is measured in a round as often as makes ten million events, but at most twenty times, in turn with
the others; sales-stream and the probe take turns in being first; topics are read once before. For the first three curves
all groups stay open while it is measured; then a record far ahead in each partition closes their windows, each run is
started again from its checkpoint, and its results are compared with sums recounted from the topic, to the cent. Of the
probe what it counted is compared, and the sum of all.
Checkpoints and recoveries are measured without Kafka, by the product's own code in a process of its own for each point;
what is read back must be what was written, in number and sum.
USAGE
}

readonly ALL_CURVES=partitions,windows,groups,backlog,changed,held,recovery

parse_options() {
    CURVES_LIST=$ALL_CURVES ROUNDS=5 EVENTS=3000000 BACKLOG=360 HELD=20000000 DOCS='' QUICK=''
    OUT='' DIR='' PORT=29792 TIMEOUT=900
    while [ $# -gt 0 ]; do
        case $1 in
            -h | --help) usage; exit 0 ;;
            --docs) DOCS=yes; shift; continue ;;
            --quick) QUICK=yes ROUNDS=1 EVENTS=200000 BACKLOG=10 HELD=100000; shift; continue ;;
            --*) [ $# -ge 2 ] || misuse "$1 wants a value." ;;
        esac
        case $1 in
            --curves) CURVES_LIST=$2 ;;
            --rounds) ROUNDS=$2; require_number "$1" "$2" ;;
            --events) EVENTS=$2; require_number "$1" "$2" ;;
            --backlog) BACKLOG=$2; require_number "$1" "$2" ;;
            --held) HELD=$2; require_number "$1" "$2" ;;
            --out) OUT=$2 ;;
            --dir) DIR=$2 ;;
            --port) PORT=$2; require_number "$1" "$2" ;;
            --timeout) TIMEOUT=$2; require_number "$1" "$2" ;;
            *) misuse "Unknown argument $1." ;;
        esac
        shift 2
    done
    [ -z "$QUICK$DOCS" ] || [ "$QUICK$DOCS" = yes ] || misuse "--quick is no measurement, and docs/ is for measurements."
    IFS=, read -r -a CURVES <<<"$CURVES_LIST"
    local name
    for name in "${CURVES[@]}"; do
        [[ ,$ALL_CURVES, == *,$name,* ]] || misuse "--curves: there is no '$name'."
    done
    [ -z "$DOCS" ] || [ "$CURVES_LIST" = "$ALL_CURVES" ] || misuse "--docs is for all curves: without --curves."
}

# The numbers that follow, up to $1, with $1 itself at the end.
up_to() {
    local most=$1 number
    shift
    for number in "$@"; do [ "$number" -ge "$most" ] || printf '%s\n' "$number"; done
    printf '%s\n' "$most"
}

# What curve $1 is measured at.
points_of() {
    case $1 in
        partitions) if [ -n "$QUICK" ]; then printf '%s\n' 1 16; else printf '%s\n' 1 4 16 96; fi ;;
        windows) if [ -n "$QUICK" ]; then printf '%s\n' 1 100; else printf '%s\n' 1 10 100 1000 10000; fi ;;
        groups) if [ -n "$QUICK" ]; then printf '%s\n' 100 10000; else printf '%s\n' 100 1000 10000 100000 1000000; fi ;;
        backlog) up_to "$BACKLOG" 1 10 60 ;;
        changed) if [ -n "$QUICK" ]; then printf '%s\n' 100 1000 10000; else printf '%s\n' 100 1000 10000 100000 1000000; fi ;;
        held) if [ -n "$QUICK" ]; then printf '%s\n' 20000 100000; else printf '%s\n' 100000 1000000 10000000; fi ;;
        recovery) up_to "$HELD" 10000 100000 1000000 10000000 ;;
    esac
}

# Appends a point to the file and tells of it; $1 the rest of its JSON.
tell_point() {
    local right=true
    if [ -n "$FAILURE" ]; then
        right=false
        FAILURES=$((FAILURES + 1))
    fi
    printf '{"curve":"%s","x":%s,"round":%s,"right":%s,"said":%s,%s}\n' "$CURVE" "$X" "$ROUND" "$right" \
        "$(json_text "${FAILURE:-$VERDICT}")" "$1" >>"$POINTS"
    say "  round $ROUND: ${FAILURE:-$VERDICT}"
}

# Sets the variables of a run of SYSTEM on TOPIC; $1 tells runs of one round apart.
set_run() {
    NAME=${SYSTEM%% *} VARIANT=${SYSTEM#* }
    RUN_ID=$(printf '%s' "$SYSTEM-$CURVE-$X-$1-$ROUND" | tr -c 'a-zA-Z0-9-' '-')
    GROUP=$RUN_ID-$STAMP
    RUN_DIR=$WORK/$RUN_ID
    mkdir -p "$RUN_DIR"
    FAILURE='' VERDICT=''
}

# Sets what point X of a curve of events is: its topic, one beside it that stays empty, what is due of it.
set_point() {
    TOPIC=growth-$CURVE-$X-$STAMP EMPTY=$TOPIC-empty TRUTH=$DIR/recounts/growth-$CURVE-$X
    PARTITIONS=3
    case $CURVE in
        partitions)
            PARTITIONS=$X
            open_windows 1000 10
            # As Java's producer makes them: without a limit those of few partitions are forty times as large.
            LOAD+=(--batch-bytes 16384)
            ;;
        windows)
            open_windows $((WINDOW_GROUPS / X)) "$X"
            # Ten stores would leave one of three partitions with a tenth of the events.
            LOAD+=(--even)
            ;;
        groups) open_windows $((X / 10)) 10 ;;
        backlog)
            WATERMARK_S=30
            LOAD=(--events $((X * 60 * 2000)) --stores 100 --span $((X * 60)))
            ;;
    esac
}

# The load of a point: events of $1 stores in $2 windows that stay open.
open_windows() {
    WATERMARK_S=$(($2 * 30 + 30))
    # All in the seconds before a full window's begin.
    LOAD=(--events "$EVENTS" --stores "$1" --span 1 --disorder $(($2 * 30)) --start 1756799999)
}

load_point() {
    say "loading $CURVE: $X"
    make_topic "$EMPTY" "$PARTITIONS"
    make_topic "$TOPIC" "$PARTITIONS"
    in_background "$TOOL" load --brokers "$BROKERS" --topic "$TOPIC" "${LOAD[@]}"
    in_background "$TOOL" recount --brokers "$BROKERS" --topic "$TOPIC" --watermark "$WATERMARK_S" --out "$TRUTH" >"$TRUTH.summary"
    COUNTED[$X]=$(sed -n 's/.*"events":\([0-9]*\).*/\1/p' "$TRUTH.summary")
    [[ ${COUNTED[$X]} =~ ^[1-9][0-9]*$ ]] || die "the recount of topic $TOPIC names no number of events: $(<"$TRUTH.summary")"
}

# The points of the curve, in turns with an even number $1 from the end, so that a machine that becomes faster or slower
# does so for all of them.
in_turn() {
    if [ $(($1 % 2)) -eq 1 ]; then points_of "$CURVE"; else points_of "$CURVE" | tac; fi
}

# Runs $1 for every point of the curve in every round.
in_rounds() {
    for ((ROUND = 1; ROUND <= ROUNDS; ROUND++)); do
        for X in $(in_turn "$ROUND"); do "$1"; done
    done
}

# Measures a curve of events.
measure_events() {
    for X in $(points_of "$CURVE"); do
        set_point
        load_point
    done
    for ((ROUND = 1; ROUND <= ROUNDS; ROUND++)); do measure_round; done
    for X in $(points_of "$CURVE"); do
        set_point
        close_point
    done
}

# A round of a curve of events: each point as often as makes up for few events, spread over the turns of the round.
measure_round() {
    local turn turns=1
    for X in $(points_of "$CURVE"); do
        set_point
        set_runs
        [ "$RUNS" -le "$turns" ] || turns=$RUNS
        warm_up "$TOPIC"
    done
    for ((turn = 1; turn <= turns; turn++)); do
        for X in $(in_turn $((ROUND + turn))); do
            set_point
            set_runs
            # Spread over the turns, their middles first: one alone is in the middle of the round.
            RUN=$(((2 * turn * RUNS + turns) / (2 * turns)))
            [ "$RUN" -eq $(((2 * (turn - 1) * RUNS + turns) / (2 * turns))) ] || measure_both
        done
    done
}

# Each system at a point, in turn the first.
measure_both() {
    say "$CURVE: $X"
    if [ $(((ROUND + RUN) % 2)) -eq 0 ]; then
        measure_probe
        measure_ours
    else
        measure_ours
        measure_probe
    fi
}

# Sets how often a point is measured in a round: as often as makes up for few events, but at most MOST_RUNS times.
set_runs() {
    RUNS=$(((MANY_EVENTS - 1) / COUNTED[$X] + 1))
    [ "$RUNS" -le "$MOST_RUNS" ] || RUNS=$MOST_RUNS
}

measure_probe() {
    SYSTEM="probe checkpoint"
    measure_start
    set_run "run-$RUN"
    FAILURE=$START_FAILURE
    run_phase whole
    # What is due is in its file; that the rest is right too, its sum says.
    RESULTS=counted:%LOG
    [ -n "$FAILURE" ] || check whole
    [ -n "$FAILURE" ] || VERDICT="$SYSTEM: $(cost_summary)"
    tell_cost
    rm -rf "$RUN_DIR"
}

# Its results are there when the windows are closed: `close_point` goes on with what is kept here.
measure_ours() {
    SYSTEM="sales-stream files"
    measure_start
    set_run "run-$RUN"
    FAILURE=$START_FAILURE
    run_phase whole
    printf '%s' "$START" >"$RUN_DIR/start-figures"
    printf '%s' "$FAILURE" >"$RUN_DIR/failure"
}

# What SYSTEM costs with nothing to read, into START; START_FAILURE says why where that failed.
measure_start() {
    local topic=$TOPIC
    TOPIC=$EMPTY
    set_run "start-$RUN"
    run_phase whole
    START_FAILURE=${FAILURE:+"on an empty topic: $FAILURE"}
    START=$(figures whole) TOPIC=$topic
    rm -rf "$RUN_DIR"
}

tell_cost() {
    tell_point "\"system\":\"$SYSTEM\",\"events\":${COUNTED[$X]},\"figures\":$(figures whole),\"start\":$START"
}

# Closes the windows of the point, lets each run of sales-stream go on to the end, and checks its results.
close_point() {
    say "closing $CURVE: $X"
    in_background "$TOOL" close --brokers "$BROKERS" --topic "$TOPIC"
    SYSTEM="sales-stream files"
    set_runs
    for ((ROUND = 1; ROUND <= ROUNDS; ROUND++)); do
        for ((RUN = 1; RUN <= RUNS; RUN++)); do
            set_run "run-$RUN"
            START=$(<"$RUN_DIR/start-figures") FAILURE=$(<"$RUN_DIR/failure")
            run_phase rest
            RESULTS=closed:$RUN_DIR/results
            [ -n "$FAILURE" ] || check rest
            [ -n "$FAILURE" ] || VERDICT="$VERDICT; $SYSTEM: $(cost_summary)"
            tell_cost
            rm -rf "$RUN_DIR"
        done
    done
    delete_topics "$TOPIC" "$EMPTY"
    rm -f "$TRUTH" "$TRUTH.summary"
}

cost_summary() {
    awk -v user="$(figure whole user_s)" -v kernel="$(figure whole system_s)" -v wall="$(figure whole wall_s)" \
        'BEGIN { printf "%.2f CPU-seconds, %.2f s", user + kernel, wall }'
}

# A checkpoint of $1 groups with batches that change $2 of them.
measure_checkpoint() {
    local held=$1 changed=$2 batches=40
    say "$CURVE: $X"
    RUN_DIR=$WORK/hold
    rm -rf "$RUN_DIR"
    mkdir -p "$RUN_DIR"
    FAILURE='' VERDICT=''
    in_background "$TOOL" "${PLACES[@]}" hold --dir "$RUN_DIR/state" --held "$held" --changed "$changed" \
        --batches "$batches" >"$RUN_DIR/hold.json" 2>"$RUN_DIR/said" || FAILURE="FAILED: $(<"$RUN_DIR/said")"
    read_back "$held" "$(figure hold cents)"
    [ -n "$FAILURE" ] || VERDICT="$(figure hold mean_ms) ms, at most $(figure hold most_ms) ms"
    tell_point "\"hold\":$(figures hold)"
    rm -rf "$RUN_DIR"
}

measure_changed() { measure_checkpoint "$CHANGED_HELD" "$X"; }
measure_held() { measure_checkpoint "$X" "$HELD_CHANGED"; }

# Reads the state of RUN_DIR back, which must hold $1 groups with $2 cents.
read_back() {
    [ -z "$FAILURE" ] || return 0
    in_background "$TOOL" "${PLACES[@]}" recover --dir "$RUN_DIR/state" --held "$1" --cents "$2" \
        >"$RUN_DIR/recover.json" 2>"$RUN_DIR/said" || FAILURE="FAILED: $(<"$RUN_DIR/said")"
}

# Makes the states that are read back, each once.
make_states() {
    local made said=$WORK/said
    for X in $(points_of "$CURVE"); do
        say "making $CURVE: $X"
        made=$WORK/made-$X
        in_background "$TOOL" "${PLACES[@]}" hold --dir "$made" --held "$X" >/dev/null 2>"$said" ||
            die "a state of $X groups could not be made: $(<"$said")"
    done
}

# Reading X groups back.
measure_recovery() {
    say "$CURVE: $X"
    RUN_DIR=$WORK/hold
    rm -rf "$RUN_DIR"
    mkdir -p "$RUN_DIR"
    FAILURE='' VERDICT=''
    # Opening one moves what is in its log: the next round is to find it there too.
    cp -r "$WORK/made-$X" "$RUN_DIR/state"
    read_back "$X" "$X"
    [ -n "$FAILURE" ] || VERDICT="$(figure recover seconds) s for $(figure recover state_bytes) bytes"
    tell_point "\"recover\":$(figures recover)"
    rm -rf "$RUN_DIR"
}

measure_curve() {
    case $CURVE in
        partitions | windows | groups | backlog) measure_events ;;
        changed) in_rounds measure_changed ;;
        held) in_rounds measure_held ;;
        recovery)
            make_states
            in_rounds measure_recovery
            rm -rf "$WORK"/made-*
            ;;
    esac
}

# Draws what was measured, into $1 (the page) and $2 (the pictures).
draw() {
    "$TOOL" draw "$POINTS" --environment "$OUT/environment.txt" --page "$1" --pictures "$2" ${QUICK:+--trial}
}

main() {
    parse_options "$@"
    trap cleanup EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    ensure_java_and_maven ''
    build
    make_places -growth
    POINTS=$OUT/points.jsonl
    [ ! -s "$POINTS" ] || misuse "$POINTS is there already: choose another --out."
    write_environment "$@"
    WINDOW_GROUPS=100000 CHANGED_HELD=1000000 HELD_CHANGED=10000
    FAILURES=0 STAMP=$(date -u +%s) MANY_EVENTS=10000000 MOST_RUNS=20
    [ -z "$QUICK" ] || WINDOW_GROUPS=1000 CHANGED_HELD=100000 HELD_CHANGED=1000 MANY_EVENTS=1
    declare -gA COUNTED=()
    [[ ,$CURVES_LIST, != *,@(partitions|windows|groups|backlog),* ]] || start_kafka
    for CURVE in "${CURVES[@]}"; do measure_curve; done
    draw "$OUT/growth.md" "$OUT/growth"
    [ -z "$DOCS" ] || draw docs/growth.md docs/growth
    grep -E '^(Flat|At least|From|With the most|A gigabyte)' "$OUT/growth.md" || true
    tell_places
    say "Points, page and pictures: $OUT"
    [ "$FAILURES" -eq 0 ] || die "runs that were wrong or failed, and do not count: $FAILURES."
}

main "$@"
