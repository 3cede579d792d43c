//! What a batch uses beyond memory while it is closed, on the checkpoint: state that is not in memory is read
//! back, and rows that are too many go ahead.
//!
//! The core knows no checkpoint: what one says is kept here, until whoever closes the batch asks why it failed.

use std::path::PathBuf;

use crate::{
    batch::{Beyond, OutputChunk, StateError, TakesOutput},
    checkpoint::{Ahead, CheckpointError, StateReader},
    engine::EngineError,
    types::{BatchId, Place, Timestamp},
    window::{ResultsError, Shelf, VisitGroup},
};

/// State as it is behind the newest batch, which must be durable.
pub(super) struct StoredState<'r> {
    reader: &'r mut (dyn StateReader + 'static),
    newest: Option<BatchId>,
    failure: Option<CheckpointError>,
}

impl<'r> StoredState<'r> {
    pub(super) fn new(
        reader: &'r mut (dyn StateReader + 'static),
        newest: Option<BatchId>,
    ) -> StoredState<'r> {
        StoredState { reader, newest, failure: None }
    }

    /// What an error comes from, where it is this.
    pub(super) fn explain(self, error: impl Into<StateError>) -> EngineError {
        match (error.into(), self.failure) {
            (StateError::Results(ResultsError::Beyond), Some(failure)) => failure.into(),
            (error, _) => error.into(),
        }
    }
}

impl Shelf for StoredState<'_> {
    fn groups(
        &mut self,
        closing: Timestamp,
        visit: &mut VisitGroup<'_>,
    ) -> Result<(), ResultsError> {
        // Before the first batch nothing is stored.
        let Some(newest) = self.newest else { return Ok(()) };
        let mut refused = None;
        let read = self.reader.rows(Place::groups(closing), newest, &mut |_, group, _| {
            visit(group).map_err(|error| {
                refused = Some(error);
                stopped(error)
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
}

/// Ends the reading; nobody sees it.
fn stopped(error: ResultsError) -> CheckpointError {
    CheckpointError::Corrupt { directory: PathBuf::new(), problem: error.to_string() }
}

/// The way ahead into the checkpoint.
struct WayAhead<'a> {
    ahead: &'a mut dyn Ahead,
    failure: Option<CheckpointError>,
}

impl TakesOutput for WayAhead<'_> {
    fn take(&mut self, chunk: OutputChunk) -> Result<(), ResultsError> {
        self.ahead.write(&chunk).map_err(|error| {
            self.failure = Some(error);
            ResultsError::Beyond
        })
    }
}

/// Does something with both ports; `newest` is the newest batch, where it is durable and may be read.
pub(super) fn with<T>(
    ahead: &mut dyn Ahead,
    reader: Option<(&mut (dyn StateReader + 'static), Option<BatchId>)>,
    work: impl FnOnce(Beyond<'_>) -> Result<T, StateError>,
) -> Result<T, EngineError> {
    let mut ahead = WayAhead { ahead, failure: None };
    let mut stored = reader.map(|(reader, newest)| StoredState::new(reader, newest));
    let shelf = stored.as_mut().map(|stored| stored as &mut dyn Shelf);
    let worked = work(Beyond { shelf, ahead: Some(&mut ahead) });
    worked.map_err(|error| match (ahead.failure, stored) {
        (Some(failure), _) => failure.into(),
        (None, Some(stored)) => stored.explain(error),
        (None, None) => error.into(),
    })
}
