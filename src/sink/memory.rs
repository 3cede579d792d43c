//! A sink in memory, for trying what is above the port: it keeps what it is given, with or without a
//! marker of its own, and fails on demand.
//!
//! Clones share one store, so that a test keeps one and gives the other away, also across simulated
//! restarts. Not here: anything that lasts.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    batch::{MarkerFact, Publication, Shared},
    checkpoint::Visible,
    sink::{Sink, SinkError},
    types::{BatchId, Lineage, SinkName},
};

/// What a publish shall meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// None: it succeeds.
    None,
    /// The batch is not taken, `Retry`.
    Busy,
    /// The batch is taken and the answer lost, `Retry`.
    AnswerLost,
    /// The batch is not taken, `Storage`.
    Broken,
    /// The batch is taken and the answer is `Storage`, as after a failed sync.
    BrokenAfterwards,
    /// The batch is not taken, `Refused`.
    Refusing,
    /// The batch is not taken, `Closed`.
    Closed,
}

/// Whether a memory sink knows what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeps {
    /// Nothing, as stdout: a batch published twice is there twice.
    Nothing,
    /// A marker: a batch published twice is there once.
    Marker,
}

/// Keeps publications in memory.
#[derive(Clone, Debug)]
pub struct MemorySink {
    name: SinkName,
    keeps: Keeps,
    store: Arc<Mutex<Store>>,
}

#[derive(Debug, Default)]
struct Store {
    holder: Option<Lineage>,
    shared: Vec<Shared>,
    published: Vec<Publication>,
    begun: Vec<(Lineage, Option<BatchId>)>,
    troubles: VecDeque<Trouble>,
}

impl MemorySink {
    /// An empty sink of this name.
    #[must_use]
    pub fn new(name: &str, keeps: Keeps) -> MemorySink {
        MemorySink { name: SinkName(name.to_owned()), keeps, store: Arc::default() }
    }

    /// What it keeps of its own.
    #[must_use]
    pub fn keeps(&self) -> Keeps {
        self.keeps
    }

    /// What was published, in order.
    #[must_use]
    pub fn published(&self) -> Vec<Publication> {
        self.store().published.clone()
    }

    /// The arguments of every [`Sink::begin`], in order.
    #[must_use]
    pub fn begun(&self) -> Vec<(Lineage, Option<BatchId>)> {
        self.store().begun.clone()
    }

    /// What the next publishes meet, one after the other; then none.
    pub fn expect_troubles(&self, troubles: impl IntoIterator<Item = Trouble>) {
        self.store().troubles.extend(troubles);
    }

    /// Makes it hold what another history has published.
    pub fn pretend(&self, holder: Lineage, published: Vec<Publication>) {
        let mut store = self.store();
        store.holder = Some(holder);
        store.shared.clear();
        store.published = published;
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, publication: Publication) -> Result<(), SinkError> {
        let mut store = self.store();
        let batch = publication.identity.batch;
        let known = match self.keeps {
            Keeps::Nothing => None,
            Keeps::Marker => store.published.iter().find(|held| held.identity.batch == batch),
        };
        match known {
            Some(held) if held.rows == publication.rows => Ok(()),
            Some(_) => Err(SinkError::Diverged(format!(
                "sink {} holds another batch {batch} than this one",
                self.name
            ))),
            None => {
                store.published.push(publication);
                Ok(())
            }
        }
    }
}

impl Sink for MemorySink {
    fn name(&self) -> &SinkName {
        &self.name
    }

    fn marker(&mut self) -> Result<MarkerFact, SinkError> {
        let store = self.store();
        Ok(match (self.keeps, store.holder) {
            (Keeps::Nothing, _) => MarkerFact::NotKept,
            (Keeps::Marker, None) => MarkerFact::Absent,
            (Keeps::Marker, Some(holder)) => {
                let newest = store.published.iter().map(|held| held.identity.batch).max();
                MarkerFact::At(holder, newest, store.shared.clone())
            }
        })
    }

