//! A broken invariant ends the process: whatever thread it is on, and before a destructor can write.
//!
//! The next start recovers from the checkpoint, which is what every crash relies on anyway.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    panic,
};

use super::say;

/// From now on a panic on any thread is printed and aborts the process (exit code 134 in a shell).
pub(crate) fn stop_the_process() {
    panic::set_hook(Box::new(|panic| {
        say(format_args!("error: this is a bug in sales-stream: {panic}"));
        let backtrace = Backtrace::capture();
        if backtrace.status() == BacktraceStatus::Captured {
            say(format_args!("{backtrace}"));
        }
        say(format_args!(
            "The process stops here, so that nothing wrong gets out; started again, it goes on from \
             its checkpoint. Please report this, with RUST_BACKTRACE=1 if it happens again."
        ));
        std::process::abort();
    }));
}
