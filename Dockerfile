# The processor as an image: built with Rust and the C++ tools, shipped on plain Debian.
#   docker build -t sales-stream .
#   docker run --rm sales-stream --help

FROM rust:1-slim-bookworm AS build
# What scripts/lib/install.sh installs elsewhere: RocksDB and librdkafka are compiled from source.
RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        clang g++ gcc libclang-dev libssl-dev make pkg-config zlib1g-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source

# First the dependencies alone, under an empty program: they take minutes and change seldom, and Docker keeps this layer.
COPY Cargo.toml Cargo.lock ./
RUN mkdir src \
    && echo 'fn main() {}' > src/main.rs \
    && touch src/lib.rs \
    && cargo build --release --locked --bin sales-stream \
    && rm -r src

COPY src ./src
# Newer than the empty program's, or cargo would keep that one.
RUN find src -name '*.rs' -exec touch {} + \
    && cargo build --release --locked --bin sales-stream \
    && cp target/release/sales-stream /usr/local/bin/

FROM debian:bookworm-slim
# The certificates are for brokers with TLS, the time zones for event times written in local time.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates libssl3 libstdc++6 tzdata zlib1g \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /nonexistent --shell /usr/sbin/nologin sales-stream \
    # A new volume takes its owner from this directory.
    && install -d -o sales-stream -g sales-stream /checkpoints
COPY --from=build /usr/local/bin/sales-stream /usr/local/bin/
COPY LICENSE-APACHE LICENSE-MIT /usr/share/doc/sales-stream/
USER sales-stream
WORKDIR /checkpoints
VOLUME /checkpoints
ENTRYPOINT ["sales-stream"]
CMD ["--checkpoint-dir", "/checkpoints"]
