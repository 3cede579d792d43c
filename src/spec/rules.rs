//! What must fit together in a pipeline, and values that replace parts of a checked one.
//!
//! Invariant: the rules here hold for every [`Pipeline`] that leaves this room, whether it comes
//! from a text or from [`Pipeline::with_overrides`].
//!
//! Not here: names and types, which cannot be overridden (`parse`).

use super::errors::{Place, SpecError, SpecErrors};
use super::names::check_topic_name;
use super::pipeline::{OutputMode, ParseMode, Pipeline, Query};

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
    fn option(self) -> &'static str {
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
    match (&pipeline.query, pipeline.output_mode) {
        (Query::Aggregation(_), OutputMode::Append) if watermark.is_none() => broken.push((
            Subject::OutputMode,
            "append shows a window once it closes, and without a watermark none ever does: add \
             watermark = \"30 seconds\" to [event_time], or use output mode update or complete"
                .to_owned(),
        )),
        (Query::Projection, OutputMode::Complete) => broken.push((
            Subject::OutputMode,
            "complete shows all groups, and this pipeline has none: use append, or add [window] \
             and [aggregates]"
                .to_owned(),
        )),
        _ => {}
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{parse, preset};

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
        };
        let changed = pipeline("sales").with_overrides(overrides).unwrap();
        assert_eq!(changed.topic, "other");
        assert_eq!(changed.output_mode, OutputMode::Complete);
        assert_eq!(changed.parse_mode, ParseMode::FailFast);
        assert_eq!(changed.max_future_skew_ms, Some(1));
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
