//! Fuzzes `sales_stream::fuzz::checkpoint_values`, which says what the bytes are.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sales_stream::fuzz::checkpoint_values(bytes));
