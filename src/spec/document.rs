//! Reading tables of a TOML document, each value with its place in the text.
//!
//! A reader of a value notes what is wrong with it and gives `None`; what depends on the value is
//! then left unchecked, so that one mistake is told once.
//!
//! Not here: what the keys mean (`parse`, `run`).

use std::ops::Range;
use std::str::FromStr;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::errors::{InvalidOption, Mistakes, character_start, list, suggestion};

/// Keys of each table whose keys are fixed. Used to tell a user where a misplaced key belongs.
const HOMES: [(&str, &[&str]); 7] = [
    ("at the top of the spec, before the first [section]", ROOT_KEYS),
    ("in [event_time]", EVENT_TIME_KEYS),
    ("in [window]", WINDOW_KEYS),
    ("in [run]", RUN_KEYS),
    ("in [drop_duplicates]", DROP_DUPLICATES_KEYS),
    ("in [json]", JSON_KEYS),
    ("in [spark]", SPARK_KEYS),
];
/// The command line's names for what is a table here.
const KAFKA_OPTION: &[&str] = &["kafka", "kafka_option", "kafka_options"];
pub(super) const ROOT_KEYS: &[&str] = &[
    "name",
    "topic",
    "pipeline",
    "compat",
    "session_time_zone",
    "group_by",
    "output",
    "where",
    "where_after_watermark",
    "schema",
    "json",
    "event_time",
    "drop_duplicates",
    "window",
    "aggregates",
    "spark",
    "run",
];
pub(super) const EVENT_TIME_KEYS: &[&str] = &["column", "format", "watermark"];
pub(super) const WINDOW_KEYS: &[&str] =
    &["duration", "slide", "start", "session_gap", "session_gap_expr"];
pub(super) const DROP_DUPLICATES_KEYS: &[&str] = &["columns", "within_watermark", "event_time"];
pub(super) const JSON_KEYS: &[&str] = &[
    "corrupt_column",
    "allow_single_quotes",
    "allow_non_numeric_numbers",
    "allow_numeric_leading_zeros",
    "allow_unquoted_control_chars",
    "allow_unquoted_field_names",
    "allow_backslash_escaping_any_character",
    "allow_comments",
    "drop_field_if_all_null",
];
pub(super) const SPARK_KEYS: &[&str] =
    &["ansi", "shuffle_partitions", "state_store", "no_data_batches", "time_parser_policy"];
pub(super) const RUN_KEYS: &[&str] = &[
    "trigger",
    "output_mode",
    "sinks",
    "dead_letter",
    "starting_offsets",
    "starting_timestamp",
    "starting_offsets_by_timestamp",
    "starting_offsets_by_timestamp_strategy",
    "max_offsets_per_trigger",
    "min_offsets_per_trigger",
    "max_trigger_delay",
    "memory_limit",
    "threads",
    "progress",
    "mode",
    "max_future_skew",
    "brokers",
    "group_id",
    "num_rows",
    "truncate",
    "vertical",
    "fail_on_data_loss",
    "checkpoint_dir",
    "startup_timeout",
    "shutdown_timeout",
    "kafka",
];

/// A value with the byte offset where it begins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Located<T> {
    pub(super) value: T,
    pub(super) offset: usize,
}

/// A table of the document.
#[derive(Clone, Copy)]
pub(super) struct Section<'d, 't> {
    table: &'d DeTable<'t>,
    /// As messages name it: `[run]`.
    pub(super) title: &'static str,
    /// Where it begins: its key in the text.
    pub(super) offset: usize,
}

impl<'d, 't> Section<'d, 't> {
    /// The whole document.
    pub(super) fn root(table: &'d DeTable<'t>) -> Section<'d, 't> {
        Section { table, title: "the spec", offset: 0 }
    }

    /// A table that was already looked up.
    pub(super) fn of(
        table: &'d DeTable<'t>,
        title: &'static str,
        offset: usize,
    ) -> Section<'d, 't> {
        Section { table, title, offset }
    }

    /// A table inside of this one, if it is there and is one.
    pub(super) fn section(
        &self,
        key: &str,
        title: &'static str,
        mistakes: &mut Mistakes<'_>,
    ) -> Option<Section<'d, 't>> {
        let (key, value) = self.table.get_key_value(key)?;
        let offset = key.span().start;
        match value.get_ref() {
            DeValue::Table(table) => Some(Section { table, title, offset }),
            other => {
                let found = described(other);
                mistakes.note(
                    offset,
                    format!(
                        "{} is a table, not {found}; write {title} on a line \
                    of its own, its keys below",
                        key.get_ref()
                    ),
                );
                None
            }
        }
    }

    /// Every key with its value, in the order of the text.
    pub(super) fn entries(
        &self,
    ) -> impl Iterator<Item = (Located<&'d str>, &'d Spanned<DeValue<'t>>)> + use<'d, 't> {
        self.table.iter().map(|(key, value)| (located_key(key), value))
    }

