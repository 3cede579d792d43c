#!/usr/bin/env bash
# Apache Kafka for trying and testing, as plain processes on this Linux machine. `--help` teaches it.
#
# Invariants: what `start` says is up has answered a client's request; nothing but this cluster's own processes is ever
# signalled; nothing is written inside the clone. Start at `main`. The parts: kafka/config.sh (what a cluster consists
# of), kafka/process.sh (its processes), kafka/secure.sh (certificates and a user), kafka/*.pom.xml (its jars), lib/install.sh (Java and Maven).
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/lib/install.sh
. "$HERE/lib/install.sh"
# shellcheck source=scripts/kafka/config.sh
. "$HERE/kafka/config.sh"
# shellcheck source=scripts/kafka/process.sh
. "$HERE/kafka/process.sh"
# shellcheck source=scripts/kafka/secure.sh
. "$HERE/kafka/secure.sh"

usage() {
    cat <<USAGE
Runs Apache Kafka on this machine for trying and testing: plain processes, no Docker, loopback only
unless --listen says more.

  scripts/kafka.sh start                 one KRaft broker on localhost:9092 (Kafka $(kafka_version kraft))
  scripts/kafka.sh start --brokers 3     three brokers, topics copied to all of them
  scripts/kafka.sh start --zookeeper     the classical pair (Kafka $(kafka_version zookeeper) and ZooKeeper)
  scripts/kafka.sh topics --create sales --partitions 3
  scripts/kafka.sh stop --clean          stop it and delete its data

Commands
  start     start what is not running, wait until every broker answers, print the address and the pids;
            the data of an earlier run are kept. With --broker N: that one only
  stop      ask the processes to end, kill them after 10 s; with --broker N: that one; with --clean: delete the data
  kill      SIGKILL, as a power cut would; with --broker N: that one
  status    what is up; exit 0 only if everything is
  topics    list topics, or one of
              --create NAME [--partitions N] [--replication N]
              --describe NAME      --alter NAME --partitions N      --delete NAME
  tool CLASS [ARGUMENT...]   run a class of Kafka's own tools, such as org.apache.kafka.tools.GetOffsetShell;
            {} in an argument stands for the brokers' addresses
  quicken   have a running broker write down its classes beside the jars, once: from then on starting one takes a
            quarter less of a processor (60 MB; nothing happens where Java cannot)
  classpath  where the jars of Kafka and its clients are, as Java's -cp wants it; needs no cluster

Options
  --port N            port of the first broker (default 9092); the others follow from it: brokers N, N+1, N+2,
                      controllers N+10..N+12, ZooKeeper N+20. Clusters on different ports live side by side
  --brokers 1|3       number of brokers (default 1), fixed when the cluster is made
  --zookeeper         metadata in ZooKeeper instead of KRaft, fixed when the cluster is made
  --secure            clients come by TLS and log in (SASL_SSL, SCRAM-SHA-512); KRaft only, fixed when the cluster is made.
                      start prints the file with the client's options, which only you can read:
                        SALES_STREAM_KAFKA_OPTIONS=\$(cat DIR/secure/client.properties) sales-stream ...
                      This script itself talks to ports N+30..N+32, without TLS
  --listen ADDRESS    let clients in at this address of the machine too (of a bridge to containers or a network
                      namespace), on ports N+40..N+42; whoever reaches it gets in. Remembered by the cluster
  --kafka-option K=V  a line for every broker's server.properties; may be repeated; remembered by the cluster
                      until options are given again
  --dir DIR           where data, logs and pids are (default $(state_home)/kafka-<port>)
  --cache DIR         where the jars are kept (default $(cache_home)/kafka-<version>)
  --timeout SECONDS   how long start waits (default 60)

The first start fetches the jars (55 MB) with Maven. Where Java 17 or Maven is missing it is installed with apt-get
when that is possible; if not, you are told what to install. KAFKA_HEAP_OPTS (default -Xms256m -Xmx512m) is honoured.
Logs: DIR/broker-1/log and so on.
USAGE
}

die() {
    say "kafka.sh: $*"
    exit 1
}

misuse() {
    say "kafka.sh: $*"
    say "scripts/kafka.sh --help explains."
    exit 2
}

cache_home() { printf '%s/sales-stream\n' "${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}"; }
state_home() { printf '%s/sales-stream\n' "${XDG_STATE_HOME:-${HOME:-/tmp}/.local/state}"; }

