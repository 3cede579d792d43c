#!/usr/bin/env bash
# Tests the auditor: plants defects in sales-stream, one at a time, and sees that each is caught. `--help` teaches it.
#
# Invariants: every schedule that a mutant runs is also run without one, and must be clean then; a mutant counts as
# caught when the auditor finds a violation, or when the program itself refuses to go on where it does not otherwise.
# Start at `main`; the table is MUTANTS. The parts: src/faults/mutants.rs (the defects), audit.sh (the auditor),
# auditor/doctored.sh (outputs changed by hand), auditor/Loader.java (the input), kafka.sh.
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/lib/install.sh
. "$HERE/lib/install.sh"
# shellcheck source=scripts/auditor/doctored.sh
. "$HERE/auditor/doctored.sh"

usage() {
    cat <<'USAGE'
Plants defects in sales-stream, one at a time, and sees that the auditor (scripts/audit.sh) catches each.

  scripts/mutants.sh                     all of them, on a Kafka of its own
  scripts/mutants.sh --only NAME         one (may be repeated)
  scripts/mutants.sh --doctored-only     none, only the outputs changed by hand (see below)
  scripts/mutants.sh --list              their names and what they do
  scripts/mutants.sh --brokers LIST      on a Kafka that runs already; topics mutants-* are made there

Options: --jobs N (schedules run at a time, default 3), --port N (of its own Kafka, default 29392), --seed N (of the
input, default 1), --keep (leave the directories of all runs), --faults FILE and --binary FILE (the two builds;
default: those of this clone, built first).

A mutant is run with its schedule: a number of runs over the same topic, ended by SIGKILL behind a step of a batch
where that matters, then the audit. Besides, the outputs of one clean run are changed by hand, one thing in each copy,
and the auditor must notice each and call it by its name. Exit 0 when all are caught and every schedule is clean
without them.
USAGE
}

# name | schedule | what it does
MUTANTS='
publish-before-persist|console published|sinks are given a batch before it is durable
commit-before-persist|dead committed|Kafka is told of a batch before it is durable
commit-before-publish|dead committed|Kafka is told of a batch before sinks have it
publish-before-announce|dead published|sinks are given a batch before it is announced
mark-before-publish|restart marked|a sink is marked with a batch before it has it
publish-twice|console marked|each batch is published twice
skip-sync|dead marked|batches are not in the write-ahead log
reset-to-latest|restart marked|a restart reads on at the end of the topic
positions-from-commit|restart announced|a restart reads on where the commit in Kafka says
forget-one-position|restart marked|the position of one partition is not restored
new-partition-from-end|grow|a new partition is read from its end on
drop-first-record|straight|the first record of each batch is not added up
apply-twice|restart marked|the first record after a restart is added twice
cut-not-kept|straight|a batch ends where reading came, not where it was cut
read-uncommitted|straight|records of aborted transactions are read
forget-late-bound|straight|late records are added up
late-bound-too-new|straight|records are late by W(n) instead of W(n-1)
close-early|straight|windows close before the watermark is there
keep-closed-windows|straight|windows that closed stay open
end-inclusive|straight|a window holds its end and not its start
sum-as-double|straight|sums are added up as doubles
truncate-before-sum|straight|numbers lose their places before they are added
skip-no-data-batch|straight|the batch without data that closes the last windows is left out
forget-watermark|restart marked|a restart begins with watermark 0
move-watermark-back|restart marked|a restart begins with an older watermark
skip-republish|restart announced|a restart does not publish the unpublished batch
republish-as-next|console announced|a restart publishes it under the next number
append-republished|restart published|a batch published again is added to its file
write-in-place|dead half-written|a file gets its name before it is whole
merge-two-batches|straight|two batches are published as one
drop-closed-window-early|restart announced|closed windows are deleted before sinks have them
lose-rows-at-merge|small marked|rows are lost where older runs are merged
accept-damaged-row|restart announced|a damaged sum is read back and published
accept-older-state|older|a restart takes a state older than what was seen
error-as-absence|absent|an error is taken for "Kafka knows nothing of us"
drop-late-letters|straight|late records are not kept as dead letters
forget-malformed|straight|malformed records are not counted
commit-begins|dead committed|offsets are committed where the batch began
forget-cold-totals|cold marked|a group touched while it is not in memory begins anew
'

