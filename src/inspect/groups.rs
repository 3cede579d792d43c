//! The open groups of a checkpoint, one after the other.
//!
//! Not here: which of them are shown, and in which order (`windows`).

use serde_json::{Value as Json, json};

use crate::{
    checkpoint::{CheckpointError, Recovered},
    inspect::{Filter, ReadRows, State, ViewError},
    spark::{Failure, OpenGroup, SparkEngine, SparkError},
    spec::Pipeline,
    types::{DataType, Keeper, Place, Rows, Timestamp, Value, Watermark, timestamp_iso},
    window::{Group, Misfits, WindowPlan},
};

/// Where the open groups are.
pub(super) enum Groups<'a> {
    Own {
        read: &'a ReadRows<'a>,
        /// `None` where the pipeline has no groups.
        plan: Option<WindowPlan>,
        /// What was done with by the newest batch.
        bound: Option<Watermark>,
    },
    Spark(Box<SparkEngine>),
    Hidden,
}

/// End and start of a window, the order in which they are listed; `None` for groups of keys alone.
pub(super) type WindowKey = Option<(Timestamp, Timestamp)>;

/// A group, as it is kept.
pub(super) enum OneGroup<'g> {
    Own(&'g WindowPlan, Group<'g>),
    Spark(&'g SparkEngine, OpenGroup<'g>),
}

/// Takes a group of a window.
pub(super) type VisitOne<'v> = dyn FnMut(WindowKey, &OneGroup<'_>) -> Result<(), ViewError> + 'v;

/// Names and values of a row's columns.
pub(super) type Cells = Vec<(String, Json)>;

impl<'a> Groups<'a> {
    pub(super) fn new(
        state: &State<'a>,
        recovered: &Recovered,
        pipeline: &Pipeline,
    ) -> Result<Groups<'a>, ViewError> {
        Ok(match *state {
            State::Rows(read) => Groups::Own {
                read,
                plan: WindowPlan::new(pipeline),
                bound: recovered.last.as_ref().map(|last| last.watermarks.closing_bound),
            },
            State::Log(read) => {
                let batches = recovered.last.as_ref().map_or(0, |last| last.batch.0 + 1);
                Groups::replayed(read, batches, pipeline)?
            }
            State::Hidden => Groups::Hidden,
        })
    }

    /// The engine in Spark's way behind so many batches.
    fn replayed(
        read: &super::ReadLog<'_>,
        batches: u64,
        pipeline: &Pipeline,
    ) -> Result<Groups<'a>, ViewError> {
        let Some(mut engine) = SparkEngine::new(pipeline) else { return Ok(Groups::Hidden) };
        let needed = engine.schema();
        let mut is_first = true;
        stopping(|stop| {
            read(&mut |part| {
                if part.schema != needed {
                    let (stored, needed) = (part.schema.clone(), needed.clone());
                    return Err(stop(ViewError::Schema { stored, needed }));
                }
                if std::mem::take(&mut is_first) {
                    engine.pin(part.partitions, part.state_store);
                }
                engine.replay(&part.changes).map_err(|error| stop(error.into()))
            })
        })?;
        engine.resume(batches)?;
        Ok(Groups::Spark(Box::new(engine)))
    }

    /// Hands out every open group; how many keys a deduplication remembers.
    pub(super) fn each(&self, visit: &mut VisitOne<'_>) -> Result<u64, ViewError> {
        match self {
            Groups::Own { read, plan, bound } => own(read, plan.as_ref(), *bound, visit),
            Groups::Spark(engine) => {
                for group in engine.open_groups()? {
                    let window = group.window.map(|(start, end)| (end, start));
                    visit(window, &OneGroup::Spark(engine, group))?;
                }
                Ok(engine.remembered_keys())
            }
            Groups::Hidden => Ok(0),
        }
    }
}

