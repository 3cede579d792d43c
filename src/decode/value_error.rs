//! Values that end a run because SQL's ANSI mode, or the time parser's policy, wants it so.
//!
//! Not here: where in the topic the value is (`batch`).

/// A value that cannot be computed, in the words of Spark's error classes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// A record that Spark's `from_json` calls malformed, in fail-fast mode.
    #[error("[MALFORMED_RECORD_IN_PARSING.{0}] Malformed records are detected in record parsing")]
    Malformed(&'static str),
    /// A text that is not of the type it is cast to.
    #[error(
        "[CAST_INVALID_INPUT] The value '{value}' of the type \"STRING\" cannot be cast to \"{to}\" \
         because it is malformed"
    )]
    InvalidInput {
        /// The text.
        value: String,
        /// SQL's name of the type.
        to: &'static str,
    },
    /// A text that is not in the event time's pattern.
    #[error("[CANNOT_PARSE_TIMESTAMP] Text '{value}' could not be parsed as {pattern:?}")]
    Timestamp {
        /// The text.
        value: String,
        /// The pattern.
        pattern: String,
    },
    /// A text that is not in the event time's pattern, but that Spark 2 would have taken.
    #[error(
        "[INCONSISTENT_BEHAVIOR_CROSS_VERSION.PARSE_DATETIME_BY_NEW_PARSER] Fail to parse '{value}' \
         as {pattern:?}, which Spark 2 would have read; with time_parser_policy = \"corrected\" it \
         is NULL"
    )]
    OldParser {
        /// The text.
        value: String,
        /// The pattern.
        pattern: String,
    },
    /// A number divided by zero.
    #[error("[DIVIDE_BY_ZERO] Division by zero")]
    DivideByZero,
    /// A remainder of a division by zero (Spark 4's class for it).
    #[error("[REMAINDER_BY_ZERO] Remainder by zero")]
    RemainderByZero,
    /// A whole number beyond its type.
    #[error("[ARITHMETIC_OVERFLOW] {0} overflow")]
    Overflow(&'static str),
    /// A number beyond the type it is cast to.
    #[error("[CAST_OVERFLOW] The value {value} cannot be cast to \"{to}\" due to an overflow")]
    CastOverflow {
        /// The number as text.
        value: String,
        /// SQL's name of the type.
        to: &'static str,
    },
}
