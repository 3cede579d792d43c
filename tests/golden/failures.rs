//! The kinds of failures: what Spark says, and how this program ends on the same.

use sales_stream::commands::Failure;

/// One kind of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// What it is.
    pub name: &'static str,
    /// Exit codes that say it.
    pub codes: &'static [u8],
    /// Pieces of Spark's text that say it, one of which is enough.
    said: &'static [&'static str],
}

/// A value that ANSI SQL does not let pass, or that two versions of Spark read differently.
pub const VALUE: &str = "a value that does not fit";

/// The first that fits counts.
const KINDS: [Kind; 8] = [
    Kind {
        name: VALUE,
        codes: &[41],
        said: &[
            "[CAST_OVERFLOW",
            "[ARITHMETIC_OVERFLOW",
            "[CAST_INVALID_INPUT",
            "[CANNOT_PARSE_TIMESTAMP",
            "[DIVIDE_BY_ZERO",
            "[NUMERIC_VALUE_OUT_OF_RANGE",
            "[INCONSISTENT_BEHAVIOR_CROSS_VERSION",
        ],
    },
    Kind {
        name: "a malformed record in fail-fast mode",
        codes: &[40],
        said: &["[MALFORMED_RECORD_IN_PARSING"],
    },
    Kind {
        name: "a checkpoint of another job",
        codes: &[12],
        said: &["StateSchemaNotCompa", "_SCHEMA_NOT_COMPATIBLE"],
    },
    Kind { name: "a topic that is not there", codes: &[22], said: &["UnknownTopicOrPartition"] },
    Kind {
        name: "lost data",
        codes: &[20],
        said: &["ome data may have been", "are gone. ", "offset was changed from"],
    },
    Kind {
        name: "a parse mode that is not offered",
        codes: &[2],
        said: &["[PARSE_MODE_UNSUPPORTED", "DROPMALFORMED"],
    },
    Kind {
        name: "starting offsets that cannot be used",
        codes: &[2],
        said: &[
            "Expected e.g. {\"topicA\"",
            "If startingOffsets contains specific offsets",
            "No offset matched from request",
        ],
    },
    Kind {
        name: "a query that is refused",
        codes: &[2],
        said: &["start: ", "Global aggregation with session window"],
    },
];

/// What kind of failure Spark's text tells.
///
/// # Errors
/// It tells none that is known.
pub fn kind_of(text: &str) -> Result<Kind, String> {
    let known = KINDS.iter().find(|kind| kind.said.iter().any(|piece| text.contains(piece)));
    known.copied().ok_or_else(|| format!("an error of Spark of no known kind: {}", short(text)))
}

/// Compares how a step failed; what differs, if anything does.
///
/// # Errors
/// As [`kind_of`].
pub fn compare(expected: Option<&str>, found: Option<&Failure>) -> Result<Option<String>, String> {
    Ok(match (expected, found) {
        (None, None) => None,
        (None, Some(failure)) => {
            Some(format!("failed with {}: {}", failure.code, short(&failure.message)))
        }
        (Some(text), None) => {
            Some(format!("did not fail; Spark: {} ({})", kind_of(text)?.name, short(text)))
        }
        (Some(text), Some(failure)) => {
            let kind = kind_of(text)?;
            (!kind.codes.contains(&failure.code)).then(|| {
                format!(
                    "failed with {} ({}) where Spark's failure was {}",
                    failure.code,
                    short(&failure.message),
                    kind.name
                )
            })
        }
    })
}

/// The beginning of a text, on one line.
pub fn short(text: &str) -> String {
    let line = text.replace('\n', " / ");
    match line.char_indices().nth(300) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}
