# shellcheck shell=bash
# The world of a run: Kafka, its producers, the processor, and the words about what happens. Sourced by chaos.sh.
#
# Everything of a run is in WORLD: events (what happened, for the table), processor.log, console, out, checkpoints,
# dead-letters, progress.jsonl, kafka/, and one file a producer. Files without content are words between the actors:
# over (no new faults), enough (no waiting either), finding (something is wrong), wanted (a kill asked of the
# processor's actor), quiet (producers end). Start at `start_kafka`. Not here: faults (faults.sh).

# Sets NOW to the clock's milliseconds. No subshell: actors look at the clock all the time, and the brokers need the
# processors.
look_at_clock() { NOW=$((${EPOCHREALTIME/[.,]/} / 1000)); }

now_ms() {
    look_at_clock
    printf '%s\n' "$NOW"
}

elapsed_ms() {
    look_at_clock
    printf '%s\n' "$((NOW - STARTED_MS))"
}

# A pipe that nobody writes to: waiting for it is a sleep without a process.
open_nap() {
    mkfifo "$WORLD/never"
    exec {NEVER}<>"$WORLD/never"
}

# Sleeps $1 milliseconds.
nap() {
    local seconds
    printf -v seconds '%d.%03d' $(($1 / 1000)) $(($1 % 1000))
    read -r -t "$seconds" -u "$NEVER" || true
}

