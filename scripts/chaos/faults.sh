# shellcheck shell=bash
# Who carries the plans out: one actor each for the processor, the brokers, the other clients and the network, all at
# the same time. Sourced by chaos.sh.
#
# Invariants: the processor is started, signalled and waited for by its own actor alone; each fault is undone by the
# actor that made it, also when the run ends meanwhile; a process is signalled only while it is seen to be this run's,
# for the number of one that has ended may be another's. Start at `start_actors`. Not here: what a network fault is
# (network.sh).

start_actors() {
    local actor
    : >"$WORLD/events"
    # Groups of their own, so that an actor can be ended with everything it has started.
    set -m
    for actor in processor brokers clients network; do
        if [ "$actor" = network ] && [ -z "$NAMESPACE" ]; then continue; fi
        "act_on_$actor" 2>>"$WORLD/actors.log" &
        ACTORS+=("$!")
        if [ "$actor" = processor ]; then PROCESSOR_ACTOR=$!; fi
    done
    set +m
}

# True once all plans are done; the processor's actor then only looks after it.
actors_are_done() {
    local actor
    for actor in processor brokers; do
        [ -e "$WORLD/done-$actor" ] || return 1
    done
}

# Waits for the actors of faults to undo theirs. The processor's goes on: it ends when asked by the file `finish`.
wait_for_actors() {
    local pid deadline=$((SECONDS + 120))
    for pid in "${ACTORS[@]}"; do
        [ "$pid" != "$PROCESSOR_ACTOR" ] || continue
        while is_running "$pid"; do
            if [ "$SECONDS" -ge "$deadline" ]; then
                find_fault "An actor of this script does not end: see $WORLD/actors.log"
                return
            fi
            nap 100
        done
    done
}

# Kills what is left of actors and producers, with everything they have started.
end_actors() {
    local pid
    for pid in "${ACTORS[@]}" "${KEEPERS[@]}"; do
        if is_child "$pid"; then
            kill -KILL -- "-$pid" 2>/dev/null || true
        else
            # Its number may be another's by now: only what bears this run's name is left of it.
            kill_group_of_ours "$pid"
        fi
        # Bash would tell of each.
        { wait "$pid"; } 2>/dev/null || true
    done
}

# Kills those processes of group $1 whose command line names this run's directory.
kill_group_of_ours() {
    local pid
    for pid in /proc/[0-9]*; do
        pid=${pid#/proc/}
        read_process "$pid" || continue
        [ "$PROCESS_GROUP" = "$1" ] || continue
        if { tr '\0' ' ' <"/proc/$pid/cmdline"; } 2>/dev/null | grep -qF -- "$WORLD/"; then
            kill -KILL "$pid" 2>/dev/null || true
        fi
    done
}

# Naps $1 ms; fails at once where the run is to end.
pause() {
    local until
    look_at_clock
    until=$((NOW + $1))
    while [ "$NOW" -lt "$until" ]; do
        if [ -e "$WORLD/enough" ]; then return 1; fi
        if [ -e "$WORLD/over" ] && [ "$INSISTED" = " " ]; then return 1; fi
        nap $(($1 > 200 ? 200 : $1))
        look_at_clock
    done
}

# Goes through plan $1, handing each action to function act_$1. Once time is over only kills that were asked for by
# their number go on.
follow_plan() {
    local actor=$1 before action arguments
    while read -r -u 4 before action arguments; do
        if [ -e "$WORLD/over" ]; then
            case $INSISTED in *" $actor "*) ;; *) return 0 ;; esac
            case $action in kill | again | together | all | pair) ;; *) continue ;; esac
        fi
        if [ -e "$WORLD/finding" ] || [ -e "$WORLD/enough" ]; then return 0; fi
        "pause_of_$actor" "$before" || return 0
        # shellcheck disable=SC2086 # arguments are words
        "act_$actor" "$action" $arguments || return 0
    done 4<"$WORLD/plan-$actor"
}

# ---- the processor

act_on_processor() {
    LAUNCHES=0 PID=''
    mapfile -t TRIGGERS <"$WORLD/plan-triggers"
    launch_processor
    follow_plan processor
    : >"$WORLD/done-processor"
    # Looked after until it is asked to end.
    while [ ! -e "$WORLD/finish" ] && watch_processor 200; do :; done
    if [ -n "$PID" ]; then terminate_processor || true; fi
    : >"$WORLD/ended"
}

