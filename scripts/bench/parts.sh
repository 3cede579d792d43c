# shellcheck shell=bash
# shellcheck disable=SC2034,SC2153,SC2154  # set here and used in the scripts, or the other way round
# What scripts/bench.sh and scripts/growth.sh have in common: building, directories, the broker, one measured run.
#
# A script sets OUT, DIR, PORT and TIMEOUT, has a function `usage`, sources this file and traps `cleanup` at EXIT. It gets:
#
#   BINARY, TOOL   the processor and benches/tool
#   COMMIT, OUT    what is measured, and where raw output goes
#   DIR, WORK      where data are kept, and where each run has its own
#   PLACES         options of TOOL that say what is called how in what is written down
#   BROKERS        the broker, once it was started
#
# Invariants: what is printed on stdout is for the script; raw output names no directory of the machine. Start at `build`.
# Not here: which systems there are and how a run of them is started (bench/systems.sh), what is measured in which order
# (the scripts).

die() {
    say "${0##*/}: $*"
    exit 1
}

misuse() {
    say "${0##*/}: $*"
    say "scripts/${0##*/} --help explains."
    exit 2
}

cache_home() { printf '%s/sales-stream\n' "${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}"; }

require_number() { [[ $2 =~ ^[1-9][0-9]*$ ]] || misuse "$1 wants a number from 1, not '$2'."; }

# Builds the processor and the tool.
build() {
    ensure_build_tools
    say "Building"
    cargo build --release --locked --bin sales-stream --example bench
    local target=${CARGO_TARGET_DIR:-target}/release
    BINARY=$target/sales-stream TOOL=$target/examples/bench
}

# Makes the directories: raw output, its name ending in $1 unless --out names it, and data.
make_places() {
    local base number=2
    COMMIT=$(git rev-parse --short HEAD 2>/dev/null || echo unknown)
    if [ -z "$OUT" ]; then
        base=benches/runs/$(date -u +%F)-$COMMIT$1 OUT=$base
        while [ -e "$OUT" ]; do
            OUT=$base-$number
            number=$((number + 1))
        done
    fi
    mkdir -p "$OUT/logs"
    if [ -z "$DIR" ]; then
        DIR=$(mktemp -d) DIR_IS_OURS=yes
    else
        mkdir -p "$DIR"
        DIR=$(cd "$DIR" && pwd -P)
    fi
    WORK=$DIR/runs
    rm -rf "$WORK"
    mkdir -p "$WORK" "$DIR/recounts"
    name_places
}

# Sets PLACES, and PLACE_TEXTS, which raw output must not hold.
name_places() {
    local place
    PLACES=() PLACE_TEXTS=()
    for place in "OUT=$(cd "$OUT" && pwd -P)" "DIR=$DIR" "TARGET=$(cd "${CARGO_TARGET_DIR:-target}" && pwd -P)" \
        "CACHE=$(cache_home)" "REPOSITORY=$(pwd -P)" "HOME=${HOME:-}" "HOST=$(uname -n)"; do
        case $place in
            *= | *=/ | HOST=localhost) continue ;;
        esac
        PLACES+=(--place "$place")
        [ "${place%%=*}" = HOST ] || PLACE_TEXTS+=(-e "${place#*=}/")
    done
}

# Says which files of raw output hold a directory of the machine all the same.
tell_places() {
    local files
    files=$(grep -rlF "${PLACE_TEXTS[@]}" "$OUT" || true)
    [ -z "$files" ] || say "These name directories of this machine; look at them before you publish them:"$'\n'"$files"
}

# Ends what goes on and deletes what nobody asked to keep.
cleanup() {
    local code=$?
    trap - EXIT INT TERM
    if [ -n "${RUNNING:-}" ]; then
        kill "$RUNNING" 2>/dev/null || true
        wait "$RUNNING" 2>/dev/null || true
    fi
    if [ -n "${KAFKA_IS_OURS:-}" ]; then
        scripts/kafka.sh stop --dir "$DIR/kafka" --port "$PORT" ${DIR_IS_OURS:+--clean} >/dev/null 2>&1 || true
    fi
    [ -z "${WORK:-}" ] || rm -rf "$WORK"
    [ -z "${DIR_IS_OURS:-}" ] || rm -rf "$DIR"
    exit "$code"
}

start_kafka() {
    say "Starting Kafka on port $PORT"
    KAFKA_IS_OURS=yes
    KAFKA_HEAP_OPTS=${KAFKA_HEAP_OPTS:--Xms1g -Xmx1g} scripts/kafka.sh start --dir "$DIR/kafka" --port "$PORT" >/dev/null
    BROKERS=localhost:$PORT
}

