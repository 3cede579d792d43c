//! The binary: everything is in the library, so that tests can reach it.

/// Serves librdkafka and RocksDB too: their cost is allocation as much as anything.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() {
    // A test may have left one under the ordinary name.
    #[cfg(feature = "faults")]
    eprintln!("{}", sales_stream::faults::MARKER);
    sales_stream::cli::exit_now(sales_stream::commands::main())
}
