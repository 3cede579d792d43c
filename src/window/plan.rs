//! What the windows of one pipeline do, resolved once.

use crate::{
    spec::{
        Aggregate, AggregateFunction, OutputColumn, OutputMode, Pipeline, Query, SlidingWindow,
        Window,
    },
    types::{Cell, DataType, Event, Place, Source, Timestamp},
    window::{Accumulator, Sum},
};

/// The aggregating part of a pipeline, ready to be applied to events.
#[derive(Clone, Debug)]
pub struct WindowPlan {
    pub(super) windowing: Windowing,
    pub(super) key_columns: Vec<usize>,
    pub(super) key_types: Vec<DataType>,
    pub(super) aggregates: Vec<PlannedAggregate>,
    pub(super) output: Vec<OutputColumn>,
    pub(super) output_mode: OutputMode,
    /// Whether groups close when the watermark reaches their end: there is one, and not every group
    /// is published again by each batch.
    pub(super) closes: bool,
    /// Whether a least or greatest text is kept.
    pub(super) keeps_texts: bool,
    /// Whether sessions take no late rows; in complete mode they do not either, although none closes
    /// (Spark).
    pub(super) sessions_are_late: bool,
}

/// How events are put into groups, besides by their keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Windowing {
    Sliding(SlidingWindow),
    Session,
    /// By keys alone, or all into one.
    None,
}

#[derive(Clone, Debug)]
pub(super) struct PlannedAggregate {
    pub(super) aggregate: Aggregate,
    /// Unit of a sum: 10^-scale.
    pub(super) scale: u8,
    /// For extremes: whether the greater value is kept.
    pub(super) keep_greater: bool,
}

impl WindowPlan {
    /// The windows of a pipeline; `None` where it has none.
    #[must_use]
    pub fn new(pipeline: &Pipeline) -> Option<WindowPlan> {
        let Query::Aggregation(aggregation) = &pipeline.query else { return None };
        let column_type = |column: usize| pipeline.schema[column].data_type;
        let aggregates = aggregation.aggregates.iter().map(|aggregate| PlannedAggregate {
            aggregate: aggregate.clone(),
            scale: sum_scale(aggregate.column.map(column_type)),
            keep_greater: aggregate.function == AggregateFunction::Max,
        });
        let has_watermark =
            pipeline.event_time.as_ref().is_some_and(|time| time.watermark_delay_ms.is_some());
        let windowing = match &aggregation.window {
            Some(Window::Sliding(window)) => Windowing::Sliding(*window),
            Some(Window::Session(_)) => Windowing::Session,
            None => Windowing::None,
        };
        Some(WindowPlan {
            windowing,
            key_columns: aggregation.keys.clone(),
            key_types: aggregation.keys.iter().map(|&column| column_type(column)).collect(),
            aggregates: aggregates.collect(),
            output: pipeline.output.clone(),
            output_mode: pipeline.output_mode,
            closes: has_watermark
                && windowing != Windowing::None
                && pipeline.output_mode != OutputMode::Complete,
            keeps_texts: aggregation.aggregates.iter().any(|aggregate| {
                matches!(aggregate.function, AggregateFunction::Min | AggregateFunction::Max)
                    && aggregate.column.map(column_type) == Some(DataType::String)
            }),
            sessions_are_late: has_watermark,
        })
    }

    /// Where a group that ends at `end` is kept.
    #[inline]
    pub(super) fn closing(&self, end: Timestamp) -> Timestamp {
        match self.windowing {
            _ if !self.closes => Place::NEVER,
            Windowing::Session => together(end),
            _ => end,
        }
    }

    /// Whether groups have windows.
    #[must_use]
    pub fn has_windows(&self) -> bool {
        self.windowing != Windowing::None
    }

    /// Whether all events are one group, which is there even without any event.
    pub(super) fn is_global(&self) -> bool {
        self.windowing == Windowing::None && self.key_columns.is_empty()
    }

    /// How many accumulators each group has.
    #[must_use]
    pub fn stride(&self) -> usize {
        self.aggregates.len()
    }

    pub(super) fn fresh(&self) -> impl Iterator<Item = Accumulator> {
        self.aggregates.iter().map(|planned| match planned.aggregate.function {
            AggregateFunction::Count => Accumulator::Count(0),
            AggregateFunction::Sum | AggregateFunction::Avg => Accumulator::Sum(Sum::default()),
            AggregateFunction::Min | AggregateFunction::Max => Accumulator::Extreme(None),
        })
    }

    #[inline(always)]
    pub(super) fn add_event(&self, accumulators: &mut [Accumulator], event: &Event<'_>) {
        for (accumulator, planned) in accumulators.iter_mut().zip(&self.aggregates) {
            let cell = planned.aggregate.column.map(|column| event.cells[column]);
            accumulator.add(event.source, cell, planned.scale, planned.keep_greater);
        }
    }

    /// The same as adding the event that has these cells, one for each aggregate, all of them whole.
    #[inline(always)]
    pub(super) fn add_cells(&self, accumulators: &mut [Accumulator], cells: &[Option<Cell>]) {
        for ((accumulator, planned), cell) in
            accumulators.iter_mut().zip(&self.aggregates).zip(cells)
        {
            accumulator.add(Source::NONE, *cell, planned.scale, planned.keep_greater);
        }
    }

    /// Adds what was added up later to totals.
    pub(super) fn merge(&self, totals: &mut [Accumulator], later: &[Accumulator]) {
        for ((total, more), planned) in totals.iter_mut().zip(later).zip(&self.aggregates) {
            total.merge(more, planned.scale, planned.keep_greater);
        }
    }

    /// Whether accumulators read from a checkpoint are of the kinds this plan uses.
    #[must_use]
    pub fn accepts(&self, accumulators: &[Accumulator]) -> bool {
        let kind = std::mem::discriminant::<Accumulator>;
        accumulators.len() == self.stride()
            && self.fresh().zip(accumulators).all(|(fresh, read)| kind(&fresh) == kind(read))
    }
}

/// Rows whose ends fall into the same ten seconds are kept and forgotten together, so that ends of
/// many different microseconds do not make as many places.
pub(super) fn together(end: Timestamp) -> Timestamp {
    const TOGETHER_US: i64 = 10_000_000;
    match end.0.rem_euclid(TOGETHER_US) {
        0 => end,
        rest => Timestamp(end.0.saturating_add(TOGETHER_US - rest)),
    }
}

fn sum_scale(data_type: Option<DataType>) -> u8 {
    match data_type {
        Some(DataType::Double) => 9,
        Some(DataType::Decimal { scale, .. }) => scale,
        _ => 0,
    }
}