# The version in the pom of mode $1: it is said there and nowhere else.
kafka_version() { sed -n 's:.*<kafka.version>\(.*\)</kafka.version>.*:\1:p' "$HERE/kafka/$1.pom.xml"; }

jars_dir() { printf '%s\n' "${CACHE:-$(cache_home)/kafka-$(kafka_version "$MODE")}"; }

# True where the cache holds exactly the jars of the present pom.
jars_are_there() { [ "$(cat "$(jars_dir)/.pom-cksum" 2>/dev/null)" = "$(cksum <"$HERE/kafka/$MODE.pom.xml")" ]; }

# Fetches the jars into the cache, once; a fetch that was cut short leaves nothing that counts.
ensure_jars() {
    local jars fresh
    jars=$(jars_dir)
    if jars_are_there; then
        ensure_java_and_maven --no-maven
        return
    fi
    mkdir -p "$(dirname "$jars")"
    # Two scripts may want the same jars at the same time.
    exec 8>"$jars.lock"
    flock 8
    if ! jars_are_there; then
        ensure_java_and_maven
        say "Fetching Kafka $(kafka_version "$MODE") with Maven into $jars"
        fresh=$(mktemp -d "$jars.XXXXXX")
        if ! mvn -q -B -f "$HERE/kafka/$MODE.pom.xml" dependency:copy-dependencies -DoutputDirectory="$fresh" >"$fresh/maven.log" 2>&1; then
            cat "$fresh/maven.log" >&2
            rm -rf "$fresh"
            die "Maven could not fetch the jars of Kafka (its words are above). Does Maven reach a repository from here?"
        fi
        cksum <"$HERE/kafka/$MODE.pom.xml" >"$fresh/.pom-cksum"
        chmod 755 "$fresh"
        rm -rf "$jars"
        mv "$fresh" "$jars"
    fi
    exec 8>&-
}

# One command at a time on a cluster: the lock is descriptor 9, freed when the script ends.
lock_cluster() {
    mkdir -p "$DIR"
    exec 9>"$DIR/lock"
    flock -w 120 9 || die "Another kafka.sh has been at work on $DIR for two minutes."
}

# The numbers of the brokers that the command is about, and their directories.
chosen_ids() { if [ -n "$BROKER" ]; then printf '%s\n' "$BROKER"; else seq 1 "$BROKERS"; fi; }
chosen_dirs() {
    local id
    for id in $(chosen_ids); do broker_dir "$id"; done
}

# The recorded cluster, checked against what the command line says about it.
require_cluster() {
    load_cluster || die "There is no cluster in $DIR. scripts/kafka.sh start --port $PORT makes one."
    check_broker_number
}

check_broker_number() {
    [ -z "$BROKER" ] || [ "$BROKER" -le "$BROKERS" ] || misuse "--broker $BROKER: this cluster has $BROKERS."
}

# Loads the cluster in DIR, or makes a new one as the command line says.
load_or_make_cluster() {
    local mode=$MODE brokers=$BROKERS port=$PORT secure=$SECURE listen=$LISTEN options=("${OPTIONS[@]}")
    if load_cluster; then
        [ -z "$secure" ] || [ -n "$SECURE" ] || other_cluster "no TLS"
        [ -z "$BROKERS_GIVEN" ] || [ "$brokers" = "$BROKERS" ] || other_cluster "$BROKERS broker(s)"
        [ -z "$ZOOKEEPER_GIVEN" ] || [ "$mode" = "$MODE" ] || other_cluster "metadata in $MODE"
        [ -z "$PORT_GIVEN" ] || [ "$port" = "$PORT" ] || other_cluster "port $PORT"
    else
        CLUSTER_ID=$(new_cluster_id)
        OPTIONS=()
        [ -z "$SECURE" ] || [ "$MODE" = kraft ] || misuse "--secure goes with KRaft only."
        check_broker_number
        save_cluster
    fi
    check_broker_number
    # They are recorded once brokers have started with them, so that a mistake is not remembered.
    [ "${#options[@]}" -eq 0 ] || OPTIONS=("${options[@]}")
    LISTEN=${listen:-$LISTEN}
}

other_cluster() {
    die "$DIR holds a cluster with $1. Delete it first (scripts/kafka.sh stop --clean --dir $DIR), or take another --port or --dir."
}

