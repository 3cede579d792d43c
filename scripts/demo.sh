#!/usr/bin/env bash
# Builds sales-stream and shows it: sales arrive, windows close, the processor is killed with SIGKILL,
# starts again, and every result is proven right. Needs nothing but a Debian machine with Rust; what
# the build lacks is installed first.
#
#   scripts/demo.sh
#
# The first build compiles RocksDB and librdkafka and takes about ten minutes on two cores. The tests
# (scripts/test.sh) use the same build. CARGO_TARGET_DIR is respected.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [[ ${1:-} == -h || ${1:-} == --help ]]; then
    sed -n '2,/^set -euo/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
    exit 0
fi

# shellcheck source=scripts/lib/install.sh
source scripts/lib/install.sh
ensure_build_tools
cargo build --release --locked
exec "${CARGO_TARGET_DIR:-target}/release/sales-stream" demo "$@"
