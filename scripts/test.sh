#!/usr/bin/env bash
# Runs every test: format, lints, documentation, unit tests and laws, the real binary over the embedded
# broker with SIGKILLs, every crash point, power cuts and full disks (on loop devices, as root), 10,000
# seeds of simulated faults, every recorded run of real Spark (tests/golden; GOLDEN_DIR names others), and
# the main paths on real Kafka (KRaft and ZooKeeper), which it starts and stops.
#
#   scripts/test.sh [--no-kafka]
#
#   --no-kafka   leave the tests on real Kafka out (they need Java and Maven)
#
# Installs what a Debian machine with Rust lacks. The build is the one scripts/demo.sh uses, so the C++
# libraries are compiled once; CARGO_TARGET_DIR is respected.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

kafka=yes
for argument in "$@"; do
    case $argument in
    --no-kafka) kafka=no ;;
    -h | --help)
        sed -n '2,/^set -euo/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
        exit 0
        ;;
    *)
        echo "unknown argument: $argument (see --help)" >&2
        exit 2
        ;;
    esac
done

# shellcheck source=scripts/lib/install.sh
source scripts/lib/install.sh

step() { printf '\n== %s (%s s)\n' "$*" "$SECONDS"; }

step "tools"
ensure_build_tools
cargo fmt --version >/dev/null 2>&1 || rustup component add rustfmt
cargo clippy --version >/dev/null 2>&1 || rustup component add clippy

step "build"
cargo build --release --locked

step "format and lints"
cargo fmt --check
cargo clippy --release --locked --all-targets -- -D warnings
cargo clippy --release --locked --all-targets --features faults -- -D warnings
RUSTDOCFLAGS="-D warnings" cargo doc --release --locked --no-deps --quiet

step "dependencies"
if ! cargo deny --version >/dev/null 2>&1; then
    say "Installing cargo-deny"
    cargo install --locked --quiet cargo-deny || say "cargo-deny could not be installed"
fi
if cargo deny --version >/dev/null 2>&1; then
    cargo deny --locked check bans licenses sources
    if ! cargo deny --locked check advisories; then
        # Without its database the check cannot say anything; with it, its word counts.
        if cargo deny --locked fetch db >/dev/null 2>&1; then
            exit 1
        fi
        echo "advisories: SKIPPED, the advisory database cannot be reached from here"
    fi
else
    echo "dependencies: SKIPPED, no cargo-deny"
fi

step "unit tests, laws, and the real binary over the embedded broker"
suites=$(mktemp)
cargo test --release --locked 2>&1 | tee "$suites"
# Every command of the tests is given this secret (tests/support).
if grep -q "CANARY-7f3a91c2" "$suites"; then
    echo "a secret that the tests were given is in the output above" >&2
    exit 1
fi
rm -f "$suites"

step "security"
if [[ $kafka == yes ]]; then
    ensure_java_and_maven
    scripts/security.sh
else
    scripts/security.sh --no-kafka
fi

# SALES_STREAM_TIER=long tries every call with every kind of fault, and every pair (see the test's head).
step "every crash point: I/O calls, named places, pairs, limits"
cargo test --release --locked --features faults --test crash_points --test planted_faults
# The ordinary binaries take their places again.
cargo build --release --locked

step "simulation: 10,000 seeds of random faults"
"${CARGO_TARGET_DIR:-target}/release/sales-stream" simulate --seed 1 --seeds 10000 |
    tee >(grep '^RESULT ' >>"${SALES_STREAM_RESULTS:-/dev/null}")

if [[ $kafka == yes ]]; then
    ensure_java_and_maven
    home=$(mktemp -d)
    cleanup() {
        scripts/kafka.sh stop --dir "$home/kraft" --port 29092 --clean >/dev/null 2>&1 || true
        scripts/kafka.sh stop --dir "$home/zookeeper" --port 29192 --zookeeper --clean >/dev/null 2>&1 || true
        rm -rf "$home"
    }
    trap cleanup EXIT

    step "real Kafka, KRaft"
    scripts/kafka.sh start --dir "$home/kraft" --port 29092
    SALES_STREAM_TEST_KAFKA=localhost:29092 \
        cargo test --release --locked --test real_kafka --test kafka_source -- --test-threads 2
    SALES_STREAM_TEST_KAFKA=localhost:29092 \
        cargo test --release --locked --test golden -- @kafka

    step "planted defects, each to be caught by the auditor"
    cargo build --release --locked --features faults --bin sales-stream-faults
    target=${CARGO_TARGET_DIR:-target}/release
    scripts/mutants.sh --brokers localhost:29092 --binary "$target/sales-stream" --faults "$target/sales-stream-faults"
    scripts/kafka.sh stop --dir "$home/kraft" --port 29092 --clean

    step "real Kafka, ZooKeeper"
    scripts/kafka.sh start --dir "$home/zookeeper" --port 29192 --zookeeper
    SALES_STREAM_TEST_KAFKA=localhost:29192 \
        cargo test --release --locked --test real_kafka -- --test-threads 2
    scripts/kafka.sh stop --dir "$home/zookeeper" --port 29192 --zookeeper --clean

    step "chaos on a real Kafka"
    scripts/chaos.sh --minutes 1 --seed 1
else
    echo "real Kafka: left out (--no-kafka)"
fi

step "all passed"