fn own(
    read: &ReadRows<'_>,
    plan: Option<&WindowPlan>,
    bound: Option<Watermark>,
    visit: &mut VisitOne<'_>,
) -> Result<u64, ViewError> {
    // What is kept for ever never closes, whatever its own end is.
    let closed = |place: Place, row: &Group<'_>| {
        place.closing < Place::NEVER && bound.is_some_and(|bound| bound.closes(row.end))
    };
    // A key is stored again only once it was forgotten, so that each is there once.
    let mut remembered = 0;
    stopping(|stop| {
        read(&mut |place, row, _| {
            if closed(place, &row) {
                return Ok(());
            }
            match (place.keeper, plan) {
                (Keeper::Keys, _) => {
                    remembered += 1;
                    Ok(())
                }
                (Keeper::Groups, Some(plan)) => {
                    let window = plan.has_windows().then_some((row.end, row.start));
                    visit(window, &OneGroup::Own(plan, row)).map_err(&mut *stop)
                }
                (Keeper::Groups, None) => Ok(()),
            }
        })
    })?;
    Ok(remembered)
}

/// Reads until the end or an error of our own, which the store is told no more of than that it is to stop.
fn stopping(
    read: impl FnOnce(&mut dyn FnMut(ViewError) -> CheckpointError) -> Result<(), CheckpointError>,
) -> Result<(), ViewError> {
    let mut stopped_by = None;
    let done = read(&mut |error| {
        let stopped = CheckpointError::stopped(&error);
        stopped_by = Some(error);
        stopped
    });
    match stopped_by {
        Some(error) => Err(error),
        None => Ok(done?),
    }
}

impl OneGroup<'_> {
    /// Its row, if it has the key that is asked for.
    pub(super) fn cells(
        &self,
        pipeline: &Pipeline,
        filter: &Filter,
    ) -> Result<Option<Cells>, ViewError> {
        match self {
            OneGroup::Own(plan, group) => {
                let mut rows = Rows::new(pipeline.output_columns());
                plan.results([*group], &mut rows, &mut Misfits::default())?;
                Ok(cells_of(&rows, filter))
            }
            OneGroup::Spark(engine, group) => match engine.row_of(group) {
                Ok(rows) => Ok(cells_of(&rows, filter)),
                Err(SparkError::Failure(failure)) => Ok(failed_cells(&failure, filter)),
                Err(error) => Err(error.into()),
            },
        }
    }
}

/// The one row of a group, if it has the key that is asked for.
fn cells_of(rows: &Rows, filter: &Filter) -> Option<Cells> {
    let columns = rows.columns();
    let mut reader = rows.reader();
    let row = reader.next()?;
    let keys = columns.iter().zip(row).filter(|(column, _)| column.data_type == DataType::String);
    let is_wanted = filter.key.as_ref().is_none_or(|key| {
        keys.into_iter().any(|(_, value)| matches!(value, Value::String(text) if text == key))
    });
    let cells = columns.iter().zip(row);
    is_wanted
        .then(|| cells.map(|(column, value)| (column.name.clone(), value_json(*value))).collect())
}

/// A group that will end the run, because one of its results does not fit.
fn failed_cells(failure: &Failure, filter: &Filter) -> Option<Cells> {
    let is_wanted =
        filter.key.as_ref().is_none_or(|key| failure.key.iter().any(|(_, text)| text == key));
    let mut cells: Cells =
        failure.key.iter().map(|(name, text)| (name.clone(), json!(text))).collect();
    cells.push((failure.column.clone(), json!(failure.class.name())));
    is_wanted.then_some(cells)
}

fn value_json(value: Value<'_>) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Boolean(value) => json!(value),
        Value::Int(value) => json!(value),
        Value::Long(value) => json!(value),
        Value::Double(value) => json!(value),
        Value::String(text) => json!(text),
        Value::Timestamp(value) => json!(timestamp_iso(value)),
        Value::Decimal(value) => json!(value.to_string()),
    }
}