launch_processor() {
    processor_command "${TRIGGERS[LAUNCHES % ${#TRIGGERS[@]}]}"
    LAUNCHES=$((LAUNCHES + 1))
    printf '{"launch":%s,"at_ms":%s}\n' "$LAUNCHES" "$(now_ms)" >>"$WORLD/processor.log"
    "${RUN[@]}" >>"$WORLD/console" 2>>"$WORLD/processor.log" 4<&- &
    PID=$!
    LAUNCHED_MS=$(now_ms)
}

# Lets the processor run for $1 ms. Fails once it has ended by itself, which is a finding.
watch_processor() {
    local until
    look_at_clock
    until=$((NOW + $1))
    while true; do
        if [ -e "$WORLD/wanted" ]; then
            rm -f "$WORLD/wanted"
            kill_processor "together with a broker" || return 1
            launch_processor
        fi
        is_running "$PID" || ended_by_itself || return 1
        look_at_clock
        local left=$((until - NOW))
        [ "$left" -gt 0 ] || return 0
        nap $((left > 50 ? 50 : left))
    done
}

pause_of_processor() { watch_processor "$1"; }

ended_by_itself() {
    local status=0
    wait "$PID" || status=$?
    PID=''
    find_fault "the processor ended by itself with status $status; its last words: $(last_words)"
    return 1
}

last_words() { tail -n 4 "$WORLD/processor.log" | cut -c 1-600; }

# Kills the processor; $1 says how it is told.
kill_processor() { end_processor KILL 137 killed "$1"; }

terminate_processor() { end_processor TERM 0 terminated; }

# Ends the processor by signal $1 and tells it as $3 with the words $4. Fails where it does not end with status $2.
end_processor() {
    local signal=$1 wanted=$2 action=$3 words=${4:-} status=0 deadline=$((SECONDS + 45)) asked
    asked=$(now_ms)
    signal_child "$PID" "$signal"
    while is_running "$PID"; do
        if [ "$SECONDS" -ge "$deadline" ]; then
            find_fault "the processor does not end within 45 s of SIG$signal: $(last_words)"
            return 1
        fi
        nap 10
    done
    # Bash would tell of one that was killed.
    { wait "$PID" || status=$?; } 2>/dev/null
    PID=''
    if [ "$signal" = TERM ]; then words="within $(($(now_ms) - asked)) ms"; fi
    tell processor "$action" "$words"
    [ "$status" = "$wanted" ] && return 0
    find_fault "the processor ended with status $status at SIG$signal, not $wanted: $(last_words)"
    return 1
}

act_processor() {
    case $1 in
        kill)
            kill_processor "" || return 1
            [ "$2" = 0 ] || pause "$2" || true
            launch_processor
            ;;
        again)
            kill_processor "" || return 1
            launch_processor
            nap "$2"
            kill_processor "in its recovery, after $2 ms" || return 1
            launch_processor
            ;;
        terminate)
            terminate_processor || return 1
            launch_processor
            ;;
        stop)
            signal_child "$PID" STOP
            tell processor stopped "for $2 ms"
            pause "$2" || true
            signal_child "$PID" CONT
            ;;
        second) try_second ;;
        backup) try_backup ;;
    esac
}

# A second processor on the same checkpoint must be refused, and the first not notice.
try_second() {
    local status=0
    # Once it runs it has the lock.
    watch_processor $((LAUNCHED_MS + 1500 > $(now_ms) ? 1500 : 0)) || return 1
    processor_command 1s
    timeout 20 "${RUN[@]}" >"$WORLD/second.log" 2>&1 4<&- || status=$?
    tell processor second "on the same checkpoint: exit $status"
    [ "$status" = 10 ] && return 0
    find_fault "a second processor on the same checkpoint ended with status $status, not 10: $(tail -n 2 "$WORLD/second.log")"
    return 1
}

# A backup taken beside the live process can be restored elsewhere and is whole.
try_backup() {
    local at="$WORLD/backup" step=backup
    rm -rf "$at" "$at-restored"
    # Before the first batch there is nothing to back up.
    [ -s "$WORLD/progress.jsonl" ] || return 0
    if "$BINARY" checkpoints backup "$at" --checkpoint-dir "$WORLD/checkpoints" >"$WORLD/backup.log" 2>&1 &&
        step=restore && "$BINARY" checkpoints restore "$at" --checkpoint-dir "$at-restored" >>"$WORLD/backup.log" 2>&1 &&
        step=verify && "$BINARY" checkpoints verify --checkpoint-dir "$at-restored" >>"$WORLD/backup.log" 2>&1; then
        tell processor backup "taken while it runs, restored, verified"
        rm -rf "$at" "$at-restored"
        return 0
    fi
    find_fault "the $step of a backup failed: $(tail -n 2 "$WORLD/backup.log")"
    return 1
}

