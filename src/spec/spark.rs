//! What a spec says of Spark's ways: `compat`, `session_time_zone`, `[spark]` and `[json]`.
//!
//! Not here: what the choices mean (`pipeline::Semantics`, `pipeline::JsonOptions`).

use super::document::{JSON_KEYS, SPARK_KEYS, Section, noted};
use super::errors::{InvalidOption, Mistakes};
use super::pipeline::{Compat, JsonOptions, Semantics, StateStore, TimeParserPolicy};

/// What `[spark]` names, each with its value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SparkChoices {
    /// `spark.sql.ansi.enabled`
    pub ansi: Option<bool>,
    /// `spark.sql.shuffle.partitions`
    pub shuffle_partitions: Option<u32>,
    /// The state store provider.
    pub state_store: Option<StateStore>,
    /// `spark.sql.streaming.noDataMicroBatches.enabled`
    pub no_data_batches: Option<bool>,
    /// `spark.sql.legacy.timeParserPolicy`
    pub time_parser_policy: Option<TimeParserPolicy>,
}

impl SparkChoices {
    /// The defaults of that version of Spark, or of this program, under these choices.
    #[must_use]
    pub fn semantics(self, compat: Option<Compat>) -> Semantics {
        let defaults = compat.map_or_else(Semantics::default, Semantics::of);
        Semantics {
            compat,
            ansi: self.ansi.unwrap_or(defaults.ansi),
            shuffle_partitions: self.shuffle_partitions.unwrap_or(defaults.shuffle_partitions),
            state_store: self.state_store.unwrap_or(defaults.state_store),
            no_data_batches: self.no_data_batches.unwrap_or(defaults.no_data_batches),
            time_parser_policy: self.time_parser_policy.unwrap_or(defaults.time_parser_policy),
        }
    }
}

/// Reads `[spark]`.
pub(super) fn read_spark(section: Section<'_, '_>, mistakes: &mut Mistakes<'_>) -> SparkChoices {
    section.check_keys(SPARK_KEYS, mistakes);
    SparkChoices {
        ansi: section.boolean("ansi", mistakes),
        shuffle_partitions: section.unsigned("shuffle_partitions", mistakes).and_then(|number| {
            let checked = u32::try_from(number).ok().filter(|number| *number > 0);
            let problem = || InvalidOption("shuffle_partitions is a number from 1".to_owned());
            noted(section.offset_of("shuffle_partitions"), checked.ok_or_else(problem), mistakes)
        }),
        state_store: section.parsed("state_store", mistakes),
        no_data_batches: section.boolean("no_data_batches", mistakes),
        time_parser_policy: section.parsed("time_parser_policy", mistakes),
    }
}

/// Reads `[json]`; the name of the corrupt column is read with the schema.
pub(super) fn read_json(section: Section<'_, '_>, mistakes: &mut Mistakes<'_>) -> JsonOptions {
    section.check_keys(JSON_KEYS, mistakes);
    let defaults = JsonOptions::default();
    let mut switch = |key: &str, default: bool| section.boolean(key, mistakes).unwrap_or(default);
    JsonOptions {
        allow_single_quotes: switch("allow_single_quotes", defaults.allow_single_quotes),
        allow_non_numeric_numbers: switch(
            "allow_non_numeric_numbers",
            defaults.allow_non_numeric_numbers,
        ),
        allow_numeric_leading_zeros: switch(
            "allow_numeric_leading_zeros",
            defaults.allow_numeric_leading_zeros,
        ),
        allow_unquoted_control_chars: switch(
            "allow_unquoted_control_chars",
            defaults.allow_unquoted_control_chars,
        ),
        allow_unquoted_field_names: switch(
            "allow_unquoted_field_names",
            defaults.allow_unquoted_field_names,
        ),
        allow_backslash_escaping_any_character: switch(
            "allow_backslash_escaping_any_character",
            defaults.allow_backslash_escaping_any_character,
        ),
        allow_comments: switch("allow_comments", defaults.allow_comments),
        drop_field_if_all_null: switch("drop_field_if_all_null", defaults.drop_field_if_all_null),
    }
}

/// Checks the name of a zone: an IANA name or an offset like `+02:00`.
///
/// # Errors
/// Says what would be right.
pub fn check_time_zone(name: &str) -> Result<String, InvalidOption> {
    let is_offset = || {
        let digits = name.strip_prefix(['+', '-'])?;
        let (hours, minutes) = digits.split_once(':')?;
        let in_range = |text: &str, most: u8| {
            text.len() == 2 && text.parse::<u8>().is_ok_and(|number| number <= most)
        };
        (in_range(hours, 18) && in_range(minutes, 59)).then_some(())
    };
    if is_offset().is_some() || jiff::tz::TimeZone::get(name).is_ok() {
        return Ok(name.to_owned());
    }
    Err(InvalidOption(format!(
        "{name:?} is not a time zone; write for example \"UTC\", \"Europe/Berlin\" or \"+02:00\""
    )))
}
