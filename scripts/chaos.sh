#!/usr/bin/env bash
# Tries sales-stream on a real Kafka while everything around it is killed, stopped and cut off. `--help` teaches it.
#
# Invariants: only processes and namespaces that this run made are touched; the order of faults and the pauses between
# them follow from the seed and the options; whatever ends the processor but this script is a finding; the verdict is
# the auditor's. Start at `main`. The parts: chaos/plan.sh (what happens when), chaos/world.sh (Kafka, producers,
# processor), chaos/faults.sh (who carries the plan out), chaos/network.sh (the processor's network),
# chaos/verdict.sh (the end).
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/lib/install.sh
. "$HERE/lib/install.sh"
# shellcheck source=scripts/chaos/plan.sh
. "$HERE/chaos/plan.sh"
# shellcheck source=scripts/chaos/world.sh
. "$HERE/chaos/world.sh"
# shellcheck source=scripts/chaos/faults.sh
. "$HERE/chaos/faults.sh"
# shellcheck source=scripts/chaos/network.sh
. "$HERE/chaos/network.sh"
# shellcheck source=scripts/chaos/verdict.sh
. "$HERE/chaos/verdict.sh"

usage() {
    cat <<'USAGE'
Tries sales-stream on a real Kafka while everything around it is killed, stopped and cut off, then has every result
recomputed by the auditor (another language, another Kafka client) and says what it found.

  scripts/chaos.sh                                     one minute, one broker
  scripts/chaos.sh --minutes 10 --brokers 3 --seed 1   ten minutes, three brokers
  scripts/chaos.sh --plan --minutes 10 --seed 1        print what would happen when, and do nothing

Long runs
  scripts/chaos.sh --minutes 600 --brokers 3 --seed 2              ten hours
  scripts/chaos.sh --minutes 10 --kills 500 --seed 3               many deaths of the processor: one a second
  scripts/chaos.sh --minutes 20 --brokers 3 --broker-kills 200     many deaths of brokers: one every six seconds
  for seed in $(seq 1 100); do scripts/chaos.sh --minutes 5 --brokers 3 --seed "$seed" || break; done

What happens
  processor   SIGKILL, at times again within the first 200 ms (in the middle of its recovery), restarted at once or
              after a pause; SIGTERM; SIGSTOP for longer than its session; a second one on the same checkpoint; a
              backup taken while it runs, restored and verified
  brokers     SIGKILL of one, of two where many are asked for, of all for 10 to 20 s, of one together with the
              processor; SIGSTOP; rolling restart
  clients     producers killed, transactions left hanging, aborted transactions all the time, partitions added; some
              records are out of order, some late, some no sale
  network     the processor's packets vanish in one direction or both, the link goes down, connections are reset,
              little bandwidth, half a second of latency with 10 % loss. Needs Linux, root and iproute2; what a machine
              cannot do is said once and left out

Options
  --minutes N        how long faults go on (default 1)
  --seed S           what everything random is drawn from (default 1): the same seed and options give the same order
                     of faults and the same pauses. What happens between them is the machine's
  --kills N          SIGKILLs of the processor (default 12 a minute)
  --brokers 1|3      brokers (default 1); topics are copied to all of them, two must have a record before it counts
  --broker-kills N   SIGKILLs of single brokers (default 2 a minute, with three brokers 4). The run goes on, at most twice
                     as long, until as many as were asked for here and with --kills have been done
  --rate N           records a second, all producers together (default 150)
  --port N           first port of Kafka (default 24092; see scripts/kafka.sh). Best below 32768: from there on Linux
                     gives ports to whoever asks, and a broker that starts again may find its own taken
  --no-network       leave the network alone
  --binary FILE      try this sales-stream instead of building one
  --dir DIR          where everything is kept (default: a temporary directory)
  --keep             keep it after a clean run too; after any other it is always kept
  --plan             print the plan and end

A line of what happens has the time, the action, the processor's newest batch, and how far it was behind then. The run
ends with a table, the auditor's verdict, and a line `RESULT {…}` for machines. Exit 0 only when nothing was found
(1: something was, 2: usage, 130: interrupted). Ctrl+C cleans up.
USAGE
}

die() {
    say "chaos.sh: $*"
    exit 1
}

misuse() {
    say "chaos.sh: $*"
    say "scripts/chaos.sh --help explains."
    exit 2
}

require_number() {
    case $2 in '' | *[!0-9]* | 0?*) misuse "$1 wants a number, not '$2'." ;; esac
    [ "${#2}" -le 9 ] || misuse "$1 wants a smaller number than $2."
}