# ---- the brokers

act_on_brokers() {
    follow_plan brokers
    : >"$WORLD/done-brokers"
}

pause_of_brokers() { pause "$1"; }

broker_start() {
    kafka start "$@" >"$WORLD/kafka-start.log" 2>&1 && return 0
    find_fault "Kafka did not come back: $(tail -n 5 "$WORLD/kafka-start.log")"
    return 1
}

kill_broker() {
    # Not by kafka.sh, which would wait for another that is just starting.
    signal_broker "$1" KILL || {
        find_fault "broker $1 was to be killed and is not there: $(tail -n 3 "$WORLD/kafka/broker-$1/log")"
        return 1
    }
    tell broker killed "broker $1"
}

act_brokers() {
    local action=$1 id since
    shift
    case $action in
        kill) bring_back "$@" ;;
        pair)
            id=$(($1 % BROKERS + 1))
            kill_broker "$1" || return 1
            pause "$2" || true
            kill_broker "$id" || return 1
            look_at_clock
            since=$NOW
            broker_start || return 1
            tell broker back "broker $1 and broker $id after $(($(now_ms) - since)) ms"
            # Time for everybody to get on before the quorum goes again.
            pause 1500 || true
            ;;
        together)
            : >"$WORLD/wanted"
            bring_back "$@"
            ;;
        all)
            kafka kill >/dev/null 2>&1 || true
            for ((id = 1; id <= BROKERS; id++)); do tell broker killed "broker $id, all down for $1 ms"; done
            pause "$1" || true
            broker_start || return 1
            tell broker back "all of them"
            ;;
        pause)
            signal_broker "$1" STOP || return 0
            tell broker stopped "broker $1 for $2 ms"
            pause "$2" || true
            signal_broker "$1" CONT || true
            ;;
        rolling)
            for ((id = 1; id <= BROKERS; id++)); do
                kafka stop --broker "$id" >/dev/null 2>&1 || true
                broker_start --broker "$id" || return 1
                tell broker restarted "broker $id"
            done
            ;;
    esac
}

# Kills broker $1 and starts it again after $2 ms.
bring_back() {
    local since
    kill_broker "$1" || return 1
    since=$(now_ms)
    pause "$2" || true
    broker_start --broker "$1" || return 1
    tell broker back "broker $1 after $(($(now_ms) - since)) ms"
    # Where it is the only one, somebody must get on before it goes again.
    [ "$BROKERS" -gt 1 ] || pause 1500 || true
}

signal_broker() {
    local pid
    pid=$(cat "$WORLD/kafka/broker-$1/pid" 2>/dev/null) || return 1
    { tr '\0' ' ' <"/proc/$pid/cmdline"; } 2>/dev/null | grep -qF "$WORLD/kafka/broker-$1" || return 1
    kill -s "$2" "$pid" 2>/dev/null
}

# ---- the other clients

act_on_clients() {
    PARTITIONS=3
    follow_plan clients
}

pause_of_clients() { pause "$1"; }

act_clients() {
    case $1 in
        producer)
            signal_producer "$2" KILL || return 0
            tell client killed "producer $2"
            ;;
        hang)
            # Longer than its timeout: the brokers abort the transaction, and the producer finds itself shut out.
            signal_producer 0 STOP || return 0
            tell client hanging "a transaction is left open for $2 ms"
            pause "$2" || true
            signal_producer 0 CONT || true
            ;;
        partition)
            # Not while brokers are down: the plan goes on without it.
            if kafka topics --alter "$TOPIC" --partitions $((PARTITIONS + 1)) >"$WORLD/partitions.log" 2>&1; then
                PARTITIONS=$((PARTITIONS + 1))
                tell client grown "the topic has $PARTITIONS partitions now"
            else
                tell client refused "a partition could not be added: brokers are down"
            fi
            ;;
    esac
}

# ---- the network

act_on_network() { follow_plan network; }

pause_of_network() { pause "$1"; }

act_network() { network_fault "$@"; }
