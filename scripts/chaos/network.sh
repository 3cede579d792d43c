# shellcheck shell=bash
# The processor's network: a namespace of its own behind a pair of virtual cards, whose packets can be made to vanish.
# Sourced by chaos.sh.
#
# Needs nothing but iproute2 and root. Packets vanish by a neighbour entry with a wrong address: the kernel sends them
# and the other side drops them as not meant for it, without a word to either, as a cut cable behind a switch does; so
# no module of the kernel is needed. Invariants: the namespace and its cards bear this run's port in their names and
# nothing else is touched. Start at `make_network`, `network_fault`. Not here: when (plan.sh).

# An address of RFC 5737 and a card's address that nobody has.
NOBODY_THERE=02:00:00:00:00:01

make_network() {
    [ -n "$NETWORK" ] || return 0
    local why=''
    if [ "$(uname -s)" != Linux ] || ! have ip || ! have ss || ! have tc; then
        why="needs Linux with iproute2"
    elif [ "$(id -u)" -ne 0 ]; then
        why="needs root"
    elif ! make_namespace >"$WORLD/network.log" 2>&1; then
        why="no network namespace can be made here ($(tail -n 1 "$WORLD/network.log"))"
        remove_network
    fi
    if [ -n "$why" ]; then
        say "network faults: SKIPPED, $why"
        return 0
    fi
    if ! probe_netem; then say "latency and loss: SKIPPED, this kernel has no netem (sch_netem)"; fi
    if ! probe_tbf; then say "little bandwidth: SKIPPED, this kernel has no tbf (sch_tbf)"; fi
}

# Two addresses of 198.18.0.0/15, which is set aside for tests (RFC 2544), by the port.
make_namespace() {
    local name=chaos-$PORT base="198.18.$((PORT / 64 % 256))"
    local first=$((PORT % 64 * 4))
    HOST_CARD=ch${PORT}a INNER_CARD=ch${PORT}b
    HOST_ADDRESS=$base.$((first + 1)) INNER_ADDRESS=$base.$((first + 2))
    if ip netns list | grep -qw -- "$name"; then
        echo "$name is there already: another run on this port, or what one left behind (ip netns delete $name)"
        return 1
    fi
    ip netns add "$name" || return 1
    NAMESPACE=$name
    ip link add "$HOST_CARD" type veth peer name "$INNER_CARD" netns "$name" || return 1
    ip address add "$HOST_ADDRESS/30" dev "$HOST_CARD" || return 1
    ip link set "$HOST_CARD" up || return 1
    inside ip address add "$INNER_ADDRESS/30" dev "$INNER_CARD" || return 1
    inside ip link set lo up || return 1
    inside ip link set "$INNER_CARD" up || return 1
}

inside() { ip netns exec "$NAMESPACE" "$@"; }

remove_network() {
    [ -n "$NAMESPACE" ] || return 0
    # The pair of cards goes with the namespace, once the last process in it is gone.
    ip link delete "$HOST_CARD" 2>/dev/null || true
    ip netns delete "$NAMESPACE" 2>/dev/null || true
    NAMESPACE=''
}

probe_netem() {
    tc qdisc add dev "$HOST_CARD" root netem delay 1ms 2>/dev/null || { HAS_NETEM=''; return 1; }
    tc qdisc del dev "$HOST_CARD" root
    HAS_NETEM=yes
}

probe_tbf() {
    tc qdisc add dev "$HOST_CARD" root tbf rate 1mbit burst 16kb latency 1s 2>/dev/null || { HAS_TBF=''; return 1; }
    tc qdisc del dev "$HOST_CARD" root
    HAS_TBF=yes
}

lose_outgoing() { inside ip neighbour replace "$HOST_ADDRESS" lladdr "$NOBODY_THERE" nud permanent dev "$INNER_CARD"; }
lose_incoming() { ip neighbour replace "$INNER_ADDRESS" lladdr "$NOBODY_THERE" nud permanent dev "$HOST_CARD"; }
mend_outgoing() { inside ip neighbour delete "$HOST_ADDRESS" dev "$INNER_CARD" 2>/dev/null || true; }
mend_incoming() { ip neighbour delete "$INNER_ADDRESS" dev "$HOST_CARD" 2>/dev/null || true; }

# Fault $1 for $2 ms.
network_fault() {
    case $1 in
        out) lose_outgoing; during "$2" "the processor's packets vanish"; mend_outgoing ;;
        in) lose_incoming; during "$2" "the brokers' packets vanish"; mend_incoming ;;
        both)
            lose_outgoing; lose_incoming
            during "$2" "packets vanish in both directions"
            mend_outgoing; mend_incoming
            ;;
        down)
            inside ip link set "$INNER_CARD" down
            during "$2" "the link is down"
            inside ip link set "$INNER_CARD" up
            ;;
        reset) reset_connections "$2" ;;
        slow) [ -z "$HAS_TBF" ] || shaped "$2" "10 kB/s" tbf rate 80kbit burst 4kb latency 2s ;;
        lossy) [ -z "$HAS_NETEM" ] || shaped "$2" "500 ms of latency, 10 % loss" netem delay 500ms 100ms loss 10% ;;
    esac
}

during() {
    tell network "$2" "for $1 ms"
    pause "$1" || true
}

# Traffic to the processor goes through the queue $3... for $1 ms.
shaped() {
    local time=$1 words=$2
    shift 2
    tc qdisc add dev "$HOST_CARD" root "$@"
    during "$time" "$words"
    tc qdisc del dev "$HOST_CARD" root
}

# Every half second all connections end with a reset, at both ends.
reset_connections() {
    local until count=0 words
    until=$(($(now_ms) + $1))
    while [ "$(now_ms)" -lt "$until" ] && [ ! -e "$WORLD/enough" ]; do
        words=$(inside ss -H -K -t state established dst "$HOST_ADDRESS" 2>/dev/null) || words=''
        if [ -n "$words" ]; then count=$((count + $(wc -l <<<"$words"))); fi
        nap 500
    done
    if [ "$count" -gt 0 ]; then
        tell network "connections are reset" "$count of them in $1 ms"
    else
        tell network SKIPPED "no connection could be reset (none, or a kernel without INET_DIAG_DESTROY)"
    fi
}
