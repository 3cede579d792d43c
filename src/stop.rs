//! One request to stop, shared by everything that runs until it is told to end.
//!
//! Invariant: a request is never taken back. Waiting wakes as soon as the request is made, so nothing
//! polls for it in a tight loop. Start at [`Stop`].
//!
//! Not here: which signals make the request, and what a second one does (`cli`).

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A handle on one request to stop; clones share it.
///
/// `request` takes a lock: call it from an ordinary thread or task, not inside a signal handler.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    requested: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    /// A handle on which nobody has asked to stop yet.
    #[must_use]
    pub fn new() -> Stop {
        Stop::default()
    }

    /// Asks everyone who holds a clone to stop. Asking again changes nothing.
    pub fn request(&self) {
        *self.lock() = true;
        self.shared.changed.notify_all();
    }

    /// Whether somebody asked to stop.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        *self.lock()
    }

    /// Sleeps for `timeout`, or until the request is made; true if it was made.
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        let Some(deadline) = Instant::now().checked_add(timeout) else {
            self.wait();
            return true;
        };
        let mut requested = self.lock();
        while !*requested {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            (requested, _) = self
                .shared
                .changed
                .wait_timeout(requested, left)
                .unwrap_or_else(PoisonError::into_inner);
        }
        *requested
    }

    /// Sleeps until the request is made.
    pub fn wait(&self) {
        let mut requested = self.lock();
        while !*requested {
            requested = self.shared.changed.wait(requested).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A flag cannot be left half written, so a panic elsewhere does not spoil it.
    fn lock(&self) -> std::sync::MutexGuard<'_, bool> {
        self.shared.requested.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_reaches_every_clone_and_stays() {
        let stop = Stop::new();
        let other = stop.clone();
        assert!(!other.is_requested());
        stop.request();
        assert!(other.is_requested());
        assert!(other.wait_timeout(Duration::ZERO));
    }

    #[test]
    fn waiting_ends_at_the_deadline_without_a_request() {
        let started = Instant::now();
        assert!(!Stop::new().wait_timeout(Duration::from_millis(20)));
        assert!(started.elapsed() >= Duration::from_millis(20));
    }

    #[test]
    fn a_request_wakes_a_sleeper_long_before_its_deadline() {
        let stop = Stop::new();
        let sleeper = {
            let stop = stop.clone();
            std::thread::spawn(move || {
                let started = Instant::now();
                (stop.wait_timeout(Duration::from_secs(60)), started.elapsed())
            })
        };
        stop.request();
        let (requested, slept) = sleeper.join().unwrap();
        assert!(requested);
        assert!(slept < Duration::from_secs(30), "slept {slept:?}");
    }
}
