//! Mutants of the way out: the steps of a batch in another order (feature `faults` only).
//!
//! Start at [`Exit::misbehave`]. Not here: which mutants there are (`faults`).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::{
    checkpoint::Visible,
    engine::{Effect, EngineError, outlet::Exit},
    faults::{Mutant, Step, end_after, is_planted},
    types::BatchId,
};

/// The batch that sinks were given too early.
static GIVEN: AtomicU64 = AtomicU64::new(u64::MAX);

/// Whether a batch is published again after a restart.
static AGAIN: AtomicBool = AtomicBool::new(false);

/// A restart publishes a batch again from here, or has.
pub(super) fn note_again(is_again: bool) {
    AGAIN.store(is_again, Ordering::SeqCst);
}

impl Exit {
    /// What a mutant does in front of an effect or in its place; gives back what is still to be done.
    pub(super) fn misbehave(&mut self, effect: Effect) -> Result<Option<Effect>, EngineError> {
        match effect {
            Effect::Persist(plan) => {
                let early = Visible::planted(plan.publication.clone());
                if is_planted(Mutant::PublishBeforePersist) {
                    self.give_early(&early)?;
                }
                if is_planted(Mutant::CommitBeforePersist) {
                    self.commit_at_once(early);
                }
                Ok(Some(Effect::Persist(plan)))
            }
            Effect::Announce(durable) => {
                end_after(Step::Persisted, durable.batch().0);
                if is_planted(Mutant::PublishBeforeAnnounce) {
                    self.give_early(&Visible::not_announced(durable.clone()))?;
                }
                Ok(Some(Effect::Announce(durable)))
            }
            Effect::Publish(sink, batch) => self.misbehave_publishing(sink, batch),
            Effect::Commit(batch) => {
                end_after(Step::Published, batch.identity().batch.0);
                Ok(Some(Effect::Commit(batch)))
            }
            Effect::Mark(sink, batch) => {
                self.commits.settle();
                end_after(Step::Committed, batch.identity().batch.0);
                Ok(Some(Effect::Mark(sink, batch)))
            }
        }
    }

    fn misbehave_publishing(
        &mut self,
        sink: usize,
        batch: Visible,
    ) -> Result<Option<Effect>, EngineError> {
        let number = batch.identity().batch;
        end_after(Step::Announced, number.0);
        if GIVEN.load(Ordering::SeqCst) == number.0 {
            return Ok(None);
        }
        if is_planted(Mutant::CommitBeforePublish) {
            self.commit_at_once(batch.clone());
        }
        if is_planted(Mutant::MarkBeforePublish) {
            let name = self.sinks[sink].name().clone();
            self.checkpoint.mark(&name, number)?;
            if sink + 1 == self.sinks.len() {
                end_after(Step::Marked, number.0);
            }
        }
        if is_planted(Mutant::PublishTwice) {
            self.publish(sink, &batch)?;
        }
        if is_planted(Mutant::RepublishAsNext) && AGAIN.load(Ordering::SeqCst) {
            self.publish(sink, &batch.renumbered(number.next()))?;
            return Ok(None);
        }
        Ok(Some(Effect::Publish(sink, batch)))
    }

    fn give_early(&mut self, batch: &Visible) -> Result<(), EngineError> {
        let BatchId(number) = batch.identity().batch;
        for sink in 0..self.sinks.len() {
            self.publish(sink, batch)?;
        }
        GIVEN.store(number, Ordering::SeqCst);
        end_after(Step::Published, number);
        Ok(())
    }

    fn commit_at_once(&mut self, batch: Visible) {
        let BatchId(number) = batch.identity().batch;
        self.commits.commit(batch);
        self.commits.settle();
        end_after(Step::Committed, number);
    }
}