chosen() { [ -z "$CHOSEN" ] || printf '%s\n' "$CHOSEN"; }

# A batch in the middle of each run: windows close in every batch there.
KILLED=8

die() {
    say "mutants.sh: $*"
    exit 2
}

rows() { sed '/^$/d' <<<"$MUTANTS"; }

# One run of directory $1; the other words are options. Notes how it ended.
run_once() {
    local directory=$1 status=0
    shift
    # In a group, so that the shell's own word about a killed run goes to the log too.
    {
        timeout --signal "${SIGNAL:-TERM}" "${LIMIT:-60}" "$FAULTS" --brokers "$BROKERS" --topic "$TOPIC" --checkpoint-dir "$directory/state" \
            --group-id "$(basename "$directory")-$$" --starting-offsets earliest --trigger available-now \
            --startup-timeout 10s --log-level error --progress "jsonl:$directory/progress" "${SINKS[@]}" "$@" \
            >>"$directory/console" || status=$?
    } 2>>"$directory/log"
    printf '%s ' "$status" >>"$directory/exits"
    return 0
}

killed_after() { SALES_STREAM_KILL_AFTER=$1 run_once "${@:2}"; }

last_exit() { awk '{print $NF}' "$1/exits"; }

# Runs schedule $2 (and its step $3) in directory $1; SALES_STREAM_MUTANT says what is planted. PHASE is 1 or 2 for
# the schedule whose topic grows between two runs.
schedule() {
    local directory=$1 name=$2 step=${3:-} partial=''
    SINKS=(--sink "files:$directory/out" --dead-letter "files:$directory/letters")
    case $name in
        console | older | absent) SINKS=(--sink console --num-rows 1000000) ;;
        everything) SINKS+=(--sink console --num-rows 1000000) ;;
    esac
    case $name in
        straight) run_once "$directory" --max-offsets-per-trigger 250 ;;
        restart | console | everything)
            killed_after "$step:$KILLED" "$directory" --max-offsets-per-trigger 250
            run_once "$directory" --max-offsets-per-trigger 170
            ;;
        random)
            # Instants that nobody chose: within the start and the first second of each run.
            for _ in 1 2 3 4; do
                SIGNAL=KILL LIMIT=0.$((RANDOM % 70 + 20)) run_once "$directory" --max-offsets-per-trigger 20
            done
            run_once "$directory" --max-offsets-per-trigger 250
            ;;
        small)
            # Many batches to a window, so that the checkpoint merges what they wrote.
            killed_after "$step:60" "$directory" --max-offsets-per-trigger 25
            run_once "$directory" --max-offsets-per-trigger 250
            ;;
        cold)
            # No state in memory, then a little.
            SALES_STREAM_STATE_BYTES=0 killed_after "$step:$KILLED" "$directory" --max-offsets-per-trigger 250
            SALES_STREAM_STATE_BYTES=3000 run_once "$directory" --max-offsets-per-trigger 170
            ;;
        dead)
            killed_after "$step:$KILLED" "$directory" --max-offsets-per-trigger 250
            partial=yes
            ;;
        older)
            killed_after "marked:4" "$directory" --max-offsets-per-trigger 250
            cp -a "$directory/state" "$directory/older"
            killed_after "marked:$KILLED" "$directory" --max-offsets-per-trigger 250
            mv "$directory/state" "$directory/newer"
            mv "$directory/older" "$directory/state"
            run_once "$directory" --max-offsets-per-trigger 170
            # Refused, as it must be: the newer state comes back, and the run goes on.
            if [ "$(last_exit "$directory")" = 13 ]; then
                rm -rf "$directory/state"
                mv "$directory/newer" "$directory/state"
                run_once "$directory" --max-offsets-per-trigger 170
            fi
            ;;
        absent)
            killed_after "marked:$KILLED" "$directory" --max-offsets-per-trigger 250
            mv "$directory/state" "$directory/kept"
            SALES_STREAM_PLANTED_ERROR=witness run_once "$directory" --max-offsets-per-trigger 170 --startup-timeout 1s
            if [ "$(last_exit "$directory")" = 22 ]; then
                rm -rf "$directory/state"
                mv "$directory/kept" "$directory/state"
                run_once "$directory" --max-offsets-per-trigger 170
            fi
            ;;
        grow)
            if [ "$PHASE" = 1 ]; then
                run_once "$directory" --max-offsets-per-trigger 250
                return
            fi
            run_once "$directory" --max-offsets-per-trigger 250
            ;;
    esac
    # A program that refused to go on leaves its run unfinished.
    case $(last_exit "$directory") in 0) ;; *) partial=yes ;; esac
    write_audit "$directory" "$partial"
}