# Creates topic $1 of $2 partitions (3) unless it is there.
make_topic() {
    local said
    if ! said=$("$BINARY" topics create "$1" --partitions "${2:-3}" --brokers "$BROKERS" 2>&1); then
        has_topic "$1" || die "$said"
    fi
}

# True where there is a topic $1: a line of the list begins with its name.
has_topic() {
    "$BINARY" topics list --brokers "$BROKERS" 2>/dev/null | awk -v topic="$1" '$1 == topic { there = 1 } END { exit !there }'
}

# Deletes the named topics, which nobody needs any more.
delete_topics() {
    local topic
    for topic in "$@"; do
        scripts/kafka.sh topics --dir "$DIR/kafka" --port "$PORT" --delete "$topic" >/dev/null 2>&1 || true
    done
}

# Reads topic $1 once, so that the broker has it in memory for the first system as for the last.
warm_up() {
    in_background "$TOOL" probe --step source --brokers "$BROKERS" --topic "$1" --dir "$WORK" >/dev/null
}

# Runs a command so that a signal to this script ends both at once.
in_background() {
    local code=0
    "$@" &
    RUNNING=$!
    wait "$RUNNING" || code=$?
    RUNNING=
    return "$code"
}

# The command line of the script with the arguments that say what was measured: not where, and not on which port.
told_command() {
    local told=scripts/${0##*/}
    while [ $# -gt 0 ]; do
        case $1 in
            --out | --dir | --port) shift ;;
            *) told+=" $1" ;;
        esac
        shift
    done
    printf '%s\n' "$told"
}

# Writes down what this was run on; the arguments are those of the script. What the other systems are is added by
# whoever knows them.
write_environment() {
    {
        printf 'command: %s\n' "$(told_command "$@")"
        printf 'date: %s\n' "$(date -u +%FT%TZ)"
        printf 'commit: %s%s\n' "$(git rev-parse HEAD 2>/dev/null || echo unknown)" "$(is_clean || echo ' with changes')"
        printf 'processor: %s, %s cores\n' "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)" "$(nproc)"
        printf 'memory: %s\n' "$(sed -n 's/^MemTotal: *//p' /proc/meminfo)"
        printf 'system: %s\n' "$(uname -sr)"
        printf 'rust: %s\n' "$(rustc --version)"
        printf 'java: %s\n' "$("$(java_command)" -version 2>&1 | head -n 1)"
        printf 'kafka: %s\n' "$(sed -n 's:.*<kafka.version>\(.*\)</kafka.version>.*:\1:p' scripts/kafka/kraft.pom.xml)"
        printf 'sales-stream: %s\n' "$("$BINARY" --version)"
    } >"$OUT/environment.txt"
}

is_clean() { [ -z "$(git status --porcelain --untracked-files=no 2>/dev/null)" ]; }

# Measures COMMAND in phase $1; the log is named after it. Fails where the command does.
measure() {
    local phase=$1 marks=(--mark "$MARK")
    [ -z "$DONE" ] || marks+=(--done "$DONE")
    if [ "$phase" = start ] || [ "$phase" = again ]; then marks+=(--kill-at "$KILL_AT"); fi
    in_background "$TOOL" "${PLACES[@]}" measure --out "$RUN_DIR/$phase.json" --log "$OUT/logs/$RUN_ID-$phase.log" \
        --timeout "$TIMEOUT" "${marks[@]}" -- "${COMMAND[@]}" 2>"$RUN_DIR/said"
}

# Runs one phase: sets the command, measures it. Sets FAILURE where it fails, and does nothing where something did.
run_phase() {
    [ -z "$FAILURE" ] || return 0
    "command_$NAME" "$VARIANT" "$1"
    measure "$1" || FAILURE="FAILED: $(<"$RUN_DIR/said")"
}

# Compares results with the recount TRUTH; log of phase $1. Sets VERDICT, or FAILURE.
check() {
    local results=${RESULTS//%LOG/$OUT/logs/$RUN_ID-$1.log} code=0
    in_background "$TOOL" "${PLACES[@]}" check --truth "$TRUTH" --brokers "$BROKERS" --results "$results" \
        >"$RUN_DIR/verdict" 2>&1 || code=$?
    if [ "$code" -eq 0 ]; then VERDICT=$(<"$RUN_DIR/verdict"); else FAILURE=$(<"$RUN_DIR/verdict"); fi
}

# What phase $1 of the run measured, as JSON, and one of its figures.
figures() { if [ -s "$RUN_DIR/$1.json" ]; then tr -d '\n' <"$RUN_DIR/$1.json"; else printf 'null'; fi; }
figure() { sed -n "s/.*\"$2\":\([0-9.]*\).*/\1/p" "$RUN_DIR/$1.json"; }

# Text $1 as a JSON string.
json_text() { printf '"%s"' "$(printf '%s' "$1" | tr -d '"\134' | tr -s '\n\t' '  ')"; }
