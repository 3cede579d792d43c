#!/usr/bin/env bash
# What strangers can try, tried: modes, links, names, escapes, secrets and dangerous options with the real binary
# (tests/security.rs), and a real Kafka with TLS and a login (tests/secure_kafka.rs), which it starts and stops.
#
#   scripts/security.sh [--no-kafka] [--port N]
#
#   --no-kafka   leave the tests on real Kafka out (they need Java, Maven and openssl)
#   --port N     of that Kafka (default 29292)
#
# Ends with one line of counts. That no output shows the secret which every test's commands are given is looked for
# here, too.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

kafka=yes port=29292
while [ $# -gt 0 ]; do
    case $1 in
    --no-kafka) kafka=no; shift ;;
    --port) port=$2; shift 2 ;;
    -h | --help) sed -n '2,/^set -euo/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit 0 ;;
    *) echo "unknown argument: $1 (see --help)" >&2; exit 2 ;;
    esac
done

home=$(mktemp -d)
cleanup() {
    scripts/kafka.sh stop --dir "$home/secure" --port "$port" --clean >/dev/null 2>&1 || true
    rm -rf "$home"
}
trap cleanup EXIT
started=$SECONDS
log=$home/log

cargo test --release --locked --test security -- --nocapture 2>&1 | tee "$log"
if [ "$kafka" = yes ]; then
    scripts/kafka.sh start --dir "$home/secure" --port "$port" --secure --kafka-option connections.max.reauth.ms=4000
    SALES_STREAM_TEST_SECURE_KAFKA=localhost:$port SALES_STREAM_TEST_SECURE_KAFKA_DIR=$home/secure \
        cargo test --release --locked --test secure_kafka -- --nocapture --test-threads 1 2>&1 | tee -a "$log"
    password=$(sed -n 's/^sasl.password=//p' "$home/secure/secure/client.properties")
    ! grep -qF -- "$password" "$log" || { echo "the password of the cluster is in the output above" >&2; exit 1; }
else
    echo "TLS and login: left out (--no-kafka)"
fi
! grep -q "CANARY" "$log" || { echo "the canary is in the output above" >&2; exit 1; }
steps=$(awk '$1 == "CHECKED" { steps += $2 } END { print steps + 0 }' "$log")
result="RESULT {\"harness\":\"security\",\"seconds\":$((SECONDS - started)),\"ok\":true,\"security_checks\":$steps}"
echo "$result"
[ -z "${SALES_STREAM_RESULTS:-}" ] || echo "$result" >>"$SALES_STREAM_RESULTS"
