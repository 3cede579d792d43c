//! What a pipeline does in Spark's terms, resolved once.

use std::sync::Arc;

use crate::{
    spark::{
        Failure, Operator,
        buffer::Buffers,
        cast::ErrorClass,
        row::{KeyLayout, WithTime},
    },
    spec::{
        Compat, DeduplicationScope, OutputColumn, OutputMode, Pipeline, Query, SessionGap,
        SlidingWindow, StateStore, Window,
    },
    types::{Column, DataType, Timestamp, Value},
};

/// A pipeline in Spark's terms.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) compat: Compat,
    pub(super) topic: String,
    pub(super) mode: OutputMode,
    /// Delay of the watermark in microseconds; `None` if there is no watermark.
    pub(super) delay_us: Option<i64>,
    pub(super) partitions: usize,
    pub(super) state_store: StateStore,
    pub(super) aggregation: Option<AggregationPlan>,
    pub(super) deduplication: Option<DeduplicationPlan>,
    pub(super) columns: Arc<[Column]>,
}

/// Groups and what is computed of them.
#[derive(Clone, Debug)]
pub(super) struct AggregationPlan {
    pub(super) window: WindowKind,
    pub(super) keys: Vec<usize>,
    pub(super) names: Vec<String>,
    pub(super) layout: KeyLayout,
    pub(super) buffers: Buffers,
    /// Columns of the aggregates; `None` counts records.
    pub(super) arguments: Vec<Option<usize>>,
    pub(super) output: Vec<OutputColumn>,
    /// Whether Spark sorts to aggregate, so that rows come sorted.
    pub(super) sorted: bool,
    pub(super) ansi: bool,
}

/// What groups are made of besides keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WindowKind {
    /// Keys alone.
    None,
    /// Windows at equal distances.
    Sliding(SlidingWindow),
    /// Sessions, of a fixed gap in microseconds or of one that each record brings.
    Session(Option<i64>),
}

/// Which records are one.
#[derive(Clone, Debug)]
pub(super) struct DeduplicationPlan {
    pub(super) columns: Vec<usize>,
    pub(super) layout: KeyLayout,
    pub(super) scope: DeduplicationScope,
}

impl Plan {
    pub(super) fn new(pipeline: &Pipeline, compat: Compat) -> Plan {
        let column_type = |column: usize| pipeline.schema[column].data_type;
        let semantics = pipeline.semantics;
        let aggregation = match &pipeline.query {
            Query::Projection => None,
            Query::Aggregation(aggregation) => {
                let window = match &aggregation.window {
                    None => WindowKind::None,
                    Some(Window::Sliding(window)) => WindowKind::Sliding(*window),
                    Some(Window::Session(SessionGap::Fixed(gap))) => {
                        WindowKind::Session(Some(*gap))
                    }
                    Some(Window::Session(SessionGap::Dynamic(_))) => WindowKind::Session(None),
                };
                let buffers = Buffers::new(&aggregation.aggregates, column_type, semantics.ansi);
                Some(AggregationPlan {
                    window,
                    keys: aggregation.keys.clone(),
                    names: names(pipeline, &aggregation.keys),
                    layout: KeyLayout {
                        window: matches!(window, WindowKind::Sliding(_)),
                        columns: aggregation.keys.iter().map(|&key| column_type(key)).collect(),
                        time: matches!(window, WindowKind::Session(_)),
                        zeros_are_one: true,
                    },
                    sorted: buffers.need_sorting(),
                    buffers,
                    arguments: aggregation.aggregates.iter().map(|of| of.column).collect(),
                    output: pipeline.output.clone(),
                    ansi: semantics.ansi,
                })
            }
        };
        let deduplication = pipeline.deduplication.as_ref().map(|deduplication| {
            let columns = deduplication.columns.clone();
            DeduplicationPlan {
                layout: KeyLayout {
                    window: false,
                    columns: columns.iter().map(|&column| column_type(column)).collect(),
                    time: deduplication.scope == DeduplicationScope::WithEventTime,
                    // Spark 3.5 tells 0.0 and -0.0 apart here.
                    zeros_are_one: compat == Compat::Spark4,
                },
                columns,
                scope: deduplication.scope,
            }
        });
        let event_time = pipeline.event_time.as_ref();
        let delay_ms = event_time.and_then(|event_time| event_time.watermark_delay_ms);
        Plan {
            compat,
            topic: pipeline.topic.clone(),
            mode: pipeline.output_mode,
            delay_us: delay_ms.map(|delay_ms| delay_ms.saturating_mul(1000)),
            partitions: usize::try_from(semantics.shuffle_partitions).expect("32 bits fit").max(1),
            state_store: semantics.state_store,
            aggregation,
            deduplication,
            columns: pipeline.output_columns(),
        }
    }

