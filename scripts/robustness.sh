#!/usr/bin/env bash
# Tries to break sales-stream for as long as you like, and writes down what was tried.
#
#   scripts/robustness.sh                       the long tier of everything, about two hours on 2 cores
#   scripts/robustness.sh simulate chaos        only these
#   scripts/robustness.sh --list                what there is, with the command each is
#   scripts/robustness.sh --short               the short tier, as scripts/test.sh runs it
#
# Each harness ends with a line `RESULT {...}` of counts; each such line is appended to
# docs/robustness/runs.jsonl with the commit, the date and the command, and the sums in
# docs/robustness.md are written anew. The first harness that finds something ends it.
#
#   --seed N      the seed to begin with (default: the number of seconds since 1970, printed)
#   --no-log      write nothing down
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

ORDER=(simulate kill-loop crash-points power damage fuzz security mutants chaos chaos-3)

# The command of harness $1.
command_of() {
    local test="cargo test --release --locked" seeds=10000 minutes=1 minutes_of_3=1
    if [[ $tier == long ]]; then
        seeds=1000000 minutes=10 minutes_of_3=30
    fi
    case $1 in
    simulate) echo "cargo run --release --locked --quiet --bin sales-stream -- simulate --seed $seed --seeds $seeds" ;;
    kill-loop) echo "$test --test kill_loop --test kill_operators" ;;
    crash-points) echo "$test --features faults --test crash_points" ;;
    power) echo "$test --test power --test disk" ;;
    damage) echo "$test --test damage --test state_directory" ;;
    fuzz)
        if [[ $tier == long ]]; then
            echo "scripts/fuzz.sh --seconds 120 --seed $seed"
        else
            echo "$test --lib fuzz"
        fi
        ;;
    security) echo "scripts/security.sh" ;;
    mutants) echo "scripts/mutants.sh" ;;
    chaos) echo "scripts/chaos.sh --seed $seed --minutes $minutes --brokers 1" ;;
    chaos-3) echo "scripts/chaos.sh --seed $seed --minutes $minutes_of_3 --brokers 3" ;;
    *)
        echo "there is no harness $1 (see --list)" >&2
        exit 2
        ;;
    esac
}

tier=long
seed=$(date +%s)
log=docs/robustness/runs.jsonl
chosen=()
while (($#)); do
    case $1 in
    --short) tier=short ;;
    --list) chosen=(list) ;;
    --seed)
        seed=${2:?--seed needs a number}
        shift
        ;;
    --no-log) log=/dev/null ;;
    -h | --help)
        sed -n '2,/^set -euo/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
        exit 0
        ;;
    -*)
        echo "unknown option: $1 (see --help)" >&2
        exit 2
        ;;
    *) chosen+=("$1") ;;
    esac
    shift
done

if [[ ${chosen[*]-} == list ]]; then
    for harness in "${ORDER[@]}"; do printf '%-13s %s\n' "$harness" "$(command_of "$harness")"; done
    exit 0
fi
((${#chosen[@]})) || chosen=("${ORDER[@]}")

export SALES_STREAM_TIER=$tier SALES_STREAM_SEED=$seed
SALES_STREAM_RESULTS=$(mktemp)
export SALES_STREAM_RESULTS
trap 'rm -f "$SALES_STREAM_RESULTS" "$SALES_STREAM_RESULTS.out"' EXIT

# Appends what the last command counted.
write_down() {
    local commit changed=""
    commit=$(git rev-parse --short=12 HEAD)
    [[ -z $(git status --porcelain -- src Cargo.lock) ]] || changed="+"
    # RESULT {"harness":...}  ->  {"date":...,"commit":...,"command":...,"harness":...}
    sed -n "s|^RESULT {|{\"date\":\"$(date -u +%FT%TZ)\",\"commit\":\"$commit$changed\",\"command\":\"$1\",|p" \
        "$SALES_STREAM_RESULTS" >>"$log"
}

echo "seed $seed, $tier tier"
for harness in "${chosen[@]}"; do
    command=$(command_of "$harness")
    printf '\n== %s: %s\n' "$harness" "$command"
    : >"$SALES_STREAM_RESULTS"
    began=$SECONDS
    failed=0
    # shellcheck disable=SC2086 # words are what is meant
    $command | tee "$SALES_STREAM_RESULTS.out" || failed=$?
    # A test keeps what it prints to itself; others say it on stdout alone.
    [[ -s $SALES_STREAM_RESULTS ]] || cp "$SALES_STREAM_RESULTS.out" "$SALES_STREAM_RESULTS"
    if ((failed == 0)) && grep -q ': SKIPPED, ' "$SALES_STREAM_RESULTS.out"; then
        continue
    fi
    if ! grep -q '^RESULT ' "$SALES_STREAM_RESULTS"; then
        echo "$harness told of no result (exit $failed)" >&2
        exit 1
    fi
    write_down "$command"
    printf '== %s: exit %s after %s s\n' "$harness" "$failed" "$((SECONDS - began))"
    ((failed == 0)) || exit "$failed"
done

if [[ $log != /dev/null ]]; then
    SALES_STREAM_UPDATE_DOCS=1 cargo test --release --locked --quiet --test docs -- the_counts >/dev/null
    echo "docs/robustness.md and $log are written; commit them"
fi
