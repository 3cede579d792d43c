//! The same program with planted faults (`sales_stream::faults`); built with the feature `faults` only.

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() {
    if sales_stream::faults::is_list_asked() {
        sales_stream::faults::names().iter().for_each(|name| println!("{name}"));
        return;
    }
    eprintln!("{}", sales_stream::faults::MARKER);
    sales_stream::cli::exit_now(sales_stream::commands::main())
}
