# shellcheck shell=bash
# The processes of a cluster: launched, recognised, asked whether they answer, ended. Sourced by kafka.sh.
#
# Invariants: a process is only ever signalled after its command line has been seen to carry the marker of this
# very node directory, so that a pid used again by the system is safe; a node outlives the shell and the terminal
# that started it; every wait has a deadline. Start at `launch`. Not here: what a node's configuration says (config.sh).

# The system property that marks a node's process as ours.
NODE_MARK=-Dsales-stream.node=

# Prints the pid of the live process of node directory $1, or fails.
node_pid() {
    local pid='' words=() word
    { read -r pid <"$1/pid"; } 2>/dev/null || return 1
    [ -n "$pid" ] || return 1
    # A dead process may linger as a zombie of its parent: its command line is empty then. Asked often, so that no
    # other program is called to look.
    { mapfile -d '' -t words <"/proc/$pid/cmdline"; } 2>/dev/null || return 1
    for word in "${words[@]}"; do
        if [ "$word" = "$NODE_MARK$1" ]; then
            printf '%s\n' "$pid"
            return
        fi
    done
    return 1
}

# Starts main class $2 with the remaining arguments as the process of node directory $1.
launch() {
    local node=$1 main=$2 jars detach=() archive=()
    shift 2
    jars=$(jars_dir)
    # Of another Java it is passed over without a word.
    [ ! -r "$(class_archive)" ] || archive=(-Xshare:auto "-XX:SharedArchiveFile=$(class_archive)" -Xlog:cds=off)
    # A session of its own: Ctrl+C in the terminal that started it is not for the broker.
    if have setsid; then detach=(setsid); else detach=(nohup); fi
    # The lock of the calling script (descriptor 9) and its pipes must not live on in the broker.
    (
        cd "$node" || exit 1
        # shellcheck disable=SC2086 # the options of an environment variable are words
        exec "${detach[@]}" "$(java_command)" ${KAFKA_HEAP_OPTS:--Xms256m -Xmx512m} -XX:+UseG1GC -XX:MaxGCPauseMillis=20 \
            -Djava.awt.headless=true -XX:+ExitOnOutOfMemoryError "$NODE_MARK$node" "${archive[@]}" \
            "$(logging_option)" -Dkafka.log.level=INFO -cp "$jars/*" "$main" "$@" \
            </dev/null >>"$node/log" 2>&1 9>&-
    ) &
    local pid=$! tries
    printf '%s\n' "$pid" >"$node/pid"
    # Until the shell has become Java it does not carry the mark by which node_pid knows the process.
    for ((tries = 0; tries < 500; tries++)); do
        if node_pid "$node" >/dev/null || ! kill -0 "$pid" 2>/dev/null; then
            break
        fi
        sleep 0.01
    done
}

# Where the classes of a broker are kept ready for Java, by `quicken`; beside the jars, whose fate it shares.
class_archive() { printf '%s/classes.jsa\n' "$(jars_dir)"; }

# Has the Java of node directory $1 write its classes down; fails where it cannot.
write_class_archive() {
    local pid archive fresh
    pid=$(node_pid "$1") || return 1
    archive=$(class_archive)
    have jcmd || return 1
    # Java itself wants a name that is not there yet.
    fresh=$(mktemp -u "$archive.XXXXXX")
    jcmd "$pid" VM.cds static_dump "$fresh" >"$1/classes.log" 2>&1 || true
    [ -s "$fresh" ] || return 1
    mv "$fresh" "$archive"
}

# Runs a command-line tool of Kafka, by its class, in the foreground.
run_tool() {
    local main=$1
    shift
    "$(java_command)" -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 "$(logging_option)" -Dkafka.log.level=ERROR \
        -cp "$(jars_dir)/*" "$main" "$@" 9>&-
}

# The option that gives Java the logging configuration of this mode.
logging_option() {
    if [ "$MODE" = kraft ]; then
        printf -- '-Dlog4j2.configurationFile=%s' "$HERE/kafka/log4j2.properties"
    else
        printf -- '-Dlog4j.configuration=file:%s' "$HERE/kafka/log4j.properties"
    fi
}

# True where something listens on local port $1.
port_is_open() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Sets ALIVE to how many brokers the broker on local port $1 knows to be alive; fails where it does not answer.
#
# One Metadata request (version 4, no topics) written by hand, because a Java tool takes a second and a half to ask
# # the same. The answer begins: size, correlation id, throttle time, number of brokers, four bytes each. It is read by
# the shell itself, for this is asked ten times a second while a broker starts and wants the processor.
brokers_alive() {
    local LC_ALL=C connection byte number count=0 status=0
    { exec {connection}<>"/dev/tcp/127.0.0.1/$1"; } 2>/dev/null || return 1
    ALIVE=0
    # A broker that is just being killed may close the connection before the request is out.
    (
        trap '' PIPE
        printf '\0\0\0\x17\0\x03\0\x04\0\0\0\x01\0\x08kafka.sh\0\0\0\0\0' >&"$connection"
    ) 2>/dev/null || status=1
    while [ "$status" = 0 ] && [ "$count" -lt 16 ]; do
        # What ends at a zero byte is empty where the byte itself is zero.
        IFS= read -r -d '' -n 1 -t 5 -u "$connection" byte || { status=1; break; }
        printf -v number '%d' "'$byte"
        ALIVE=$(((ALIVE << 8 | (number & 255)) & 0xffffffff))
        count=$((count + 1))
    done
    exec {connection}>&-
    return "$status"
}

# True where the ZooKeeper on local port $1 serves: `srvr` is the one four-letter word it answers unasked.
zookeeper_answers() {
    local line
    line=$(
        exec 2>/dev/null 3<>"/dev/tcp/127.0.0.1/$1" || exit 1
        printf 'srvr\n' >&3
        timeout 5 head -n 1 <&3
    ) || return 1
    [ "${line#Zookeeper version}" != "$line" ]
}

# Waits until none of the node directories $2... has a process, for at most $1 seconds.
wait_gone() {
    local deadline=$((SECONDS + $1)) node
    shift
    for node in "$@"; do
        while node_pid "$node" >/dev/null; do
            [ "$SECONDS" -lt "$deadline" ] || return 1
            sleep 0.1
        done
    done
}

# Sends signal $1 to the processes of the node directories $2...; those that are not running are left alone.
signal_nodes() {
    local signal=$1 node pid
    shift
    for node in "$@"; do
        if pid=$(node_pid "$node"); then
            # It may end between the look and the signal, which is as good.
            kill -s "$signal" "$pid" 2>/dev/null || true
        fi
    done
}

# Ends the node directories' processes: asks, waits $1 seconds, then kills what is left.
end_nodes() {
    local patience=$1
    shift
    signal_nodes TERM "$@"
    if ! wait_gone "$patience" "$@"; then
        say "Not all have ended within $patience s of being asked; killing the rest."
        signal_nodes KILL "$@"
        wait_gone 10 "$@" || die "A process survives SIGKILL: see the pid files in $DIR/*/pid."
    fi
}