# Fails where port $1, which a node that is not running needs, is someone else's.
require_free_port() {
    local tries
    # A process that was just killed loses its name before its ports.
    for ((tries = 0; tries < 50; tries++)); do
        if ! port_is_open "$1"; then return; fi
        sleep 0.1
    done
    die "Port $1 is in use by another program. Choose another with --port, or end that program."
}

# Prints the end of a node's log and fails.
give_up_on() {
    local node=$1 why=$2
    say "---- last lines of $node/log"
    tail -n 30 "$node/log" >&2 || true
    say "----"
    # Half a cluster helps nobody: what this call launched ends with it.
    signal_nodes KILL "${LAUNCHED[@]}"
    die "$(basename "$node") $why. The whole log: $node/log"
}

start_zookeeper() {
    local node deadline=$((SECONDS + TIMEOUT))
    node=$(zookeeper_dir)
    if ! node_pid "$node" >/dev/null; then
        require_free_port "$(zookeeper_port)"
        write_zookeeper_properties
        launch "$node" org.apache.zookeeper.server.quorum.QuorumPeerMain "$node/zookeeper.properties"
        LAUNCHED+=("$node")
    fi
    until zookeeper_answers "$(zookeeper_port)"; do
        node_pid "$node" >/dev/null || give_up_on "$node" "ended while starting"
        [ "$SECONDS" -lt "$deadline" ] || give_up_on "$node" "does not answer after $TIMEOUT s"
        sleep 0.1
    done
}

# Gives a new KRaft node its cluster id; a node that has one is left as it is.
format_broker() {
    local node=$1
    [ -e "$node/data/meta.properties" ] && return 0
    run_tool kafka.tools.StorageTool format --cluster-id "$CLUSTER_ID" --config "$node/server.properties" --ignore-formatted >>"$node/log" 2>&1
}

launch_broker() { launch "$1" kafka.Kafka "$1/server.properties"; }

# Prepares and launches broker $1.
start_broker() {
    local id=$1 node
    node=$(broker_dir "$id")
    require_free_port "$(broker_port "$id")"
    [ -z "$SECURE" ] || require_free_port "$(plain_port "$id")"
    [ "$MODE" = zookeeper ] || require_free_port "$(controller_port "$id")"
    write_broker_properties "$id"
    if [ "$MODE" = kraft ]; then
        format_broker "$node" || give_up_on "$node" "could not be formatted"
    fi
    launch_broker "$node"
    LAUNCHED+=("$node")
}

# Waits until the brokers $2... answer, each knowing of as many live brokers as have a process, until $1.
wait_for_brokers() {
    local deadline=$1 id port
    shift
    for id in "$@"; do
        port=$(plain_port "$id")
        while true; do
            # Whichever of them ends meanwhile, it is told at once.
            check_alive "$deadline" "$@"
            count_running
            if brokers_alive "$port" && [ "$ALIVE" -ge "$RUNNING" ]; then break; fi
            [ "$SECONDS" -lt "$deadline" ] ||
                give_up_on "$(broker_dir "$id")" "does not answer as one of $RUNNING brokers after $TIMEOUT s"
            sleep 0.1
        done
    done
}

# Sets RUNNING to how many brokers have a process; one that this call has nothing to do with may come and go.
count_running() {
    local id
    RUNNING=0
    for ((id = 1; id <= BROKERS; id++)); do
        if node_pid "$DIR/broker-$id" >/dev/null; then RUNNING=$((RUNNING + 1)); fi
    done
}

# Fails where one of the brokers $2... has ended while starting.
check_alive() {
    local deadline=$1 id node
    shift
    for id in "$@"; do
        node=$DIR/broker-$id
        if node_pid "$node" >/dev/null; then continue; fi
        # ZooKeeper keeps a killed broker's name until its session is over, and refuses the new one until then.
        if [ "$MODE" = zookeeper ] && tail -n 50 "$node/log" | grep -q NodeExists && [ "$SECONDS" -lt "$deadline" ]; then
            sleep 0.5
            launch_broker "$node"
        else
            give_up_on "$node" "ended while starting"
        fi
    done
}

