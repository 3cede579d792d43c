//! The order of a batch's way out, as a value: persist, announce, publish to each sink, commit, mark
//! each sink.
//!
//! Each effect owns what it needs, and only carrying it out gives what the next one needs, so the
//! order cannot be changed by mistake. Whoever drives it may delay an effect, let it fail or stop
//! between any two: that is what a crash is.

use std::collections::VecDeque;

use crate::{
    batch::Plan,
    checkpoint::{Durable, Visible},
};

/// One thing to do.
#[derive(Debug)]
pub enum Effect {
    /// Make the batch durable; gives [`Durable`].
    Persist(Box<Plan>),
    /// Announce it; gives [`Visible`].
    Announce(Durable),
    /// Give it to one sink, by its place in the run's list.
    Publish(usize, Visible),
    /// Commit its positions to Kafka.
    Commit(Visible),
    /// Note that one sink has it.
    Mark(usize, Visible),
}

/// What is left to do for one batch.
#[derive(Debug)]
pub struct Steps {
    sinks: Vec<usize>,
    left: VecDeque<Effect>,
}

impl Steps {
    /// A new batch, for all of `sinks`.
    #[must_use]
    pub fn new(plan: Plan, sinks: Vec<usize>) -> Steps {
        Steps { sinks, left: VecDeque::from([Effect::Persist(Box::new(plan))]) }
    }

    /// A batch found durable after a restart, for the sinks that lack it.
    #[must_use]
    pub fn again(durable: Durable, sinks: Vec<usize>) -> Steps {
        Steps { sinks, left: VecDeque::from([Effect::Announce(durable)]) }
    }

    /// The next thing to do; `None` when the batch has left.
    pub fn next_effect(&mut self) -> Option<Effect> {
        self.left.pop_front()
    }

    /// The batch is durable.
    ///
    /// # Panics
    /// When something else was to be done first.
    pub fn persisted(&mut self, durable: Durable) {
        assert!(self.left.is_empty(), "a batch is announced directly after it is durable");
        self.left.push_back(Effect::Announce(durable));
    }

    /// The batch is announced.
    ///
    /// # Panics
    /// When something else was to be done first.
    pub fn announced(&mut self, visible: &Visible) {
        assert!(self.left.is_empty(), "a batch is published directly after it is announced");
        let publish = self.sinks.iter().map(|&sink| Effect::Publish(sink, visible.clone()));
        self.left.extend(publish);
        self.left.push_back(Effect::Commit(visible.clone()));
        self.left.extend(self.sinks.iter().map(|&sink| Effect::Mark(sink, visible.clone())));
    }
}