    /// Types of the state's keys and values, by operator.
    pub(super) fn schema(&self) -> String {
        let types = |types: &[DataType]| -> String {
            types.iter().map(DataType::to_string).collect::<Vec<_>>().join(", ")
        };
        let mut schema = String::new();
        if let Some(plan) = &self.aggregation {
            let window = match plan.window {
                WindowKind::None => "groups",
                WindowKind::Sliding(_) => "windows",
                WindowKind::Session(_) => "sessions",
            };
            let (keys, values) = (types(&plan.layout.columns), types(&plan.buffers.fields));
            schema = format!("{window} of ({keys}) with ({values})");
        }
        if let Some(plan) = &self.deduplication {
            let scope = match plan.scope {
                DeduplicationScope::WithinWatermark => "within the watermark",
                DeduplicationScope::WithEventTime => "and the event time",
                DeduplicationScope::Forever => "for ever",
            };
            let and = if schema.is_empty() { "" } else { "; " };
            schema += &format!("{and}duplicates of ({}) {scope}", types(&plan.layout.columns));
        }
        schema
    }

    /// How many partitions an operator's input is shuffled into.
    pub(super) fn partitions_of(&self, operator: Operator) -> usize {
        match (&self.aggregation, operator) {
            (Some(plan), Operator::Aggregation) if plan.is_global() => 1,
            _ => self.partitions,
        }
    }
}

fn names(pipeline: &Pipeline, columns: &[usize]) -> Vec<String> {
    columns.iter().map(|&column| pipeline.schema[column].name.clone()).collect()
}

impl AggregationPlan {
    /// Whether there is one group of everything.
    pub(super) fn is_global(&self) -> bool {
        self.keys.is_empty() && self.window == WindowKind::None
    }

    /// The shuffle partition of a key. The start of a session takes no part.
    pub(super) fn partition(
        &self,
        key: &[u8],
        partitions: usize,
    ) -> Result<usize, super::row::KeyError> {
        self.layout.partition(key, partitions, WithTime::No)
    }

    /// The windows of an event, the latest first.
    ///
    /// # Errors
    /// Beyond the range of 64-bit microseconds: with ANSI mode on it ends the query, without it
    /// Spark's arithmetic wraps.
    pub(super) fn windows(
        &self,
        time: Timestamp,
        window: &SlidingWindow,
    ) -> Result<Vec<(i64, i64)>, Box<Failure>> {
        let overflow = || {
            Box::new(Failure {
                class: ErrorClass::ArithmeticOverflow,
                window: None,
                key: Vec::new(),
                column: "event_time".to_owned(),
                value: format!("{} microseconds from 1970", time.0),
                target: "its window's bounds".to_owned(),
            })
        };
        let add = |left: i64, right: i64| match left.checked_add(right) {
            None if self.ansi => Err(overflow()),
            _ => Ok(left.wrapping_add(right)),
        };
        let subtract = |left: i64, right: i64| match left.checked_sub(right) {
            None if self.ansi => Err(overflow()),
            _ => Ok(left.wrapping_sub(right)),
        };
        let remainder = subtract(time.0, window.offset_us)? % window.slide_us;
        let last =
            subtract(time.0, if remainder < 0 { remainder + window.slide_us } else { remainder })?;
        let count = (window.duration_us + window.slide_us - 1) / window.slide_us;
        let mut windows = Vec::with_capacity(usize::try_from(count).unwrap_or(0));
        let even = window.duration_us % window.slide_us == 0;
        for index in 0..count {
            let start = subtract(last, index.saturating_mul(window.slide_us))?;
            let end = add(start, window.duration_us)?;
            if even || (time.0 >= start && time.0 < end) {
                windows.push((start, end));
            }
        }
        Ok(windows)
    }

    pub(super) fn describe_key(&self, columns: &[Value<'_>]) -> Vec<(String, String)> {
        let texts = columns.iter().map(|value| super::cast::text_of(*value));
        self.names.iter().cloned().zip(texts).collect()
    }

    pub(super) fn failure(
        &self,
        window: Option<(Timestamp, Timestamp)>,
        columns: &[Value<'_>],
        (aggregate, value, class): (usize, Value<'_>, ErrorClass),
    ) -> Box<Failure> {
        let planned = &self.buffers.aggregates[aggregate].aggregate;
        let target = match class {
            ErrorClass::CastOverflow | ErrorClass::NumericValueOutOfRange => planned.output_type,
            ErrorClass::ArithmeticOverflow => planned.result_type,
        };
        Box::new(Failure {
            class,
            window,
            key: self.describe_key(columns),
            column: planned.name.clone(),
            value: match value {
                Value::Null => "its sum".to_owned(),
                value => super::cast::text_of(value),
            },
            target: type_name(target),
        })
    }
}

fn type_name(data_type: DataType) -> String {
    data_type.to_string().to_uppercase()
}