# Writes the auditor's line for a directory.
write_audit() {
    local directory=$1 partial=$2 words
    "$BINARY" inspect --json --history all --checkpoint-dir "$directory/state" --brokers localhost:1 \
        >"$directory/boundaries" 2>"$directory/inspect" || true
    [ -s "$directory/boundaries" ] || printf 'none %s\n' "$(tail -n 1 "$directory/inspect")" >"$directory/boundaries"
    words=(--name "$(basename "$directory")" --topic "$TOPIC" --boundaries "$directory/boundaries"
        --group "$(basename "$directory")-$$")
    [ -z "$partial" ] || words+=(--partial)
    words+=(--launches "$(wc -w <"$directory/exits")")
    [ ! -e "$directory/progress" ] || words+=(--progress "$directory/progress")
    case " ${SINKS[*]} " in *' console '*) words+=(--console "$directory/console") ;; esac
    case " ${SINKS[*]} " in *' files:'*) words+=(--sink "files:$directory/out" --dead-letters "$directory/letters") ;; esac
    (
        IFS=$'\t'
        printf '%s\n' "${words[*]}" >"$directory/audit"
    )
}

# One line of work: directory name, mutant or nothing, schedule, step.
work() {
    local name=$1 mutant=$2 began
    shift 2
    mkdir -p "$HOME_DIR/$name"
    began=$(date +%s%N)
    SALES_STREAM_MUTANT=$mutant schedule "$HOME_DIR/$name" "$@"
    printf '%s\n' $((($(date +%s%N) - began) / 1000000)) >>"$HOME_DIR/$name/milliseconds"
}

# Runs what stands on stdin (name, mutant or -, schedule, step), JOBS at a time.
work_all() {
    local name mutant schedule step running=0
    while read -r name mutant schedule step; do
        [ "$mutant" != - ] || mutant=''
        # shellcheck disable=SC2086 # no step is no word
        work "$name" "$mutant" "$schedule" $step </dev/null &
        running=$((running + 1))
        if [ "$running" -ge "$JOBS" ]; then
            wait -n || true
            running=$((running - 1))
        fi
    done
    wait
}

# The lines of work of the chosen mutants: each schedule without a defect first, then with.
lines_of_work() {
    local name schedule what
    while IFS='|' read -r name schedule what; do
        printf 'clean-%s - %s\n' "${schedule// /-}" "$schedule"
    done < <(chosen) | sort -u
    echo 'clean-random - random'
    [ -z "$DOCTOR" ] || echo 'clean-everything - everything marked'
    while IFS='|' read -r name schedule what; do
        printf '%s %s %s\n' "$name" "$name" "$schedule"
    done < <(chosen)
}

# Loads a topic (its name, partitions, records, seed, first record). A transaction that fails on a busy machine is no
# matter: what is sent again is more input, and the audit takes whatever is there.
load() {
    local aborted attempt
    for attempt in 1 2 3; do
        if aborted=$("$(java_command)" -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -cp "$JARS" "$HERE/auditor/Loader.java" \
            "$BROKERS" "$@" 2>"$HOME_DIR/loader.log"); then
            ABORTED=$((ABORTED + aborted))
            RECORDS=$((RECORDS + $3))
            return
        fi
        say "loading topic $1 failed (attempt $attempt): $(grep -m 1 Exception "$HOME_DIR/loader.log" || true)"
    done
    die "loading topic $1 failed"
}