    fn begin(&mut self, lineage: Lineage, newest: Option<BatchId>) -> Result<(), SinkError> {
        let mut store = self.store();
        store.begun.push((lineage, newest));
        if self.keeps == Keeps::Marker && store.holder != Some(lineage) {
            store.published.retain(|held| Some(held.identity.batch) <= newest);
            if let Some(holder) = store.holder.replace(lineage) {
                store.shared = Shared::behind(holder, &store.shared, newest);
            }
        }
        Ok(())
    }

    fn publish(&mut self, batch: &Visible) -> Result<(), SinkError> {
        let trouble = self.store().troubles.pop_front().unwrap_or(Trouble::None);
        let attempt = format!("batch {} to sink {}", batch.identity().batch, self.name);
        match trouble {
            Trouble::None => self.take(batch.whole()?),
            Trouble::Busy => Err(SinkError::Retry(format!("{attempt} was not taken"))),
            Trouble::AnswerLost => {
                self.take(batch.whole()?)?;
                Err(SinkError::Retry(format!("{attempt} has no answer")))
            }
            Trouble::Broken => Err(SinkError::Storage(format!("{attempt} failed"))),
            Trouble::BrokenAfterwards => {
                self.take(batch.whole()?)?;
                Err(SinkError::Storage(format!("{attempt} failed at its end")))
            }
            Trouble::Refusing => Err(SinkError::Refused(format!("{attempt} is refused"))),
            Trouble::Closed => Err(SinkError::Closed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        sink::fixtures,
        types::{DataType, Value},
    };

    fn batch(number: u64, value: i64) -> Visible {
        let columns = fixtures::columns(&[("id", DataType::Long)]);
        fixtures::visible(number, columns, &[&[Value::Long(value)]])
    }

    #[test]
    fn with_a_marker_a_batch_is_kept_once_and_another_one_refused() {
        let mut sink = MemorySink::new("memory", Keeps::Marker);
        assert_eq!(sink.marker().unwrap(), MarkerFact::Absent);
        sink.begin(Lineage(1), None).unwrap();
        sink.publish(&batch(0, 1)).unwrap();
        sink.publish(&batch(0, 1)).unwrap();
        assert!(matches!(sink.publish(&batch(0, 2)), Err(SinkError::Diverged(_))));
        assert_eq!(sink.published().len(), 1);
        assert_eq!(sink.marker().unwrap(), MarkerFact::At(Lineage(1), Some(BatchId(0)), vec![]));
        sink.begin(Lineage(2), None).unwrap();
        assert_eq!(
            sink.marker().unwrap(),
            MarkerFact::At(Lineage(2), None, vec![Shared { lineage: Lineage(1), until: None }])
        );
        assert_eq!(sink.begun(), [(Lineage(1), None), (Lineage(2), None)]);
    }

    #[test]
    fn without_a_marker_a_batch_can_be_there_twice() {
        let mut sink = MemorySink::new("memory", Keeps::Nothing);
        sink.publish(&batch(0, 1)).unwrap();
        sink.publish(&batch(0, 1)).unwrap();
        assert_eq!(sink.published().len(), 2);
        assert_eq!(sink.marker().unwrap(), MarkerFact::NotKept);
    }

    #[test]
    fn troubles_come_in_their_order_and_say_whether_the_batch_was_taken() {
        let mut sink = MemorySink::new("memory", Keeps::Marker);
        let troubles = [Trouble::Busy, Trouble::AnswerLost, Trouble::Refusing, Trouble::Closed];
        sink.clone().expect_troubles(troubles);
        assert!(matches!(sink.publish(&batch(0, 1)), Err(SinkError::Retry(_))));
        assert_eq!(sink.published().len(), 0);
        assert!(matches!(sink.publish(&batch(0, 1)), Err(SinkError::Retry(_))));
        assert_eq!(sink.published().len(), 1);
        assert!(matches!(sink.publish(&batch(1, 1)), Err(SinkError::Refused(_))));
        assert!(matches!(sink.publish(&batch(1, 1)), Err(SinkError::Closed)));
        sink.publish(&batch(1, 1)).unwrap();
        assert_eq!(sink.published().len(), 2);
    }
}
