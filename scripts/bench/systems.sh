# shellcheck shell=bash
# shellcheck disable=SC2034  # what is set here is used in the scripts
# The systems that scripts/bench.sh and scripts/growth.sh measure: what each needs, and how one run of it is started.
#
# For each system there is a function `command_NAME VARIANT PHASE`, which reads the run's settings (BROKERS, TOPIC,
# STORES, GROUP, RUN_DIR, BINARY, TOOL, and WATERMARK_S where it is not the spec's) and sets what is done with them:
#
#   COMMAND   the command as an array
#   MARK      how the line begins that says that the first batch (or record) is out
#   KILL_AT   how the line begins at which the phases `start` and `again` are killed
#   DONE      how the line begins that says that all is read, if that is before the process ends
#   RESULTS   where the results are, as `bench check --results` takes it; %LOG stands for the run's log
#
# PHASE is `whole` (the topic from begin to end), or one of the three of a restart: `start` (killed), `again` (killed),
# `rest` (to the end); for sales-stream also `latency` (each record as soon as it is there, until told to end). A
# function `prepare_NAME` fetches what the system needs, once, `version_NAME` says which it is, and `after_NAME`, where
# there is one, tidies up behind a run.
#
# Invariant: what is printed on stdout is for the scripts. Not here: measuring and checking (bench/parts.sh), rounds.

# True where $1 is what a peer is called in --peers: sales-stream and the probes are no peers.
is_peer() { [ "$1" != sales-stream ] && [ "$1" != probe ] && variants_of "$1" >/dev/null; }

# What a system is called in --peers, and the names of its variants in the table; NAME:VARIANT is one of them.
variants_of() {
    case $1 in
        flink:heap | flink:rocksdb) printf '%s\n' "${1/:/ }" ;;
        sales-stream) printf '%s\n' "sales-stream files" "sales-stream none" ;;
        probe) printf '%s\n' "probe source" "probe consume" "probe parse" "probe aggregate" "probe checkpoint" ;;
        flink) printf '%s\n' "flink heap" "flink rocksdb" ;;
        kafka-streams) printf '%s\n' "kafka-streams" ;;
        spark) printf '%s\n' "spark noop" ;;
        bytewax) printf '%s\n' "bytewax" ;;
        polars) printf '%s\n' "polars" ;;
        *) return 1 ;;
    esac
}

# True where system $1 works in batches.
has_batches() { [ "$1" != flink ] && [ "$1" != kafka-streams ]; }

# True where system $1 gets through a workload of $2 stores in a time that anyone would wait for.
can_do() { [ "$1" != bytewax ] || [ "$2" -le 10000 ]; }

# Records of a batch in the phases that measure starting.
readonly SMALL_BATCH=10000

prepare_sales-stream() { :; }

# Sets COMMAND and the rest for a run of sales-stream; $1 is the sink.
command_sales-stream() {
    local sink=$1 phase=$2 when=(--trigger available-now)
    # Otherwise as many as by default: a million where memory is not short, as the probe's.
    if [ "$phase" = start ] || [ "$phase" = again ]; then when+=(--max-offsets-per-trigger "$SMALL_BATCH"); fi
    case $sink in
        files) sink=files:$RUN_DIR/results RESULTS=files:$RUN_DIR/results ;;
        none) RESULTS=progress:%LOG ;;
    esac
    if [ "$phase" = latency ]; then
        when=(--trigger 0s --output-mode update)
        RESULTS=updates:$RUN_DIR/results
    fi
    MARK='{' KILL_AT='{' DONE=
    COMMAND=("$BINARY" --pipeline scripts/bench/sales.toml --topic "$TOPIC" --brokers "$BROKERS" --sink "$sink"
        --checkpoint-dir "$RUN_DIR/checkpoints" --group-id "$GROUP" --starting-offsets earliest "${when[@]}"
        --progress stderr --log-level warn)
    [ -z "${WATERMARK_S:-}" ] || COMMAND+=(--watermark "${WATERMARK_S}s")
}

# Sets COMMAND and the rest for a limit probe; $1 is its step (benches/tool/probe.rs).
command_probe() {
    MARK=FIRST KILL_AT=FIRST DONE=
    case $1 in
        checkpoint) RESULTS=files:$RUN_DIR/probe/results ;;
        *) RESULTS=counted:%LOG ;;
    esac
    COMMAND=("$TOOL" probe --step "$1" --brokers "$BROKERS" --topic "$TOPIC" --dir "$RUN_DIR/probe")
    [ -z "${WATERMARK_S:-}" ] || COMMAND+=(--watermark "$WATERMARK_S")
}

