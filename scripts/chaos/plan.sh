# shellcheck shell=bash
# What happens when: one plan for each actor, drawn from the seed before anything happens. Sourced by chaos.sh.
#
# A plan is lines `PAUSE ACTION ARGUMENT...`: wait so many milliseconds after the action before, then act. Invariant: a
# plan depends on seed and options alone. Start at `make_plans`. Not here: what an action does (faults.sh).

# Lehmer's generator (MINSTD): its own, because bash's RANDOM differs from release to release.
seed_draws() { DRAW=$(((SEED * 7919 + $1 * 104729 + 1) % 2147483646 + 1)); draw 1; draw 1; }

# Sets DRAWN to one of 0 to $1 - 1.
draw() {
    DRAW=$((DRAW * 48271 % 2147483647))
    DRAWN=$((DRAW % $1))
}

# Sets SHUFFLED to the arguments in an order by chance.
shuffle() {
    local i
    SHUFFLED=("$@")
    for ((i = ${#SHUFFLED[@]} - 1; i > 0; i--)); do
        draw $((i + 1))
        local kept=${SHUFFLED[i]}
        SHUFFLED[i]=${SHUFFLED[DRAWN]}
        SHUFFLED[DRAWN]=$kept
    done
}

# Prints one action after a pause of about $1 ms: between half and one and a half of it.
after_about() {
    local mean=$1
    shift
    draw $((mean + 1))
    printf '%s %s\n' "$((mean / 2 + DRAWN))" "$*"
}

# Minute $1's share of $2 things that are spread over all minutes.
share() { printf '%s\n' "$(($2 * ($1 + 1) / MINUTES - $2 * $1 / MINUTES))"; }

# The processor: each minute its share of kills, and one of each rarer thing (16 s of the minute).
plan_processor() {
    local minute kills mean action actions
    seed_draws 1
    for ((minute = 0; minute < MINUTES; minute++)); do
        kills=$(share "$minute" "$KILLS")
        actions=(terminate second backup stop)
        while [ "$kills" -gt 0 ]; do
            draw 5
            # Killed again in the middle of its recovery: two kills.
            if [ "$DRAWN" = 0 ] && [ "$kills" -ge 2 ]; then
                actions+=(again)
                kills=$((kills - 2))
            else
                actions+=(kill)
                kills=$((kills - 1))
            fi
        done
        # What is left of the minute, less what starting takes on a busy machine.
        mean=$(((44000 - 150 * ${#actions[@]}) / ${#actions[@]}))
        if [ "$mean" -lt 100 ]; then mean=100; fi
        shuffle "${actions[@]}"
        for action in "${SHUFFLED[@]}"; do
            case $action in
                stop) draw 3000; after_about "$mean" stop $((7000 + DRAWN)) ;;
                again) draw 200; after_about "$mean" again "$DRAWN" ;;
                kill) plan_kill "$mean" ;;
                *) after_about "$mean" "$action" ;;
            esac
        done
    done
}

# Mostly it is started again at once; every fifth time a while later.
plan_kill() {
    local pause=0
    draw 5
    if [ "$DRAWN" = 0 ]; then
        draw $(($1 > 2000 ? 2000 : $1))
        pause=$DRAWN
    fi
    after_about "$1" kill "$pause"
}

# The brokers: each minute its share of kills, and two of the rarer things.
plan_brokers() {
    local minute kills mean action actions rare=(all pause together rolling)
    seed_draws 2
    for ((minute = 0; minute < MINUTES; minute++)); do
        kills=$(share "$minute" "$BROKER_KILLS")
        if [ $((minute % 2)) = 0 ]; then shuffle "${rare[@]}"; rare=("${SHUFFLED[@]}"); fi
        actions=("${rare[@]:minute % 2 * 2:2}")
        # A minute with many kills, or where one broker is all there is, has no time for both.
        if [ "$kills" -gt 6 ] || [ "$BROKERS" = 1 ]; then actions=("${actions[0]}"); fi
        # With ten and more, every other minute has none of them.
        if [ "$kills" -gt 8 ] && [ $((minute % 2)) = 1 ]; then actions=(); fi
        while [ "$kills" -gt 0 ]; do
            # Where there are that many, two go down together: no quorum until one is back, and one wait for both.
            if [ "$BROKERS" = 3 ] && [ "$kills" -gt 4 ]; then
                actions+=(pair)
                kills=$((kills - 2))
            else
                actions+=(kill)
                kills=$((kills - 1))
            fi
        done
        # A broker is back after three to six seconds.
        mean=$(((34000 - 4000 * ${#actions[@]}) / ${#actions[@]}))
        if [ "$mean" -lt 50 ]; then mean=50; fi
        shuffle "${actions[@]}"
        for action in "${SHUFFLED[@]}"; do plan_broker_action "$mean" "$action"; done
    done
}

plan_broker_action() {
    local mean=$1 action=$2 id
    draw "$BROKERS"
    id=$((DRAWN + 1))
    case $action in
        kill) draw 500; after_about "$mean" kill "$id" "$DRAWN" ;;
        pair) draw 500; after_about "$mean" pair "$id" "$DRAWN" ;;
        together) draw 1000; after_about "$mean" together "$id" "$DRAWN" ;;
        all) draw 10000; after_about "$mean" all $((10000 + DRAWN)) ;;
        pause) draw 5000; after_about "$mean" pause "$id" $((4000 + DRAWN)) ;;
        rolling) after_about "$mean" rolling ;;
    esac
}

# The clients of Kafka: each minute one producer killed and one transaction left hanging; a partition more after a
# third and after two thirds of the run.
plan_clients() {
    local minute actions action
    seed_draws 3
    for ((minute = 0; minute < MINUTES; minute++)); do
        actions=(producer hang)
        # The first minute of each third but the first; a run of a minute adds one.
        if [ "$MINUTES" = 1 ] || [ $((minute * 3 / MINUTES)) -gt $(((minute - 1) * 3 / MINUTES)) ]; then
            actions+=(partition)
        fi
        shuffle "${actions[@]}"
        for action in "${SHUFFLED[@]}"; do
            case $action in
                producer) draw 2; after_about 12000 producer $((DRAWN + 1)) ;;
                hang) draw 6000; after_about 12000 hang $((11000 + DRAWN)) ;;
                partition) after_about 12000 partition ;;
            esac
        done
    done
}

