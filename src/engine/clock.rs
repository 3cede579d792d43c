//! The one place where the engine meets time and chance: the wall clock, waiting, and names of histories.

use std::{
    sync::OnceLock,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crate::{stop::Stop, types::Lineage};

/// Tells the time, lets it pass, and names what is new. What a [`SystemClock`] does is the default;
/// only a simulation does otherwise.
pub trait Clock: Send + Sync {
    /// Unix milliseconds.
    fn now_ms(&self) -> i64;

    /// Time that only goes forward, from a beginning of its own.
    fn uptime(&self) -> Duration {
        static BEGINNING: OnceLock<Instant> = OnceLock::new();
        BEGINNING.get_or_init(Instant::now).elapsed()
    }

    /// Lets so much time pass, or less if a stop is requested; true if it is.
    fn wait(&self, stop: &Stop, timeout: Duration) -> bool {
        stop.wait_timeout(timeout)
    }

    /// The name of a history that begins.
    fn new_lineage(&self) -> Lineage {
        let mut bytes = [0; 16];
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
            .expect("the system gives 16 random bytes");
        Lineage(u128::from_le_bytes(bytes))
    }
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> i64 {
        #[expect(clippy::disallowed_methods, reason = "this is the one place")]
        let now = SystemTime::now();
        match now.duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
        }
    }
}