# Where the program of peer $1 and what it needs are kept.
peer_home() { printf '%s/bench-%s\n' "$(cache_home)" "$1"; }

# True where the cache holds peer $1 as its sources are now; `mark_peer` says so.
peer_is_there() { [ "$(cat "$(peer_home "$1")/.sources" 2>/dev/null)" = "$(peer_sources "$1")" ]; }
mark_peer() { peer_sources "$1" >"$(peer_home "$1")/.sources"; }
peer_sources() { find "benches/peers/$1" -type f ! -name README.md -exec cksum {} + | sort; }

# The version in the pom of peer $1: it is said there and nowhere else.
pom_version() { sed -n 's:.*<peer.version>\(.*\)</peer.version>.*:\1:p' "benches/peers/$1/pom.xml"; }

# Compiles the Java program of peer $1 and fetches its jars, once.
prepare_java_peer() {
    local home
    home=$(peer_home "$1")
    ! peer_is_there "$1" || return 0
    ensure_java_and_maven ''
    have javac || apt_install openjdk-17-jdk-headless || die "$1 needs a Java compiler: install a JDK of release 17 or later."
    say "Fetching $1 $(pom_version "$1") with Maven into $home"
    rm -rf "$home"
    mkdir -p "$home"
    mvn -q -B -f "benches/peers/$1/pom.xml" compile dependency:copy-dependencies -Dbench.build="$home/build" \
        -DoutputDirectory="$home/lib" >"$home/maven.log" 2>&1 || {
        cat "$home/maven.log" >&2
        die "Maven could not prepare $1 (its words are above)."
    }
    mark_peer "$1"
}

# Sets COMMAND for main class $2 of peer $1 in phase $3, with the remaining arguments. The JVM is left at its defaults
# (G1, a quarter of the machine's memory) unless BENCH_JAVA_OPTS says otherwise.
java_peer() {
    local home name=$1 main=$2 phase=$3
    home=$(peer_home "$1")
    shift 3
    MARK=FIRST RESULTS=topic:$GROUP-out DONE=ALLREAD
    if [ "$phase" = whole ] || [ "$phase" = start ]; then make_topic "$GROUP-out"; fi
    KILL_AT=CHECKPOINTED
    # shellcheck disable=SC2206 # the options of an environment variable are words
    COMMAND=("$(java_command)" ${BENCH_JAVA_OPTS:-} -Dorg.slf4j.simpleLogger.defaultLogLevel=warn
        -Dorg.slf4j.simpleLogger.log.org.apache.flink.metrics.MetricGroup=error
        --add-opens=java.base/java.util=ALL-UNNAMED --add-opens=java.base/java.lang=ALL-UNNAMED
        -cp "$home/build/classes:$home/lib/*" "$main" --brokers "$BROKERS" --topic "$TOPIC" --out "$GROUP-out"
        --group "$GROUP" --state "$RUN_DIR/state" "$@")
    if [ "$phase" = start ]; then COMMAND+=(--slow); fi
}

prepare_flink() { prepare_java_peer flink; }
version_flink() { printf 'flink: %s\n' "$(pom_version flink)"; }
command_flink() { java_peer flink FlinkJob "$2" --backend "$1"; }
after_flink() { delete_topics "$GROUP-out"; }

prepare_kafka-streams() { prepare_java_peer kafka-streams; }
version_kafka-streams() { printf 'kafka-streams: %s\n' "$(pom_version kafka-streams)"; }
command_kafka-streams() { java_peer kafka-streams KafkaStreamsJob "$2"; }
after_kafka-streams() { delete_topics "$GROUP-out" "$GROUP-sums-changelog"; }

# Makes a virtual environment $1 with the packages that pip is given.
make_venv() {
    local home=$1
    shift
    rm -rf "$home"
    have python3 || apt_install python3 python3-venv || die "Python 3 is needed."
    python3 -m venv "$home" 2>/dev/null || { apt_install python3-venv && python3 -m venv "$home"; } || die "Python's venv is needed (python3-venv)."
    "$home/bin/python" -m pip install --quiet "$@" >&2 || die "pip could not install: $*"
}