# Sets PROCESS_STATE, PROCESS_PARENT and PROCESS_GROUP of process $1; fails where there is none.
read_process() {
    local stat
    { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
    # Its name stands in brackets and may hold anything.
    read -r PROCESS_STATE PROCESS_PARENT PROCESS_GROUP _ <<<"${stat##*) }"
}

# True where $1 is a child of this very shell, be it a dead one that nobody has waited for.
is_child() { [ -n "$1" ] && read_process "$1" && [ "$PROCESS_PARENT" = "$BASHPID" ]; }

# True where $1 is a child of this very shell and has not ended.
is_running() { is_child "$1" && [ "$PROCESS_STATE" != Z ]; }

# Sends child $1 signal $2, if it still is one.
signal_child() { if is_running "$1"; then kill -s "$2" "$1" 2>/dev/null || true; fi; }

# Notes for the table that $1 did $2, and shows it with the words $3.
tell() {
    local at line='' batch=- behind=-
    at=$(elapsed_ms)
    printf '%s\t%s\t%s\t%s\n' "$at" "$1" "$2" "${3:-}" >>"$WORLD/events"
    line=$(tail -n 1 "$WORLD/progress.jsonl" 2>/dev/null) || true
    if [[ $line =~ \"batchId\":([0-9]+) ]]; then batch=${BASH_REMATCH[1]}; fi
    if [[ $line =~ \"maxOffsetsBehindLatest\":\"([0-9]+)\" ]]; then behind=${BASH_REMATCH[1]}; fi
    printf '%5d.%d s  %-9s %-58s batch %s, behind %s\n' \
        $((at / 1000)) $((at % 1000 / 100)) "$1" "$2${3:+ $3}" "$batch" "$behind"
}

# Says what is wrong and has everything end.
find_fault() {
    printf '%s\n' "$*" >>"$WORLD/finding"
    tell chaos FOUND "$*"
}

# Brokers here live for seconds: small, and quick to start rather than quick.
kafka() {
    local command=$1
    shift
    KAFKA_HEAP_OPTS=${KAFKA_HEAP_OPTS:--Xms128m -Xmx256m -XX:TieredStopAtLevel=1} \
        "$HERE/kafka.sh" "$command" --dir "$WORLD/kafka" --port "$PORT" --timeout 120 "$@"
}

# Sets BOOTSTRAP to the brokers' addresses on host $1, from port $2 on.
addresses_on() {
    local id
    BOOTSTRAP=
    for ((id = 0; id < BROKERS; id++)); do BOOTSTRAP+="${BOOTSTRAP:+,}$1:$(($2 + id))"; done
}

start_kafka() {
    local listen=()
    [ -z "$NAMESPACE" ] || listen=(--listen "$HOST_ADDRESS")
    say "Starting Kafka: $BROKERS broker(s) from port $PORT on"
    kafka start --brokers "$BROKERS" "${listen[@]}" >"$WORLD/kafka-start.log" 2>&1 || {
        cat "$WORLD/kafka-start.log" >&2
        die "Kafka did not start; its words are above."
    }
    # Where brokers are to be killed by the dozen, their starts are what takes the time.
    if [ "$BROKER_KILLS" -gt $((6 * MINUTES)) ]; then kafka quicken >>"$WORLD/kafka-start.log" 2>&1 || true; fi
    addresses_on 127.0.0.1 "$PORT"
    HERE_BROKERS=$BOOTSTRAP
    if [ -n "$NAMESPACE" ]; then addresses_on "$HOST_ADDRESS" $((PORT + 40)); fi
    PROCESSOR_BROKERS=$BOOTSTRAP
    "$BINARY" topics create "$TOPIC" --partitions 3 --brokers "$HERE_BROKERS" --timeout 30s >"$WORLD/topic.log" 2>&1 || {
        cat "$WORLD/topic.log" >&2
        die "The topic could not be created."
    }
}

TOPIC=sales
# Event time runs faster than the clock, so that a minute has many windows.
TIME_SCALE=6

# Event time, in Unix seconds, $1 seconds after what is being sold now.
event_time() {
    local ms
    ms=$(elapsed_ms)
    printf '%s\n' "$(((STARTED_MS + ms * TIME_SCALE) / 1000 + $1))"
}

# Keeps producer $1 alive: it ends by being killed, by having lost its brokers for too long, or by itself.
keep_producer() {
    local id=$1 run=0 options=()
    # The first sells in transactions, of which some are aborted. It ends by itself now and then to tell how many.
    if [ "$id" = 0 ]; then
        options=(--transaction-size 40 --abort-every 3 --events $((RATE * 3)) --kafka-option transaction.timeout.ms=10000)
    fi
    while [ ! -e "$WORLD/quiet" ]; do
        run=$((run + 1))
        "$BINARY" produce sales --topic "$TOPIC" --brokers "$HERE_BROKERS" --rate $((RATE / 3)) --stores 20 \
            --seed $((SEED * 1000 + id)) --time-scale "$TIME_SCALE" --start-time "$(event_time 0)" \
            --out-of-order 20s --late-fraction 0.02 --malformed-fraction 0.01 --timeout 60s \
            --kafka-option reconnect.backoff.max.ms=1000 "${options[@]}" >>"$WORLD/producer-$id.log" 2>&1 &
        printf '%s\n' "$!" >"$WORLD/producer-$id.pid"
        # Bash would tell of each that was killed.
        { wait "$!"; } 2>/dev/null || true
        rm -f "$WORLD/producer-$id.pid"
        printf 'ended\n' >>"$WORLD/producer-$id.runs"
        nap 200
    done
}

# Sends signal $2 to producer $1, if it is there and is one.
signal_producer() {
    local pid
    pid=$(cat "$WORLD/producer-$1.pid" 2>/dev/null) || return 1
    [ -n "$pid" ] || return 1
    { tr '\0' ' ' <"/proc/$pid/cmdline"; } 2>/dev/null | grep -qF "produce sales --topic $TOPIC --brokers $HERE_BROKERS" || return 1
    kill -s "$2" "$pid" 2>/dev/null
}

start_producers() {
    local id
    set -m
    for id in 0 1 2; do
        keep_producer "$id" &
        KEEPERS+=("$!")
    done
    set +m
}

# Has the producers end, and waits for what they have sent.
end_producers() {
    local id deadline=$((SECONDS + 60))
    : >"$WORLD/quiet"
    # Once: at a second signal they would leave what is open.
    for id in 0 1 2; do
        signal_producer "$id" CONT || true
        signal_producer "$id" TERM || true
    done
    until keepers_are_done; do
        [ "$SECONDS" -lt "$deadline" ] || die "A producer does not end within 60 s: see $WORLD/producer-*.log"
        nap 100
    done
    await_transactions
}

# Waits until no transaction is open any more: behind one nothing can be read, also when its producer is long dead.
await_transactions() {
    local deadline=$((SECONDS + 90)) list
    while true; do
        list=$(kafka tool org.apache.kafka.tools.TransactionsCommand --bootstrap-server '{}' list 2>>"$WORLD/transactions.log") || list=Ongoing
        case $list in *Ongoing* | *Prepare*) ;; *) return ;; esac
        [ "$SECONDS" -lt "$deadline" ] || die "A transaction is still open after 90 s: $list"
        nap 500
    done
}

keepers_are_done() {
    local pid
    for pid in "${KEEPERS[@]}"; do
        if is_running "$pid"; then return 1; fi
    done
}

# Sets RUN to the command line of the processor with trigger $1. Settings are those of an impatient user.
processor_command() {
    RUN=()
    [ -z "$NAMESPACE" ] || RUN=(ip netns exec "$NAMESPACE")
    RUN+=("$BINARY" --checkpoint-dir "$WORLD/checkpoints" --brokers "$PROCESSOR_BROKERS" --topic "$TOPIC"
        --starting-offsets earliest --trigger "$1" --sink "files:$WORLD/out" --sink console --num-rows 10000
        --dead-letter "files:$WORLD/dead-letters" --progress "jsonl:$WORLD/progress.jsonl" --log-format json
        --kafka-option session.timeout.ms=6000 --kafka-option reconnect.backoff.max.ms=500
        --kafka-option socket.connection.setup.timeout.ms=2000)
}