run_all() {
    local growing
    growing=$(lines_of_work | awk '$3 == "grow"')
    TOPIC=mutants-$$
    load "$TOPIC" 3 5000 "$SEED" 0
    if [ -n "$growing" ]; then
        TOPIC=mutants-$$-growing
        load "$TOPIC" 2 1500 "$SEED" 0
        PHASE=1 work_all <<<"$growing"
        load "$TOPIC" 4 1500 "$SEED" 1500
        PHASE=2 work_all <<<"$growing"
        TOPIC=mutants-$$
    fi
    lines_of_work | awk '$3 != "grow"' | PHASE='' work_all
    [ -z "$DOCTOR" ] || make_doctored "$HOME_DIR/clean-everything"
    cat "$HOME_DIR"/*/audit >"$HOME_DIR/audits"
    "$HERE/audit.sh" --list "$HOME_DIR/audits" --brokers "$BROKERS" --starting earliest --show 3 \
        >"$HOME_DIR/verdicts" || true
    [ "$(grep -c ': verdict: ' "$HOME_DIR/verdicts")" = "$(wc -l <"$HOME_DIR/audits")" ] || die "the auditor did not finish"
    ! grep -q ': cannot audit: ' "$HOME_DIR/verdicts" || grep -A20 ': cannot audit: ' "$HOME_DIR/verdicts" >&2
}

# The kinds of violation that an audit found, or nothing.
found() { sed -n "s/^$1: verdict: [0-9]* violations (\\(.*\\))\$/\\1/p" "$HOME_DIR/verdicts"; }
is_clean() { grep -qx "$1: verdict: clean" "$HOME_DIR/verdicts"; }

# A word for how a program ended that refused to go on; nothing where it did not.
refusal() {
    case $(last_exit "$HOME_DIR/$1") in
        11) printf 'refused as corrupt (exit 11)' ;;
        12) printf 'refused as a misfit (exit 12)' ;;
        13) printf 'refused as older than seen (exit 13)' ;;
    esac
}

report() {
    local name schedule what kinds words ok=true seconds
    CAUGHT=0 PLANTED=0 BY_PROGRAM=0 DOCTORED_COUNT=0 NOTICED=0
    printf '\n%-26s %-20s %6s  %s\n' 'without a defect' schedule seconds verdict
    while read -r name _ schedule; do
        seconds=$(awk '{s += $1} END {printf "%.1f", s / 1000}' "$HOME_DIR/$name/milliseconds")
        if is_clean "$name"; then words=clean; else
            words="NOT CLEAN: $(found "$name")"
            ok=false
            grep "^$name: " "$HOME_DIR/verdicts" >&2 || true
        fi
        printf '%-26s %-20s %6s  %s\n' "$name" "$schedule" "$seconds" "$words (exits $(cat "$HOME_DIR/$name/exits"))"
    done < <(lines_of_work | grep '^clean-')
    printf '\n%-26s %-20s %6s  %s\n' mutant schedule seconds 'caught by'
    while IFS='|' read -r name schedule what; do
        PLANTED=$((PLANTED + 1))
        seconds=$(awk '{s += $1} END {printf "%.1f", s / 1000}' "$HOME_DIR/$name/milliseconds")
        kinds=$(found "$name")
        words=$kinds
        if [ -n "$(refusal "$name")" ]; then words="${words:+$words; }$(refusal "$name")"; fi
        if [ -n "$kinds" ]; then
            CAUGHT=$((CAUGHT + 1))
        elif [ -n "$(refusal "$name")" ]; then
            CAUGHT=$((CAUGHT + 1))
            BY_PROGRAM=$((BY_PROGRAM + 1))
        else
            words="NOT CAUGHT (exits $(cat "$HOME_DIR/$name/exits"))"
            ok=false
        fi
        printf '%-26s %-20s %6s  %s\n%-26s   %s\n' "$name" "$schedule" "$seconds" "$words" '' "$what"
    done < <(chosen)
    if [ -n "$DOCTOR" ]; then report_doctored || ok=false; fi
    AUDITS=$(wc -l <"$HOME_DIR/audits")
    local kills batches result
    kills=$(cat "$HOME_DIR"/*/exits | tr ' ' '\n' | grep -c '^137$' || true)
    batches=$(sed -n 's/.* partitions, \([0-9]*\) batches.*/\1/p' "$HOME_DIR/verdicts" | awk '{s += $1} END {print s + 0}')
    printf '\n%s of %s mutants caught (%s only by the program itself), %s schedules without a defect\n' \
        "$CAUGHT" "$PLANTED" "$BY_PROGRAM" "$(lines_of_work | grep -c '^clean-')"
    result=$(printf '{"harness":"mutants","seed":%s,"seconds":%s,"ok":%s,"mutants_planted":%s,"mutants_caught":%s,"outputs_doctored":%s,"outputs_noticed":%s,"audits":%s,"app_kills":%s,"batches":%s,"records":%s,"aborted_transactions":%s}' \
        "$SEED" "$SECONDS" "$ok" "$PLANTED" "$CAUGHT" "$DOCTORED_COUNT" "$NOTICED" "$AUDITS" "$kills" "$batches" "$RECORDS" "$ABORTED")
    printf 'RESULT %s\n' "$result"
    [ -z "${SALES_STREAM_RESULTS:-}" ] || printf 'RESULT %s\n' "$result" >>"$SALES_STREAM_RESULTS"
    [ "$ok" = true ]
}