# Makes the virtual environment of Python peer $1, once.
prepare_python_peer() {
    ! peer_is_there "$1" || return 0
    say "Installing $1 into $(peer_home "$1")"
    make_venv "$(peer_home "$1")" --requirement "benches/peers/$1/requirements.txt"
    mark_peer "$1"
}

# The packages in the environment of peer $1, with their versions.
pip_versions() { printf '%s: %s\n' "$1" "$("$(peer_home "$1")/bin/python" -m pip freeze | paste -sd ' ')"; }

prepare_bytewax() { prepare_python_peer bytewax; }
version_bytewax() { pip_versions bytewax; }
command_bytewax() {
    local recovery=$RUN_DIR/recovery interval=10
    MARK=FIRST KILL_AT=FIRST DONE='' RESULTS=lines:$RUN_DIR/results
    if [ ! -d "$recovery" ]; then
        mkdir -p "$recovery"
        "$(peer_home bytewax)/bin/python" -m bytewax.recovery "$recovery" 1
    fi
    COMMAND=(env BENCH_BROKERS="$BROKERS" BENCH_TOPIC="$TOPIC" BENCH_OUT="$RUN_DIR/results"
        "$(peer_home bytewax)/bin/python" -m bytewax.run benches/peers/bytewax/bytewax_flow.py
        --recovery-directory "$recovery" --snapshot-interval "$interval" --backup-interval 0)
}

prepare_polars() { prepare_python_peer polars; }
version_polars() { pip_versions polars; }
command_polars() {
    local batch=100000
    if [ "$2" = start ] || [ "$2" = again ]; then batch=$SMALL_BATCH; fi
    MARK=FIRST KILL_AT=FIRST DONE='' RESULTS=lines:$RUN_DIR/results
    COMMAND=("$(peer_home polars)/bin/python" benches/peers/polars/polars_job.py "$BROKERS" "$TOPIC" "$RUN_DIR/state"
        "$RUN_DIR/results" "$batch")
}

# Spark is what scripts/side-by-side.sh installs, in the same places.
spark_version() { sed -n 's:.*<spark.version>\(.*\)</spark.version>.*:\1:p' scripts/spark/connector.pom.xml; }
spark_home() { printf '%s/pyspark-%s\n' "$(cache_home)" "$(spark_version)"; }
spark_jars() { printf '%s/spark-%s-kafka\n' "$(cache_home)" "$(spark_version)"; }
version_spark() { printf 'spark: %s\n' "$(spark_version)"; }

prepare_spark() {
    local home jars
    home=$(spark_home) jars=$(spark_jars)
    ensure_java_and_maven ''
    if ! "$home/bin/python" -c 'import pyspark' 2>/dev/null; then
        say "Installing pyspark $(spark_version) into $home (about 450 MB)"
        make_venv "$home" "pyspark==$(spark_version)"
    fi
    if [ "$(cat "$jars/.pom-cksum" 2>/dev/null)" != "$(cksum <scripts/spark/connector.pom.xml)" ]; then
        say "Fetching Spark's Kafka connector with Maven into $jars"
        rm -rf "$jars"
        mvn -q -B -f scripts/spark/connector.pom.xml dependency:copy-dependencies -DoutputDirectory="$jars" >&2
        cksum <scripts/spark/connector.pom.xml >"$jars/.pom-cksum"
    fi
}

command_spark() {
    local batch=1000000 submit jars
    if [ "$2" = start ] || [ "$2" = again ]; then batch=$SMALL_BATCH; fi
    MARK=FIRST KILL_AT=FIRST DONE='' RESULTS=counted:%LOG
    submit=$("$(spark_home)/bin/python" -c 'import os, pyspark; print(os.path.dirname(pyspark.__file__))')/bin/spark-submit
    jars=$(printf '%s,' "$(spark_jars)"/*.jar)
    COMMAND=(env PYSPARK_PYTHON="$(spark_home)/bin/python" "$submit" --master 'local[2]' --driver-memory 4g
        --conf spark.sql.session.timeZone=UTC --conf spark.sql.shuffle.partitions=2 --conf spark.ui.enabled=false
        --conf spark.log.level=WARN --conf spark.sql.streaming.numRecentProgressUpdates=100000 --jars "${jars%,}"
        benches/peers/spark/spark_job.py "$BROKERS" "$TOPIC" "$RUN_DIR/checkpoint" "$batch")
}
