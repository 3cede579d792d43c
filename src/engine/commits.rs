//! Commits to Kafka beside everything else: one in flight, the newest batch wins, a failure is
//! reported and holds nothing up. What is committed comes as [`Visible`]: nothing can be committed
//! before it is durable and announced.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crate::{checkpoint::Visible, source::Committer};

/// The thread that commits.
pub(super) struct Commits {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    slot: Mutex<Slot>,
    changed: Condvar,
}

#[derive(Default)]
struct Slot {
    waiting: Option<Visible>,
    busy: bool,
    closed: bool,
}

impl Commits {
    pub(super) fn new(committer: Box<dyn Committer>) -> Commits {
        let shared = Arc::new(Shared::default());
        let theirs = shared.clone();
        let thread = std::thread::Builder::new()
            .name("commits".to_owned())
            .spawn(move || commit_all(&theirs, committer))
            .expect("the system has room for one more thread");
        Commits { shared, thread: Some(thread) }
    }

    /// Asks for a commit and returns at once. One that is still waiting is replaced: the newer one
    /// covers it.
    pub(super) fn commit(&self, batch: Visible) {
        self.shared.lock().waiting = Some(batch);
        self.shared.changed.notify_all();
    }

    /// Waits until nothing is in flight.
    #[cfg(feature = "faults")]
    pub(super) fn settle(&self) {
        let mut slot = self.shared.lock();
        while slot.waiting.is_some() || slot.busy {
            slot = self.shared.changed.wait(slot).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits until everything asked for was tried, at most for `patience`.
    pub(super) fn finish(mut self, patience: Duration) {
        let deadline = Instant::now() + patience;
        let mut slot = self.shared.lock();
        slot.closed = true;
        self.shared.changed.notify_all();
        while slot.waiting.is_some() || slot.busy {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                tracing::warn!("the last commit to Kafka was not confirmed in time");
                return;
            };
            let waited = self.shared.changed.wait_timeout(slot, left);
            slot = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(slot);
        if let Some(thread) = self.thread.take() {
            // A panic aborts the process, so there is no result worth looking at.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next batch to commit; `None` once closed and empty.
    fn take(&self) -> Option<Visible> {
        let mut slot = self.lock();
        loop {
            if let Some(batch) = slot.waiting.take() {
                slot.busy = true;
                return Some(batch);
            }
            if slot.closed {
                return None;
            }
            slot = self.changed.wait(slot).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn done(&self) {
        self.lock().busy = false;
        self.changed.notify_all();
    }
}

fn commit_all(shared: &Shared, mut committer: Box<dyn Committer>) {
    let mut failing = false;
    while let Some(batch) = shared.take() {
        match committer.commit(&batch) {
            Ok(()) => failing = false,
            Err(error) if !failing => {
                failing = true;
                let batch = batch.identity().batch.0;
                tracing::warn!(batch, %error, "Kafka did not confirm a commit; the next one covers it");
            }
            Err(_) => {}
        }
        shared.done();
    }
}
