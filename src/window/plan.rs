//! What the windows of one pipeline do, resolved once.

use crate::{
    spec::{Aggregate, AggregateFunction, OutputColumn, OutputMode, Pipeline, Query, Window},
    types::DataType,
    window::{Accumulator, Sum},
};

/// The windowing part of a pipeline, ready to be applied to events.
#[derive(Clone, Debug)]
pub struct WindowPlan {
    pub(super) duration_us: i64,
    pub(super) key_columns: Vec<usize>,
    pub(super) key_types: Vec<DataType>,
    pub(super) aggregates: Vec<PlannedAggregate>,
    pub(super) output: Vec<OutputColumn>,
    /// In complete mode nothing is late and nothing closes.
    pub(super) closes: bool,
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
        Some(WindowPlan {
            duration_us: match aggregation.window {
                Some(Window::Sliding(window)) => window.duration_us,
                _ => unreachable!("the parser gives no other windows yet"),
            },
            key_columns: aggregation.keys.clone(),
            key_types: aggregation.keys.iter().map(|&column| column_type(column)).collect(),
            aggregates: aggregates.collect(),
            output: pipeline.output.clone(),
            closes: pipeline.output_mode != OutputMode::Complete,
        })
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

    /// Whether accumulators read from a checkpoint are of the kinds this plan uses.
    #[must_use]
    pub fn accepts(&self, accumulators: &[Accumulator]) -> bool {
        let kind = std::mem::discriminant::<Accumulator>;
        accumulators.len() == self.stride()
            && self.fresh().zip(accumulators).all(|(fresh, read)| kind(&fresh) == kind(read))
    }
}

fn sum_scale(data_type: Option<DataType>) -> u8 {
    match data_type {
        Some(DataType::Double) => 9,
        Some(DataType::Decimal { scale, .. }) => scale,
        _ => 0,
    }
}
