# shellcheck shell=bash
# The end of a run: calm, everything read to its end, every window closed, the audit, the table. Sourced by chaos.sh.
#
# Invariant: `ok` needs every step of the end to succeed; nothing is left out because it is late. Start at
# `give_verdict`. Not here: how results are recomputed (audit.sh).

give_verdict() {
    local verdict=1
    if [ ! -e "$WORLD/finding" ]; then settle; fi
    if [ ! -e "$WORLD/finding" ]; then audit; fi
    : >"$WORLD/finish"
    print_table
    if [ ! -e "$WORLD/finding" ]; then
        verdict=0
        CLEAN=yes
    else
        say "FOUND (seed $SEED):"
        cat "$WORLD/finding" >&2
    fi
    print_result "$verdict"
    exit "$verdict"
}

# The producers end, a last sale closes every window before it, and the processor reads to the end.
settle() {
    tell chaos calm "faults are over"
    end_producers
    "$BINARY" produce sales --topic "$TOPIC" --brokers "$HERE_BROKERS" --events 1 --timeout 60s \
        --start-time "$(event_time 3600)" >>"$WORLD/closing.log" 2>&1 || {
        find_fault "the closing sale could not be sent: $(tail -n 1 "$WORLD/closing.log")"
        return
    }
    await_end || return 0
    : >"$WORLD/finish"
    local deadline=$((SECONDS + 60))
    while [ ! -e "$WORLD/ended" ]; do
        if [ "$SECONDS" -ge "$deadline" ]; then
            find_fault "the processor did not end within 60 s"
            return
        fi
        nap 50
    done
    [ ! -e "$WORLD/finding" ] || return 0
    final_run
}

# Waits until nothing is left to read.
await_end() {
    local deadline=$((SECONDS + 120)) lag=''
    while [ "$SECONDS" -lt "$deadline" ] && [ ! -e "$WORLD/finding" ]; do
        lag=$("$BINARY" inspect --json --checkpoint-dir "$WORLD/checkpoints" --brokers "$HERE_BROKERS" 2>>"$WORLD/inspect.log" | total_lag)
        if [ "$lag" = 0 ]; then
            tell chaos calm "everything is read"
            return 0
        fi
        nap 300
    done
    [ -e "$WORLD/finding" ] || find_fault "the processor has not read to the end within 120 s of the last fault: $lag records are left"
    return 1
}

# Sums up the lags of an inspection; a word where one is not known.
total_lag() { tr ',{}' '\n' | awk -F: '/"lag"/ { seen = 1; if ($2 ~ /null/) unknown = 1; sum += $2 } END { print (seen && !unknown) ? sum : "unknown" }'; }

# The records of all batches, from an inspection.
total_rows() { tr ',{}' '\n' | awk -F: '/"totals"/ { totals = 1 } totals && /"rows_in"/ { print $2 + 0; totals = 0 }'; }

# One more start: everything that is there, then the end.
final_run() {
    local status=0
    processor_command available-now
    printf '{"launch":0,"at_ms":%s}\n' "$(now_ms)" >>"$WORLD/processor.log"
    timeout 120 "${RUN[@]}" >>"$WORLD/console" 2>>"$WORLD/processor.log" || status=$?
    [ "$status" = 0 ] || find_fault "the last run ended with status $status: $(last_words)"
    "$BINARY" checkpoints verify --checkpoint-dir "$WORLD/checkpoints" >"$WORLD/verify.log" 2>&1 ||
        find_fault "the checkpoint does not verify: $(tail -n 2 "$WORLD/verify.log")"
}

# Every result recomputed from the topic by a program that shares nothing with the processor.
audit() {
    local status=0
    AUDITS=1
    "$HERE/audit.sh" --binary "$BINARY" --brokers "$HERE_BROKERS" --topic "$TOPIC" --checkpoint-dir "$WORLD/checkpoints" \
        --starting earliest --sink "files:$WORLD/out" --console "$WORLD/console" --dead-letters "files:$WORLD/dead-letters" \
        --progress "$WORLD/progress.jsonl" --launches "$(launches)" --group sales-stream-sales >"$WORLD/audit.log" 2>&1 || status=$?
    grep -v '^RESULT' "$WORLD/audit.log" || true
    [ "$status" = 0 ] || find_fault "the auditor ended with $status; its words are above and in $WORLD/audit.log"
}