    /// Whether the key is there, whatever its value.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Whether the key is not there, but one that looks like a slip of it: that is the mistake then, and
    /// what follows from it is not told.
    pub(super) fn has_slip_of(&self, key: &str) -> bool {
        !self.has(key)
            && self.entries().any(|(other, _)| !suggestion(other.value, [key]).is_empty())
    }

    /// Where the key is, or the table where it is not.
    pub(super) fn offset_of(&self, key: &str) -> usize {
        self.table.get_key_value(key).map_or(self.offset, |(key, _)| key.span().start)
    }

    /// Notes every key that is not known.
    pub(super) fn check_keys(&self, known: &[&str], mistakes: &mut Mistakes<'_>) {
        for (key, _) in self.entries().filter(|(key, _)| !known.contains(&key.value)) {
            let home =
                home_of(key.value).filter(|_| suggestion(key.value, known.to_vec()).is_empty());
            let advice = match home {
                _ if KAFKA_OPTION.contains(&key.value) => {
                    "options of the Kafka client stand in [run.kafka]; did you mean [run.kafka] with a \
                     line security.protocol = \"SASL_SSL\"?"
                        .to_owned()
                }
                Some(home) => format!("it belongs {home}"),
                None => format!(
                    "the keys are {}{}",
                    list(known.iter().copied()),
                    suggestion(key.value, known.iter().copied())
                ),
            };
            mistakes.note(
                key.offset,
                format!("unknown key {:?} in {}; {advice}", key.value, self.title),
            );
        }
    }

    /// A value as it is.
    pub(super) fn value(&self, key: &str) -> Option<&'d Spanned<DeValue<'t>>> {
        self.table.get(key)
    }

    /// A text, noted where it is something else.
    pub(super) fn text(&self, key: &str, mistakes: &mut Mistakes<'_>) -> Option<Located<&'d str>> {
        text_of(key, self.value(key)?, mistakes)
    }

    /// A text that must be there; `example` is what could be written.
    pub(super) fn required_text(
        &self,
        key: &str,
        example: &str,
        mistakes: &mut Mistakes<'_>,
    ) -> Option<Located<&'d str>> {
        if !self.has(key) && !self.has_slip_of(key) {
            mistakes.note(self.offset, missing(key, self.title, example));
        }
        self.text(key, mistakes)
    }

    /// A text in the form of `T`.
    pub(super) fn parsed<T: FromStr<Err = InvalidOption>>(
        &self,
        key: &str,
        mistakes: &mut Mistakes<'_>,
    ) -> Option<T> {
        self.read_with(key, str::parse, mistakes)
    }

    /// A text read by a function.
    pub(super) fn read_with<T>(
        &self,
        key: &str,
        read: impl FnOnce(&str) -> Result<T, InvalidOption>,
        mistakes: &mut Mistakes<'_>,
    ) -> Option<T> {
        let text = self.text(key, mistakes)?;
        noted(text.offset, read(text.value), mistakes)
    }

    /// A text that holds a duration, read by a function.
    pub(super) fn duration<T>(
        &self,
        key: &str,
        read: impl FnOnce(&str) -> Result<T, InvalidOption>,
        mistakes: &mut Mistakes<'_>,
    ) -> Option<T> {
        let value = self.value(key)?;
        if matches!(value.get_ref(), DeValue::Integer(_) | DeValue::Float(_)) {
            let message = format!("{key} is a text with a unit; write for example \"30 seconds\"");
            mistakes.note(value.span().start, message);
            return None;
        }
        self.read_with(key, read, mistakes)
    }

    /// true or false.
    pub(super) fn boolean(&self, key: &str, mistakes: &mut Mistakes<'_>) -> Option<bool> {
        let value = self.value(key)?;
        let boolean = value.get_ref().as_bool();
        if boolean.is_none() {
            let found = described(value.get_ref());
            mistakes.note(value.span().start, format!("{key} is true or false, not {found}"));
        }
        boolean
    }

    /// A whole number from 0.
    pub(super) fn unsigned(&self, key: &str, mistakes: &mut Mistakes<'_>) -> Option<u64> {
        let value = self.value(key)?;
        let number = unsigned_of(value.get_ref());
        if number.is_none() {
            let found = described(value.get_ref());
            mistakes
                .note(value.span().start, format!("{key} is a whole number from 0, not {found}"));
        }
        number
    }

    /// The values of an array.
    pub(super) fn array(
        &self,
        key: &str,
        example: &str,
        mistakes: &mut Mistakes<'_>,
    ) -> Option<&'d [Spanned<DeValue<'t>>]> {
        let value = self.value(key)?;
        if let DeValue::Array(array) = value.get_ref() {
            return Some(array);
        }
        let found = described(value.get_ref());
        mistakes.note(value.span().start, format!("{key} is a list, not {found}; write {example}"));
        None
    }
}

