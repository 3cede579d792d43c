//! Fuzzes `sales_stream::fuzz::specs`, which says what the bytes are.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sales_stream::fuzz::specs(bytes));