# How often the processor was started, as written down before each start.
launches() { grep -o '{"launch":' "$WORLD/processor.log" | wc -l; }

# Counts events of actor $1 and action $2 whose words match $3.
count() { awk -F '\t' -v actor="$1" -v action="$2" -v words="${3:-}" '$2 == actor && $3 == action && $4 ~ words { n++ } END { print n + 0 }' "$WORLD/events"; }

count_network() { awk -F '\t' '$2 == "network" && $3 != "SKIPPED" { n++ } END { print n + 0 }' "$WORLD/events"; }

aborted_transactions() { sed -n 's/.* committed, \([0-9]*\) aborted.*/\1/p' "$WORLD/producer-0.log" 2>/dev/null | awk '{ n += $1 } END { print n + 0 }'; }

# Seconds for which a broker was down or stopped, or all were, as told when they came back.
seconds_down() {
    awk -F '\t' '
        $2 == "broker" && match($4, /(after|for) [0-9]+ ms/) && !($4 ~ /all down/ && $4 !~ /broker 1/) {
            split(substr($4, RSTART, RLENGTH), part, " ")
            ms += part[2]
        }
        END { printf "%d\n", ms / 1000 }' "$WORLD/events"
}

# Milliseconds from each start to "running", least first; starts that were killed before are left out.
recoveries() {
    awk '
        /^{"launch":/ { split($0, part, /[:,}]/); at = part[4]; next }
        at && /"running"/ && match($0, /T[0-9:.]+Z/) {
            split(substr($0, RSTART + 1, RLENGTH - 2), clock, ":")
            ms = (clock[1] * 3600 + clock[2] * 60 + clock[3]) * 1000 - at % 86400000
            if (ms < 0) ms += 86400000
            printf "%d\n", ms
            at = 0
        }' "$WORLD/processor.log" 2>/dev/null | sort -n
}

print_table() {
    local middle='-' longest='-' all
    mapfile -t all < <(recoveries)
    if [ "${#all[@]}" -gt 0 ]; then
        middle=${all[${#all[@]} / 2]}
        longest=${all[-1]}
    fi
    KILLED=$(count processor killed)
    BROKERS_KILLED=$(count broker killed)
    BATCHES=$(tail -n 1 "$WORLD/progress.jsonl" 2>/dev/null | sed -n 's/.*"batchId":\([0-9]*\).*/\1/p')
    RECORDS=$("$BINARY" inspect --json --checkpoint-dir "$WORLD/checkpoints" --brokers "$HERE_BROKERS" 2>/dev/null | total_rows) || RECORDS=0
    cat <<TABLE

processor killed       $KILLED ($(count processor killed 'in its recovery') in its recovery, $(count processor killed together) together with a broker)
processor else         $(count processor terminated) SIGTERM, $(count processor stopped) SIGSTOP, $(count processor second) second starts refused, $(count processor backup) backups
recovery               median $middle ms, longest $longest ms (with the wait for brokers that are down), of ${#all[@]}
brokers killed         $BROKERS_KILLED ($(count broker killed 'all down') of them all at once), $(count broker restarted) restarted in turn, $(count broker stopped) SIGSTOP; down for $(seconds_down) s
clients                $(count client killed) producers killed, $(count client hanging) transactions left hanging, $(aborted_transactions) aborted, $(count client grown) partitions added
network faults         $(count_network)
batches, records       ${BATCHES:-0}, ${RECORDS:-0}
TABLE
}

print_result() {
    local ok=true line
    [ "$1" = 0 ] || ok=false
    line=$(printf 'RESULT {"harness":"chaos","seed":%s,"seconds":%s,"ok":%s,"brokers":%s,"app_kills":%s,"app_stops":%s,"broker_kills":%s,"broker_restarts":%s,"network_faults":%s,"aborted_transactions":%s,"batches":%s,"records":%s,"audits":%s}' \
        "$SEED" "$SECONDS" "$ok" "$BROKERS" "$KILLED" "$(count processor stopped)" "$BROKERS_KILLED" \
        "$(count broker restarted)" "$(count_network)" "$(aborted_transactions)" "${BATCHES:-0}" "${RECORDS:-0}" "${AUDITS:-0}")
    printf '%s\n' "$line"
    [ -z "${SALES_STREAM_RESULTS:-}" ] || printf '%s\n' "$line" >>"$SALES_STREAM_RESULTS"
}
