//! The binary that people use has no planted faults in it; the one for the tests has.

use std::fs;

/// `sales_stream::faults::MARKER`, and what names a fault in the environment.
const TRACES: [&str; 3] =
    ["this build of sales-stream has planted faults", "SALES_STREAM_FAULT", "SALES_STREAM_MUTANT"];

fn holds(binary: &str, trace: &str) -> bool {
    let bytes = fs::read(binary).unwrap();
    memchr::memmem::find(&bytes, trace.as_bytes()).is_some()
}

#[cfg(not(feature = "faults"))]
#[test]
fn an_ordinary_build_has_no_trace_of_planted_faults() {
    for trace in TRACES {
        assert!(!holds(env!("CARGO_BIN_EXE_sales-stream"), trace), "{trace}");
    }
    assert!(holds(env!("CARGO_BIN_EXE_sales-stream"), "SALES_STREAM_CHECKPOINT_DIR"));
}

#[cfg(feature = "faults")]
#[test]
fn a_build_with_planted_faults_says_so() {
    for trace in &TRACES[..2] {
        assert!(holds(env!("CARGO_BIN_EXE_sales-stream-faults"), trace), "{trace}");
    }
}
