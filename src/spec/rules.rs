//! What must fit together in a pipeline, and values that replace parts of a checked one.
//!
//! Invariant: the rules here hold for every [`Pipeline`] that leaves this room, whether it comes
//! from a text or from [`Pipeline::with_overrides`].
//!
//! Not here: names and types, which cannot be overridden (`parse`).

use super::errors::{Place, SpecError, SpecErrors};
use super::names::check_topic_name;
use super::pipeline::{
    DeduplicationScope, OutputMode, ParseMode, Pipeline, Query, Semantics, Window,
};

/// Values from outside of the text that win over it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Another topic to read (`--topic`).
    pub topic: Option<String>,
    /// `--output-mode`
    pub output_mode: Option<OutputMode>,
    /// `--mode`
    pub parse_mode: Option<ParseMode>,
    /// `--max-future-skew`, in milliseconds, never negative.
    pub max_future_skew_ms: Option<i64>,
    /// `--watermark`, in milliseconds, never negative.
    pub watermark_delay_ms: Option<i64>,
    /// `--session-time-zone`, checked.
    pub session_time_zone: Option<String>,
    /// `--compat`, with what the spec chose of Spark's ways (`SparkChoices::semantics`).
    pub semantics: Option<Semantics>,
}

/// What a broken rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    Topic,
    OutputMode,
    MaxFutureSkew,
    Watermark,
}

impl Subject {
    pub(super) fn option(self) -> &'static str {
        match self {
            Subject::Topic => "--topic",
            Subject::OutputMode => "--output-mode",
            Subject::MaxFutureSkew => "--max-future-skew",
            Subject::Watermark => "--watermark",
        }
    }
}

impl Pipeline {
    /// The pipeline with some of its values replaced, checked again.
    ///
    /// # Errors
    /// Every rule that the new values break, by the name of the option.
    pub fn with_overrides(mut self, overrides: Overrides) -> Result<Pipeline, SpecErrors> {
        let mut broken = Vec::new();
        if let Some(topic) = overrides.topic {
            self.topic = topic;
        }
        self.output_mode = overrides.output_mode.unwrap_or(self.output_mode);
        self.parse_mode = overrides.parse_mode.unwrap_or(self.parse_mode);
        self.session_time_zone = overrides.session_time_zone.unwrap_or(self.session_time_zone);
        self.semantics = overrides.semantics.unwrap_or(self.semantics);
        self.max_future_skew_ms = overrides.max_future_skew_ms.or(self.max_future_skew_ms);
        match (overrides.watermark_delay_ms, &mut self.event_time) {
            (Some(delay_ms), Some(event_time)) => event_time.watermark_delay_ms = Some(delay_ms),
            (Some(_), None) => broken.push((
                Subject::Watermark,
                format!("pipeline {:?} has no event time: add [event_time] to its spec", self.name),
            )),
            (None, _) => {}
        }
        broken.extend(broken_rules(&self));
        if broken.is_empty() {
            return Ok(self);
        }
        let error = |(subject, message): (Subject, String)| SpecError {
            place: Place::Option(subject.option()),
            message,
        };
        Err(SpecErrors(broken.into_iter().map(error).collect()))
    }
}

/// Every rule that the pipeline breaks.
pub(super) fn broken_rules(pipeline: &Pipeline) -> Vec<(Subject, String)> {
    let mut broken = Vec::new();
    if let Err(error) = check_topic_name(&pipeline.topic) {
        broken.push((Subject::Topic, error.to_string()));
    }
    let watermark = pipeline.event_time.as_ref().and_then(|time| time.watermark_delay_ms);
    broken.extend(
        mode_problem(pipeline, watermark.is_some())
            .map(|problem| (Subject::OutputMode, problem.to_owned())),
    );
    if watermark.is_none()
        && pipeline
            .deduplication
            .as_ref()
            .is_some_and(|deduplication| deduplication.scope == DeduplicationScope::WithinWatermark)
    {
        broken.push((
            Subject::Watermark,
            "drop_duplicates within the watermark needs one: add watermark = \"30 seconds\" to \
             [event_time]"
                .to_owned(),
        ));
    }
    if pipeline.max_future_skew_ms.is_some() && pipeline.event_time.is_none() {
        broken.push((
            Subject::MaxFutureSkew,
            "a limit on future event times needs [event_time]: add it, or leave the limit out"
                .to_owned(),
        ));
    }
    broken
}