command_start() {
    local id idle=() chosen=() options_given=${#OPTIONS[@]}
    LAUNCHED=()
    lock_cluster
    load_or_make_cluster
    ensure_jars
    mapfile -t chosen < <(chosen_ids)
    for id in "${chosen[@]}"; do
        node_pid "$(broker_dir "$id")" >/dev/null || idle+=("$id")
    done
    [ "$MODE" = kraft ] || start_zookeeper
    [ -z "$SECURE" ] || make_credentials
    for id in "${idle[@]}"; do start_broker "$id"; done
    wait_for_brokers $((SECONDS + TIMEOUT)) "${chosen[@]}"
    save_cluster
    [ -z "$SECURE" ] || [ "${#idle[@]}" -eq 0 ] || make_user
    if [ "${#idle[@]}" -eq 0 ]; then
        say "Already running."
        [ "$options_given" -eq 0 ] || say "The new options count from the next start."
    fi
    # With --broker another one may be down, which is none of this call's business.
    print_cluster || true
}

# Prints what is up, on stdout; fails unless everything is.
print_cluster() {
    local id node all_up=0
    printf 'bootstrap %s\n' "$(bootstrap)"
    [ -z "$SECURE" ] || printf 'options %s\n' "$(client_properties)"
    if [ "$MODE" = zookeeper ]; then
        node=$(zookeeper_dir)
        if node_pid "$node" >/dev/null && zookeeper_answers "$(zookeeper_port)"; then
            print_node zookeeper "$(zookeeper_port)" "$node" up
        else
            print_node zookeeper "$(zookeeper_port)" "$node" down
            all_up=1
        fi
    fi
    for ((id = 1; id <= BROKERS; id++)); do
        node=$(broker_dir "$id")
        if node_pid "$node" >/dev/null && brokers_alive "$(plain_port "$id")"; then
            print_node "broker $id" "$(broker_port "$id")" "$node" up
        else
            print_node "broker $id" "$(broker_port "$id")" "$node" down
            all_up=1
        fi
    done
    return "$all_up"
}

print_node() { printf '%-9s localhost:%s pid %s %s\n' "$1" "$2" "$(node_pid "$3" || echo none)" "$4"; }

command_status() {
    load_cluster || die "There is no cluster in $DIR."
    print_cluster
}

# Stops brokers first and ZooKeeper after them, for a broker says goodbye to it.
command_stop() {
    [ -z "$CLEAN" ] || [ -z "$BROKER" ] || misuse "--clean deletes the whole cluster; leave --broker out."
    [ -d "$DIR" ] || {
        say "There is no cluster in $DIR."
        return 0
    }
    lock_cluster
    if load_cluster; then
        check_broker_number
        local nodes
        mapfile -t nodes < <(chosen_dirs)
        # What is about to be deleted need not be left in order.
        [ -z "$CLEAN" ] || signal_nodes KILL "${nodes[@]}"
        # Of three KRaft brokers the last finds no quorum to say goodbye to and never ends by itself.
        end_nodes 10 "${nodes[@]}"
        if [ -z "$BROKER" ] && [ "$MODE" = zookeeper ]; then end_nodes 10 "$(zookeeper_dir)"; fi
        say "Stopped ${BROKER:+broker $BROKER of }$DIR."
    fi
    [ -z "$CLEAN" ] || delete_data
}

# Deletes what this script made in DIR and nothing else: --dir may have been given a directory that holds more.
delete_data() {
    rm -rf "$DIR"/broker-[0-9] "$DIR/zookeeper" "$DIR/secure" "$DIR/cluster" "$DIR/cluster.new" "$DIR/lock"
    rmdir "$DIR" 2>/dev/null || true
    say "Deleted the data in $DIR."
}

command_kill() {
    local nodes
    require_cluster
    mapfile -t nodes < <(chosen_dirs)
    if [ -z "$BROKER" ] && [ "$MODE" = zookeeper ]; then nodes+=("$(zookeeper_dir)"); fi
    signal_nodes KILL "${nodes[@]}"
    wait_gone 10 "${nodes[@]}" || die "A process survives SIGKILL: see the pid files in $DIR/*/pid."
    say "Killed ${BROKER:+broker $BROKER of }$DIR."
}

command_topics() {
    local arguments
    require_cluster
    ensure_jars
    arguments=(--bootstrap-server "$(plain_bootstrap)")
    if [ -z "$TOPIC_ACTION" ]; then
        arguments+=(--list)
    else
        arguments+=("--$TOPIC_ACTION" --topic "$TOPIC")
        [ -z "$PARTITIONS" ] || arguments+=(--partitions "$PARTITIONS")
        [ -z "$REPLICATION" ] || arguments+=(--replication-factor "$REPLICATION")
    fi
    run_tool org.apache.kafka.tools.TopicCommand "${arguments[@]}"
}

command_tool() {
    require_cluster
    ensure_jars
    run_tool "${TOOL[@]//\{\}/$(plain_bootstrap)}"
}

command_quicken() {
    require_cluster
    if [ -r "$(class_archive)" ]; then
        say "The classes are written down already: $(class_archive)"
    elif ! write_class_archive "$(broker_dir "${BROKER:-1}")"; then
        say "The classes could not be written down: this needs a running broker and a JDK of 17 or newer."
    fi
}

command_classpath() {
    load_cluster || true
    ensure_jars
    printf '%s/*\n' "$(jars_dir)"
}

require_number() {
    case $2 in '' | *[!0-9]*) misuse "$1 wants a number, not '$2'." ;; esac
}

