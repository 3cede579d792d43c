//! The binary: everything is in the library, so that tests can reach it.

/// Serves librdkafka and RocksDB too: their cost is allocation as much as anything.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Where the allocator looks for its settings. Batches come and go: what one leaves is kept for the next, which
/// else pays for as many faults, and given back when none comes for some seconds; tables of millions of groups are
/// walked through at random, so large pages are asked for; threads that work at a time make little
/// anew, and need few arenas.
// SAFETY: jemalloc reads a text that ends with a zero byte there, or nothing; it has no other symbol of
// this name but its own weak one.
#[unsafe(export_name = "malloc_conf")]
pub static ALLOCATOR_SETTINGS: Option<&'static u8> = Some(&SETTINGS[0]);
static SETTINGS: [u8; 41] = *b"narenas:2,dirty_decay_ms:3000,thp:always\0";

fn main() {
    // A test may have left one under the ordinary name.
    #[cfg(feature = "faults")]
    eprintln!("{}", sales_stream::faults::MARKER);
    sales_stream::cli::exit_now(sales_stream::commands::main())
}