/// Why Spark would refuse the query in its output mode; so do we.
fn mode_problem(pipeline: &Pipeline, has_watermark: bool) -> Option<&'static str> {
    let Query::Aggregation(aggregation) = &pipeline.query else {
        return (pipeline.output_mode == OutputMode::Complete).then_some(
            "complete shows all groups, and this pipeline has none: use append, or add [window] \
             and [aggregates]",
        );
    };
    let is_session = matches!(aggregation.window, Some(Window::Session(_)));
    if is_session && aggregation.keys.is_empty() {
        return Some(
            "sessions need a column to group by (a global aggregation with a session window is not \
             supported): add group_by = [\"store\"]",
        );
    }
    match pipeline.output_mode {
        OutputMode::Append if !has_watermark => Some(
            "append shows a window once it closes, and without a watermark none ever does: add \
             watermark = \"30 seconds\" to [event_time], or use output mode update or complete",
        ),
        OutputMode::Append if aggregation.window.is_none() => Some(
            "append shows a group once it closes, and groups without a window never do: add \
             [window], or use output mode update or complete",
        ),
        OutputMode::Update if is_session => Some(
            "update is not supported for sessions, because a session that merges with another takes \
             a row back that was shown: use append or complete",
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Compat, parse, preset};

    fn pipeline(name: &str) -> Pipeline {
        parse(preset(name).unwrap(), name).unwrap().pipeline
    }

    fn refuse(pipeline: Pipeline, overrides: Overrides, part: &str) {
        let message = pipeline.with_overrides(overrides).unwrap_err().to_string();
        assert!(message.contains(part), "{message}");
    }

    #[test]
    fn no_overrides_change_nothing() {
        for name in ["sales", "transactions"] {
            assert_eq!(pipeline(name).with_overrides(Overrides::default()), Ok(pipeline(name)));
        }
    }

    #[test]
    fn overrides_win_over_the_spec() {
        let overrides = Overrides {
            topic: Some("other".to_owned()),
            output_mode: Some(OutputMode::Complete),
            parse_mode: Some(ParseMode::FailFast),
            max_future_skew_ms: Some(1),
            watermark_delay_ms: Some(0),
            session_time_zone: Some("Europe/Berlin".to_owned()),
            semantics: Some(Semantics::of(Compat::Spark35)),
        };
        let changed = pipeline("sales").with_overrides(overrides).unwrap();
        assert_eq!(changed.topic, "other");
        assert_eq!(changed.output_mode, OutputMode::Complete);
        assert_eq!(changed.parse_mode, ParseMode::FailFast);
        assert_eq!(changed.max_future_skew_ms, Some(1));
        assert_eq!(changed.session_time_zone, "Europe/Berlin");
        assert_eq!(changed.semantics.compat, Some(Compat::Spark35));
        assert_eq!(changed.event_time.unwrap().watermark_delay_ms, Some(0));
    }

    #[test]
    fn overrides_that_break_a_rule_are_refused_by_their_option() {
        let none = Overrides::default;
        let complete = || Overrides { output_mode: Some(OutputMode::Complete), ..none() };
        refuse(pipeline("transactions"), complete(), "--output-mode: complete shows all groups");
        let topic = Overrides { topic: Some("a b".to_owned()), ..none() };
        refuse(pipeline("sales"), topic, "--topic: \"a b\" is not a topic's name");
        let watermark = Overrides { watermark_delay_ms: Some(1), ..none() };
        refuse(pipeline("transactions"), watermark, "--watermark: pipeline \"transactions\"");
        let skew = Overrides { max_future_skew_ms: Some(1), ..none() };
        refuse(pipeline("transactions"), skew, "--max-future-skew: a limit");
        let mut open = pipeline("sales");
        open.event_time.as_mut().unwrap().watermark_delay_ms = None;
        refuse(open.clone(), none(), "--output-mode: append shows a window once it closes");
        open.output_mode = OutputMode::Update;
        assert!(open.with_overrides(none()).is_ok());
    }
}