# Reads the options of every command into the globals of the same name.
parse_options() {
    MODE=kraft BROKERS=1 PORT=9092 SECURE='' DIR='' CACHE='' TIMEOUT=60 BROKER='' CLEAN='' OPTIONS=() TOOL=()
    BROKERS_GIVEN='' ZOOKEEPER_GIVEN='' PORT_GIVEN='' LISTEN='' TOPIC_ACTION='' TOPIC='' PARTITIONS='' REPLICATION='' CLUSTER_ID=''
    while [ "$#" -gt 0 ]; do
        case $1 in
            --help | -h) usage; exit 0 ;;
            --zookeeper) MODE=zookeeper ZOOKEEPER_GIVEN=yes; shift; continue ;;
            --clean) CLEAN=yes; shift; continue ;;
            --secure) SECURE=yes; shift; continue ;;
            --*) [ "$#" -ge 2 ] || misuse "$1 is unknown or wants a value." ;;
        esac
        case $1 in
            --brokers) BROKERS=$2 BROKERS_GIVEN=yes; [ "$2" = 1 ] || [ "$2" = 3 ] || misuse "--brokers is 1 or 3, not '$2'." ;;
            --broker) BROKER=$2; require_number "$1" "$2"; [ "$2" -ge 1 ] || misuse "Brokers are numbered from 1." ;;
            --port) PORT=$2 PORT_GIVEN=yes; require_number "$1" "$2"; [[ $2 -ge 1 && $2 -le 65503 ]] || misuse "--port is from 1 to 65503." ;;
            --dir) DIR=$2 ;;
            --cache) CACHE=$2 ;;
            --listen) LISTEN=$2; case $2 in '' | *[!0-9.]*) misuse "--listen wants an IPv4 address, not '$2'." ;; esac ;;
            --timeout) TIMEOUT=$2; require_number "$1" "$2" ;;
            --kafka-option) OPTIONS+=("$2"); [ "${2#?*=}" != "$2" ] || misuse "--kafka-option wants key=value, not '$2'." ;;
            --create | --describe | --alter | --delete) TOPIC_ACTION=${1#--} TOPIC=$2 ;;
            --partitions) PARTITIONS=$2; require_number "$1" "$2" ;;
            --replication) REPLICATION=$2; require_number "$1" "$2" ;;
            --*) misuse "Unknown option $1." ;;
            *)
                [ "$COMMAND" = tool ] || misuse "Unexpected argument '$1'."
                TOOL=("$@")
                break
                ;;
        esac
        shift 2
    done
    DIR=${DIR:-$(state_home)/kafka-$PORT}
    # Node directories are compared by name and the nodes run elsewhere: the path must be absolute and always the same.
    case $DIR in /*) ;; *) DIR=$PWD/$DIR ;; esac
    [ ! -d "$DIR" ] || DIR=$(cd "$DIR" && pwd -P)
    case $CACHE in '' | /*) ;; *) CACHE=$PWD/$CACHE ;; esac
}

main() {
    COMMAND=${1:-}
    case $COMMAND in
        start | stop | kill | status | topics | tool | quicken | classpath) shift ;;
        '' | help | --help | -h) usage; [ -n "$COMMAND" ] || exit 2; exit 0 ;;
        *) misuse "Unknown command '$COMMAND'." ;;
    esac
    parse_options "$@"
    [ "$COMMAND" != tool ] || [ "${#TOOL[@]}" -gt 0 ] || misuse "tool wants the name of a class."
    "command_$COMMAND"
}

main "$@"
