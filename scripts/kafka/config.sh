# shellcheck shell=bash
# What a cluster consists of, and what its nodes' configuration files say. Sourced by kafka.sh.
#
# Invariants: every port follows from --port; everything listens on the loopback address only, clients' ports
# also on the address of --listen; a cluster's settings are
# written to DIR/cluster once and outlive restarts. Start at `load_cluster`. Not here: the processes (process.sh).

broker_dir() { printf '%s/broker-%s\n' "$DIR" "$1"; }
broker_port() { printf '%s\n' "$((PORT + $1 - 1))"; }
controller_port() { printf '%s\n' "$((PORT + 9 + $1))"; }
zookeeper_dir() { printf '%s/zookeeper\n' "$DIR"; }
outside_port() { printf '%s\n' "$((PORT + 39 + $1))"; }
zookeeper_port() { printf '%s\n' "$((PORT + 20))"; }
# Where this script itself talks to the broker.
plain_port() { printf '%s\n' "$((PORT + $1 - 1 + (${#SECURE} > 0 ? 30 : 0)))"; }

# localhost:9092,localhost:9093,... by the function that names a broker's port
addresses() {
    local id list=
    for ((id = 1; id <= BROKERS; id++)); do
        list+="${list:+,}localhost:$("$1" "$id")"
    done
    printf '%s\n' "$list"
}
bootstrap() { addresses broker_port; }
plain_bootstrap() { addresses plain_port; }

# Reads DIR/cluster into MODE, BROKERS, PORT, CLUSTER_ID, SECURE and OPTIONS; fails where there is none.
load_cluster() {
    local key value
    [ -r "$DIR/cluster" ] || return 1
    OPTIONS=() SECURE=
    while IFS='=' read -r key value; do
        case $key in
            mode) MODE=$value ;;
            brokers) BROKERS=$value ;;
            port) PORT=$value ;;
            cluster_id) CLUSTER_ID=$value ;;
            secure) SECURE=$value ;;
            listen) LISTEN=$value ;;
            option) OPTIONS+=("$value") ;;
        esac
    done <"$DIR/cluster"
}

# Writes DIR/cluster, whole or not at all.
save_cluster() {
    {
        printf 'mode=%s\nbrokers=%s\nport=%s\ncluster_id=%s\n' "$MODE" "$BROKERS" "$PORT" "$CLUSTER_ID"
        [ -z "$SECURE" ] || printf 'secure=%s\n' "$SECURE"
        [ -z "$LISTEN" ] || printf 'listen=%s\n' "$LISTEN"
        [ "${#OPTIONS[@]}" -eq 0 ] || printf 'option=%s\n' "${OPTIONS[@]}"
    } >"$DIR/cluster.new"
    mv "$DIR/cluster.new" "$DIR/cluster"
}

# A Kafka cluster id: 16 random bytes in URL-safe base64 without padding. It never begins with a hyphen, which the
# tools would read as an option.
new_cluster_id() {
    local id=-
    while [ "${id#-}" != "$id" ]; do
        id=$(head -c 16 /dev/urandom | base64 | tr '+/' '-_' | tr -d '=\n')
    done
    printf '%s\n' "$id"
}

# What brokers of both modes share.
common_properties() {
    local id=$1 copies=1 in_sync=1
    if [ "$BROKERS" -gt 1 ]; then
        copies=3
        in_sync=2
    fi
    cat <<PROPERTIES
log.dirs=$(broker_dir "$id")/data

# Topics are made on purpose, never by a misspelt name.
auto.create.topics.enable=false
num.partitions=1
default.replication.factor=$copies
min.insync.replicas=$in_sync

# The internal topics: few partitions, for they are made when the first client waits for them.
offsets.topic.replication.factor=$copies
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=$copies
transaction.state.log.min.isr=$in_sync
transaction.state.log.num.partitions=4
group.initial.rebalance.delay.ms=0

# What compaction looks keys up in. A broker takes the usual 128 MiB when it starts, and after a hard end, with logs to
# recover, a small heap has not always room for that.
log.cleaner.dedupe.buffer.size=8388608

# Retention goes by the records' own time: with the usual seven days, made-up sales of last year are deleted at once.
log.retention.ms=-1
PROPERTIES
}

