//! What a batch uses beyond memory while it is closed, on the checkpoint: state that is not in memory is read
//! back and, where it lies in many pieces, written anew; rows that are too many go ahead.
//!
//! The core knows no checkpoint: what one says is kept here, until whoever closes the batch asks why it failed.

use std::cell::RefCell;

use crate::{
    batch::{Beyond, OutputChunk, StateError, TakesOutput},
    checkpoint::{Ahead, CheckpointError, StateReader},
    engine::EngineError,
    types::{BatchId, Place, Timestamp},
    window::{ResultsError, Shelf, Table, VisitGroup, Wanted, overlaid},
};

/// State as it is behind the newest batch, which must be durable.
pub(super) struct StoredState<'r> {
    reader: &'r mut (dyn StateReader + 'static),
    newest: Option<BatchId>,
    /// Where it can be written anew.
    way: Option<&'r WayAhead<'r>>,
    failure: Option<CheckpointError>,
}

impl<'r> StoredState<'r> {
    /// State that is only read.
    pub(super) fn new(
        reader: &'r mut (dyn StateReader + 'static),
        newest: Option<BatchId>,
    ) -> StoredState<'r> {
        StoredState { reader, newest, way: None, failure: None }
    }

    /// What an error comes from, where it is this.
    pub(super) fn explain(self, error: impl Into<StateError>) -> EngineError {
        explained(error.into(), self.failure)
    }
}

fn explained(error: StateError, failure: Option<CheckpointError>) -> EngineError {
    match (error, failure) {
        (StateError::Results(ResultsError::Beyond), Some(failure)) => failure.into(),
        (error, _) => error.into(),
    }
}

impl Shelf for StoredState<'_> {
    fn groups(
        &mut self,
        closing: Timestamp,
        wanted: &mut Wanted<'_>,
        visit: &mut VisitGroup<'_>,
    ) -> Result<(), ResultsError> {
        // Before the first batch nothing is stored.
        let Some(newest) = self.newest else { return Ok(()) };
        let mut refused = None;
        let read = self.reader.rows(Place::groups(closing), newest, wanted, &mut |_, group, _| {
            visit(group).map_err(|error| {
                refused = Some(error);
                CheckpointError::stopped(&error)
            })
        });
        match (refused, read) {
            (Some(error), _) => Err(error),
            (None, Err(error)) => {
                self.failure = Some(error);
                Err(ResultsError::Beyond)
            }
            (None, Ok(())) => Ok(()),
        }
    }

    fn is_scattered(&mut self, closing: Timestamp) -> bool {
        match (self.newest, self.way) {
            (Some(newest), Some(_)) => self.reader.is_scattered(Place::groups(closing), newest),
            _ => false,
        }
    }

    fn write_anew(&mut self, closing: Timestamp, touched: &Table) -> Result<(), ResultsError> {
        let way = self.way.ok_or(ResultsError::Beyond)?;
        way.go(|ahead| {
            ahead.begin_place(Place::groups(closing));
            Ok(())
        })?;
        overlaid(self, closing, Some(touched), &mut |group| way.go(|ahead| ahead.put_row(group)))?;
        way.go(Ahead::end_place)
    }
}

/// The way ahead into the checkpoint, for rows and for state.
struct WayAhead<'a> {
    ahead: RefCell<&'a mut (dyn Ahead + 'static)>,
    failure: RefCell<Option<CheckpointError>>,
}

impl WayAhead<'_> {
    fn go(
        &self,
        work: impl FnOnce(&mut (dyn Ahead + 'static)) -> Result<(), CheckpointError>,
    ) -> Result<(), ResultsError> {
        work(&mut **self.ahead.borrow_mut()).map_err(|error| {
            self.failure.replace(Some(error));
            ResultsError::Beyond
        })
    }
}

impl TakesOutput for &WayAhead<'_> {
    fn take(&mut self, chunk: OutputChunk) -> Result<(), ResultsError> {
        self.go(|ahead| ahead.write(&chunk))
    }
}

/// Does something with both ports; `newest` is the newest batch, where it is durable and may be read.
pub(super) fn with<T>(
    ahead: &mut (dyn Ahead + 'static),
    reader: Option<(&mut (dyn StateReader + 'static), Option<BatchId>)>,
    work: impl FnOnce(Beyond<'_>) -> Result<T, StateError>,
) -> Result<T, EngineError> {
    let way = WayAhead { ahead: RefCell::new(ahead), failure: RefCell::new(None) };
    let mut stored = reader.map(|(reader, newest)| StoredState {
        way: Some(&way),
        ..StoredState::new(reader, newest)
    });
    let shelf = stored.as_mut().map(|stored| stored as &mut dyn Shelf);
    let worked = work(Beyond { shelf, ahead: Some(&mut &way) });
    worked.map_err(|error| {
        let failure = stored.and_then(|stored| stored.failure);
        explained(error, failure.or(way.failure.take()))
    })
}
