# shellcheck shell=bash
# shellcheck disable=SC2034  # what is set here is used in bench.sh
# The systems that scripts/bench.sh compares: what each needs, and how one run of it is started.
#
# For each system there is a function `command_NAME VARIANT PHASE`, which reads the run's settings (BROKERS, TOPIC,
# STORES, GROUP, RUN_DIR) and sets what bench.sh does with them:
#
#   COMMAND   the command as an array
#   MARK      how the line begins that says that the first batch (or record) is out
#   KILL_AT   how the line begins at which the phases `start` and `again` are killed
#   RESULTS   where the results are, as `bench check --results` takes it; %LOG stands for the run's log
#
# PHASE is `whole` (the topic from begin to end), or one of the three of a restart: `start` (killed), `again` (killed),
# `rest` (to the end). A function `prepare_NAME` fetches what the system needs, once.
#
# Invariant: what is printed on stdout is for bench.sh. Not here: measuring, checking, rounds (scripts/bench.sh).

# What a peer is called in --peers, and the names of its variants in the table.
variants_of() {
    case $1 in
        sales-stream) printf '%s\n' "sales-stream files" "sales-stream none" ;;
        probe) printf '%s\n' "probe consume" "probe parse" "probe aggregate" "probe checkpoint" ;;
        flink) printf '%s\n' "flink heap" "flink rocksdb" ;;
        kafka-streams) printf '%s\n' "kafka-streams" ;;
        spark) printf '%s\n' "spark noop" ;;
        bytewax) printf '%s\n' "bytewax" ;;
        polars) printf '%s\n' "polars" ;;
        *) return 1 ;;
    esac
}

# Records of a batch in the phases that measure starting.
readonly SMALL_BATCH=10000

prepare_sales-stream() { :; }

# Sets COMMAND and the rest for a run of sales-stream; $1 is the sink.
command_sales-stream() {
    local sink=$1 phase=$2 batch=1000000
    if [ "$phase" = start ] || [ "$phase" = again ]; then batch=$SMALL_BATCH; fi
    case $sink in
        files) sink=files:$RUN_DIR/results RESULTS=files:$RUN_DIR/results ;;
        none) RESULTS=progress:%LOG ;;
    esac
    MARK='{' KILL_AT='{'
    COMMAND=("$BINARY" --pipeline scripts/bench/sales.toml --topic "$TOPIC" --brokers "$BROKERS" --sink "$sink"
        --checkpoint-dir "$RUN_DIR/checkpoints" --group-id "$GROUP" --starting-offsets earliest --trigger available-now
        --max-offsets-per-trigger "$batch" --progress stderr --log-level warn)
}
