//! The binary: everything is in the library, so that tests can reach it.

use std::process::ExitCode;

/// Serves librdkafka and RocksDB too: their cost is allocation as much as anything.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    sales_stream::cli::main()
}