kraft_properties() {
    local id=$1 peer voters=
    for ((peer = 1; peer <= BROKERS; peer++)); do
        voters+="${voters:+,}$peer@127.0.0.1:$(controller_port "$peer")"
    done
    cat <<PROPERTIES
process.roles=broker,controller
node.id=$id
controller.quorum.voters=$voters
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:$(broker_port "$id"),CONTROLLER://127.0.0.1:$(controller_port "$id")
advertised.listeners=PLAINTEXT://127.0.0.1:$(broker_port "$id")
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT

# A broker that was killed can register again once its old session is over: 9 s by default.
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500

share.coordinator.state.topic.num.partitions=4
share.coordinator.state.topic.replication.factor=$([ "$BROKERS" -gt 1 ] && echo 3 || echo 1)
share.coordinator.state.topic.min.isr=$([ "$BROKERS" -gt 1 ] && echo 2 || echo 1)
PROPERTIES
}

zookeeper_mode_properties() {
    local id=$1
    cat <<PROPERTIES
broker.id=$id
zookeeper.connect=127.0.0.1:$(zookeeper_port)
listeners=PLAINTEXT://127.0.0.1:$(broker_port "$id")
advertised.listeners=PLAINTEXT://127.0.0.1:$(broker_port "$id")

# A broker that was killed can register again once its old session is over: 18 s by default.
zookeeper.session.timeout.ms=3000
# The last of several brokers to stop finds nobody to hand its partitions to: it need not try for 15 s.
controlled.shutdown.retry.backoff.ms=300
PROPERTIES
}

# A second door for clients: who comes in by it is sent on to the other brokers' second doors.
listen_properties() {
    local port outside controller='' map=PLAINTEXT:PLAINTEXT,OUTSIDE:PLAINTEXT
    port=$(broker_port "$1")
    # Kafka refuses two doors with one port, though their addresses differ.
    outside=$(outside_port "$1")
    if [ "$MODE" = kraft ]; then
        controller=,CONTROLLER://127.0.0.1:$(controller_port "$1")
        map+=,CONTROLLER:PLAINTEXT
    fi
    cat <<PROPERTIES

listeners=PLAINTEXT://127.0.0.1:$port,OUTSIDE://$LISTEN:$outside$controller
advertised.listeners=PLAINTEXT://127.0.0.1:$port,OUTSIDE://$LISTEN:$outside
listener.security.protocol.map=$map
inter.broker.listener.name=PLAINTEXT
PROPERTIES
}

# Writes the broker's server.properties. Options from --kafka-option come last: in a properties file the last one counts.
write_broker_properties() {
    local id=$1 node
    node=$(broker_dir "$id")
    mkdir -p "$node"
    {
        printf '# Written by scripts/kafka.sh at each start; change it with --kafka-option.\n'
        if [ "$MODE" = kraft ]; then kraft_properties "$id"; else zookeeper_mode_properties "$id"; fi
        [ -z "$SECURE" ] || secure_properties "$id"
        common_properties "$id"
        [ -z "$LISTEN" ] || listen_properties "$id"
        [ "${#OPTIONS[@]}" -eq 0 ] || printf '%s\n' "${OPTIONS[@]}"
    } >"$node/server.properties"
}

write_zookeeper_properties() {
    local node
    node=$(zookeeper_dir)
    mkdir -p "$node"
    cat >"$node/zookeeper.properties" <<PROPERTIES
# Written by scripts/kafka.sh at each start.
dataDir=$node/data
clientPort=$(zookeeper_port)
clientPortAddress=127.0.0.1
tickTime=1000
maxClientCnxns=0
admin.enableServer=false
PROPERTIES
}
