//! Sending in Kafka's transactions: so many events each, some of them aborted on purpose.
//!
//! Invariants: an event counts as sent only once its transaction is known to be committed; nothing is
//! begun while the outcome of an earlier transaction is open. A transaction that cannot be ended ends
//! the run, with what it held named as unknown: the next producer of the same name has it aborted.
//!
//! Start at [`Atomic`]. Not here: what is sent, and waiting for a rate (`run`).

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, Producer};

use super::deliveries::Deliveries;
use crate::kafka::KafkaFailure;
use crate::stop::Stop;

/// How a run cuts its events into transactions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transactions {
    /// Kafka's `transactional.id`. Of two producers with the same one, the younger ends what the older
    /// left open and shuts it out.
    pub id: String,
    /// Events of one transaction; the last may have fewer.
    pub size: NonZeroU64,
    /// Abort each so-manieth transaction instead of committing it.
    pub abort_every: Option<NonZeroU64>,
}

impl Transactions {
    fn aborts(&self, number: u64) -> bool {
        self.abort_every.is_some_and(|every| number % every == 0)
    }
}

/// What became of the transactions that were ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// Transactions that were committed.
    pub committed: u64,
    /// Transactions that were aborted on purpose.
    pub aborted: u64,
    /// Events in them.
    pub aborted_events: u64,
}

/// The transaction that is open, if one is, and the count of those before it.
pub(super) struct Atomic<'a> {
    producer: &'a BaseProducer<Deliveries>,
    options: &'a Transactions,
    stop: &'a Stop,
    /// How long ending a transaction may take once asked to stop.
    drain: Duration,
    inside: u64,
    ended: Ended,
}

/// How long one request to end a transaction waits before it is made again.
const END_SLICE: Duration = Duration::from_millis(500);

impl<'a> Atomic<'a> {
    /// Ends what an earlier producer of this name left open.
    pub(super) fn begin(
        producer: &'a BaseProducer<Deliveries>,
        options: &'a Transactions,
        stop: &'a Stop,
        patience: Duration,
        drain: Duration,
    ) -> Result<Self, KafkaFailure> {
        let waited = Instant::now();
        loop {
            match producer.init_transactions(END_SLICE) {
                Ok(()) => break,
                Err(error)
                    if is_retriable(&error)
                        && waited.elapsed() < patience
                        && !stop.is_requested()
                        && producer.context().refusal().is_none() => {}
                Err(error) => {
                    let attempted = format!("becoming the transactional producer {}", options.id);
                    return Err(failure_of(producer, attempted, error));
                }
            }
        }
        Ok(Atomic { producer, options, stop, drain, inside: 0, ended: Ended::default() })
    }

    /// To be called before an event is handed over.
    pub(super) fn before_event(&mut self) -> Result<(), KafkaFailure> {
        if self.inside == 0 {
            self.producer
                .begin_transaction()
                .map_err(|error| self.failure("beginning a transaction", error))?;
        }
        self.inside += 1;
        Ok(())
    }

    /// To be called after an event was handed over.
    pub(super) fn after_event(&mut self) -> Result<(), KafkaFailure> {
        if self.inside == self.options.size.get() { self.end() } else { Ok(()) }
    }

    /// Commits or aborts what is open.
    pub(super) fn end(&mut self) -> Result<(), KafkaFailure> {
        if self.inside == 0 {
            return Ok(());
        }
        let events = std::mem::take(&mut self.inside);
        let number = self.ended.committed + self.ended.aborted + 1;
        if self.options.aborts(number) {
            // What is still on its way would be thrown away unsent, and the abort would try nothing.
            self.persist("sending what is to be aborted", |wait| self.producer.flush(wait))?;
            self.persist("aborting a transaction", |wait| self.producer.abort_transaction(wait))?;
            self.ended.aborted += 1;
            self.ended.aborted_events += events;
        } else {
            self.persist("committing a transaction", |wait| {
                self.producer.commit_transaction(wait)
            })?;
            self.ended.committed += 1;
        }
        Ok(())
    }

    /// Asks until there is an answer; only for `drain` once asked to stop, and not once turned away.
    fn persist(
        &self,
        attempted: &str,
        ask: impl Fn(Duration) -> Result<(), KafkaError>,
    ) -> Result<(), KafkaFailure> {
        let mut deadline = None;
        loop {
            let error = match ask(END_SLICE) {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            let now = Instant::now();
            let late = self.stop.is_requested()
                && now >= *deadline.get_or_insert_with(|| now + self.drain);
            let is_refused = self.producer.context().refusal().is_some();
            if late || is_refused || !is_retriable(&error) {
                return Err(self.failure(attempted, error));
            }
        }
    }

    fn failure(&self, attempted: &str, error: KafkaError) -> KafkaFailure {
        let Ended { committed, aborted, .. } = self.ended;
        let attempted = format!(
            "{attempted} as {}, after {committed} committed and {aborted} aborted,",
            self.options.id
        );
        failure_of(self.producer, attempted, error)
    }

    /// What became of the transactions so far.
    pub(super) fn ended(&self) -> Ended {
        self.ended
    }
}

/// A refusal that the client reported on the side says more than the step that suffers from it.
fn failure_of(
    producer: &BaseProducer<Deliveries>,
    attempted: String,
    error: KafkaError,
) -> KafkaFailure {
    match producer.context().refusal() {
        Some(refusal) => KafkaFailure::refused(attempted, &refusal),
        None => KafkaFailure::new(attempted, error),
    }
}

fn is_retriable(error: &KafkaError) -> bool {
    use rdkafka::error::RDKafkaErrorCode as Code;
    match error {
        KafkaError::Transaction(error) => error.is_retriable(),
        // An answer that has not come yet (of `flush`).
        error => error.rdkafka_error_code() == Some(Code::OperationTimedOut),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_so_manieth_transaction_is_aborted() {
        let transactions = |abort_every| Transactions {
            id: "t".into(),
            size: NonZeroU64::MIN,
            abort_every: NonZeroU64::new(abort_every),
        };
        let aborted =
            |every| (1..=6).filter(|n| transactions(every).aborts(*n)).collect::<Vec<_>>();
        assert_eq!(aborted(0), [0_u64; 0]);
        assert_eq!(aborted(1), [1, 2, 3, 4, 5, 6]);
        assert_eq!(aborted(3), [3, 6]);
    }
}