/// The text of a value, noted where it is something else.
pub(super) fn text_of<'d>(
    what: &str,
    value: &'d Spanned<DeValue<'_>>,
    mistakes: &mut Mistakes<'_>,
) -> Option<Located<&'d str>> {
    let offset = value.span().start;
    let text = value.get_ref().as_str();
    if text.is_none() {
        let found = described(value.get_ref());
        let quoted = &mistakes.text()[value.span()];
        let hint = match value.get_ref() {
            DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) => {
                format!("; write \"{quoted}\" in quotes")
            }
            _ => String::new(),
        };
        mistakes.note(offset, format!("{what} is a text, not {found}{hint}"));
    }
    Some(Located { value: text?, offset })
}

/// The whole number from 0 that a value is.
pub(super) fn unsigned_of(value: &DeValue<'_>) -> Option<u64> {
    let integer = value.as_integer()?;
    u64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

/// A key with its place.
fn located_key<'d>(key: &'d Spanned<DeString<'_>>) -> Located<&'d str> {
    Located { value: key.get_ref(), offset: key.span().start }
}

/// The value, or its error noted.
pub(super) fn noted<T>(
    offset: usize,
    result: Result<T, InvalidOption>,
    mistakes: &mut Mistakes<'_>,
) -> Option<T> {
    result.map_err(|error| mistakes.note(offset, error.0)).ok()
}

/// What to say where a key is not there.
pub(super) fn missing(key: &str, title: &str, example: &str) -> String {
    format!("{key} is missing in {title}; write for example {example}")
}

/// Where a key that is not known here would be right.
pub(super) fn home_of(key: &str) -> Option<&'static str> {
    HOMES.iter().find(|(_, keys)| keys.contains(&key)).map(|(home, _)| *home)
}

/// A kind of value, with its article.
pub(super) fn described(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// Where in the document a byte of a string's value was written.
///
/// `span` is the string with its quotes, `value` what it means, `offset` a byte in `value`.
pub(super) fn offset_in_document(
    document: &str,
    span: Range<usize>,
    value: &str,
    offset: usize,
) -> usize {
    let raw = &document[span.clone()];
    let quotes = if raw.starts_with("\"\"\"") || raw.starts_with("'''") { 3 } else { 1 };
    let mut at = quotes.min(raw.len());
    if quotes == 3 {
        // A line break right after the opening quotes is not part of the value.
        let body = &raw[at..];
        let line_break = body.strip_prefix("\r\n").or_else(|| body.strip_prefix('\n'));
        at = raw.len() - line_break.unwrap_or(body).len();
    }
    let escapes = raw.starts_with('"');
    let mut read = 0;
    while read < offset {
        let written = raw.get(at..).and_then(|rest| rest.chars().next());
        let meant = value.get(read..).and_then(|rest| rest.chars().next());
        let (Some(written), Some(meant)) = (written, meant) else { break };
        if escapes && written == '\\' {
            let after = &raw[at + 1..];
            match after.chars().next() {
                // A backslash at the end of a line joins it with the next word.
                Some(c) if c.is_whitespace() => {
                    at = raw.len() - after.trim_start().len();
                    continue;
                }
                Some('x') => at += 4,
                Some('u') => at += 6,
                Some('U') => at += 10,
                _ => at += 2,
            }
        } else {
            at += written.len_utf8();
        }
        read += meant.len_utf8();
    }
    span.start + character_start(raw, at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Where the `!` of a string's value was written, and where it is looked for.
    fn found_and_written(string: &str) -> (usize, usize) {
        let document = format!("key = {string} # end\n");
        let table = DeTable::parse(&document).expect(string);
        let value = table.get_ref().get("key").unwrap();
        let text = value.get_ref().as_str().unwrap();
        let offset = text.find('!').unwrap();
        let found = offset_in_document(&document, value.span(), text, offset);
        (found, document.find('!').unwrap())
    }

    #[test]
    fn bytes_of_a_string_are_found_again_in_the_document() {
        for string in [
            r#""a!""#,
            r#""\"\t\u00e4\U0001F600\x41 ä!""#,
            "'a\\!'",
            "'''\na\n!'''",
            "'''a!'''",
            "\"\"\"\na\\\n   b\n!\"\"\"",
            "\"\"\"\r\na\r\n!\"\"\"",
        ] {
            let (found, written) = found_and_written(string);
            assert_eq!(found, written, "{string}");
        }
    }

    proptest! {
        #[test]
        fn any_byte_of_any_string_has_a_place_inside_of_the_string(
            document in "[\"']{1,3}\\PC{0,20}[\"'\\\\]{0,3}", value in "\\PC{0,20}", offset in 0_usize..30,
        ) {
            let span = 0..document.len();
            let found = offset_in_document(&document, span, &value, offset.min(value.len()));
            prop_assert!(found <= document.len());
        }
    }
}
