//! SIGINT and SIGTERM: the first asks to stop, the second ends the process at once.

use std::{
    process,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
};

use tokio::signal::unix::{SignalKind, signal};

use crate::stop::Stop;

/// What was asked for by signal.
#[derive(Clone, Debug)]
pub struct Signals {
    stop: Stop,
    code: Arc<AtomicU8>,
}

impl Signals {
    /// Listens from now on.
    ///
    /// # Panics
    /// When the system gives neither a thread nor a signal handler: nothing can be run then.
    pub(super) fn start() -> Signals {
        let signals = Signals { stop: Stop::new(), code: Arc::new(AtomicU8::new(0)) };
        let listening = signals.clone();
        let (ready, is_ready) = std::sync::mpsc::channel();
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || listening.listen(&ready))
            .expect("the system has room for a thread");
        is_ready.recv().expect("the signal handlers are set");
        signals
    }

    /// The request to stop.
    #[must_use]
    pub fn stop(&self) -> &Stop {
        &self.stop
    }

    /// The exit code of the signal that came (130, 143); 0 if none did.
    #[must_use]
    pub fn code(&self) -> u8 {
        self.code.load(Ordering::SeqCst)
    }

    fn listen(&self, ready: &std::sync::mpsc::Sender<()>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .expect("a runtime of one thread can be made");
        runtime.block_on(async {
            let mut interrupt = signal(SignalKind::interrupt()).expect("SIGINT can be handled");
            let mut terminate = signal(SignalKind::terminate()).expect("SIGTERM can be handled");
            // The one who waits is gone only if the process is.
            let _ = ready.send(());
            loop {
                let code = tokio::select! {
                    _ = interrupt.recv() => 130,
                    _ = terminate.recv() => 143,
                };
                if self.stop.is_requested() {
                    process::exit(i32::from(code));
                }
                self.code.store(code, Ordering::SeqCst);
                self.stop.request();
            }
        });
    }
}
