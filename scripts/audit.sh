#!/usr/bin/env bash
# Audits a run: recomputes every result from the topic and compares. `--help` teaches it.
#
# Invariant: it only reads. Start at `main`. The parts: auditor/Auditor.java (the audit itself, which shares no code
# with sales-stream), kafka.sh (where Kafka's jars are).
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/lib/install.sh
. "$HERE/lib/install.sh"

usage() {
    cat <<'USAGE'
Audits a run of sales-stream with a program that shares nothing with it (Java, kafka-clients, Jackson).

  scripts/audit.sh --brokers localhost:9092 --topic sales --checkpoint-dir ./checkpoints --sink files:out
  scripts/audit.sh … --console captured.txt --dead-letters files:letters --group sales

It takes the batch boundaries from the checkpoint (`sales-stream inspect --json --history all`), reads the topic
read_committed, works out for each record in which batch it counts, for which window, or that it is late or
malformed, adds up every window exactly, and says which batch must publish it. Then it reads the sinks. It reports

  lost, lost window            a record that was never read; a row that is not there
  duplicate window, batch      published twice, or in a later batch than is due
  premature, unexpected        published before the window closed; or without any event
  changed window               published with another sum (with the record that would explain it, where one does)
  wrong form                   a row with other fields, or a number as a text
  torn batch                   a part of a batch
  non-monotonic batch          batches out of order
  offset gap                   a batch does not begin where the one before it ended
  rollback                     a sink, a commit or the announcement ahead of the checkpoint; another history's; a
                               watermark or a start that goes back
  wrong count, watermark       what is recorded of a batch or of all: late, malformed by reason, rows, inexact sums and
                               so on; the watermark
  wrong progress               a line of progress that is missing or there twice, or with other numbers
  wrong dead letter, commit    missing, twice, other reason, column or payload, other batch; a commit at other offsets
                               than its batch

with their coordinates, then `verdict: clean` (exit 0) or `verdict: N violations` (exit 1). Exit 2: it could not
audit, for instance because history no longer holds the first batches (10,000 are kept) or the topic lost records.

What was run
  --brokers LIST          Kafka (default localhost:9092)
  --topic NAME            the topic (default sales)
  --checkpoint-dir DIR    the run's --checkpoint-dir
  --pipeline NAME         whose state, where the folder holds several
  --boundaries FILE       instead of --checkpoint-dir: what `inspect --json --history all` wrote
  --binary FILE           the sales-stream that is asked for it (default: the build of this clone, or from PATH)
  --partial               the run is not over: more may wait to be read, and the newest batch may not have left
  --live                  it is running: besides, what is newer than the checkpoint was at first is passed over
  --starting earliest     the run must have begun at the first record (default: recorded, wherever it began)

What it published (any of these; a sink may be named several times)
  --sink files:DIR        the files sink
  --console FILE          stdout of all its runs, one behind the other
  --dead-letters DIR      the dead-letter sink; files:DIR also goes
  --group NAME            the consumer group, whose commits are compared
  --progress FILE         lines of --progress jsonl:FILE; of batches that history no longer holds, the boundaries
  --launches N            how often it was started: with it, how often the newest batch may have been printed is known

What it computed, append mode only; the defaults are the pipeline `sales`
  --window 30s --slide 30s --delay 30s      length, slide, and how far the watermark follows behind
  --key store --value price --time ts       fields: a string, a double, a long
  --time-unit seconds                       or milliseconds
  --result total_revenue_int --cast int     the result's column; int, long or decimal:SCALE

Several audits in one go: --list FILE, each line the options of one, with tabs between words and --name NAME among
them; boundaries are given as --boundaries FILE there. --show N: violations shown of each kind (default 20).
USAGE
}

misuse() {
    say "audit.sh: $*"
    say "scripts/audit.sh --help explains."
    exit 2
}

# The newest build of this clone, or whatever is in PATH.
find_binary() {
    local binary=${CARGO_TARGET_DIR:-$HERE/../target}/release/sales-stream
    if [ -x "$binary" ]; then
        printf '%s\n' "$binary"
    else
        command -v sales-stream || misuse "there is no sales-stream; name it with --binary, or build it (cargo build --release)"
    fi
}

# Writes what the checkpoint recorded to $1. A checkpoint that shows nothing is a finding, not a failure to audit.
write_boundaries() {
    local file=$1 status=0
    "$BINARY" inspect --json --history all --checkpoint-dir "$CHECKPOINT_DIR" --brokers "$BROKERS" \
        ${PIPELINE:+--pipeline "$PIPELINE"} >"$file" 2>"$file.problem" || status=$?
    if [ ! -s "$file" ]; then
        case $status in
            1 | 11 | 13) printf 'none %s\n' "$(tail -n 1 "$file.problem")" >"$file" ;;
            *)
                cat "$file.problem" >&2
                exit 2
                ;;
        esac
    fi
}

main() {
    local rest=() directory status=0 boundaries=()
    BROKERS=localhost:9092 CHECKPOINT_DIR='' PIPELINE='' BINARY=''
    while [ "$#" -gt 0 ]; do
        case $1 in
            --help | -h) usage; exit 0 ;;
            --partial | --live) rest+=("$1"); shift; continue ;;
            *) [ "$#" -ge 2 ] || misuse "$1 is unknown or wants a value." ;;
        esac
        case $1 in
            --checkpoint-dir) CHECKPOINT_DIR=$2 ;;
            --pipeline) PIPELINE=$2 ;;
            --binary) BINARY=$2 ;;
            --brokers) BROKERS=$2; rest+=("$1" "$2") ;;
            *) rest+=("$1" "$2") ;;
        esac
        shift 2
    done
    ensure_java_compiler || exit 2
    directory=$(mktemp -d)
    # shellcheck disable=SC2064 # the directory is known now
    trap "rm -rf '$directory'" EXIT
    if [ -n "$CHECKPOINT_DIR" ]; then
        [ -n "$BINARY" ] || BINARY=$(find_binary)
        write_boundaries "$directory/boundaries"
        boundaries=(--boundaries "$directory/boundaries")
    fi
    local jars
    jars=$("$HERE/kafka.sh" classpath) || exit 2
    "$(java_command)" -Xmx2g -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "$jars" "$HERE/auditor/Auditor.java" "${rest[@]}" "${boundaries[@]}" || status=$?
    exit "$status"
}

main "$@"