# The processor's network: three faults a minute, each kind before one comes again.
plan_network() {
    local minute i left=()
    seed_draws 4
    for ((minute = 0; minute < MINUTES; minute++)); do
        for i in 1 2 3; do
            if [ "${#left[@]}" = 0 ]; then
                shuffle out in both down reset slow lossy
                left=("${SHUFFLED[@]}")
            fi
            draw 5000
            after_about 13000 "${left[0]}" $((3000 + DRAWN))
            left=("${left[@]:1}")
        done
    done
}

# How long batches are, start after start: where they are cut must not matter. In a run of hours they are longer, for
# the checkpoint remembers the boundaries of 10,000 batches, and the auditor needs them all.
plan_triggers() {
    local i times=$(((MINUTES + 59) / 60)) triggers=(200 500 1000)
    seed_draws 5
    for ((i = 0; i < 97; i++)); do
        draw 3
        printf '%sms\n' $((triggers[DRAWN] * times))
    done
}

make_plans() {
    plan_processor >"$WORLD/plan-processor"
    plan_brokers >"$WORLD/plan-brokers"
    plan_clients >"$WORLD/plan-clients"
    plan_network >"$WORLD/plan-network"
    plan_triggers >"$WORLD/plan-triggers"
}

print_plan() {
    local actor
    for actor in processor brokers clients network; do
        "plan_$actor" | sed "s/^/$actor /"
    done
}
