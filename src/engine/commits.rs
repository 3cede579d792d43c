//! Commits to Kafka beside everything else: one in flight, the newest batch wins, a failure is
//! reported and holds nothing up. What is committed comes as [`Visible`]: nothing can be committed
//! before it is durable and announced. Where a simulation drives the way out, it commits in line.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crate::{
    checkpoint::Visible,
    faults::{Point, reach},
    source::Committer,
};

/// Who commits.
pub(super) enum Commits {
    /// A thread of its own.
    Thread { shared: Arc<Shared>, thread: JoinHandle<()> },
    /// Whoever asks for it.
    Inline(Committing),
}

#[derive(Default)]
pub(super) struct Shared {
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
    pub(super) fn inline(committer: Box<dyn Committer>) -> Commits {
        Commits::Inline(Committing { committer, failing: false })
    }

    pub(super) fn on_a_thread(committer: Box<dyn Committer>) -> Commits {
        let shared = Arc::new(Shared::default());
        let theirs = shared.clone();
        let thread = std::thread::Builder::new()
            .name("commits".to_owned())
            .spawn(move || commit_all(&theirs, committer))
            .expect("the system has room for one more thread");
        Commits::Thread { shared, thread }
    }

    /// Asks for a commit and returns at once. One that is still waiting is replaced: the newer one
    /// covers it.
    pub(super) fn commit(&mut self, batch: Visible) {
        match self {
            Commits::Thread { shared, .. } => {
                shared.lock().waiting = Some(batch);
                shared.changed.notify_all();
            }
            Commits::Inline(committing) => committing.commit(&batch),
        }
    }

    /// Waits until nothing is in flight.
    #[cfg(feature = "faults")]
    pub(super) fn settle(&self) {
        let Commits::Thread { shared, .. } = self else { return };
        let mut slot = shared.lock();
        while slot.waiting.is_some() || slot.busy {
            slot = shared.changed.wait(slot).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits until everything asked for was tried, at most for `patience`.
    pub(super) fn finish(self, patience: Duration) {
        let Commits::Thread { shared, thread } = self else { return };
        let deadline = Instant::now() + patience;
        let mut slot = shared.lock();
        slot.closed = true;
        shared.changed.notify_all();
        while slot.waiting.is_some() || slot.busy {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                tracing::warn!("the last commit to Kafka was not confirmed in time");
                return;
            };
            let waited = shared.changed.wait_timeout(slot, left);
            slot = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(slot);
        // A panic aborts the process, so there is no result worth looking at.
        let _ = thread.join();
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

fn commit_all(shared: &Shared, committer: Box<dyn Committer>) {
    let mut committing = Committing { committer, failing: false };
    while let Some(batch) = shared.take() {
        committing.commit(&batch);
        shared.done();
    }
}

/// Commits, and tells of the first failure of several.
pub(super) struct Committing {
    committer: Box<dyn Committer>,
    failing: bool,
}

impl Committing {
    fn commit(&mut self, batch: &Visible) {
        reach(Point::Committing);
        let committed = self.committer.commit(batch);
        reach(Point::Committed);
        match committed {
            Ok(()) => self.failing = false,
            Err(error) if !self.failing => {
                self.failing = true;
                let batch = batch.identity().batch.0;
                tracing::warn!(batch, %error, "Kafka did not confirm a commit; the next one covers it");
            }
            Err(_) => {}
        }
    }
}