# Reads the options into the globals of the same name.
parse_options() {
    MINUTES=1 SEED=1 KILLS='' BROKERS=1 BROKER_KILLS='' RATE=150 PORT=24092 NETWORK=yes BINARY='' WORLD='' KEEP='' PLAN_ONLY=''
    while [ "$#" -gt 0 ]; do
        case $1 in
            --help | -h) usage; exit 0 ;;
            --no-network) NETWORK=''; shift; continue ;;
            --keep) KEEP=yes; shift; continue ;;
            --plan) PLAN_ONLY=yes; shift; continue ;;
            --minutes | --seed | --kills | --brokers | --broker-kills | --rate | --port | --binary | --dir) ;;
            *) misuse "Unknown option $1." ;;
        esac
        [ "$#" -ge 2 ] || misuse "$1 wants a value."
        case $1 in --binary | --dir) ;; *) require_number "$1" "$2" ;; esac
        case $1 in
            --minutes) MINUTES=$2; [ "$2" -ge 1 ] || misuse "--minutes is 1 or more." ;;
            --seed) SEED=$2 ;;
            --kills) KILLS=$2 ;;
            --brokers) BROKERS=$2; [ "$2" = 1 ] || [ "$2" = 3 ] || misuse "--brokers is 1 or 3, not '$2'." ;;
            --broker-kills) BROKER_KILLS=$2 ;;
            --rate) RATE=$2; [ "$2" -ge 3 ] || misuse "--rate is 3 or more." ;;
            --port) PORT=$2; [[ $2 -ge 1024 && $2 -le 65503 ]] || misuse "--port is from 1024 to 65503." ;;
            --binary) BINARY=$2; [ -x "$2" ] || misuse "--binary $2 cannot be executed." ;;
            --dir) WORLD=$2; [ ! -e "$2" ] || misuse "--dir $2 is there already." ;;
        esac
        shift 2
    done
    # What was asked for is done in full, though it take longer.
    INSISTED=" ${KILLS:+processor }${BROKER_KILLS:+brokers }"
    KILLS=${KILLS:-$((12 * MINUTES))}
    BROKER_KILLS=${BROKER_KILLS:-$(((BROKERS + 1) * MINUTES))}
}

# The binary to try: built here, with what a bare Debian machine lacks for that installed first.
ensure_binary() {
    if [ -z "$BINARY" ]; then
        ensure_build_tools
        (cd "$HERE/.." && cargo build --release --locked --bin sales-stream)
        BINARY=${CARGO_TARGET_DIR:-$HERE/../target}/release/sales-stream
    fi
    BINARY=$(cd "$(dirname "$BINARY")" && pwd)/$(basename "$BINARY")
}

make_home() {
    if [ -n "$WORLD" ]; then
        mkdir -p "$WORLD"
    else
        WORLD=$(mktemp -d "${TMPDIR:-/tmp}/sales-stream-chaos.XXXXXX")
    fi
    WORLD=$(cd "$WORLD" && pwd -P)
    chmod 700 "$WORLD"
}

# Ends everything this run has started. Kept where something was found: CLEAN says that nothing was.
clean_up() {
    local status=$?
    trap - EXIT INT TERM
    # A signal may come while a function's words go to a file.
    exec 2>&"$WORDS"
    end_actors
    remove_network
    if [ -n "$CLEAN" ] && [ -z "$KEEP" ]; then
        kafka stop --clean >/dev/null 2>&1 || true
        rm -rf "$WORLD"
    else
        kafka stop >/dev/null 2>&1 || true
        say "Everything is kept in $WORLD"
    fi
    exit "$status"
}

# Waits until the plan's time is over and its kills are done, or something is found.
let_it_happen() {
    local over=$((STARTED_MS + MINUTES * 60000)) limit
    limit=$((STARTED_MS + MINUTES * 120000 + 30000))
    while [ ! -e "$WORLD/finding" ]; do
        look_at_clock
        if [ "$NOW" -ge "$over" ] && [ ! -e "$WORLD/over" ]; then : >"$WORLD/over"; fi
        if [ -e "$WORLD/over" ] && actors_are_done; then break; fi
        if [ "$NOW" -ge "$limit" ]; then
            tell chaos late "not all planned kills could be done in twice the time"
            break
        fi
        nap 200
    done
    : >"$WORLD/over"
    : >"$WORLD/enough"
    wait_for_actors
}

main() {
    CLEAN='' ACTORS=() KEEPERS=() NAMESPACE=''
    parse_options "$@"
    if [ -n "$PLAN_ONLY" ]; then
        print_plan
        return
    fi
    ensure_binary
    make_home
    exec {WORDS}>&2
    trap clean_up EXIT
    trap 'exit 130' INT TERM
    open_nap
    make_plans
    make_network
    start_kafka
    STARTED_MS=$(now_ms)
    start_producers
    start_actors
    let_it_happen
    give_verdict
}

main "$@"