# The ordinary program must not know what a mutant is.
check_ordinary() {
    local name
    while IFS='|' read -r name _; do
        if grep -qaF -- "$name" "$BINARY"; then die "the ordinary binary $BINARY knows the mutant $name"; fi
    done < <(rows)
    if grep -qaE 'SALES_STREAM_(MUTANT|KILL_AFTER|PLANTED_ERROR)|PublishBeforePersist' "$BINARY"; then
        die "the ordinary binary $BINARY holds planted faults"
    fi
    grep -qaF SALES_STREAM_MUTANT "$FAULTS" || die "$FAULTS holds no mutants: build it with --features faults"
}

build() {
    local target=${CARGO_TARGET_DIR:-$HERE/../target}
    if [ -z "$FAULTS" ] || [ -z "$BINARY" ]; then
        (cd "$HERE/.." && cargo build --release --locked --quiet &&
            cargo build --release --locked --quiet --features faults --bin sales-stream-faults)
        FAULTS=${FAULTS:-$target/release/sales-stream-faults} BINARY=${BINARY:-$target/release/sales-stream}
    fi
}

clean_up() {
    [ -z "$STARTED" ] || "$HERE/kafka.sh" stop --clean --port "$PORT" --dir "$HOME_DIR/kafka" >/dev/null 2>&1 || true
    if [ -n "$KEEP" ]; then say "The runs are in $HOME_DIR"; else rm -rf "$HOME_DIR"; fi
}

main() {
    local only=() list='' doctored_only=''
    BROKERS='' JOBS=3 PORT=29392 SEED=1 KEEP='' FAULTS='' BINARY='' STARTED='' ABORTED=0 RECORDS=0
    while [ "$#" -gt 0 ]; do
        case $1 in
            --help | -h) usage; exit 0 ;;
            --list) list=yes; shift; continue ;;
            --keep) KEEP=yes; shift; continue ;;
            --doctored-only) doctored_only=yes; shift; continue ;;
        esac
        [ "$#" -ge 2 ] || die "$1 is unknown or wants a value; --help explains"
        case $1 in
            --only) only+=("$2") ;;
            --brokers) BROKERS=$2 ;;
            --jobs) JOBS=$2 ;;
            --port) PORT=$2 ;;
            --seed) SEED=$2 ;;
            --faults) FAULTS=$2 ;;
            --binary) BINARY=$2 ;;
            *) die "unknown option $1; --help explains" ;;
        esac
        shift 2
    done
    if [ -n "$list" ]; then
        rows | awk -F'|' '{printf "%-26s %s\n", $1, $3}'
        exit 0
    fi
    CHOSEN=$(rows) DOCTOR=yes
    [ -z "$doctored_only" ] || CHOSEN=''
    if [ "${#only[@]}" -gt 0 ]; then
        CHOSEN=$(rows | awk -F'|' -v only=" ${only[*]} " 'index(only, " " $1 " ")')
        DOCTOR=''
        [ -n "$CHOSEN" ] || die "there is no mutant ${only[*]}; --list names them"
    fi
    ensure_java_compiler || exit 2
    build
    check_ordinary
    JARS=$("$HERE/kafka.sh" classpath)
    HOME_DIR=$(mktemp -d)
    trap clean_up EXIT
    if [ -z "$BROKERS" ]; then
        STARTED=yes
        KAFKA_HEAP_OPTS=${KAFKA_HEAP_OPTS:--Xms128m -Xmx384m} \
            "$HERE/kafka.sh" start --port "$PORT" --dir "$HOME_DIR/kafka" >/dev/null
        BROKERS=localhost:$PORT
    fi
    run_all
    report
}

main "$@"
