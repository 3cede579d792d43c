//! `[window]` and `[drop_duplicates]`: how events are put together.
//!
//! Not here: what is computed for a group (`parse`); what must fit together (`rules`).

use super::document::{Located, Section, WINDOW_KEYS, missing, text_of};
use super::durations::{parse_duration, parse_interval};
use super::errors::Mistakes;
use super::expression::parse_value;
use super::parse::{Schema, read_expression};
use super::pipeline::{
    Deduplication, DeduplicationScope, Expression, SessionGap, SlidingWindow, Window,
};
use crate::types::DataType;

/// Keys that make sessions, and those of windows of one length.
const SESSION_KEYS: [&str; 2] = ["session_gap", "session_gap_expr"];
const SLIDING_KEYS: [&str; 3] = ["duration", "slide", "start"];

/// Reads `[window]`.
pub(super) fn read_window(
    section: Section<'_, '_>,
    schema: &Schema,
    mistakes: &mut Mistakes<'_>,
) -> Option<Window> {
    section.check_keys(WINDOW_KEYS, mistakes);
    let session = SESSION_KEYS.iter().filter(|key| section.has(key)).count();
    if session > 0 {
        let sliding = SLIDING_KEYS.into_iter().find(|key| section.has(key));
        if session > 1 || sliding.is_some() {
            let message = "a window has either duration (with slide and start), or session_gap, or \
                session_gap_expr; take the others out";
            mistakes.note(section.offset, message);
            return None;
        }
        return read_session(section, schema, mistakes).map(Window::Session);
    }
    read_sliding(section, mistakes).map(Window::Sliding)
}

fn read_session(
    section: Section<'_, '_>,
    schema: &Schema,
    mistakes: &mut Mistakes<'_>,
) -> Option<SessionGap> {
    if section.has("session_gap") {
        let gap_us = section.duration("session_gap", parse_interval, mistakes)?;
        return Some(SessionGap::Fixed(gap_us));
    }
    let read = |text: &str, names: &super::expression::Names<'_>| parse_value(text, names);
    let (gap, data_type) =
        read_expression(section, "session_gap_expr", schema, true, read, mistakes)?;
    if !matches!(data_type, Some(DataType::String) | None) {
        let message = "a session's gap is a text such as '10 seconds', and this is not a text";
        mistakes.note(section.offset_of("session_gap_expr"), message);
        return None;
    }
    Some(SessionGap::Dynamic(gap))
}

fn read_sliding(section: Section<'_, '_>, mistakes: &mut Mistakes<'_>) -> Option<SlidingWindow> {
    if !section.has("duration") {
        let message = missing("duration", section.title, "duration = \"30 seconds\"");
        mistakes.note(section.offset, message);
    }
    let mut length = |key: &str| {
        let length = section.duration(key, parse_duration, mistakes)?;
        if length.is_zero() {
            let message = "it is longer than nothing; write for example \"30 seconds\"";
            mistakes.note(section.offset_of(key), message);
            return None;
        }
        Some(i64::try_from(length.as_micros()).expect("the longest duration fits"))
    };
    let duration_us = length("duration");
    let slide_us = if section.has("slide") { length("slide") } else { duration_us };
    let offset_us = if section.has("start") {
        section.duration("start", parse_interval, mistakes)?
    } else {
        0
    };
    let (duration_us, slide_us) = (duration_us?, slide_us?);
    if slide_us > duration_us {
        let message = "the slide is at most the duration, or events between two windows would be in \
            none; make the slide shorter";
        mistakes.note(section.offset_of("slide"), message);
        return None;
    }
    if offset_us.abs() >= slide_us {
        let message = "the start lies between two starts of windows: it is shorter than the slide \
            (or the duration, where there is no slide), before or after 0";
        mistakes.note(section.offset_of("start"), message);
        return None;
    }
    Some(SlidingWindow { duration_us, slide_us, offset_us })
}

/// Reads `[drop_duplicates]`.
pub(super) fn read_drop_duplicates(
    section: Section<'_, '_>,
    schema: &Schema,
    mistakes: &mut Mistakes<'_>,
) -> Option<Deduplication> {
    section.check_keys(super::document::DROP_DUPLICATES_KEYS, mistakes);
    let example = "columns = [\"store\"]";
    if !section.has("columns") {
        mistakes.note(section.offset, missing("columns", section.title, example));
    }
    let values = section.array("columns", example, mistakes)?;
    let mut columns = Vec::new();
    let mut complete = true;
    for value in values {
        let name: Option<Located<&str>> = text_of("a column", value, mistakes);
        let found = name.and_then(|name| schema.find(name, "[drop_duplicates]", mistakes));
        complete &= found.is_some();
        columns.extend(found.filter(|index| !columns.contains(index)));
    }
    let within = section.boolean("within_watermark", mistakes).unwrap_or(false);
    let with_time = section.boolean("event_time", mistakes).unwrap_or(false);
    let scope = match (within, with_time) {
        (true, true) => {
            let message = "within_watermark and event_time do not go together: the first remembers \
                a record for the watermark's delay, the second compares event times too";
            mistakes.note(section.offset, message);
            return None;
        }
        (true, false) => DeduplicationScope::WithinWatermark,
        (false, true) => DeduplicationScope::WithEventTime,
        (false, false) => DeduplicationScope::Forever,
    };
    if complete && columns.is_empty() && scope != DeduplicationScope::WithEventTime {
        mistakes.note(section.offset_of("columns"), format!("columns is empty; write {example}"));
        return None;
    }
    complete.then_some(Deduplication { columns, scope })
}

/// A condition behind the watermark in two: what can go below it (it does not use the event time),
/// and what must stay above. Conjuncts are split as Spark's optimizer splits them.
pub(super) fn split_at_watermark(
    condition: Expression,
) -> (Option<Expression>, Option<Expression>) {
    match condition {
        Expression::And(left, right) => {
            let (left_below, left_above) = split_at_watermark(*left);
            let (right_below, right_above) = split_at_watermark(*right);
            (both(left_below, right_below), both(left_above, right_above))
        }
        other if uses_event_time(&other) => (None, Some(other)),
        other => (Some(other), None),
    }
}

/// `left AND right`, as far as they are there.
pub(super) fn both(left: Option<Expression>, right: Option<Expression>) -> Option<Expression> {
    match (left, right) {
        (Some(left), Some(right)) => Some(Expression::And(Box::new(left), Box::new(right))),
        (left, right) => left.or(right),
    }
}

fn uses_event_time(expression: &Expression) -> bool {
    let mut found = false;
    expression.visit(&mut |part| found |= *part == Expression::EventTime);
    found
}
