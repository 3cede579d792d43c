//! SIGINT and SIGTERM: the first asks to stop, the second ends the process at once.
//!
//! Not here: what stopping means to a command.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    thread,
};

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::say;
use crate::stop::Stop;

const INTERRUPTED: u8 = 130;
const TERMINATED: u8 = 143;

/// What was asked for by signal.
#[derive(Clone, Debug, Default)]
pub struct Signals {
    stop: Stop,
    first: Arc<AtomicU8>,
}

impl Signals {
    /// Watches from now on, on a thread of its own.
    ///
    /// # Errors
    /// The system gave no thread, or no handler.
    pub(crate) fn start() -> io::Result<Signals> {
        let signals = Signals::default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        // Before the thread runs, so that a signal that comes now is not the system's default end.
        let (interrupt, terminate) = {
            let _inside = runtime.enter();
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
        };
        let watcher = signals.clone();
        thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || runtime.block_on(watcher.run(interrupt, terminate)))?;
        Ok(signals)
    }

    /// The request to stop.
    #[must_use]
    pub fn stop(&self) -> &Stop {
        &self.stop
    }

    /// The exit code of what a signal ended before it was done (130, 143); 0 if none came.
    #[must_use]
    pub fn code(&self) -> u8 {
        self.first.load(Ordering::SeqCst)
    }

    async fn run(self, mut interrupt: Signal, mut terminate: Signal) {
        let mut next = async || {
            tokio::select! {
                _ = interrupt.recv() => INTERRUPTED,
                _ = terminate.recv() => TERMINATED,
            }
        };
        let first = next().await;
        self.first.store(first, Ordering::SeqCst);
        self.stop.request();
        let name = if first == INTERRUPTED { "SIGINT" } else { "SIGTERM" };
        say(format_args!("{name}: stopping in order; a second signal ends at once"));
        let second = next().await;
        super::exit_now(second);
    }
}
